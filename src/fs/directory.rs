//! A directory: a B+tree of [`DirPage`]s in the directory's own space, with its root at page 0.
//!
//! [`Directory`] reads pages as it needs them and collects changes in memory; [`Directory::finish`] hands
//! them to an operation, so that a change of any size is atomic. It takes no locks: the caller holds
//! that of the directory's inode for as long as it lives.
//!
//! Invariants: an empty directory has no pages; no leaf is empty; every child is one level below its
//! parent; freed pages are absent, so the next free page is the next absent one.
//!
//! Order of keys is the order of readdir, and a key is its cookie. A key never changes while its entry
//! lives, whatever splits around it, so a reader that goes on behind a cookie meets every entry that
//! stays exactly once.

use crate::base::limits::PAGE_BYTES;
use crate::base::{PageNo, Space};
use crate::format::dir::{DirPage, Entry, LEVEL_MAX};
use crate::format::inode::Inode;
use crate::volume::{Hint, Operation, Pages};

use super::{Error, Ino, Result};

/// What a name leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) ino: Ino,
    /// The bits of `S_IFMT`, shifted right by 12.
    pub(super) kind: u8,
    key: u64,
}

/// A page in memory.
struct Loaded {
    no: u32,
    page: DirPage,
    dirty: bool,
}

/// A directory, open for a few lookups and changes.
pub(super) struct Directory<'p> {
    pages: &'p dyn Pages,
    ino: Ino,
    page_count: u64,
    /// All pages below are in use.
    hint: u32,
    loaded: Vec<Loaded>,
    freed: Vec<u32>,
}

/// The way from the root to a leaf: page numbers, and at each inner page the child that was taken.
#[derive(Default)]
struct Path {
    steps: Vec<(u32, usize)>,
    /// Where the next leaf begins, if there is one.
    upper: Option<u64>,
}

impl Path {
    fn leaf(&self) -> u32 {
        self.steps.last().expect("a path ends at a leaf").0
    }
}

const ROOT: u32 = 0;
/// Names of one hash that a directory can tell apart.
const SAME_HASH_MAX: usize = 256;

impl<'p> Directory<'p> {
    pub(super) fn new(pages: &'p dyn Pages, ino: Ino, inode: &Inode) -> Self {
        Directory {
            pages,
            ino,
            page_count: inode.pages,
            hint: inode.dir_hint,
            loaded: Vec::new(),
            freed: Vec::new(),
        }
    }

    /// What `name`, whose hash is `hash`, leads to.
    pub(super) fn find(&mut self, hash: u64, name: &[u8]) -> Result<Option<Found>> {
        self.search(hash, name, &mut |_| {})
    }

    /// Finds a name, and shows the keys of the other names of its hash that were passed on the way.
    fn search(&mut self, hash: u64, name: &[u8], passed: &mut dyn FnMut(u64)) -> Result<Option<Found>> {
        let mut target = hash << 8;
        while self.page_count > 0 {
            let path = self.descend(target)?;
            let leaf = self.page(path.leaf())?;
            for index in leaf.position(target)..leaf.count() {
                let entry = leaf.entry(index);
                if entry.key >> 8 != hash {
                    return Ok(None);
                }
                if entry.name == name {
                    return Ok(Some(Found { ino: Ino(entry.ino), kind: entry.kind, key: entry.key }));
                }
                passed(entry.key);
            }
            // Names of one hash may go on in the next leaf.
            match path.upper {
                Some(upper) if upper >> 8 == hash => target = upper,
                _ => break,
            }
        }
        Ok(None)
    }

    /// Adds a name that is not there yet.
    ///
    /// # Errors
    /// [`Error::Exists`] when it is.
    pub(super) fn insert(&mut self, hash: u64, name: &[u8], ino: Ino, kind: u8) -> Result<()> {
        let mut used = [false; SAME_HASH_MAX];
        let mut mark = |key: u64| used[usize::from(key.to_le_bytes()[0])] = true;
        if self.search(hash, name, &mut mark)?.is_some() {
            return Err(Error::Exists);
        }
        let Some(n) = used.iter().position(|used| !used) else {
            return Err(Error::TooManyLinks);
        };
        self.insert_entry(Entry { key: hash << 8 | n as u64, ino: ino.0, kind, name })
    }

    /// Makes the name that was found lead elsewhere.
    pub(super) fn redirect(&mut self, found: &Found, ino: Ino, kind: u8) -> Result<()> {
        let leaf = self.descend(found.key)?.leaf();
        let index = self.entry_index(leaf, found.key)?;
        self.page_mut(leaf)?.redirect(index, ino.0, kind);
        Ok(())
    }

    /// Removes the name that was found.
    pub(super) fn remove(&mut self, found: &Found) -> Result<()> {
        let mut path = self.descend(found.key)?;
        let leaf = path.leaf();
        let index = self.entry_index(leaf, found.key)?;
        self.page_mut(leaf)?.remove(index);
        while let Some((no, child)) = path.steps.pop() {
            let page = self.page_mut(no)?;
            if page.level() > 0 {
                page.remove_child(child);
            }
            if page.count() > 0 {
                break;
            }
            self.free(no);
        }
        self.lower_root()
    }

    /// The first leaf that has an entry at or after `key`, and the index of that; `None` at the end.
    pub(super) fn into_entries_from(mut self, key: u64) -> Result<Option<(DirPage, usize)>> {
        let mut target = key;
        while self.page_count > 0 {
            let path = self.descend(target)?;
            let at = self.load(path.leaf())?;
            let index = self.loaded[at].page.position(target);
            if index < self.loaded[at].page.count() {
                return Ok(Some((self.loaded.swap_remove(at).page, index)));
            }
            match path.upper {
                Some(upper) if upper > target => target = upper,
                _ => break,
            }
        }
        Ok(None)
    }

    /// Hands the changes to an operation, and to the inode what it must know. Returns by how many pages
    /// the directory grew.
    pub(super) fn finish<'s>(&'s self, operation: &mut Operation<'s>, inode: &mut Inode) -> i64 {
        let space = Space(self.ino.0);
        for &no in &self.freed {
            operation.remove(space, PageNo(u64::from(no)), PageNo(u64::from(no) + 1));
        }
        for loaded in self.loaded.iter().filter(|loaded| loaded.dirty) {
            operation.write(space, u64::from(loaded.no) * PAGE_BYTES as u64, &loaded.page.bytes()[..]);
        }
        let grown = self.page_count.cast_signed() - inode.pages.cast_signed();
        inode.pages = self.page_count;
        inode.dir_hint = self.freed.iter().copied().fold(self.hint, u32::min);
        grown
    }

    fn corrupt(&self, detail: &'static str) -> Error {
        Error::Corrupt { ino: self.ino.0, detail }
    }

    fn entry_index(&mut self, leaf: u32, key: u64) -> Result<usize> {
        let page = self.page(leaf)?;
        let index = page.position(key);
        if index < page.count() && page.entry(index).key == key {
            Ok(index)
        } else {
            Err(self.corrupt("a directory entry is not where it was"))
        }
    }
}

/// Pages in memory.
impl Directory<'_> {
    fn load(&mut self, no: u32) -> Result<usize> {
        if let Some(index) = self.loaded.iter().position(|loaded| loaded.no == no) {
            return Ok(index);
        }
        let mut bytes = Box::new([0; PAGE_BYTES]);
        let offset = u64::from(no) * PAGE_BYTES as u64;
        self.pages.read(Space(self.ino.0), offset, &mut bytes[..], Hint::Keep)?;
        let page = DirPage::decode(bytes).map_err(|error| self.corrupt(error.0))?;
        self.loaded.push(Loaded { no, page, dirty: false });
        Ok(self.loaded.len() - 1)
    }

    fn page(&mut self, no: u32) -> Result<&DirPage> {
        let index = self.load(no)?;
        Ok(&self.loaded[index].page)
    }

    fn page_mut(&mut self, no: u32) -> Result<&mut DirPage> {
        let index = self.load(no)?;
        self.loaded[index].dirty = true;
        Ok(&mut self.loaded[index].page)
    }

    fn put(&mut self, no: u32, page: DirPage) {
        self.loaded.retain(|loaded| loaded.no != no);
        self.loaded.push(Loaded { no, page, dirty: true });
    }

    fn allocate(&mut self) -> Result<u32> {
        // Page 0 is the root's.
        let from = PageNo(u64::from(self.hint.max(1)));
        let no = u32::try_from(self.pages.next_absent(Space(self.ino.0), from).0)
            .ok()
            .filter(|&no| no < u32::MAX)
            .ok_or(Error::TooManyLinks)?;
        self.hint = no + 1;
        self.page_count += 1;
        Ok(no)
    }

    fn free(&mut self, no: u32) {
        self.loaded.retain(|loaded| loaded.no != no);
        self.freed.push(no);
        self.page_count -= 1;
    }
}

/// The tree.
impl Directory<'_> {
    /// The way to the leaf that holds `key` if any does.
    fn descend(&mut self, key: u64) -> Result<Path> {
        let mut path = Path::default();
        let mut no = ROOT;
        loop {
            let page = self.page(no)?;
            let level = page.level();
            if level == 0 {
                path.steps.push((no, 0));
                return Ok(path);
            }
            let index = page.child_index(key);
            path.steps.push((no, index));
            path.upper = page.key_after(index).or(path.upper);
            no = page.child(index);
            self.check_child(no, level)?;
        }
    }

    /// A child must be one level below its parent; so a way down always ends.
    fn check_child(&mut self, child: u32, level: u8) -> Result<()> {
        if self.page(child)?.level() + 1 == level {
            Ok(())
        } else {
            Err(self.corrupt("a directory's pages form no tree"))
        }
    }

    fn has_room(&mut self, no: u32, name_bytes: usize) -> Result<bool> {
        let page = self.page(no)?;
        Ok(if page.level() == 0 { page.takes(name_bytes) } else { !page.is_full() })
    }

    /// Goes down to the leaf of a new entry and splits every full page on the way, so that each has room
    /// for what its child may push up.
    fn insert_entry(&mut self, entry: Entry<'_>) -> Result<()> {
        if self.page_count == 0 {
            self.freed.retain(|&no| no != ROOT);
            self.put(ROOT, DirPage::new(0));
            self.page_count = 1;
        }
        if !self.has_room(ROOT, entry.name.len())? {
            self.raise_root()?;
        }
        let mut no = ROOT;
        loop {
            let page = self.page(no)?;
            let level = page.level();
            if level == 0 {
                self.page_mut(no)?.insert(entry);
                return Ok(());
            }
            let mut child = page.child(page.child_index(entry.key));
            self.check_child(child, level)?;
            if !self.has_room(child, entry.name.len())? {
                self.split(no, child)?;
                let page = self.page(no)?;
                child = page.child(page.child_index(entry.key));
            }
            no = child;
        }
    }

    fn split(&mut self, parent: u32, child: u32) -> Result<()> {
        let fresh = self.allocate()?;
        let page = self.page_mut(child)?;
        let (begin, upper) = if page.level() == 0 { page.split_leaf() } else { page.split_inner() };
        self.put(fresh, upper);
        self.page_mut(parent)?.insert_child(begin, fresh);
        Ok(())
    }

    /// Moves the root's contents to a new page, its only child.
    fn raise_root(&mut self) -> Result<()> {
        let old = self.page(ROOT)?.clone();
        if old.level() == LEVEL_MAX {
            return Err(Error::TooManyLinks);
        }
        let child = self.allocate()?;
        let mut root = DirPage::new(old.level() + 1);
        root.insert_child(0, child);
        self.put(child, old);
        self.put(ROOT, root);
        Ok(())
    }

    /// Takes an only child's contents into the root.
    fn lower_root(&mut self) -> Result<()> {
        while self.page_count > 0 {
            let root = self.page(ROOT)?;
            let level = root.level();
            if level == 0 || root.count() > 1 {
                break;
            }
            let child = root.child(0);
            self.check_child(child, level)?;
            let page = self.page(child)?.clone();
            self.put(ROOT, page);
            self.free(child);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::format::inode::{Record, S_IFDIR};
    use crate::mem_pages::MemPages;

    /// A directory on pages, changed in one operation at a time.
    struct Tree {
        pages: Arc<MemPages>,
        inode: Inode,
    }

    const INO: Ino = Ino(7);

    impl Tree {
        fn new() -> Self {
            let mut head = Record::free();
            head[2..4].copy_from_slice(&(S_IFDIR | 0o755).to_le_bytes());
            let Ok(Record::Live(inode)) = Record::decode(&head) else { panic!("a directory's record") };
            Tree { pages: MemPages::new(), inode }
        }

        fn open(&self) -> Directory<'_> {
            Directory::new(&*self.pages, INO, &self.inode)
        }

        fn change<T>(&mut self, call: impl FnOnce(&mut Directory<'_>) -> Result<T>) -> Result<T> {
            let mut next = self.inode;
            let mut directory = self.open();
            let result = call(&mut directory)?;
            let mut operation = Operation::new();
            let grown = directory.finish(&mut operation, &mut next);
            self.pages.apply(&operation).expect("applied");
            assert_eq!(grown, next.pages.cast_signed() - self.inode.pages.cast_signed());
            self.inode = next;
            assert_eq!(self.pages.pages_of(INO.0) as u64, self.inode.pages);
            Ok(result)
        }

        fn insert(&mut self, hash: u64, name: &str, ino: u64) -> Result<()> {
            self.change(|directory| directory.insert(hash, name.as_bytes(), Ino(ino), 8))
        }

        fn remove(&mut self, hash: u64, name: &str) {
            self.change(|directory| {
                let found = directory.find(hash, name.as_bytes())?.expect("a name that is there");
                directory.remove(&found)
            })
            .expect("removed");
        }

        fn find(&self, hash: u64, name: &str) -> Option<u64> {
            self.open().find(hash, name.as_bytes()).expect("readable").map(|found| found.ino.0)
        }

        /// Keys and names from a key on.
        fn entries_after(&self, key: u64, most: usize) -> Vec<(u64, String)> {
            let mut entries = Vec::new();
            let mut next = key + 1;
            while let Some((leaf, first)) = self.open().into_entries_from(next).expect("readable") {
                for entry in (first..leaf.count()).map(|index| leaf.entry(index)) {
                    if entries.len() == most {
                        return entries;
                    }
                    entries.push((entry.key, String::from_utf8_lossy(entry.name).into_owned()));
                    next = entry.key + 1;
                }
            }
            entries
        }
    }

    fn long(n: usize) -> String {
        format!("{n:0>200}")
    }

    #[test]
    fn names_of_one_hash_are_told_apart_over_many_pages() {
        let mut tree = Tree::new();
        for n in 0..256 {
            tree.insert(5, &long(n), n as u64 + 1).expect("inserted");
        }
        tree.insert(4, "before", 1).expect("inserted");
        tree.insert(6, "behind", 1).expect("inserted");
        assert!(tree.inode.pages > 10);
        assert_eq!(tree.insert(5, "one more", 1).expect_err("no number left").errno(), libc::EMLINK);
        assert_eq!(tree.insert(5, &long(77), 1).expect_err("there already").errno(), libc::EEXIST);
        for n in 0..256 {
            assert_eq!(tree.find(5, &long(n)), Some(n as u64 + 1));
        }
        for n in (0..256).step_by(2) {
            tree.remove(5, &long(n));
        }
        for n in 0..256 {
            assert_eq!(tree.find(5, &long(n)).is_some(), n % 2 == 1);
        }
        for n in (0..256).step_by(2) {
            tree.insert(5, &long(n), 9).expect("numbers are used again");
        }
        assert_eq!(tree.entries_after(0, 1000).len(), 258);
    }

    #[test]
    fn a_million_entries_are_at_most_four_pages_deep() {
        let mut tree = Tree::new();
        // The height is what inner pages make it, whatever the leaves hold.
        let entries = 1_000_000_u64;
        let mut next = tree.inode;
        let pages = Arc::clone(&tree.pages);
        for chunk in 0..100 {
            let mut directory = Directory::new(&*pages, INO, &next);
            for n in 0..entries / 100 {
                let n = chunk * (entries / 100) + n;
                let hash = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 9).max(1);
                let entry = Entry { key: hash << 8, ino: n + 1, kind: 8, name: b"twelve bytes" };
                directory.insert_entry(entry).expect("inserted");
                if directory.loaded.len() > 64 {
                    let mut operation = Operation::new();
                    directory.finish(&mut operation, &mut next);
                    pages.apply(&operation).expect("applied");
                    directory = Directory::new(&*pages, INO, &next);
                }
            }
            let mut operation = Operation::new();
            directory.finish(&mut operation, &mut next);
            pages.apply(&operation).expect("applied");
        }
        tree.inode = next;
        let depth = tree.open().descend(1 << 40).expect("readable").steps.len();
        assert!(depth <= 4, "{depth} pages");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, usize),
        Remove(u64, usize),
        Read(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..6_u64, 0..60_usize).prop_map(|(hash, n)| Step::Insert(hash, n)),
            3 => (1..6_u64, 0..60_usize).prop_map(|(hash, n)| Step::Remove(hash, n)),
            1 => (1..40_usize).prop_map(Step::Read),
        ]
    }

    proptest! {
        /// Few hashes and long names, so that runs of one hash are split all the time.
        #[test]
        fn a_tree_of_colliding_names_does_what_a_map_does(steps in prop::collection::vec(step(), 1..400)) {
            let mut tree = Tree::new();
            let mut map = BTreeMap::new();
            // One reader: where it is, what it saw, and what was there all the time.
            let (mut cookie, mut seen) = (0, BTreeSet::new());
            let mut stayed: Option<BTreeSet<String>> = None;
            for step in steps {
                match step {
                    Step::Insert(hash, n) => {
                        let name = format!("{hash}-{}", long(n));
                        let fresh = tree.insert(hash, &name, n as u64 + 1).is_ok();
                        prop_assert_eq!(fresh, map.insert(name, n as u64 + 1).is_none());
                    }
                    Step::Remove(hash, n) => {
                        let name = format!("{hash}-{}", long(n));
                        if map.remove(&name).is_some() {
                            tree.remove(hash, &name);
                        }
                        prop_assert_eq!(tree.find(hash, &name), None);
                        if let Some(stayed) = &mut stayed {
                            stayed.remove(&name);
                        }
                    }
                    Step::Read(most) => {
                        let stayed_now = stayed.get_or_insert_with(|| map.keys().cloned().collect());
                        let read = tree.entries_after(cookie, most);
                        for (key, name) in &read {
                            prop_assert!(seen.insert((*key, name.clone())), "seen twice");
                            cookie = *key;
                        }
                        if read.len() < most {
                            let names: BTreeSet<_> = seen.iter().map(|(_, name)| name.clone()).collect();
                            prop_assert!(names.is_superset(stayed_now), "something that stayed was not seen");
                            (cookie, stayed) = (0, None);
                            seen.clear();
                        }
                    }
                }
            }
            for (name, ino) in &map {
                let hash = name.split_once('-').expect("a hash").0.parse().expect("a number");
                prop_assert_eq!(tree.find(hash, name), Some(*ino));
            }
            prop_assert_eq!(tree.entries_after(0, usize::MAX).len(), map.len());
            for name in map.keys() {
                tree.remove(name.split_once('-').expect("a hash").0.parse().expect("a number"), name);
            }
            prop_assert_eq!(tree.inode.pages, 0);
        }
    }
}
