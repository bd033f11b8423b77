//! Inodes in RAM: a bounded cache of decoded records, and the locks of the filesystem.
//!
//! Every change is written through, so an entry may be dropped whenever nobody holds it and it is not
//! open. There is never more than one [`Node`] of an inode that anyone can reach: a node enters the cache
//! before its record is read, locked until it is, and leaves it only while the cache holds the only
//! reference.
//!
//! **Lock order.** 1. the rename lock; 2. nodes by ascending inode number, but a node may be *tried* out
//! of order, and where that fails everything is released and taken again in order; 3. the node of the
//! orphan list; 4. a lock of the inode table; 5. a shard of the cache, for a few instructions. Nodes stay locked while an operation is
//! applied: the lock is what orders changes of one inode.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use parking_lot::{ArcRwLockReadGuard, ArcRwLockWriteGuard, Mutex, RawRwLock, RwLock};

use crate::base::limits::INODES_CACHED_MAX;
use crate::format::inode::{HEAD_BYTES, Inode, Record, S_IFDIR, S_IFMT, S_IFREG, record_at};
use crate::volume::{Hint, Pages};

use super::change::TABLE;
use super::{Error, Ino, Result};

/// An inode in RAM.
pub(super) struct Node {
    pub(super) ino: Ino,
    /// As it is in the table.
    pub(super) inode: Inode,
    /// Handles that keep it alive.
    pub(super) opens: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its record could not be read; whoever waited for that reads it again.
    Unread,
    Live,
    /// There is no such inode, or no more.
    Dead,
}

pub(super) type NodeRef = Arc<RwLock<Node>>;
pub(super) type ReadGuard = ArcRwLockReadGuard<RawRwLock, Node>;
pub(super) type WriteGuard = ArcRwLockWriteGuard<RawRwLock, Node>;

impl Node {
    pub(super) fn new(ino: Ino, inode: Inode, opens: u32) -> Self {
        Node { ino, inode, opens, state: State::Live }
    }

    fn unread(ino: Ino) -> Self {
        let nothing = Inode {
            mode: 0,
            nlink: 0,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            pages: 0,
            atime: 0,
            mtime: 0,
            ctime: 0,
            parent: 0,
            xattr_bytes: 0,
            dir_hint: 0,
            flags: 0,
        };
        Node { ino, inode: nothing, opens: 0, state: State::Unread }
    }

    pub(super) fn is_dir(&self) -> bool {
        self.inode.mode & S_IFMT == S_IFDIR
    }

    /// The bits of `S_IFMT`, shifted right by 12.
    pub(super) fn kind(&self) -> u8 {
        (self.inode.mode >> 12).to_le_bytes()[0]
    }

    pub(super) fn need_dir(&self) -> Result<()> {
        if self.is_dir() { Ok(()) } else { Err(Error::NotDirectory) }
    }

    pub(super) fn need_file(&self) -> Result<()> {
        match self.inode.mode & S_IFMT {
            S_IFREG => Ok(()),
            S_IFDIR => Err(Error::IsDirectory),
            _ => Err(Error::Invalid),
        }
    }

    /// Says that the inode is no more. The caller removes it from the cache as well.
    pub(super) fn kill(&mut self) {
        self.state = State::Dead;
    }
}

/// Spreads inode numbers, which are nobody's to choose, over a table.
#[derive(Default)]
pub(super) struct InoHasher(u64);

impl Hasher for InoHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }
}

struct Entry {
    node: NodeRef,
    /// Used since the eviction hand last came by.
    used: bool,
    /// fsync was called on it. Kept here, not in the node, so that no fsync waits for a node's lock.
    synced: bool,
}

/// Each cached inode is in `queue` once; numbers that are no more cached may be in it, too.
#[derive(Default)]
struct Shard {
    entries: HashMap<u64, Entry, BuildHasherDefault<InoHasher>>,
    queue: VecDeque<u64>,
}

const SHARDS: usize = 16;
const SHARD_MAX: usize = INODES_CACHED_MAX / SHARDS;
/// How many entries one insertion looks at for something to drop.
const EVICTION_STEPS: usize = 4;

impl Shard {
    fn get(&mut self, ino: Ino) -> Option<NodeRef> {
        let entry = self.entries.get_mut(&ino.0)?;
        entry.used = true;
        Some(Arc::clone(&entry.node))
    }

    fn insert(&mut self, ino: Ino, node: NodeRef) {
        if self.entries.insert(ino.0, Entry { node, used: false, synced: false }).is_none() {
            self.queue.push_back(ino.0);
        }
        // Second chance: what was used since the last time goes to the end of the queue.
        for _ in 0..EVICTION_STEPS {
            if self.queue.len() <= SHARD_MAX {
                break;
            }
            let Some(oldest) = self.queue.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(&oldest) else { continue };
            let idle = Arc::strong_count(&entry.node) == 1
                && entry.node.try_read().is_some_and(|node| node.opens == 0);
            if idle && !entry.used {
                self.entries.remove(&oldest);
            } else {
                entry.used = false;
                self.queue.push_back(oldest);
            }
        }
    }
}

/// The cache.
pub(super) struct Nodes {
    pages: Arc<dyn Pages>,
    shards: [Mutex<Shard>; SHARDS],
}

impl Nodes {
    pub(super) fn new(pages: Arc<dyn Pages>) -> Self {
        Nodes { pages, shards: Default::default() }
    }

    fn shard(&self, ino: Ino) -> &Mutex<Shard> {
        &self.shards[usize::from(ino.0.to_le_bytes()[0]) % SHARDS]
    }

    /// Puts an inode that was just made into the cache.
    pub(super) fn add(&self, node: Node) {
        self.shard(node.ino).lock().insert(node.ino, Arc::new(RwLock::new(node)));
    }

    /// Notes that fsync was called on an inode.
    pub(super) fn note_synced(&self, ino: Ino) {
        if let Some(entry) = self.shard(ino).lock().entries.get_mut(&ino.0) {
            entry.synced = true;
        }
    }

    /// Whether fsync was called on an inode since it came into the cache.
    pub(super) fn is_synced(&self, ino: Ino) -> bool {
        self.shard(ino).lock().entries.get(&ino.0).is_some_and(|entry| entry.synced)
    }

    /// The regular files that handles keep alive.
    pub(super) fn open_files(&self) -> Vec<Ino> {
        let mut open = Vec::new();
        for shard in &self.shards {
            // A node may be locked by an operation that waits for the log: not under the shard's lock.
            let nodes: Vec<NodeRef> =
                shard.lock().entries.values().map(|entry| Arc::clone(&entry.node)).collect();
            let nodes = nodes.iter().map(|node| node.read());
            open.extend(nodes.filter(|node| node.opens > 0 && node.need_file().is_ok()).map(|node| node.ino));
        }
        open
    }

    /// Forgets an inode that is no more.
    pub(super) fn forget(&self, ino: Ino) {
        self.shard(ino).lock().entries.remove(&ino.0);
    }

    /// # Errors
    /// [`Error::Stale`] when there is no such inode.
    pub(super) fn read(&self, ino: Ino) -> Result<ReadGuard> {
        loop {
            let guard = self.get(ino)?.read_arc();
            match guard.state {
                State::Live => return Ok(guard),
                State::Dead => return Err(Error::Stale),
                State::Unread => {}
            }
        }
    }

    /// # Errors
    /// [`Error::Stale`] when there is no such inode.
    pub(super) fn write(&self, ino: Ino) -> Result<WriteGuard> {
        loop {
            let guard = self.get(ino)?.write_arc();
            match guard.state {
                State::Live => return Ok(guard),
                State::Dead => return Err(Error::Stale),
                State::Unread => {}
            }
        }
    }

    /// As [`Nodes::write`], but `None` when somebody else holds it.
    fn try_write(&self, ino: Ino) -> Result<Option<WriteGuard>> {
        match self.get(ino)?.try_write_arc() {
            Some(guard) if guard.state == State::Live => Ok(Some(guard)),
            Some(guard) if guard.state == State::Dead => Err(Error::Stale),
            _ => Ok(None),
        }
    }

    fn get(&self, ino: Ino) -> Result<NodeRef> {
        let mut shard = self.shard(ino).lock();
        if let Some(node) = shard.get(ino) {
            return Ok(node);
        }
        let node = Arc::new(RwLock::new(Node::unread(ino)));
        let mut guard = node.write();
        shard.insert(ino, Arc::clone(&node));
        drop(shard);
        let loaded = self.load(ino);
        if let Ok(Record::Live(inode)) = loaded {
            guard.inode = inode;
            guard.state = State::Live;
        } else {
            guard.state = if loaded.is_ok() { State::Dead } else { State::Unread };
            let mut shard = self.shard(ino).lock();
            if shard.entries.get(&ino.0).is_some_and(|entry| Arc::ptr_eq(&entry.node, &node)) {
                shard.entries.remove(&ino.0);
            }
        }
        drop(guard);
        loaded.map(|_| node)
    }

    fn load(&self, ino: Ino) -> Result<Record> {
        // Numbers with the highest bit name spaces of extended attributes; 0 is the super record.
        if ino.0 == 0 || ino.0 >> 55 != 0 {
            return Ok(Record::Absent);
        }
        let mut head = [0; HEAD_BYTES];
        self.pages.read(TABLE, record_at(ino.0), &mut head, Hint::Keep)?;
        Record::decode(&head).map_err(|error| Error::Corrupt { ino: ino.0, detail: error.0 })
    }
}

/// Several inodes, locked for writing.
pub(super) struct Locked<'n> {
    nodes: &'n Nodes,
    guards: Vec<WriteGuard>,
}

impl<'n> Locked<'n> {
    /// Locks inodes, each once, in order.
    ///
    /// # Errors
    /// [`Error::Stale`] when one of them is no more.
    pub(super) fn new(nodes: &'n Nodes, inos: &[Ino]) -> Result<Self> {
        let mut sorted = inos.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut guards = Vec::with_capacity(4);
        for ino in sorted {
            guards.push(nodes.write(ino)?);
        }
        Ok(Locked { nodes, guards })
    }

    /// Locks one more, unless that would have to wait out of order; says whether it is locked now.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is no more.
    pub(super) fn add(&mut self, ino: Ino) -> Result<bool> {
        if self.guards.iter().any(|guard| guard.ino == ino) {
            return Ok(true);
        }
        if self.guards.iter().all(|guard| guard.ino < ino) {
            self.guards.push(self.nodes.write(ino)?);
            return Ok(true);
        }
        match self.nodes.try_write(ino)? {
            Some(guard) => {
                self.guards.push(guard);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    pub(super) fn get(&self, ino: Ino) -> &Node {
        self.guards.iter().find(|guard| guard.ino == ino).expect("locked by the caller before")
    }

    pub(super) fn get_mut(&mut self, ino: Ino) -> &mut Node {
        self.guards.iter_mut().find(|guard| guard.ino == ino).expect("locked by the caller before")
    }
}
