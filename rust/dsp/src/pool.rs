//! The threads of the crate: one pool a process and a [`Background`] for each feed; nothing else starts any.
//!
//! Items are claimed in order, one at a time, and each is computed by one thread alone: results do not depend on the
//! number of threads. `go_on` is asked every [`POLL`] on the calling thread, so that Ctrl-C is seen meanwhile.
//!
//! A forked child inherits the memory of the pool but none of its threads. The pool remembers the process that
//! made it; a child lets go of it without touching it, and makes its own on first use.

use std::cell::RefCell;
use std::iter::Enumerate;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};
use crate::{augment, corpus, feed, logmel, recording};

/// How often the calling thread asks whether to go on.
pub const POLL: Duration = Duration::from_millis(50);

/// Buffers of one thread, for any job.
#[derive(Default)]
pub struct Scratch {
    /// For log-mels.
    pub logmel: logmel::Scratch,
    /// For views.
    pub augment: augment::Scratch,
    /// For the log-mels of a training set.
    pub corpus: corpus::Scratch,
    /// For the clips of a feed.
    pub feed: feed::Scratch,
    /// For files.
    pub files: recording::Buffers,
}

thread_local! {
    /// Buffers of this thread, for any job.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// The stop flag of the call that this thread works for.
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// [`Error::Interrupted`] once the caller of [`run`] wants to stop. A job that takes long asks now and then,
/// from wherever it is; outside of a job nobody can want to stop.
pub fn check() -> Result<()> {
    let stop = STOP.with_borrow(|stop| stop.as_ref().is_some_and(|s| s.load(Ordering::Relaxed)));
    if stop { Err(Error::Interrupted) } else { Ok(()) }
}

/// Threads that may run at once: CPU affinity and the cgroup's quota, at least 1. Asked once a process, as reading
/// the quota costs as much as a log-mel.
pub fn available_threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Runs `job`, which may take long, on every item, on `threads` threads of the pool; the calling thread waits.
///
/// Returns the error of the first item that failed, in the order of the items, whatever the threads did; after
/// a failure no further item is started. [`Error::Interrupted`] when `go_on` said `false`.
pub fn run<I, T, J>(items: I, threads: usize, job: J, go_on: &mut dyn FnMut() -> bool) -> Result<()>
where
    I: ExactSizeIterator<Item = T> + Send,
    T: Send,
    J: Fn(T, &mut Scratch) -> Result<()> + Sync,
{
    let workers = threads.min(items.len());
    if workers == 0 {
        return Ok(());
    }
    let work = Work::new(items, workers);
    pool(workers)?.in_place_scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|_| work.drain(&job, &mut || true));
        }
        work.wait(go_on);
    });
    work.result()
}

/// The same for jobs that are short: the calling thread works too, and asks `go_on` between two items. So a call
/// wakes one thread less, and none for `threads` = 1.
pub fn run_short<I, T, J>(items: I, threads: usize, job: J, go_on: &mut dyn FnMut() -> bool) -> Result<()>
where
    I: ExactSizeIterator<Item = T> + Send,
    T: Send,
    J: Fn(T, &mut Scratch) -> Result<()> + Sync,
{
    let workers = threads.min(items.len());
    if workers == 0 {
        return Ok(());
    }
    let work = Work::new(items, workers);
    if workers == 1 {
        work.drain(&job, go_on);
    } else {
        pool(workers - 1)?.in_place_scope(|scope| {
            for _ in 1..workers {
                scope.spawn(|_| work.drain(&job, &mut || true));
            }
            work.drain(&job, go_on);
            work.wait(go_on);
        });
    }
    work.result()
}

/// A thread of its own that works until it is dropped. Its work looks at [`check`] now and then, and every [`run`]
/// and [`run_short`] that it starts ends with it.
pub struct Background {
    stop: Arc<AtomicBool>,
    process: u32,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Background {
    /// Stops the thread and waits for it.
    fn drop(&mut self) {
        self.halt(true);
        let Some(thread) = self.thread.take() else { return };
        if self.is_lost() {
            // Its handle names a thread of the parent, whose memory another may have here.
            std::mem::forget(thread);
        } else {
            let _panicked = thread.join();
        }
    }
}

impl Background {
    /// Starts `work`.
    pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let flag = Arc::clone(&stop);
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            STOP.set(Some(flag));
            work();
        });
        let thread = thread.map_err(|e| Error::Argument(format!("threads: cannot start one: {e}")))?;
        Ok(Self { stop, process: std::process::id(), thread: Some(thread) })
    }

    /// Whether this is a forked child, where the thread does not run.
    pub fn is_lost(&self) -> bool {
        self.process != std::process::id()
    }

    /// Ends what the thread has under way (`true`), or lets it go on with the next (`false`).
    pub fn halt(&self, stop: bool) {
        self.stop.store(stop, Ordering::Relaxed);
    }
}

/// What the workers of one call share.
struct Work<I> {
    items: Mutex<I>,
    failure: Mutex<Option<(usize, Error)>>,
    stop: Arc<AtomicBool>,
    closed: AtomicBool,
    running: Mutex<usize>,
    idle: Condvar,
}

impl<T, I: Iterator<Item = T>> Work<Enumerate<I>> {
    /// Work of a [`Background`] ends with it.
    fn new(items: I, workers: usize) -> Self {
        Self {
            items: Mutex::new(items.enumerate()),
            failure: Mutex::new(None),
            stop: STOP.with_borrow(Option::clone).unwrap_or_default(),
            closed: AtomicBool::new(false),
            running: Mutex::new(workers),
            idle: Condvar::new(),
        }
    }

    /// Works on items until there are none, one failed, or `go_on` said `false`.
    fn drain(&self, job: &(impl Fn(T, &mut Scratch) -> Result<()> + Sync), go_on: &mut dyn FnMut() -> bool) {
        let _done = Done { work: self, before: STOP.replace(Some(Arc::clone(&self.stop))) };
        let mut asked = Instant::now();
        with_scratch(|scratch| {
            while !self.closed.load(Ordering::Relaxed) && !self.stop.load(Ordering::Relaxed) {
                let Some((index, item)) = lock(&self.items).next() else { return };
                if let Err(error) = job(item, scratch) {
                    self.fail(index, error);
                }
                if asked.elapsed() >= POLL {
                    self.ask(go_on);
                    asked = Instant::now();
                }
            }
        });
    }
}

impl<I> Work<I> {
    fn ask(&self, go_on: &mut dyn FnMut() -> bool) {
        if !go_on() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn result(self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        match self.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Items are claimed in order, so every item before `index` is done or being done: the smallest index wins.
    fn fail(&self, index: usize, error: Error) {
        self.closed.store(true, Ordering::Relaxed);
        let mut failure = lock(&self.failure);
        if failure.as_ref().is_none_or(|(other, _)| index < *other) {
            *failure = Some((index, error));
        }
    }

    fn wait(&self, go_on: &mut dyn FnMut() -> bool) {
        let mut running = lock(&self.running);
        let mut asked = Instant::now();
        while *running > 0 {
            let left = POLL.saturating_sub(asked.elapsed());
            running = self.idle.wait_timeout(running, left).unwrap_or_else(PoisonError::into_inner).0;
            if *running > 0 && asked.elapsed() >= POLL {
                drop(running);
                self.ask(go_on);
                asked = Instant::now();
                running = lock(&self.running);
            }
        }
    }
}

/// Counts a worker off when it ends; also when its job panics, and then no further item is started.
struct Done<'a, I> {
    work: &'a Work<I>,
    /// The stop flag that the thread had before.
    before: Option<Arc<AtomicBool>>,
}

impl<I> Drop for Done<'_, I> {
    fn drop(&mut self) {
        STOP.set(self.before.take());
        if std::thread::panicking() {
            self.work.closed.store(true, Ordering::Relaxed);
        }
        *lock(&self.work.running) -= 1;
        self.work.idle.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    // Taken, not borrowed: a panic in a job leaves a fresh scratch behind, and no lasting borrow.
    let mut scratch = SCRATCH.take();
    let result = work(&mut scratch);
    SCRATCH.set(scratch);
    result
}

struct Home {
    process: u32,
    pool: Arc<ThreadPool>,
}

static HOME: Mutex<Option<Home>> = Mutex::new(None);

/// The process's pool, at least `threads` wide.
///
/// The lock is only ever tried: a fork may have happened while another thread held it, and then it stays held in
/// the child for good. Who does not get it makes a pool for this one call.
fn pool(threads: usize) -> Result<Arc<ThreadPool>> {
    let process = std::process::id();
    if let Ok(home) = HOME.try_lock()
        && let Some(home) = home.as_ref()
        && home.process == process
        && home.pool.current_num_threads() >= threads
    {
        return Ok(Arc::clone(&home.pool));
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("asd-{i}"))
        .build()
        .map_err(|e| Error::Argument(format!("threads: cannot start {threads}: {e}")))?;
    let pool = Arc::new(pool);
    if let Ok(mut home) = HOME.try_lock() {
        let old = home.replace(Home { process, pool: Arc::clone(&pool) });
        if let Some(old) = old
            && old.process != process
        {
            // The threads of the parent's pool do not exist here: waking them to end would wait for ever.
            std::mem::forget(old);
        }
    }
    Ok(pool)
}
