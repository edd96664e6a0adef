//! A feed on a thread of its own: it fills the places that it is given, in turn, ahead of who takes them.
//!
//! How far ahead it is, is how many places there are. Who drops it, ends it, in the middle of a file if need be.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::augment::VIEWS;
use crate::error::{Error, Result};
use crate::feed::{Batch, Feed};
use crate::pool::{Background, POLL};

/// Where a batch goes.
pub trait Place: Send + 'static {
    /// The two arrays (B, F, T).
    fn views(&mut self) -> [&mut [f32]; VIEWS];
}

/// A feed that works ahead.
pub struct Prefetch<P: Place> {
    shared: Arc<Shared<P>>,
    thread: Background,
}

struct Shared<P> {
    state: Mutex<State<P>>,
    changed: Condvar,
}

struct State<P> {
    /// To be filled.
    empty: VecDeque<P>,
    /// Filled, the oldest first; where filling failed, the error.
    filled: VecDeque<(P, Result<Batch>)>,
    /// Where to go on, where that is not the next batch.
    seek: Option<u64>,
    order: Command,
    /// Whether a place is being filled.
    busy: bool,
    /// Whether the thread has ended.
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Run,
    Pause,
    End,
}

impl<P: Place> Prefetch<P> {
    /// Starts the thread, which begins at draw `position`. It does nothing until it is given a place.
    pub fn start(feed: Feed, position: u64) -> Result<Self> {
        let state = State {
            empty: VecDeque::new(),
            filled: VecDeque::new(),
            seek: Some(position),
            order: Command::Run,
            busy: false,
            ended: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let thread = Background::start("asd-feed", move || theirs.work(feed))?;
        Ok(Self { shared, thread })
    }

    /// Gives a place to be filled, after those given before.
    pub fn give(&self, place: P) {
        if self.thread.is_lost() {
            return; // take says so
        }
        self.shared.lock().empty.push_back(place);
        self.shared.changed.notify_all();
    }

    /// Waits for the oldest place to be filled. The error is that of its batch, which is then tried again in the next
    /// place; or [`Error::Interrupted`], where `go_on`, asked every [`POLL`], said `false`: nothing is lost then.
    ///
    /// [`Error::Argument`] in a forked child, where the thread does not run, after [`Prefetch::close`], and when no
    /// place was given.
    pub fn take(&self, go_on: &mut dyn FnMut() -> bool) -> Result<(P, Result<Batch>)> {
        if self.thread.is_lost() {
            return Err(Error::Argument(
                "feed: it was made before a fork, and its threads are not here: make it in the child"
                    .to_owned(),
            ));
        }
        let mut state = self.shared.lock();
        loop {
            if state.order == Command::End {
                return Err(Error::Argument("feed: it is closed".to_owned()));
            }
            if let Some((place, batch)) = state.filled.pop_front() {
                if batch.is_err() && state.order == Command::Pause {
                    state.order = Command::Run;
                    self.shared.changed.notify_all();
                }
                return Ok((place, batch));
            }
            if state.empty.is_empty() && !state.busy {
                return Err(Error::Argument("feed: it was given no place to fill".to_owned()));
            }
            let (next, wait) =
                self.shared.changed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner);
            state = next;
            if wait.timed_out() {
                drop(state);
                if !go_on() {
                    return Err(Error::Interrupted);
                }
                state = self.shared.lock();
            }
        }
    }

    /// Goes on at draw `draw`; batches that were filled and not taken are forgotten.
    pub fn seek(&self, draw: u64) {
        if self.thread.is_lost() {
            return;
        }
        let mut state = self.shared.lock();
        if state.order == Command::End {
            return;
        }
        state.order = Command::Pause;
        self.thread.halt(true);
        while state.busy {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.order == Command::End {
            return; // somebody closed it meanwhile
        }
        self.thread.halt(false);
        // The oldest first, so that places are filled in the order in which they were given.
        while let Some((place, _)) = state.filled.pop_back() {
            state.empty.push_front(place);
        }
        state.seek = Some(draw);
        state.order = Command::Run;
        self.shared.changed.notify_all();
    }

    /// Stops the thread, in the middle of a file if need be, and waits for it.
    pub fn close(&self) {
        if self.thread.is_lost() {
            return;
        }
        let mut state = self.shared.lock();
        state.order = Command::End;
        self.thread.halt(true);
        self.shared.changed.notify_all();
        while !state.ended {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<P: Place> Drop for Prefetch<P> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<P: Place> Shared<P> {
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does.
    fn work(&self, mut feed: Feed) {
        while let Some((mut place, seek)) = self.next() {
            if let Some(draw) = seek {
                feed.seek(draw);
            }
            // A bug must not leave the one who waits waiting for ever.
            let filled = catch_unwind(AssertUnwindSafe(|| feed.fill(place.views(), &mut || true)));
            let batch = filled.unwrap_or_else(|_| {
                feed.seek(feed.position());
                Err(Error::Argument("feed: its thread panicked, which is a bug of it".to_owned()))
            });
            let mut state = self.lock();
            if batch == Err(Error::Interrupted) {
                state.empty.push_front(place); // by a seek or the end, which nobody has to hear of
            } else {
                if batch.is_err() && state.order == Command::Run {
                    state.order = Command::Pause; // until the error has been taken
                }
                state.filled.push_back((place, batch));
            }
            state.busy = false;
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// The next place to fill, and where to seek before; `None` at the end.
    fn next(&self) -> Option<(P, Option<u64>)> {
        let mut state = self.lock();
        loop {
            match state.order {
                Command::End => return None,
                Command::Run => {
                    if let Some(place) = state.empty.pop_front() {
                        state.busy = true;
                        return Some((place, state.seek.take()));
                    }
                }
                Command::Pause => {}
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
