//! Removing names: unlink and rmdir.

use super::change::Change;
use super::directory::Directory;
use super::node::Locked;
use super::orphans::Departure;
use super::{Caller, Error, Fs, Ino, Kind, Result};

impl Fs {
    /// Removes a name of a node that is no directory; with the last one, unless it is open, the node.
    pub fn unlink(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        self.remove_file(caller, parent, name).map(|_| ())
    }

    /// As [`Fs::unlink`]; says whether the removal should be durable before it is acknowledged.
    ///
    /// That is so for a file that was fsynced: whoever cared for its presence after a crash is taken to
    /// care for its absence. Databases commit by removing a rollback journal, and many leave out the
    /// fsync of its directory, without which the journal may be back after a crash and undo the commit.
    pub fn remove_file(&self, _caller: &Caller, parent: Ino, name: &[u8]) -> Result<bool> {
        self.remove_name(parent, name, false)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, _caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        self.remove_name(parent, name, true).map(|_| ())
    }

    /// Returns whether the node had been fsynced.
    fn remove_name(&self, parent: Ino, name: &[u8], directory: bool) -> Result<bool> {
        super::names::check(name)?;
        let hash = self.hash.of(name);
        // Set when the child had to be waited for out of order.
        let mut expected = None;
        loop {
            let mut locked = match Locked::new(&self.nodes, &[parent, expected.unwrap_or(parent)]) {
                Err(Error::Stale) if expected.take().is_some() => continue,
                other => other?,
            };
            locked.get(parent).need_dir()?;
            let mut dir = Directory::new(&*self.pages, parent, &locked.get(parent).inode);
            let found = dir.find(hash, name)?.ok_or(Error::NotFound)?;
            match (directory, found.kind == Kind::Directory.entry_kind()) {
                (true, false) => return Err(Error::NotDirectory),
                (false, true) => return Err(Error::IsDirectory),
                _ => {}
            }
            if !locked.add(found.ino)? {
                expected = Some(found.ino);
                continue;
            }
            if directory && locked.get(found.ino).inode.pages > 0 {
                return Err(Error::NotEmpty);
            }
            let synced = self.nodes.is_synced(found.ino);
            dir.remove(&found)?;
            self.commit_removal(&mut locked, parent, &dir, found.ino)?;
            return Ok(synced);
        }
    }

    fn commit_removal(
        &self,
        locked: &mut Locked<'_>,
        parent: Ino,
        dir: &Directory<'_>,
        child: Ino,
    ) -> Result<()> {
        let now = self.now();
        let mut next = locked.get(parent).inode;
        next.mtime = now;
        next.ctime = now;
        if locked.get(child).is_dir() {
            next.nlink = next.nlink.saturating_sub(1);
        }
        let mut departure = Departure::of(self, locked.get(child), now)?;
        let mut change = Change::freeing();
        change.pages += dir.finish(&mut change.operation, &mut next);
        change.inode(parent, &next);
        departure.record(&mut change);
        self.commit(change)?;
        locked.get_mut(parent).inode = next;
        departure.settle(self, locked);
        Ok(())
    }
}
