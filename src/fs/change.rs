//! One change of the filesystem: an operation on pages, with what it does to the counters. Everything
//! that writes ends in [`Fs::commit`].

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::base::limits::PAGE_BYTES;
use crate::base::{PageNo, Space};
use crate::format::inode::{HEAD_BYTES, INODE_BYTES, INODES_PER_PAGE, Inode, Record, record_at};
use crate::format::superblock::{INODES_AT, NEXT_INODE_AT, Superblock, USED_PAGES_AT};
use crate::volume::{self, Hint, Operation};

use super::{Error, Fs, Ino, LAST_PAGE, Result, xattr};

/// The space of the inode table and the super record.
pub(super) const TABLE: Space = Space(0);

/// Mirrors of the super record's counters. Each is a figure of its own that orders nothing else, so all
/// accesses are relaxed.
pub(super) struct Counters {
    next_inode: AtomicU64,
    used_pages: AtomicI64,
    inodes: AtomicI64,
    quota_pages: Option<i64>,
}

impl Counters {
    pub(super) fn new(superblock: &Superblock, quota_bytes: Option<u64>) -> Self {
        let quota_pages = quota_bytes.map(|bytes| (bytes / PAGE_BYTES as u64).cast_signed());
        Counters {
            next_inode: AtomicU64::new(superblock.next_inode),
            used_pages: AtomicI64::new(superblock.used_pages),
            inodes: AtomicI64::new(superblock.inodes),
            quota_pages,
        }
    }

    /// A number that was never used. It is lost if its inode is not made after all.
    pub(super) fn allocate(&self) -> Ino {
        Ino(self.next_inode.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn used_pages(&self) -> u64 {
        u64::try_from(self.used_pages.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(super) fn inodes(&self) -> u64 {
        u64::try_from(self.inodes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Pages that the quota still allows; `None` without one.
    pub(super) fn quota_left(&self) -> Option<u64> {
        let quota = self.quota_pages?;
        Some(u64::try_from(quota - self.used_pages.load(Ordering::Relaxed)).unwrap_or(0))
    }

    /// Charges pages before they are there, so that two changes never share the last ones.
    fn charge(&self, pages: i64, within_quota: bool) -> Result<()> {
        let before = self.used_pages.fetch_add(pages, Ordering::Relaxed);
        if let Some(quota) = self.quota_pages
            && within_quota
            && before + pages > quota
        {
            self.used_pages.fetch_sub(pages, Ordering::Relaxed);
            return Err(Error::QuotaExceeded);
        }
        Ok(())
    }
}

/// A change in the making.
pub(super) struct Change<'a> {
    pub(super) operation: Operation<'a>,
    /// Pages that come, less those that go.
    pub(super) pages: i64,
    inodes: i64,
    freed: Option<Ino>,
}

/// Taken, by the page of the table, by changes that free an inode: the last one of a page removes it.
pub(super) type TableLocks = [Mutex<()>; TABLE_LOCKS];

/// What an ordinary change needs.
const EDITS: usize = 8;
const TABLE_LOCKS: usize = 16;

impl<'a> Change<'a> {
    pub(super) fn new() -> Self {
        let edits = Vec::with_capacity(EDITS);
        Change { operation: Operation { edits, frees: false }, pages: 0, inodes: 0, freed: None }
    }

    /// A change that gives space back: neither the quota nor a full disk may stand in its way.
    pub(super) fn freeing() -> Self {
        let mut change = Change::new();
        change.operation.frees = true;
        change
    }

    /// Writes the head of an inode's record.
    pub(super) fn inode(&mut self, ino: Ino, inode: &Inode) {
        self.operation.write(TABLE, record_at(ino.0), inode.encode().to_vec());
    }

    /// Writes the record of a new inode, `inline` being the target of a short symlink.
    pub(super) fn new_inode(&mut self, ino: Ino, inode: &Inode, inline: &[u8]) {
        let mut record = inode.encode().to_vec();
        record.extend_from_slice(inline);
        self.operation.write(TABLE, record_at(ino.0), record);
        self.operation.max(TABLE, NEXT_INODE_AT, ino.0 + 1);
        self.inodes += 1;
    }

    /// Ends an inode: its record, its pages and its extended attributes. One in a change.
    pub(super) fn free_inode(&mut self, ino: Ino, inode: &Inode) {
        self.operation.write(TABLE, record_at(ino.0), Record::free().to_vec());
        if inode.pages > 0 {
            self.operation.remove(Space(ino.0), PageNo(0), LAST_PAGE);
        }
        if inode.xattr_bytes > 0 {
            self.operation.remove(xattr::space(ino), PageNo(0), LAST_PAGE);
        }
        self.pages -= (inode.pages + inode.xattr_pages()).cast_signed();
        self.inodes -= 1;
        self.operation.frees = true;
        debug_assert!(self.freed.is_none(), "no call frees two inodes");
        self.freed = Some(ino);
    }
}

impl Fs {
    /// Makes a change happen, all of it or nothing.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`], and those of the volume; then nothing has changed, neither on pages nor
    /// in the counters.
    pub(super) fn commit(&self, mut change: Change<'_>) -> Result<()> {
        if self.read_only {
            return Err(volume::Error::ReadOnly.into());
        }
        let operation = &mut change.operation;
        if change.pages != 0 {
            operation.add(TABLE, USED_PAGES_AT, change.pages);
        }
        if change.inodes != 0 {
            operation.add(TABLE, INODES_AT, change.inodes);
        }
        // Held until it is applied, so that of two that are last in their page one sees the other.
        let _lock = change.freed.map(|ino| self.table_locks[table_lock(ino)].lock());
        if let Some(ino) = change.freed
            && self.is_last_of_page(ino)?
        {
            let page = table_page(ino);
            operation.remove(TABLE, PageNo(page), PageNo(page + 1));
        }
        // What comes is charged before, what goes is given back after.
        let charged = change.pages.max(0);
        self.counters.charge(charged, charged > 0 && !operation.frees)?;
        if let Err(error) = self.pages.apply(operation) {
            self.counters.used_pages.fetch_sub(charged, Ordering::Relaxed);
            return Err(error.into());
        }
        self.counters.used_pages.fetch_add(change.pages - charged, Ordering::Relaxed);
        self.counters.inodes.fetch_add(change.inodes, Ordering::Relaxed);
        Ok(())
    }

    /// Whether all other records in the page of a record are free for ever. A record that is not written
    /// yet is not free, so nobody who is about to make an inode loses it.
    fn is_last_of_page(&self, ino: Ino) -> Result<bool> {
        let mut page = [0; PAGE_BYTES];
        self.pages.read(TABLE, table_page(ino) * PAGE_BYTES as u64, &mut page, Hint::Keep)?;
        let own = usize::try_from(ino.0 % INODES_PER_PAGE as u64).expect("less than a page");
        Ok(page.chunks_exact(INODE_BYTES).enumerate().all(|(index, record)| {
            let (head, _) = record.split_first_chunk::<HEAD_BYTES>().expect("a record has a head");
            index == own || Record::decode(head) == Ok(Record::Free)
        }))
    }
}

fn table_page(ino: Ino) -> u64 {
    ino.0 / INODES_PER_PAGE as u64
}

fn table_lock(ino: Ino) -> usize {
    usize::from(table_page(ino).to_le_bytes()[0]) % TABLE_LOCKS
}
