//! POSIX meaning on top of pages: inodes, directories, links, extended attributes, orphans, quota.
//! Knows nothing of FUSE, so that it is tested without a mount.
//!
//! What it owns: the bytes of space 0 (the super record and the inode table), of the space of each inode
//! (file data, directory pages, or a long symlink's target) and of the space of its extended attributes.
//! What it does not: who may do what (the kernel checks permissions, ACLs and the sticky bit before it
//! asks), caching of data, and durability.
//!
//! Invariants:
//! - every call that changes something is exactly one [`Pages::apply`], so that a crash shows all of it or
//!   nothing;
//! - inode numbers only grow and are never used again;
//! - bytes beyond the end of a file in its last page are zeros, and it has no pages behind that one;
//! - an inode without a name is in the orphan list (a hidden directory, inode 2) for as long as it is
//!   open, and reclaimed by its last `release` or by the next [`Fs::open`];
//! - the super record's counters are exact.
//!
//! The order of locks is written in [`node`].

mod acl;
mod attr;
mod change;
mod check;
mod data;
mod directory;
mod error;
mod names;
mod namespace;
mod node;
mod orphans;
mod readdir;
mod rename;
mod types;
mod unlink;
mod xattr;

use std::sync::Arc;

use parking_lot::Mutex;

pub use check::check;
pub use error::Error;
pub use types::{
    Attr, Caller, DirEntry, Ino, Kind, NewNode, RenameMode, SetAttr, SetTime, SetXattr, StatFs, Whence,
};

use crate::base::PageNo;
use crate::base::limits::{INODES_MAX, NAME_BYTES_MAX, PAGE_BYTES};
use crate::format::inode::{Inode, S_IFDIR, record_at};
use crate::format::superblock::{SUPERBLOCK_BYTES, Superblock};
use crate::io::{Clock, Rng};
use crate::volume::{Hint, Operation, Pages, Synced};
use change::{Counters, TABLE, TableLocks};
use names::NameHash;
use node::{Node, Nodes};

type Result<T> = std::result::Result<T, Error>;

/// The hidden directory of inodes that are open but have no name.
const ORPHANS: Ino = Ino(2);
/// The end of a removal that takes all pages that follow.
const LAST_PAGE: PageNo = PageNo(u64::MAX);

/// A mounted filesystem.
pub struct Fs {
    pages: Arc<dyn Pages>,
    clock: Arc<dyn Clock>,
    read_only: bool,
    hash: NameHash,
    counters: Counters,
    nodes: Nodes,
    /// Held by renames between directories: nothing else changes who is above whom.
    rename_lock: Mutex<()>,
    table_locks: TableLocks,
}

impl Fs {
    /// Opens the filesystem in `pages`, making an empty one (root owned by `owner`) where there is
    /// none, and reclaims files that were unlinked while open when the last mount ended. A read-only
    /// volume is left as it is.
    ///
    /// # Errors
    /// A filesystem of a newer version, a damaged one, and those of the volume.
    pub fn open(pages: Arc<dyn Pages>, clock: Arc<dyn Clock>, rng: &dyn Rng, owner: Caller) -> Result<Self> {
        let read_only = pages.read_only();
        let (superblock, fresh) = match read_superblock(&*pages)? {
            Some(superblock) => (superblock, None),
            None => (empty_superblock(rng), Some(empty_directory(&owner, clock.now().nanos))),
        };
        if let (Some(root), false) = (&fresh, read_only) {
            pages.apply(&first_operation(&superblock, root))?;
        }
        let fs = Fs {
            read_only,
            hash: NameHash::new(superblock.hash_key),
            counters: Counters::new(&superblock, pages.capacity().quota_bytes),
            nodes: Nodes::new(Arc::clone(&pages)),
            rename_lock: Mutex::new(()),
            table_locks: TableLocks::default(),
            pages,
            clock,
        };
        match (fresh, read_only) {
            // An empty volume that cannot be written shows an empty root, which must stay in RAM.
            (Some(root), true) => fs.nodes.add(Node::new(Ino::ROOT, root, 1)),
            (_, true) => {}
            (_, false) => fs.reclaim_orphans()?,
        }
        Ok(fs)
    }

    /// Whether a write or namespace change would begin at once rather than wait for the log.
    pub fn has_room(&self) -> bool {
        self.pages.has_room()
    }

    /// Makes everything of the volume durable on behalf of a file or directory, as [`Fs::sync`], and
    /// remembers that somebody cared for it: see [`Fs::remove_file`].
    pub fn fsync(&self, ino: Ino, done: Synced) {
        self.nodes.note_synced(ino);
        self.sync(done);
    }

    /// Makes everything of the volume durable, then calls `done`; may do the I/O on this thread.
    pub fn sync(&self, done: Synced) {
        self.pages.sync(done);
    }

    /// How full the volume is: within its quota if it has one, and never more than the local disk takes.
    pub fn statfs(&self) -> StatFs {
        let page_bytes = PAGE_BYTES as u64;
        let used = self.counters.used_pages();
        let disk_free = self.pages.capacity().free_bytes / page_bytes;
        let blocks_free = self.counters.quota_left().map_or(disk_free, |left| left.min(disk_free));
        let blocks = self.counters.quota_left().map_or(used + disk_free, |left| used + left);
        StatFs {
            block_bytes: u32::try_from(PAGE_BYTES).expect("a page is small"),
            blocks,
            blocks_free,
            inodes: INODES_MAX,
            inodes_free: INODES_MAX.saturating_sub(self.counters.inodes()),
            name_bytes_max: u32::try_from(NAME_BYTES_MAX).expect("a name is short"),
        }
    }

    /// Nanoseconds since the epoch.
    fn now(&self) -> i64 {
        self.clock.now().nanos
    }
}

fn read_superblock(pages: &dyn Pages) -> Result<Option<Superblock>> {
    let mut bytes = [0; SUPERBLOCK_BYTES];
    pages.read(TABLE, 0, &mut bytes, Hint::Keep)?;
    Superblock::decode(&bytes).map_err(|error| Error::Corrupt { ino: 0, detail: error.0 })
}

fn empty_superblock(rng: &dyn Rng) -> Superblock {
    let mut hash_key = [0; 32];
    for chunk in hash_key.chunks_exact_mut(8) {
        chunk.copy_from_slice(&rng.next_u64().to_le_bytes());
    }
    Superblock { next_inode: ORPHANS.0 + 1, used_pages: 0, inodes: 1, hash_key }
}

fn empty_directory(owner: &Caller, now: i64) -> Inode {
    Inode {
        mode: S_IFDIR | 0o755,
        nlink: 2,
        uid: owner.uid,
        gid: owner.gid,
        rdev: 0,
        size: 0,
        pages: 0,
        atime: now,
        mtime: now,
        ctime: now,
        parent: Ino::ROOT.0,
        xattr_bytes: 0,
        dir_hint: 0,
        flags: 0,
    }
}

fn first_operation(superblock: &Superblock, root: &Inode) -> Operation<'static> {
    let mut operation = Operation::new();
    operation.write(TABLE, 0, superblock.encode().to_vec());
    operation.write(TABLE, record_at(Ino::ROOT.0), root.encode().to_vec());
    operation.write(TABLE, record_at(ORPHANS.0), root.encode().to_vec());
    operation
}
