//! The files and their names, without faults, locks or handles.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::SimRng;
use super::file::File;

/// A file's identity, whatever its name; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Inode(u64);

#[derive(Clone, Default, Debug)]
struct Node {
    file: File,
    handles: usize,
    /// Without a name, now; and also after a power cut.
    unlinked: bool,
    unlinked_durably: bool,
}

/// A change of names, in the order of the journal.
#[derive(Clone, Debug)]
enum NameChange {
    Create(String, Inode),
    Rename(String, String),
    Remove(String),
}

type Names = BTreeMap<String, Inode>;

impl NameChange {
    /// Applies the change; returns the file that lost its name by it.
    fn apply(&self, names: &mut Names) -> Option<Inode> {
        match self {
            NameChange::Create(name, inode) => names.insert(name.clone(), *inode),
            NameChange::Rename(from, to) => {
                let inode = names.remove(from).expect("changes are journalled after a check");
                names.insert(to.clone(), inode)
            }
            NameChange::Remove(name) => names.remove(name),
        }
    }
}

/// One directory of files on a disk.
///
/// Invariant: `durable_names` with all of `journal` applied is `names`; every file that either of them
/// or a prefix of the journal can name is in `nodes`.
#[derive(Clone, Default, Debug)]
pub(super) struct Medium {
    nodes: BTreeMap<Inode, Node>,
    names: Names,
    durable_names: Names,
    journal: Vec<NameChange>,
    next_inode: u64,
    capacity: Option<u64>,
    /// Of all files together.
    handles: usize,
}

/// A full disk.
pub(super) fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

fn not_found() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

impl Medium {
    pub(super) fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    pub(super) fn capacity(&self) -> Option<u64> {
        self.capacity
    }

    /// Blocks of all files that have a name or a handle, in bytes.
    pub(super) fn used_bytes(&self) -> u64 {
        let occupied = self.nodes.values().filter(|node| !node.unlinked || node.handles > 0);
        occupied.map(|node| node.file.content().used_bytes()).sum()
    }

    /// Blocks that can still be given out, in bytes.
    pub(super) fn free_bytes(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |total| total.saturating_sub(self.used_bytes()))
    }

    pub(super) fn handles(&self) -> usize {
        self.handles
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    pub(super) fn lookup(&self, name: &str) -> io::Result<Inode> {
        self.names.get(name).copied().ok_or_else(not_found)
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<Inode> {
        if self.names.contains_key(name) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let inode = Inode(self.next_inode);
        self.next_inode += 1;
        self.nodes.insert(inode, Node::default());
        self.change(NameChange::Create(name.to_owned(), inode));
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.lookup(from)?;
        if from != to {
            self.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.lookup(name)?;
        self.change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    /// Makes all names durable.
    pub(super) fn sync_names(&mut self) {
        for change in self.journal.drain(..) {
            if let Some(lost) = change.apply(&mut self.durable_names) {
                self.nodes.get_mut(&lost).expect("a named file is there").unlinked_durably = true;
                Self::forget_if_gone(&mut self.nodes, lost);
            }
        }
    }

    pub(super) fn open_handle(&mut self, inode: Inode) {
        self.handles += 1;
        self.node(inode).handles += 1;
    }

    pub(super) fn close_handle(&mut self, inode: Inode) {
        self.handles -= 1;
        self.node(inode).handles -= 1;
        Self::forget_if_gone(&mut self.nodes, inode);
    }

    /// The file of an open handle or a name.
    pub(super) fn file(&mut self, inode: Inode) -> &mut File {
        &mut self.node(inode).file
    }

    /// Writes what fits; the rest is `ENOSPC`.
    pub(super) fn write(&mut self, inode: Inode, data: &[u8], offset: u64) -> io::Result<()> {
        if self.capacity.is_some()
            && self.node(inode).file.content().growth(offset, data.len()) > self.free_bytes()
        {
            return Err(no_space());
        }
        self.node(inode).file.write(data, offset);
        Ok(())
    }

    pub(super) fn allocate(&mut self, inode: Inode, bytes: u64) -> io::Result<()> {
        if self.capacity.is_some() {
            let free = self.free_bytes();
            let content = self.node(inode).file.content();
            let mut after = content.clone();
            after.allocate(bytes);
            if after.used_bytes() - content.used_bytes() > free {
                return Err(no_space());
            }
        }
        self.node(inode).file.allocate(bytes);
        Ok(())
    }

    /// The process has gone: everything written is still there, handles are not.
    pub(super) fn drop_handles(&mut self) {
        self.handles = 0;
        for node in self.nodes.values_mut() {
            node.handles = 0;
        }
        self.nodes.retain(|_, node| !node.unlinked_durably);
    }

    /// The machine has lost its power: a prefix of the journal of names and whatever of each file.
    pub(super) fn power_cut(&mut self, rng: &SimRng) {
        let kept = rng.index(self.journal.len() + 1);
        for change in &self.journal[..kept] {
            change.apply(&mut self.durable_names);
        }
        self.handles = 0;
        self.journal.clear();
        self.names = self.durable_names.clone();
        let named: BTreeSet<Inode> = self.names.values().copied().collect();
        self.nodes.retain(|inode, _| named.contains(inode));
        for node in self.nodes.values_mut() {
            node.file.power_cut(rng);
            *node = Node { file: std::mem::take(&mut node.file), ..Node::default() };
        }
    }

    fn change(&mut self, change: NameChange) {
        if let Some(lost) = change.apply(&mut self.names) {
            self.node(lost).unlinked = true;
        }
        self.journal.push(change);
    }

    fn forget_if_gone(nodes: &mut BTreeMap<Inode, Node>, inode: Inode) {
        if nodes.get(&inode).is_some_and(|node| node.handles == 0 && node.unlinked_durably) {
            nodes.remove(&inode);
        }
    }

    fn node(&mut self, inode: Inode) -> &mut Node {
        self.nodes.get_mut(&inode).expect("handles and names keep their file")
    }
}
