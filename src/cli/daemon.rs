//! `firn daemon`.

use std::time::Duration;

use clap::Args;

use super::{Context, Outcome, Tried};
use crate::base::Size;
use crate::control::DaemonOptions;

/// Run the daemon of a data directory in the foreground.
#[derive(Args)]
#[command(
    long_about = "Runs the daemon of a data directory: it serves all mounts of its volumes. It stays in the \
foreground and logs to standard error, until SIGTERM or SIGINT; then it flushes, unmounts everything \
(detaching what is still busy after a few seconds) and ends. A second signal ends it at once, as a crash \
would; nothing fsynced is lost by that.\n\nYou need not run it: every other command starts one in the \
background when none runs. Such a daemon logs to daemon.log in the data directory, and ends by itself 10 \
seconds after its last mount is gone and its last command is done, or on SIGTERM. Run `firn daemon` \
yourself, or as a service, to have it stay.\n\nOne daemon at a time uses a data directory.",
    after_long_help = "\
Examples:
  firn daemon --memory 2G
  kill $(cat /var/lib/firn/lock)   end the daemon, flushing and unmounting

Environment:
  FIRN_LOG   what to log, such as 'debug' or 'firnfs::fuse=trace'"
)]
pub(super) struct Daemon {
    /// Memory for everything, such as 512M or 4G [default: a quarter of what the machine, or its control
    /// group, has]
    #[arg(long, value_name = "SIZE", env = "FIRN_MEMORY", hide_env_values = true, value_parser = memory)]
    memory: Option<Size>,
    /// End after so many seconds without mounts and commands [default: only on a signal]
    #[arg(long, value_name = "SECONDS")]
    idle_exit: Option<u64>,
    /// Detach, log to the data directory, and report the start on standard output
    #[arg(long, hide = true)]
    background: bool,
}

impl Daemon {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let options = DaemonOptions {
            memory_bytes: self.memory.map(|size| size.bytes),
            background: self.background,
            idle_exit: self.idle_exit.map(Duration::from_secs),
            verbose: context.global.verbose,
            first_mount: None,
        };
        context
            .data_dir_or_create()
            .and_then(|dir| (context.run_daemon)(dir, &options))
            .tried(|| "run the daemon".to_owned())
    }
}

/// The least that a daemon can work with, in bytes.
const MEMORY_BYTES_MIN: u64 = 8 << 20;

fn memory(text: &str) -> Result<Size, String> {
    let size: Size = text.parse().map_err(|error: crate::base::InvalidSize| error.to_string())?;
    if size.bytes < MEMORY_BYTES_MIN {
        return Err(format!("too little: the daemon needs at least {}", Size { bytes: MEMORY_BYTES_MIN }));
    }
    Ok(size)
}
