//! What a volume offers to the filesystem on top of it: sparse arrays of pages, changed by atomic
//! operations.

use std::borrow::Cow;

use super::Error;
use crate::base::{PageNo, Space};

/// Called once with the outcome of a sync; must not block.
pub type Synced = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Whether pages that a read had to fetch from disk are worth keeping in RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hint {
    /// Metadata: keep.
    Keep,
    /// File data, which the kernel's page cache keeps already.
    Once,
}

/// One change within an operation.
#[derive(Clone, Debug)]
pub enum Edit<'a> {
    /// Puts bytes at a byte offset of a space. Needs no read where it covers whole pages.
    Write { space: Space, offset: u64, data: Cow<'a, [u8]> },
    /// Makes whole pages absent (they read as zeros), `from` included, `to` excluded; costs one record
    /// however many they are. `PageNo(u64::MAX)` as `to` means all that follow.
    Remove { space: Space, from: PageNo, to: PageNo },
    /// Adds to the little-endian `i64` at a byte offset (8-byte aligned), wrapping; commutes with other
    /// operations' additions.
    Add { space: Space, offset: u64, delta: i64 },
    /// Raises the little-endian `u64` at a byte offset (8-byte aligned) to at least `value`; commutes.
    Max { space: Space, offset: u64, value: u64 },
}

/// Changes that happen together: after a crash either all of them are there or none is. Applied in
/// the order given.
#[derive(Clone, Debug, Default)]
pub struct Operation<'a> {
    pub edits: Vec<Edit<'a>>,
    /// It gives space back (unlink, truncate): may use the reserve when the disk is full.
    pub frees: bool,
}

impl<'a> Operation<'a> {
    /// An operation without changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a [`Edit::Write`].
    pub fn write(&mut self, space: Space, offset: u64, data: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.edits.push(Edit::Write { space, offset, data: data.into() });
        self
    }

    /// Adds a [`Edit::Remove`].
    pub fn remove(&mut self, space: Space, from: PageNo, to: PageNo) -> &mut Self {
        self.edits.push(Edit::Remove { space, from, to });
        self
    }

    /// Adds a [`Edit::Add`].
    pub fn add(&mut self, space: Space, offset: u64, delta: i64) -> &mut Self {
        self.edits.push(Edit::Add { space, offset, delta });
        self
    }

    /// Adds a [`Edit::Max`].
    pub fn max(&mut self, space: Space, offset: u64, value: u64) -> &mut Self {
        self.edits.push(Edit::Max { space, offset, value });
        self
    }
}

/// How much the local disk holds and can still take, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// The volume's quota, if it has one.
    pub quota_bytes: Option<u64>,
}

/// A volume as its filesystem sees it. Any number of threads may call it; the caller orders
/// conflicting changes of one place by its own locks.
pub trait Pages: Send + Sync + 'static {
    /// Reads bytes; what was never written is zeros.
    ///
    /// # Errors
    /// A damaged or unreadable page.
    fn read(&self, space: Space, offset: u64, buf: &mut [u8], hint: Hint) -> Result<(), Error>;

    /// Applies an operation; when it returns, every later read, fork and sync sees it. Waits while
    /// too much is unlogged (see [`Pages::has_room`]).
    ///
    /// # Errors
    /// No space left, a read-only volume, a volume whose log failed, or a damaged page beneath a
    /// partial write; then nothing has changed.
    fn apply(&self, operation: &Operation<'_>) -> Result<(), Error>;

    /// Whether an [`Pages::apply`] would begin at once. A thread that must not wait asks first.
    fn has_room(&self) -> bool;

    /// How many pages of `from..to` are present. No I/O.
    fn count(&self, space: Space, from: PageNo, to: PageNo) -> u64;

    /// The first present page at or after `from`. No I/O.
    fn next_present(&self, space: Space, from: PageNo) -> Option<PageNo>;

    /// The first absent page at or after `from`. No I/O.
    fn next_absent(&self, space: Space, from: PageNo) -> PageNo;

    /// Makes everything applied so far durable, then calls `done`. The caller's thread may do the I/O,
    /// for itself and for others that wait.
    fn sync(&self, done: Synced);

    /// How full things are.
    fn capacity(&self) -> Capacity;

    /// Whether changes are refused.
    fn read_only(&self) -> bool;
}
