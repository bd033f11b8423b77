//! The threads that drive the engine: it has none of its own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use firnfs::control::Error;
use firnfs::volume::Engine;
use parking_lot::Mutex;

/// How long a step waits for work before it looks around.
const STEP_WAIT: Duration = Duration::from_secs(5);

/// The log's thread and that of maintenance.
pub(super) struct Steps {
    stopping: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Steps {
    /// Starts both.
    pub(super) fn start(engine: &Arc<Engine>) -> Result<Self, Error> {
        let steps = Steps { stopping: Arc::default(), threads: Mutex::default() };
        steps.spawn("firn-log", engine, Engine::log_step)?;
        steps.spawn("firn-maintain", engine, Engine::maintain_step)?;
        Ok(steps)
    }

    /// Closes the engine, which wakes the threads, and waits for their end.
    pub(super) fn close(&self, engine: &Engine) -> Result<(), Error> {
        // Relaxed: it carries nothing but itself; closing wakes the threads after it is set.
        self.stopping.store(true, Ordering::Relaxed);
        let closed = engine.close();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A panic of the thread has ended the process already.
            let _ = thread.join();
        }
        Ok(closed?)
    }

    fn spawn(
        &self,
        name: &'static str,
        engine: &Arc<Engine>,
        step: fn(&Engine, Duration),
    ) -> Result<(), Error> {
        let (engine, stopping) = (Arc::clone(engine), Arc::clone(&self.stopping));
        let body = move || {
            while !stopping.load(Ordering::Relaxed) {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| step(&engine, STEP_WAIT))) {
                    die(name, &*panic);
                }
            }
        };
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(|error| Error::Start(format!("cannot start the thread {name}: {error}")))?;
        self.threads.lock().push(thread);
        Ok(())
    }
}

/// After a panic of a background step the engine's memory cannot be trusted, but its disk can: ends the
/// process as a crash would. Whoever waits gets an error at once, nothing acknowledged is lost, and the
/// next mount recovers.
fn die(name: &str, panic: &(dyn Any + Send)) -> ! {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(
        "the background thread {name} failed: {message}; the daemon ends here, as in a crash; \
         mount again to recover, and please report this"
    );
    std::process::abort()
}
