//! What can go wrong between a command and a daemon.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::volume;

/// An error of the control layer. Its text is one line and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator named a directory that is not there.
    #[error("the data directory {} does not exist; `firn create VOL` makes it", .0.display())]
    NoDataDir(PathBuf),
    #[error("cannot make the data directory {}: its parent {} does not exist; make that first", path.display(), parent.display())]
    NoParent { path: PathBuf, parent: PathBuf },
    #[error("the data directory {} lies inside a firn mount; choose a local directory with --data-dir", .0.display())]
    InsideMount(PathBuf),
    #[error(
        "neither XDG_STATE_HOME nor HOME is set, so there is no default data directory; name one with --data-dir"
    )]
    NoHome,
    #[error("the data directory {} is in use by a daemon with pid {pid}; end that first, or use another directory", path.display())]
    Locked { path: PathBuf, pid: u32 },
    #[error("{what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },

    /// Nobody listens.
    #[error("no daemon runs on {}; `firn daemon` or any `firn mount` starts one", .0.display())]
    NoDaemon(PathBuf),
    #[error("the daemon could not start: {0}")]
    Start(String),
    #[error("the daemon (pid {pid}) has not answered for {} s; its log is {}", waited.as_secs(), log.display())]
    Silent { pid: u32, waited: Duration, log: PathBuf },
    #[error("the daemon (pid {pid}) ended before it answered; its log is {}", log.display())]
    Ended { pid: u32, log: PathBuf },
    #[error("the daemon does not speak our protocol: {0}; restart it with this version of firn")]
    Protocol(String),

    /// The daemon did as asked, and it failed.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Error::Io { what, path: path.into(), source: source.into() }
    }
}

impl From<volume::Error> for Error {
    fn from(error: volume::Error) -> Self {
        Error::Refused(error.to_string())
    }
}
