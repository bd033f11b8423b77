//! Listing directories.

use super::directory::Directory;
use super::{Attr, DirEntry, Error, Fs, Ino, Kind, Result};
use crate::format::dir::{DirPage, KEY_MIN};

/// The cookies of `.` and `..`; those of entries are their keys, which are larger.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

const _: () = assert!(KEY_MIN > DOT_DOT);

impl Fs {
    /// Calls `each` for the entries after `cookie` (0: from the start), `.` and `..` included, until it
    /// returns false (its entry did not fit). Attributes come with the entry, for readdirplus.
    pub fn readdir(
        &self,
        ino: Ino,
        cookie: u64,
        with_attr: bool,
        each: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let parent = {
            let node = self.nodes.read(ino)?;
            node.need_dir()?;
            Ino(node.inode.parent)
        };
        for (ino, here, name) in [(ino, DOT, &b"."[..]), (parent, DOT_DOT, b"..")] {
            let entry = DirEntry { ino, cookie: here, kind: Kind::Directory, name, attr: None };
            if cookie < here && !each(&entry) {
                return Ok(());
            }
        }
        let mut next = cookie.max(KEY_MIN - 1).saturating_add(1);
        // One leaf at a time, without the directory's lock while its entries are handed out: their inodes
        // are locked for their attributes, and those may come before the directory in the order of locks.
        while let Some((leaf, first)) = self.leaf_from(ino, next)? {
            for entry in (first..leaf.count()).map(|index| leaf.entry(index)) {
                let attr = match with_attr.then(|| self.getattr(Ino(entry.ino))).transpose() {
                    // Removed since the leaf was read.
                    Err(Error::Stale) => continue,
                    other => other?,
                };
                let shown = DirEntry {
                    ino: Ino(entry.ino),
                    cookie: entry.key,
                    kind: attr.map_or(Kind::of(u16::from(entry.kind) << 12), |attr: Attr| attr.kind),
                    name: entry.name,
                    attr,
                };
                if !each(&shown) {
                    return Ok(());
                }
                next = entry.key + 1;
            }
        }
        Ok(())
    }

    fn leaf_from(&self, ino: Ino, key: u64) -> Result<Option<(DirPage, usize)>> {
        let node = self.nodes.read(ino)?;
        Directory::new(&*self.pages, ino, &node.inode).into_entries_from(key)
    }
}
