//! Threads for requests that may have to wait, so that those which read requests never do.
//!
//! Bounded twice: by threads, and by the bytes that its requests hold. Threads come on demand and go
//! when they have been idle for a while. What it has accepted it runs, also when it is being closed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Work for another thread. Catches its own panics.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Threads of one pool.
const THREADS_MAX: usize = 16;
/// Bytes that accepted jobs may hold.
pub(super) const HELD_BYTES_MAX: usize = 16 << 20;
/// What a job counts for beside its payload, in bytes.
const JOB_BYTES: usize = 512;
/// How long a thread stays without work.
const IDLE: Duration = Duration::from_secs(10);

/// A pool of one mount.
#[derive(Default)]
pub(super) struct Pool {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// A job has come, or the pool closes.
    work: Condvar,
    /// A thread has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(usize, Job)>,
    /// Of jobs that wait or run.
    held_bytes: usize,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    /// Runs `job`, which holds `payload_bytes`, on another thread. Gives it back when the pool is full or
    /// closed: then the caller runs it, which slows down whoever floods it.
    pub(super) fn submit(&self, payload_bytes: usize, job: Job) -> Result<(), Job> {
        let bytes = payload_bytes + JOB_BYTES;
        let start = {
            let mut state = self.shared.state.lock();
            if state.closed || state.held_bytes + bytes > HELD_BYTES_MAX {
                return Err(job);
            }
            let start = state.idle <= state.jobs.len() && state.threads < THREADS_MAX;
            state.held_bytes += bytes;
            state.jobs.push_back((bytes, job));
            state.threads += usize::from(start);
            start
        };
        if start {
            self.start();
        } else {
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Starts a thread that `state.threads` counts already. Where the system has none to give, the
    /// threads that are there take the job; without any, this one does.
    fn start(&self) {
        let shared = Arc::clone(&self.shared);
        let started = thread::Builder::new().name("firn-fuse-pool".to_owned()).spawn(move || shared.run());
        if let Err(error) = started {
            tracing::warn!(%error, "no thread for waiting requests");
            if self.shared.leave() {
                self.shared.drain();
            } else {
                self.shared.work.notify_one();
            }
        }
    }

    /// Takes no more jobs, and returns when all have been run.
    pub(super) fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        self.shared.work.notify_all();
        while state.threads > 0 {
            self.shared.ended.wait(&mut state);
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            self.drain();
            let mut state = self.state.lock();
            if state.jobs.is_empty() && !state.closed {
                state.idle += 1;
                let timed_out = self.work.wait_for(&mut state, IDLE).timed_out();
                state.idle -= 1;
                if !timed_out {
                    continue;
                }
            }
            // Leaving and finding no job are one step, or a job could be left to nobody.
            if state.jobs.is_empty() {
                state.threads -= 1;
                self.ended.notify_all();
                return;
            }
        }
    }

    /// Runs jobs until there are none.
    fn drain(&self) {
        while let Some((bytes, job)) = self.next() {
            job();
            self.state.lock().held_bytes -= bytes;
        }
    }

    fn next(&self) -> Option<(usize, Job)> {
        self.state.lock().jobs.pop_front()
    }

    /// Uncounts a thread; true when it was the last.
    fn leave(&self) -> bool {
        let mut state = self.state.lock();
        state.threads -= 1;
        self.ended.notify_all();
        state.threads == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_run_while_others_wait() {
        let pool = Pool::default();
        let (release, gate) = mpsc::channel::<()>();
        let (done, finished) = mpsc::channel();
        assert!(pool.submit(0, Box::new(move || gate.recv().expect("released"))).is_ok());
        for n in 0..100 {
            let done = done.clone();
            assert!(pool.submit(0, Box::new(move || done.send(n).expect("listening"))).is_ok());
        }
        let mut seen: Vec<i32> = finished.iter().take(100).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        release.send(()).expect("waiting");
        pool.close();
    }

    #[test]
    fn a_full_pool_gives_the_job_back() {
        let pool = Pool::default();
        let (release, gate) = mpsc::channel::<()>();
        assert!(pool.submit(HELD_BYTES_MAX / 2, Box::new(move || gate.recv().expect("released"))).is_ok());
        assert!(pool.submit(HELD_BYTES_MAX / 2, Box::new(|| ())).is_err());
        assert!(pool.submit(1, Box::new(|| ())).is_ok());
        release.send(()).expect("waiting");
        pool.close();
    }

    #[test]
    fn closing_runs_what_was_accepted() {
        let pool = Pool::default();
        let (done, finished) = mpsc::channel();
        for n in 0..1000 {
            let done = done.clone();
            assert!(pool.submit(0, Box::new(move || done.send(n).expect("listening"))).is_ok());
        }
        pool.close();
        assert_eq!(finished.try_iter().count(), 1000);
        assert!(pool.submit(0, Box::new(|| ())).is_err());
    }
}
