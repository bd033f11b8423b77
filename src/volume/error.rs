//! What can go wrong in a volume, and who must act.

use std::io;
use std::sync::Arc;

use crate::base::{Name, PageNo, Space};
use crate::cold;

/// An error of a volume or of the data directory beneath it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("no volume {0}; `firn ls` lists them, `firn create {0}` makes it")]
    NoVolume(Name),
    #[error("volume {volume} has no snapshot {snapshot}; `firn ls` lists them")]
    NoSnapshot { volume: Name, snapshot: Name },
    #[error("volume {0} exists already; choose another name or remove it with `firn rm {0}`")]
    VolumeExists(Name),
    #[error("volume {volume} has a snapshot {snapshot} already; choose another name")]
    SnapshotExists { volume: Name, snapshot: Name },
    #[error("{what} is mounted; unmount it first with `firn umount {what}`")]
    Busy { what: String },
    #[error("the volume is mounted read-only")]
    ReadOnly,
    #[error("no space left on the local disk: {detail}")]
    NoSpace { detail: String },
    /// A page whose only copy is damaged: it alone is unreadable.
    #[error("page {page} of space {space} is damaged: {detail}")]
    Damaged { space: Space, page: PageNo, detail: String },
    /// The volume takes no more changes, since its log cannot be written.
    #[error("the volume takes no more changes: {detail}")]
    LogFailed { detail: String },
    #[error("{what}: {source}")]
    Io { what: String, source: Arc<io::Error> },
    /// The data directory cannot be opened as it is.
    #[error("{0}")]
    DataDirectory(String),
    /// Layers were put together while they were being read; a new look at the stack finds all of it.
    #[error("the volume's layers have changed; the call is to be repeated")]
    Restacked,
    #[error("the daemon is shutting down")]
    ShuttingDown,
}

impl From<cold::Error> for Error {
    fn from(error: cold::Error) -> Self {
        match error {
            cold::Error::NoSpace(detail) => Error::NoSpace { detail },
            cold::Error::Io { what, source } => Error::Io { what, source },
            cold::Error::DataDirectory(detail) => Error::DataDirectory(detail),
            // Where space and page are known, `stack` says which page it is.
            cold::Error::Damaged { .. } => Error::DataDirectory(error.to_string()),
        }
    }
}
