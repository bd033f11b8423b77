//! Inodes that lost their last name: freed at once, or kept on the orphan list while they are open.

use crate::base::limits::PAGE_BYTES;
use crate::format::inode::Inode;

use super::change::Change;
use super::directory::Directory;
use super::node::{Locked, Node, WriteGuard};
use super::{Attr, Caller, Error, Fs, Ino, ORPHANS, Result};

/// The orphan list, locked, with changes that are not made yet.
pub(super) struct OrphanList<'f> {
    node: WriteGuard,
    next: Inode,
    directory: Directory<'f>,
}

impl<'f> OrphanList<'f> {
    pub(super) fn lock(fs: &'f Fs) -> Result<Self> {
        let node = fs.nodes.write(ORPHANS)?;
        let directory = Directory::new(&*fs.pages, ORPHANS, &node.inode);
        Ok(OrphanList { next: node.inode, node, directory })
    }

    fn record<'a>(&'a mut self, change: &mut Change<'a>) {
        change.pages += self.directory.finish(&mut change.operation, &mut self.next);
        change.inode(ORPHANS, &self.next);
    }

    fn settle(mut self) {
        self.node.inode = self.next;
    }
}

/// An inode on the list is known by its number.
fn name_of(ino: Ino) -> String {
    format!("{:016x}", ino.0)
}

/// An inode that loses a name, or all of them in the case of a directory.
pub(super) struct Departure<'f> {
    ino: Ino,
    old: Inode,
    next: Inode,
    orphans: Option<OrphanList<'f>>,
}

impl<'f> Departure<'f> {
    pub(super) fn of(fs: &'f Fs, node: &Node, now: i64) -> Result<Self> {
        let mut next = node.inode;
        next.ctime = now;
        next.nlink = if node.is_dir() { 0 } else { next.nlink.saturating_sub(1) };
        let mut orphans = None;
        if next.nlink == 0 && node.opens > 0 {
            let name = name_of(node.ino);
            let mut list = OrphanList::lock(fs)?;
            list.directory.insert(fs.hash.of(name.as_bytes()), name.as_bytes(), node.ino, node.kind())?;
            orphans = Some(list);
        }
        Ok(Departure { ino: node.ino, old: node.inode, next, orphans })
    }

    pub(super) fn record<'a>(&'a mut self, change: &mut Change<'a>) {
        change.operation.frees = true;
        match &mut self.orphans {
            Some(orphans) => orphans.record(change),
            None if self.next.nlink == 0 => return change.free_inode(self.ino, &self.old),
            None => {}
        }
        change.inode(self.ino, &self.next);
    }

    /// Makes it so in RAM, once the change is committed.
    pub(super) fn settle(self, fs: &Fs, locked: &mut Locked<'_>) {
        let node = locked.get_mut(self.ino);
        if self.next.nlink == 0 && self.orphans.is_none() {
            node.kill();
            fs.nodes.forget(self.ino);
        } else {
            node.inode = self.next;
        }
        if let Some(orphans) = self.orphans {
            orphans.settle();
        }
    }
}

impl Fs {
    /// Counts an open handle, so that the file outlives its last name; `truncate` is `O_TRUNC`.
    pub fn open_file(&self, caller: &Caller, ino: Ino, write: bool, truncate: bool) -> Result<Attr> {
        let mut node = self.nodes.write(ino)?;
        if self.read_only && (write || truncate) {
            return Err(crate::volume::Error::ReadOnly.into());
        }
        if truncate {
            node.need_file()?;
            let mut next = node.inode;
            let mut change = Change::new();
            self.resize(&mut change, ino, &mut next, 0)?;
            self.drop_privileges(&mut change, ino, &mut next, caller.uid != 0)?;
            next.mtime = self.now();
            next.ctime = next.mtime;
            self.commit_inode(change, &mut node, next)?;
        }
        node.opens = node.opens.checked_add(1).ok_or(Error::TooManyLinks)?;
        Ok(Attr::new(ino, &node.inode))
    }

    /// The regular files that are open, in no particular order: those that may have stores through a
    /// mapping in the kernel.
    pub fn open_files(&self) -> Vec<Ino> {
        self.nodes.open_files()
    }

    /// Ends what `open_file` or `create` began; the last one reclaims an unlinked file.
    pub fn release(&self, ino: Ino) -> Result<()> {
        let mut node = self.nodes.write(ino)?;
        node.opens = node.opens.saturating_sub(1);
        if node.opens > 0 || node.inode.nlink > 0 || self.read_only {
            return Ok(());
        }
        self.reclaim(&mut node)
    }

    /// Frees an inode that is on the list. If that fails it stays there until the next mount.
    fn reclaim(&self, node: &mut WriteGuard) -> Result<()> {
        let mut orphans = OrphanList::lock(self)?;
        let name = name_of(node.ino);
        let hash = self.hash.of(name.as_bytes());
        let Some(found) = orphans.directory.find(hash, name.as_bytes())? else {
            return Err(Error::Corrupt { ino: node.ino.0, detail: "it has no name and is no orphan" });
        };
        orphans.directory.remove(&found)?;
        let mut change = Change::freeing();
        change.free_inode(node.ino, &node.inode);
        orphans.record(&mut change);
        self.commit(change)?;
        orphans.settle();
        node.kill();
        self.nodes.forget(node.ino);
        Ok(())
    }

    /// Frees what was unlinked while open when the last mount ended.
    pub(super) fn reclaim_orphans(&self) -> Result<()> {
        // As many as fit a page at a time.
        let mut batch = Vec::with_capacity(PAGE_BYTES / 32);
        loop {
            {
                let node = self.nodes.read(ORPHANS)?;
                let directory = Directory::new(&*self.pages, ORPHANS, &node.inode);
                if let Some((leaf, _)) = directory.into_entries_from(0)? {
                    batch.extend(leaf.entries().map(|entry| Ino(entry.ino)));
                }
            }
            if batch.is_empty() {
                return Ok(());
            }
            for ino in batch.drain(..) {
                let mut node = self.nodes.write(ino)?;
                if node.inode.nlink != 0 {
                    return Err(Error::Corrupt { ino: ino.0, detail: "an orphan that has a name" });
                }
                self.reclaim(&mut node)?;
            }
        }
    }
}
