//! Reaching the daemon, and starting one in the background when none runs.
//!
//! A started daemon is this program again, as `firn daemon --background`. It says on its standard
//! output, in one [`StartReport`] line, how the start went, and detaches from the terminal.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::client::Client;
use super::data_dir::DataDir;
use super::error::Error;
use super::options::MountOptions;
use super::protocol::Progress;
use crate::volume::Source;

/// How often a start is tried while another daemon of the same directory begins or ends.
const START_TRIES: u32 = 100;
/// How long to wait for another daemon before the next try.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// A daemon that a command started ends after this time without mounts and clients.
pub const IDLE_EXIT: Duration = Duration::from_secs(10);

/// What a daemon is told at its start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DaemonOptions {
    /// Memory budget in bytes; `None`: derived from the machine.
    pub memory_bytes: Option<u64>,
    /// Detach, log to a file, report the start on standard output.
    pub background: bool,
    /// End by itself after this time without mounts and clients; `None`: only on a signal.
    pub idle_exit: Option<Duration>,
    pub verbose: bool,
    /// Mounted before the daemon says that it is ready; without it, it does not start.
    pub first_mount: Option<FirstMount>,
}

/// What a daemon in the foreground is there for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FirstMount {
    pub source: Source,
    pub directory: PathBuf,
    pub options: MountOptions,
}

/// How a start in the background went: the line that the daemon prints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartReport {
    Ready {
        pid: u32,
    },
    /// Another daemon has the data directory.
    Locked {
        pid: u32,
    },
    Failed {
        message: String,
    },
}

impl fmt::Display for StartReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartReport::Ready { pid } => write!(f, "ready {pid}"),
            StartReport::Locked { pid } => write!(f, "locked {pid}"),
            StartReport::Failed { message } => write!(f, "failed {}", message.replace('\n', " ")),
        }
    }
}

impl StartReport {
    fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.trim_end().split_once(' ')?;
        match word {
            "ready" => Some(StartReport::Ready { pid: rest.parse().ok()? }),
            "locked" => Some(StartReport::Locked { pid: rest.parse().ok()? }),
            "failed" => Some(StartReport::Failed { message: rest.to_owned() }),
            _ => None,
        }
    }
}

/// Connects to the daemon that runs.
///
/// # Errors
/// [`Error::NoDaemon`] when none does.
pub fn connect(dir: &DataDir) -> Result<Client, Error> {
    let stream = dir.connect()?.ok_or_else(|| Error::NoDaemon(dir.path().to_owned()))?;
    Client::greet(stream, dir, &mut |_| {})
}

/// Connects to the daemon, starting it first when none runs.
///
/// # Errors
/// Why it could not start, or cannot be reached.
pub fn connect_or_start(dir: &DataDir, options: &DaemonOptions) -> Result<Client, Error> {
    connect_or(dir, || start(dir, options))
}

/// Connects to the daemon; where none runs, `start` is asked to make one, again while it reports that
/// another one holds the lock: that one is just beginning, or just ending.
fn connect_or(dir: &DataDir, mut start: impl FnMut() -> Result<StartReport, Error>) -> Result<Client, Error> {
    let mut holder = 0;
    for _ in 0..START_TRIES {
        if let Some(stream) = dir.connect()? {
            match Client::greet(stream, dir, &mut |_: &Progress| {}) {
                // It was ending by itself when we came.
                Err(Error::Ended { .. }) => {}
                other => return other,
            }
        }
        match start()? {
            StartReport::Ready { .. } => {}
            StartReport::Locked { pid } => {
                holder = pid;
                wait_for_end(pid, RETRY_AFTER);
            }
            // It says itself that it could not start.
            StartReport::Failed { message } => return Err(Error::Refused(message)),
        }
    }
    Err(Error::Locked { path: dir.path().to_owned(), pid: holder })
}

/// Starts a daemon in the background and waits until it is ready or has failed.
fn start(dir: &DataDir, options: &DaemonOptions) -> Result<StartReport, Error> {
    let program = own_program()?;
    let failed = |error| Error::io("cannot run", &program, error);
    let mut command = Command::new(&program);
    command.arg0("firn").args(arguments(dir.path(), options)).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(failed)?;
    let stdout = child.stdout.take().ok_or_else(|| Error::Start("it has no standard output".to_owned()))?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
    match StartReport::parse(&line) {
        Some(StartReport::Ready { pid }) => Ok(StartReport::Ready { pid }),
        Some(report) => {
            child.wait().map_err(failed)?;
            Ok(report)
        }
        None => {
            let status = child.wait().map_err(failed)?;
            Err(Error::Start(format!("{status}; its log is {}", dir.log_path().display())))
        }
    }
}

fn arguments(dir: &Path, options: &DaemonOptions) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        vec!["daemon".into(), "--background".into(), "--data-dir".into(), dir.into()];
    if let Some(bytes) = options.memory_bytes {
        arguments.extend(["--memory".into(), bytes.to_string().into()]);
    }
    if let Some(idle) = options.idle_exit {
        arguments.extend(["--idle-exit".into(), idle.as_secs().to_string().into()]);
    }
    if options.verbose {
        arguments.push("--verbose".into());
    }
    arguments
}

/// This very program, also when its file has been replaced since it was started.
fn own_program() -> Result<PathBuf, Error> {
    let link = Path::new("/proc/self/exe");
    let path = env::current_exe().map_err(|error| Error::io("cannot read", link, error))?;
    Ok(if path.exists() { path } else { link.to_owned() })
}

/// Waits until a process has ended, or for `time`.
fn wait_for_end(pid: u32, time: Duration) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let time = Timespec::try_from(time).unwrap_or_default();
    // Cut short by a signal it only tries again earlier.
    let _ = match &process {
        Some(process) => poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&time)),
        None => poll(&mut [], Some(&time)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_report_comes_back_from_its_line() {
        for report in [
            StartReport::Ready { pid: 7 },
            StartReport::Locked { pid: 4_000_000 },
            StartReport::Failed { message: "the manifest is damaged: bad crc".to_owned() },
        ] {
            assert_eq!(StartReport::parse(&format!("{report}\n")), Some(report));
        }
        for line in ["", "ready", "ready x", "thread 'main' panicked"] {
            assert_eq!(StartReport::parse(line), None);
        }
    }

    #[test]
    fn an_error_over_several_lines_is_reported_in_one() {
        let report = StartReport::Failed { message: "a\nb".to_owned() };
        assert_eq!(report.to_string(), "failed a b");
    }
}
