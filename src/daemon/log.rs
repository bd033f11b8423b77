//! Where the daemon's log lines go: standard error, or `daemon.log` in the data directory, which is
//! replaced when it is full; one former file is kept.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the composition root owns the daemon's log file"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firnfs::control::{DataDir, Error};
use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

/// A log file is replaced at this size, in bytes.
const LOG_BYTES_MAX: u64 = 4 << 20;

/// Logs to standard error, as a daemon in the foreground does.
pub(super) fn to_stderr(verbose: bool) {
    // A second subscriber is refused: then the first one goes on.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter(verbose))
        .with_writer(io::stderr)
        .with_ansi(rustix::termios::isatty(io::stderr()))
        .try_init();
}

/// Logs to the data directory.
pub(super) fn to_file(dir: &DataDir, verbose: bool) -> Result<LogFile, Error> {
    let path = dir.log_path();
    let log = LogFile::open(&path)
        .map_err(|error| Error::Start(format!("cannot open the log {}: {error}", path.display())))?;
    let writer = log.clone();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter(verbose))
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .try_init();
    Ok(log)
}

/// `FIRN_LOG` in the syntax of the `tracing` filters, else by verbosity.
fn filter(verbose: bool) -> EnvFilter {
    let default = if verbose { "firn=debug,firnfs=debug" } else { "firn=info,firnfs=info,warn" };
    EnvFilter::try_from_env("FIRN_LOG").unwrap_or_else(|_| EnvFilter::new(default))
}

/// A log file of bounded size.
#[derive(Clone, Debug)]
pub(super) struct LogFile(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Standard output goes here too, and follows when the file is replaced.
    stdout: bool,
    /// As `stdout`: what a panic or a library prints is not lost.
    stderr: bool,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = append_to(path)?;
        let bytes = file.metadata()?.len();
        let state = State { path: path.to_owned(), file, bytes, stdout: false, stderr: false };
        Ok(LogFile(Arc::new(Mutex::new(state))))
    }

    /// Points standard error at the log from now on.
    pub(super) fn take_stderr(&self) {
        let mut state = self.0.lock();
        state.stderr = true;
        state.redirect();
    }

    /// Points standard output at the log from now on.
    pub(super) fn take_stdout(&self) {
        let mut state = self.0.lock();
        state.stdout = true;
        state.redirect();
    }
}

impl State {
    fn redirect(&self) {
        // Where it fails they stay where they are, which is no worse than before.
        if self.stdout {
            let _ = rustix::stdio::dup2_stdout(&self.file);
        }
        if self.stderr {
            let _ = rustix::stdio::dup2_stderr(&self.file);
        }
    }

    /// Goes on in a new file. Where that fails, in the old one.
    fn rotate(&mut self) {
        let mut former = self.path.clone().into_os_string();
        former.push(".1");
        if fs::rename(&self.path, former).is_err() {
            return;
        }
        if let Ok(file) = append_to(&self.path) {
            self.file = file;
            self.bytes = 0;
            self.redirect();
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.bytes >= LOG_BYTES_MAX {
            state.rotate();
        }
        let written = state.file.write(line)?;
        state.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_replaced_and_one_former_is_kept() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("daemon.log");
        let mut log = LogFile::open(&path).expect("a new file");
        let line = vec![b'x'; 1 << 20];
        for _ in 0..11 {
            log.write_all(&line).expect("space enough");
        }
        let size = |name: &str| fs::metadata(dir.path().join(name)).expect("there").len();
        assert_eq!(size("daemon.log"), 3 << 20);
        assert_eq!(size("daemon.log.1"), LOG_BYTES_MAX);
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 2);
    }
}
