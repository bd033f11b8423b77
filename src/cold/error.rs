//! What can go wrong with the local disk.

use std::io;
use std::sync::Arc;

use crate::base::{FileNo, SlotNo};

/// An error of the cold layer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A page that does not match its checksum; the operator restores it from elsewhere.
    #[error("heap file {file}, slot {slot}: the page does not match its checksum")]
    Damaged { file: FileNo, slot: SlotNo },
    /// The disk, or the budget for it, is full; the operator makes room, or removes things.
    #[error("{0}")]
    NoSpace(String),
    #[error("{what}: {source}")]
    Io { what: String, source: Arc<io::Error> },
    /// The data directory as a whole cannot be opened.
    #[error("{0}")]
    DataDirectory(String),
}

impl Error {
    /// Wraps an I/O error with what was tried. What passes when someone makes room (a full disk, a
    /// used-up quota, too few file descriptors) becomes [`Error::NoSpace`].
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Error::NoSpace(format!("{what}: {source}")),
            Some(libc::EMFILE | libc::ENFILE) => Error::NoSpace(format!(
                "{what}: {source}; raise the limit of open files (`ulimit -n`, LimitNOFILE=), or close some"
            )),
            _ => Error::Io { what, source: Arc::new(source) },
        }
    }
}
