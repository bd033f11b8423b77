//! The daemon put together: an engine, its background threads, its mounts, and the control server in
//! front of them. Part of the composition root; nothing in the library calls it but through the
//! function that `main` hands to the command line.

mod log;
mod machine;
mod mounts;
mod notify;
mod service;
mod steps;

use std::io::Write;
use std::sync::Arc;

use firnfs::base::MemoryBudget;
use firnfs::control::{DaemonOptions, DataDir, Error, Server, Service, StartReport};
use firnfs::io::{RealDisk, SystemClock, SystemRng};
use firnfs::volume::{Config, Engine};

use self::service::DaemonService;

/// Runs the daemon of a data directory until it is asked to end.
///
/// # Errors
/// Why it could not start or did not end cleanly. A daemon in the background has also reported it to
/// the command that started it.
pub(crate) fn run(dir: DataDir, options: &DaemonOptions) -> Result<(), Error> {
    if !options.background {
        log::to_stderr(options.verbose);
        return serve(dir, options, || {});
    }
    let logged = log::to_file(&dir, options.verbose);
    let outcome = logged.and_then(|log| {
        // A session of its own: the terminal's signals are not for us. It fails only for the leader of
        // one, which needs none.
        let _ = rustix::process::setsid();
        log.take_stderr();
        serve(dir, options, move || {
            report(&StartReport::Ready { pid: std::process::id() });
            log.take_stdout();
        })
    });
    match &outcome {
        Ok(()) => {}
        // When the report finds nobody, it was ready already; the log has it then.
        Err(Error::Locked { pid, .. }) => report(&StartReport::Locked { pid: *pid }),
        Err(error) => {
            tracing::error!("{error}");
            report(&StartReport::Failed { message: error.to_string() });
        }
    }
    outcome
}

fn serve(dir: DataDir, options: &DaemonOptions, started: impl FnOnce()) -> Result<(), Error> {
    let descriptors = machine::raise_descriptor_limit()?;
    // Files of the data directory are the daemon's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let budget =
        MemoryBudget::derive(options.memory_bytes, machine::memory_bytes()?, machine::cgroup_limit_bytes());
    let server = Server::bind(dir, options.idle_exit)?;
    let path = server.dir().path().to_owned();
    tracing::info!(
        "firn {} on {}: {budget}; {descriptors} file descriptors",
        env!("CARGO_PKG_VERSION"),
        path.display()
    );
    let first_mount = options.first_mount.clone();
    let open = move || {
        let clock = Arc::new(SystemClock::new());
        let rng = Arc::new(SystemRng);
        let disk =
            RealDisk::open(&path).map_err(|error| Error::Start(format!("{}: {error}", path.display())))?;
        let config = Config { memory_bytes: budget.bytes, ..Config::default() };
        let engine = Engine::open(Arc::new(disk), clock.clone(), rng.clone(), config)
            .map_err(|error| Error::Start(error.to_string()))?;
        let service = DaemonService::start(engine, path, clock, rng)?;
        if let Some(first) = first_mount {
            let mounted = service.mount(&first.source, &first.directory, &first.options);
            if let Err(error) = mounted {
                service.shut_down()?;
                return Err(error);
            }
        }
        Ok(service)
    };
    let outcome = server.run(open, || {
        tracing::info!("ready");
        notify::systemd("READY=1");
        started();
    });
    match &outcome {
        Ok(()) => tracing::info!("ended"),
        Err(error) => tracing::error!("ended: {error}"),
    }
    outcome
}

/// Tells the command that started us. It may have gone away, which is no reason to.
fn report(report: &StartReport) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{report}").and_then(|()| stdout.flush());
}
