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
    /// Wraps an I/O error with what was tried. A full disk becomes [`Error::NoSpace`].
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        if source.kind() == io::ErrorKind::StorageFull {
            Error::NoSpace(format!("{what}: {source}"))
        } else {
            Error::Io { what, source: Arc::new(source) }
        }
    }
}
