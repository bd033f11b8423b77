//! The same filesystem in plain maps, to compare with.

use std::collections::BTreeMap;

use firnfs::fs::{Kind, RenameMode};

pub(crate) type Id = usize;
pub(crate) type Outcome<T = ()> = Result<T, i32>;

/// A node of the oracle.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) data: Vec<u8>,
    pub(crate) entries: BTreeMap<Vec<u8>, Id>,
    pub(crate) parent: Id,
    pub(crate) nlink: u32,
    pub(crate) opens: u32,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Nodes are never forgotten, so that an id means the same for ever; those gone are `None`.
pub(crate) struct Oracle {
    items: Vec<Option<Item>>,
}

pub(crate) const ROOT: Id = 0;

impl Oracle {
    pub(crate) fn new() -> Self {
        let mut oracle = Oracle { items: Vec::new() };
        oracle.add(Kind::Directory, ROOT, 2);
        oracle
    }

    fn add(&mut self, kind: Kind, parent: Id, nlink: u32) -> Id {
        self.items.push(Some(Item {
            kind,
            data: Vec::new(),
            entries: BTreeMap::new(),
            parent,
            nlink,
            opens: 0,
            xattrs: BTreeMap::new(),
        }));
        self.items.len() - 1
    }

    pub(crate) fn get(&self, id: Id) -> &Item {
        self.items[id].as_ref().expect("a node that is there")
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> &mut Item {
        self.items[id].as_mut().expect("a node that is there")
    }

    pub(crate) fn live(&self) -> Vec<Id> {
        (0..self.items.len()).filter(|&id| self.items[id].is_some()).collect()
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> Vec<Id> {
        self.live().into_iter().filter(|&id| self.get(id).kind == kind).collect()
    }

    /// Directories that a path leads to.
    pub(crate) fn dirs(&self) -> Vec<Id> {
        self.of_kind(Kind::Directory).into_iter().filter(|&id| self.get(id).nlink > 0).collect()
    }

    pub(crate) fn make(&mut self, dir: Id, name: &[u8], kind: Kind) -> Outcome<Id> {
        if self.get(dir).entries.contains_key(name) {
            return Err(libc::EEXIST);
        }
        let is_dir = kind == Kind::Directory;
        let id = self.add(kind, dir, if is_dir { 2 } else { 1 });
        self.get_mut(dir).nlink += u32::from(is_dir);
        self.get_mut(dir).entries.insert(name.to_vec(), id);
        Ok(id)
    }

    pub(crate) fn link(&mut self, id: Id, dir: Id, name: &[u8]) -> Outcome {
        match () {
            () if self.get(id).kind == Kind::Directory => return Err(libc::EPERM),
            () if self.get(id).nlink == 0 => return Err(libc::ENOENT),
            () if self.get(dir).entries.contains_key(name) => return Err(libc::EEXIST),
            () => {}
        }
        self.get_mut(id).nlink += 1;
        self.get_mut(dir).entries.insert(name.to_vec(), id);
        Ok(())
    }

    pub(crate) fn remove(&mut self, dir: Id, name: &[u8], want_dir: bool) -> Outcome {
        let id = *self.get(dir).entries.get(name).ok_or(libc::ENOENT)?;
        match (want_dir, self.get(id).kind == Kind::Directory) {
            (true, false) => return Err(libc::ENOTDIR),
            (false, true) => return Err(libc::EISDIR),
            _ if !self.get(id).entries.is_empty() => return Err(libc::ENOTEMPTY),
            _ => {}
        }
        self.get_mut(dir).entries.remove(name);
        self.drop_name(dir, id);
        Ok(())
    }

    fn drop_name(&mut self, dir: Id, id: Id) {
        if self.get(id).kind == Kind::Directory {
            self.get_mut(id).nlink = 0;
            self.get_mut(dir).nlink -= 1;
        } else {
            self.get_mut(id).nlink -= 1;
        }
        self.reap(id);
    }

    fn reap(&mut self, id: Id) {
        if self.get(id).nlink == 0 && self.get(id).opens == 0 {
            self.items[id] = None;
        }
    }

    pub(crate) fn release(&mut self, id: Id) {
        self.get_mut(id).opens -= 1;
        self.reap(id);
    }

    /// All handles end.
    pub(crate) fn crash(&mut self) {
        for id in self.live() {
            self.get_mut(id).opens = 0;
            self.reap(id);
        }
    }

    fn is_below(&self, mut id: Id, above: Id) -> bool {
        while id != above {
            if id == ROOT {
                return false;
            }
            id = self.get(id).parent;
        }
        true
    }

    pub(crate) fn rename(&mut self, from: (Id, &[u8]), to: (Id, &[u8]), mode: RenameMode) -> Outcome {
        let source = *self.get(from.0).entries.get(from.1).ok_or(libc::ENOENT)?;
        let target = self.get(to.0).entries.get(to.1).copied();
        let is_dir = |oracle: &Self, id: Id| oracle.get(id).kind == Kind::Directory;
        let source_dir = is_dir(self, source);
        if source_dir && self.is_below(to.0, source) {
            return Err(libc::EINVAL);
        }
        if mode == RenameMode::Exchange
            && let Some(target) = target
            && is_dir(self, target)
            && self.is_below(from.0, target)
        {
            return Err(libc::EINVAL);
        }
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(libc::EEXIST),
            (RenameMode::Exchange, None) => return Err(libc::ENOENT),
            (_, Some(target)) if target == source => return Ok(()),
            (RenameMode::Exchange, Some(target)) => {
                let target_dir = is_dir(self, target);
                self.get_mut(from.0).entries.insert(from.1.to_vec(), target);
                self.get_mut(to.0).entries.insert(to.1.to_vec(), source);
                self.move_item(source, source_dir, from.0, to.0);
                self.move_item(target, target_dir, to.0, from.0);
                return Ok(());
            }
            (_, Some(target)) => match (source_dir, is_dir(self, target)) {
                (true, false) => return Err(libc::ENOTDIR),
                (false, true) => return Err(libc::EISDIR),
                _ if !self.get(target).entries.is_empty() => return Err(libc::ENOTEMPTY),
                _ => {}
            },
            (_, None) => {}
        }
        self.get_mut(from.0).entries.remove(from.1);
        self.get_mut(to.0).entries.insert(to.1.to_vec(), source);
        self.move_item(source, source_dir, from.0, to.0);
        if let Some(target) = target {
            self.drop_name(to.0, target);
        }
        Ok(())
    }

    fn move_item(&mut self, id: Id, is_dir: bool, from: Id, to: Id) {
        if is_dir {
            self.get_mut(id).parent = to;
            self.get_mut(from).nlink -= 1;
            self.get_mut(to).nlink += 1;
        }
    }

    pub(crate) fn write(&mut self, id: Id, offset: usize, data: &[u8]) {
        let old = &mut self.get_mut(id).data;
        if data.is_empty() {
            return;
        }
        old.resize(old.len().max(offset + data.len()), 0);
        old[offset..offset + data.len()].copy_from_slice(data);
    }

    pub(crate) fn zero(&mut self, id: Id, offset: usize, length: usize, keep: bool) {
        let old = &mut self.get_mut(id).data;
        if !keep {
            old.resize(old.len().max(offset + length), 0);
        }
        let end = old.len().min(offset + length);
        if offset < end {
            old[offset..end].fill(0);
        }
    }
}
