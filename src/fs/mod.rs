//! POSIX meaning on top of pages: inodes, directories, links, extended attributes, orphans, quota.
//! Knows nothing of FUSE, so that it is tested without a mount.

mod error;
mod types;

use std::sync::Arc;

pub use error::Error;
pub use types::{
    Attr, Caller, DirEntry, Ino, Kind, NewNode, RenameMode, SetAttr, SetTime, SetXattr, StatFs, Whence,
};

use crate::io::{Clock, Rng};
use crate::volume::{Pages, Synced};

type Result<T> = std::result::Result<T, Error>;

/// A mounted filesystem.
pub struct Fs {
    pages: Arc<dyn Pages>,
    clock: Arc<dyn Clock>,
}

impl Fs {
    /// Opens the filesystem in `pages`, making an empty one (root owned by `owner`) where there is
    /// none, and reclaims files that were unlinked while open when the last mount ended.
    pub fn open(pages: Arc<dyn Pages>, clock: Arc<dyn Clock>, rng: &dyn Rng, owner: Caller) -> Result<Self> {
        todo!()
    }

    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        todo!()
    }
    pub fn getattr(&self, ino: Ino) -> Result<Attr> {
        todo!()
    }
    /// Applies what `set` names; a size change clears set-id bits where POSIX wants it.
    pub fn setattr(&self, caller: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        todo!()
    }
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        todo!()
    }

    /// Makes a file, directory, fifo, socket or device.
    pub fn mknod(&self, caller: &Caller, parent: Ino, name: &[u8], node: &NewNode) -> Result<Attr> {
        todo!()
    }
    pub fn symlink(&self, caller: &Caller, parent: Ino, name: &[u8], target: &[u8]) -> Result<Attr> {
        todo!()
    }
    pub fn link(&self, caller: &Caller, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        todo!()
    }
    pub fn unlink(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        todo!()
    }
    pub fn rmdir(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        todo!()
    }
    pub fn rename(
        &self,
        caller: &Caller,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        mode: RenameMode,
    ) -> Result<()> {
        todo!()
    }

    /// Counts an open handle, so that the file outlives its last name; `truncate` is `O_TRUNC`.
    pub fn open_file(&self, caller: &Caller, ino: Ino, write: bool, truncate: bool) -> Result<Attr> {
        todo!()
    }
    /// `mknod` of a regular file and `open_file` in one atomic step.
    pub fn create(&self, caller: &Caller, parent: Ino, name: &[u8], node: &NewNode) -> Result<Attr> {
        todo!()
    }
    /// Ends what `open_file` or `create` began; the last one reclaims an unlinked file.
    pub fn release(&self, ino: Ino) -> Result<()> {
        todo!()
    }

    /// Bytes at `offset`, fewer than `buf` only at the end of the file. Returns how many.
    pub fn read(&self, ino: Ino, offset: u64, buf: &mut [u8]) -> Result<usize> {
        todo!()
    }
    /// Writes all of `data`; `kill_suidgid` clears set-id bits in the same operation.
    pub fn write(&self, ino: Ino, offset: u64, data: &[u8], kill_suidgid: bool) -> Result<()> {
        todo!()
    }
    /// Whether a write or namespace change would begin at once rather than wait for the log.
    pub fn has_room(&self) -> bool {
        self.pages.has_room()
    }
    /// `mode` as of fallocate(2): `FALLOC_FL_*`.
    pub fn fallocate(&self, ino: Ino, mode: i32, offset: u64, length: u64) -> Result<()> {
        todo!()
    }
    pub fn copy_file_range(
        &self,
        from: Ino,
        from_offset: u64,
        to: Ino,
        to_offset: u64,
        length: u64,
    ) -> Result<u64> {
        todo!()
    }
    pub fn lseek(&self, ino: Ino, offset: u64, whence: Whence) -> Result<u64> {
        todo!()
    }
    /// Makes everything of the volume durable, then calls `done`; may do the I/O on this thread.
    pub fn sync(&self, done: Synced) {
        self.pages.sync(done);
    }

    /// Calls `each` for the entries after `cookie` (0: from the start), `.` and `..` included, until it
    /// returns false (its entry did not fit). Attributes come with the entry, for readdirplus.
    pub fn readdir(
        &self,
        ino: Ino,
        cookie: u64,
        with_attr: bool,
        each: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        todo!()
    }

    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        todo!()
    }
    /// Names, each followed by a zero byte.
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<u8>> {
        todo!()
    }
    pub fn setxattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: SetXattr,
    ) -> Result<()> {
        todo!()
    }
    pub fn removexattr(&self, caller: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        todo!()
    }

    pub fn statfs(&self) -> StatFs {
        todo!()
    }
}
