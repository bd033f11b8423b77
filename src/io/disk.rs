//! Files of one data directory.

use std::io::{self, IoSlice};
use std::sync::Arc;

/// How full the filesystem beneath the data directory is, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskUsage {
    pub total_bytes: u64,
    /// What an unprivileged writer may still use.
    pub free_bytes: u64,
}

/// A flat directory of files: the data directory of one daemon. Names are plain file names.
///
/// Durability is explicit, as on a real disk: bytes survive a power cut once [`DiskFile::sync_data`]
/// returned, names once [`Disk::sync_dir`] did.
pub trait Disk: Send + Sync + 'static {
    /// Makes a new, empty file for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; `ENOSPC`, `EMFILE` and `EIO` from the system.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing any of the new name. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Unlinks a file. Open handles keep reading it. Durable after [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files, in no particular order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// How full the filesystem is.
    fn usage(&self) -> io::Result<DiskUsage>;

    /// Where the directory is, for messages.
    fn describe(&self) -> String;
}

/// An open file. Positions are explicit, so that any number of threads may use one handle.
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before `buf` is full; `EIO` from the device.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `parts`, one behind the other, from `offset`. Past the system's cache where the disk
    /// can and addresses, lengths and offset are multiples of 4096.
    ///
    /// # Errors
    /// On any error an unknown part of it may have been written.
    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Drops what the system may have cached of these bytes, so that the next read asks the device.
    fn forget_cached(&self, _offset: u64, _bytes: u64) {}

    /// Says that no more writes come, so that what only they need is given back.
    fn writes_ended(&self) {}

    /// Returns when everything written before is on stable storage (`fdatasync`). After an error
    /// nothing may be assumed about it, now or after another call.
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves blocks for the first `bytes`, growing the file to that size.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// The file's size in bytes.
    fn size(&self) -> io::Result<u64>;
}
