//! The pool: every item once, the first error wins, interrupts end a call, panics do not hang it.

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use asd_dsp::error::{Error, Result};
use asd_dsp::{flac, pool, resample};

fn always() -> impl FnMut() -> bool {
    || true
}

#[test]
fn every_item_is_done_once() {
    for threads in [1, 2, 7, 64] {
        let mut done = vec![0; 500];
        let job = |slot: &mut i32, _: &mut _| {
            *slot += 1;
            Ok(())
        };
        pool::run(done.iter_mut(), threads, job, &mut always()).expect("no job fails");
        pool::run_short(done.iter_mut(), threads, job, &mut always()).expect("no job fails");
        assert!(done.iter().all(|&n| n == 2));
    }
}

#[test]
fn nothing_to_do_is_done() {
    let job = |(): (), _: &mut _| -> Result<()> { unreachable!("there is no item") };
    assert_eq!(pool::run(std::iter::empty(), 4, job, &mut always()), Ok(()));
    assert_eq!(pool::run_short(std::iter::empty(), 4, job, &mut always()), Ok(()));
}

#[test]
fn no_more_jobs_run_at_once_than_threads() {
    pool::run(0..16, 16, |_, _| Ok(()), &mut always()).expect("the pool is now 16 wide");
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let job = |_, _: &mut _| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    };
    pool::run(0..30, 3, job, &mut always()).expect("no job fails");
    assert_eq!(most.swap(0, Ordering::SeqCst), 3);
    pool::run_short(0..30, 3, job, &mut always()).expect("no job fails");
    assert_eq!(most.into_inner(), 3);
}

#[test]
fn the_error_of_the_first_item_wins_and_nothing_is_started_after_it() {
    for threads in [1, 2, 16] {
        for _ in 0..50 {
            let started = AtomicUsize::new(0);
            let job = |i: usize, _: &mut _| {
                started.fetch_add(1, Ordering::SeqCst);
                if i >= 20 { Err(Error::Argument(i.to_string())) } else { Ok(()) }
            };
            let result = pool::run(0..10_000, threads, job, &mut always());
            assert_eq!(result, Err(Error::Argument("20".to_owned())));
            assert!(started.swap(0, Ordering::SeqCst) <= 20 + threads);
            let result = pool::run_short(0..10_000, threads, job, &mut always());
            assert_eq!(result, Err(Error::Argument("20".to_owned())));
            assert!(started.into_inner() <= 20 + threads);
        }
    }
}

#[test]
fn the_caller_can_stop_a_call_between_items_and_inside_of_them() {
    let began = Instant::now();
    let inside = |_, _: &mut _| {
        for _ in 0..6000 {
            pool::check()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    };
    assert_eq!(pool::run(0..2, 2, inside, &mut || false), Err(Error::Interrupted));
    let between = |_, _: &mut _| {
        std::thread::sleep(Duration::from_millis(10));
        Ok(())
    };
    assert_eq!(pool::run(0..100_000, 2, between, &mut || false), Err(Error::Interrupted));
    assert_eq!(pool::run_short(0..100_000, 2, between, &mut || false), Err(Error::Interrupted));
    assert_eq!(pool::run_short(0..100_000, 1, between, &mut || false), Err(Error::Interrupted));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(pool::check(), Ok(()));
    assert_eq!(pool::run(0..2, 2, |_, _| pool::check(), &mut always()), Ok(()));
}

#[test]
fn long_kernels_see_that_the_caller_wants_to_stop() {
    let bytes = common::Flac::new(16_000, 16, &[vec![1; 5000]]).bytes();
    let seen = Mutex::new(Vec::new());
    let job = |(), _: &mut _| {
        while pool::check().is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut seen = seen.lock().expect("no job panics");
        seen.push(flac::decode(&bytes, Vec::new()).err());
        for rate in [48_000, 44_099] {
            seen.push(resample::resample(&[0.5; 50_000], rate, 16_000).err());
        }
        Ok(())
    };
    assert_eq!(pool::run(std::iter::once(()), 1, job, &mut || false), Err(Error::Interrupted));
    assert_eq!(seen.into_inner().expect("no job panics"), vec![Some(Error::Interrupted); 3]);
}

#[test]
fn the_caller_is_asked_while_jobs_run() {
    let mut asked = 0;
    let job = |_, _: &mut _| {
        std::thread::sleep(Duration::from_millis(400));
        Ok(())
    };
    let mut go_on = || {
        asked += 1;
        true
    };
    pool::run(0..1, 1, job, &mut go_on).expect("no job fails");
    assert!((2..=8).contains(&asked), "asked {asked} times in 400 ms");
}

#[test]
fn calls_from_several_threads_share_the_pool() {
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let results = &results;
            scope.spawn(move || {
                let sum = AtomicUsize::new(0);
                let job = |i: usize, _: &mut _| {
                    sum.fetch_add(i, Ordering::Relaxed);
                    Ok(())
                };
                pool::run(0..100, 1 + caller, job, &mut always()).expect("no job fails");
                results.lock().expect("no caller panics").push(sum.into_inner());
            });
        }
    });
    assert_eq!(results.into_inner().expect("no caller panics"), vec![4950; 8]);
}

#[test]
fn a_panic_in_a_job_reaches_the_caller_and_the_pool_goes_on() {
    let job = |i: usize, _: &mut _| -> Result<()> {
        assert!(i != 3, "item 3 is a bug");
        Ok(())
    };
    let caught = std::panic::catch_unwind(|| pool::run(0..10, 2, job, &mut always()));
    assert!(caught.is_err());
    assert_eq!(pool::run(0..10, 2, |_, _| Ok(()), &mut always()), Ok(()));
}

#[test]
fn a_background_ends_whatever_it_has_started() {
    for threads in [1, 3] {
        let (done, ended) = std::sync::mpsc::channel();
        let work = move || {
            let job = |_, _: &mut _| {
                for _ in 0..6000 {
                    pool::check()?;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            };
            let short = pool::run_short(0..100, threads, job, &mut always());
            done.send((short, pool::run(0..100, threads, job, &mut always()))).expect("somebody listens");
        };
        let began = Instant::now();
        let background = pool::Background::start("test", work).expect("a thread can be had");
        std::thread::sleep(Duration::from_millis(30));
        background.halt(true);
        let interrupted = || Err(Error::Interrupted);
        assert_eq!(ended.recv(), Ok((interrupted(), interrupted())));
        assert!(!background.is_lost());
        drop(background);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
