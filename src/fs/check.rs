//! Consistency of a filesystem at rest: everything that the layer promises about its own bytes.
//!
//! Reads the inode table once and walks the tree of directories once. Keeps some 30 bytes for each inode,
//! and the names of one directory.

use std::collections::{BTreeMap, HashSet};

use crate::base::limits::PAGE_BYTES;
use crate::base::{PageNo, Space};
use crate::format::dir::DirPage;
use crate::format::inode::{
    HAS_ACCESS_ACL, HAS_CAPABILITY, HAS_DEFAULT_ACL, HEAD_BYTES, INODE_BYTES, INODES_PER_PAGE, Inode, Record,
    S_IFDIR, S_IFMT, S_IFREG,
};
use crate::format::superblock::Superblock;
use crate::format::xattr::Xattrs;
use crate::volume::{Hint, Pages};

use super::change::TABLE;
use super::names::NameHash;
use super::{Ino, LAST_PAGE, ORPHANS, Result, acl, read_superblock, xattr};

const PAGE: u64 = PAGE_BYTES as u64;
/// Findings that are reported; more say nothing new.
const FINDINGS_MAX: usize = 1000;

/// Examines a filesystem that nobody changes meanwhile (a snapshot, or one that is not mounted). Returns
/// one line for each thing that is wrong; none for a volume that holds no filesystem yet.
pub fn check(pages: &dyn Pages) -> Vec<String> {
    let superblock = match read_superblock(pages) {
        Ok(Some(superblock)) => superblock,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![format!("super record: {error}")],
    };
    let mut checker = Checker {
        pages,
        hash: NameHash::new(superblock.hash_key),
        table: BTreeMap::new(),
        used_pages: 0,
        inodes: 0,
        findings: Vec::new(),
    };
    checker.read_table(&superblock);
    checker.walk_tree();
    checker.walk_orphans();
    checker.compare_links();
    checker.compare_counters(&superblock);
    checker.findings
}

/// What is known of an inode number.
#[derive(Clone, Copy)]
struct Known {
    mode: u16,
    nlink: u32,
    parent: u64,
    /// Names that lead here; for a directory also `.` and the `..` of those in it.
    found: u32,
    orphan: bool,
}

impl Known {
    fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }
}

struct Checker<'p> {
    pages: &'p dyn Pages,
    hash: NameHash,
    /// The inodes in use, by number.
    table: BTreeMap<u64, Known>,
    used_pages: i64,
    inodes: i64,
    findings: Vec<String>,
}

impl Checker<'_> {
    fn report(&mut self, ino: u64, what: &str) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(format!("inode {ino}: {what}"));
        }
    }

    fn require(&mut self, holds: bool, ino: u64, what: &str) {
        if !holds {
            self.report(ino, what);
        }
    }

    fn present(&self, space: Space) -> u64 {
        self.pages.count(space, PageNo(0), LAST_PAGE)
    }

    fn read_table(&mut self, superblock: &Superblock) {
        let mut bytes = [0; PAGE_BYTES];
        let mut next = PageNo(0);
        while let Some(page) = self.pages.next_present(TABLE, next) {
            next = PageNo(page.0 + 1);
            let first = page.0 * INODES_PER_PAGE as u64;
            if let Err(error) = self.pages.read(TABLE, page.0 * PAGE, &mut bytes, Hint::Once) {
                self.report(first, &error.to_string());
                continue;
            }
            for (ino, record) in (first..).zip(bytes.chunks_exact(INODE_BYTES)) {
                let (head, _) = record.split_first_chunk::<HEAD_BYTES>().expect("a record has a head");
                if ino == 0 {
                    continue;
                }
                if let Some(known) = self.check_record(ino, head) {
                    self.require(ino < superblock.next_inode, ino, "its number is not below the next one");
                    self.table.insert(ino, known);
                }
            }
        }
    }

    fn check_record(&mut self, ino: u64, head: &[u8; HEAD_BYTES]) -> Option<Known> {
        let inode = match Record::decode(head) {
            Ok(Record::Live(inode)) => inode,
            Ok(Record::Absent | Record::Free) => {
                let nothing = self.present(Space(ino)) == 0 && self.present(xattr::space(Ino(ino))) == 0;
                self.require(nothing, ino, "it is free and has pages");
                return None;
            }
            Err(error) => {
                self.report(ino, error.0);
                return None;
            }
        };
        self.inodes += i64::from(ino != ORPHANS.0);
        self.used_pages += (inode.pages + inode.xattr_pages()).cast_signed();
        self.require(self.present(Space(ino)) == inode.pages, ino, "its page count is wrong");
        if inode.mode & S_IFMT == S_IFREG {
            self.check_end(ino, &inode);
        }
        self.check_xattrs(ino, &inode);
        Some(Known { mode: inode.mode, nlink: inode.nlink, parent: inode.parent, found: 0, orphan: false })
    }

    fn check_end(&mut self, ino: u64, inode: &Inode) {
        let end = PageNo(inode.size.div_ceil(PAGE));
        let beyond = self.pages.next_present(Space(ino), end);
        self.require(beyond.is_none(), ino, "it has pages beyond its end");
        let mut tail = vec![0; usize::try_from(end.0 * PAGE - inode.size).expect("less than a page")];
        match self.pages.read(Space(ino), inode.size, &mut tail, Hint::Once) {
            Ok(()) => self.require(tail.iter().all(|&byte| byte == 0), ino, "there are bytes beyond its end"),
            Err(error) => self.report(ino, &error.to_string()),
        }
    }

    fn check_xattrs(&mut self, ino: u64, inode: &Inode) {
        let space = xattr::space(Ino(ino));
        let exact = self.present(space) == inode.xattr_pages();
        self.require(exact, ino, "the page count of its extended attributes is wrong");
        let mut bytes = vec![0; inode.xattr_bytes as usize];
        let decoded = match self.pages.read(space, 0, &mut bytes, Hint::Once) {
            Ok(()) if bytes.is_empty() => Ok(Xattrs::default()),
            Ok(()) => Xattrs::decode(&bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let xattrs = match decoded {
            Ok(xattrs) => xattrs,
            Err(error) => return self.report(ino, &error),
        };
        for (name, flag) in [
            (xattr::ACL_ACCESS, HAS_ACCESS_ACL),
            (xattr::ACL_DEFAULT, HAS_DEFAULT_ACL),
            (xattr::CAPABILITY, HAS_CAPABILITY),
        ] {
            let agrees = xattrs.get(name).is_some() == (inode.flags & flag != 0);
            self.require(agrees, ino, "its flags do not say which extended attributes it has");
        }
        match acl::stored(Ino(ino), &xattrs, xattr::ACL_ACCESS) {
            Ok(Some(list)) => {
                let agrees = acl::permissions(&list) == inode.mode & 0o777;
                self.require(agrees, ino, "its mode and its ACL disagree");
            }
            Ok(None) => {}
            Err(error) => self.report(ino, &error.to_string()),
        }
    }

    fn walk_tree(&mut self) {
        let Some(root) = self.table.get_mut(&Ino::ROOT.0).filter(|root| root.is_dir()) else {
            return self.report(Ino::ROOT.0, "there is no root directory");
        };
        // The root is its own parent.
        root.found += 1;
        let mut reached = HashSet::from([Ino::ROOT.0]);
        let mut waiting = vec![Ino::ROOT.0];
        while let Some(dir) = waiting.pop() {
            self.count_name(dir);
            for (ino, kind, _) in self.read_directory(dir) {
                self.count_name(ino);
                let Some(&known) = self.table.get(&ino) else {
                    self.report(dir, &format!("a name in it leads to inode {ino}, which is free"));
                    continue;
                };
                self.require(known.mode >> 12 == u16::from(kind), ino, "its name says another kind");
                if known.is_dir() {
                    self.count_name(dir);
                    self.require(known.parent == dir, ino, "its parent is another directory");
                    if reached.insert(ino) {
                        waiting.push(ino);
                    } else {
                        self.report(ino, "it is a directory with more than one name");
                    }
                }
            }
        }
    }

    fn walk_orphans(&mut self) {
        for (ino, kind, name) in self.read_directory(ORPHANS.0) {
            self.require(
                name == format!("{ino:016x}").as_bytes(),
                ino,
                "it is on the orphan list by another name",
            );
            match self.table.get_mut(&ino) {
                Some(known) if known.nlink == 0 && known.mode >> 12 == u16::from(kind) => known.orphan = true,
                _ => self.report(ino, "it is on the orphan list and no orphan"),
            }
        }
    }

    fn count_name(&mut self, ino: u64) {
        if let Some(known) = self.table.get_mut(&ino) {
            known.found += 1;
        }
    }

    fn compare_links(&mut self) {
        let table = std::mem::take(&mut self.table);
        for (&ino, known) in table.iter().filter(|&(&ino, _)| ino != ORPHANS.0) {
            if known.found != known.nlink {
                self.report(ino, &format!("it has {} links and says {}", known.found, known.nlink));
            }
            self.require(
                known.nlink > 0 || known.orphan,
                ino,
                "it has no name and is not on the orphan list",
            );
        }
    }

    fn compare_counters(&mut self, superblock: &Superblock) {
        let (pages, inodes) = (self.used_pages, self.inodes);
        if superblock.used_pages != pages {
            self.report(0, &format!("{pages} pages are used, {} are counted", superblock.used_pages));
        }
        if superblock.inodes != inodes {
            self.report(0, &format!("{inodes} inodes are used, {} are counted", superblock.inodes));
        }
    }
}

/// Inode, kind and name.
type Named = (u64, u8, Vec<u8>);

impl Checker<'_> {
    /// The entries of a directory, after checking its tree.
    fn read_directory(&mut self, dir: u64) -> Vec<Named> {
        let mut entries = Vec::new();
        let mut seen = 0;
        if self.present(Space(dir)) > 0 {
            let bounds = (0, u64::MAX);
            self.read_subtree(dir, 0, None, bounds, &mut seen, &mut entries);
        }
        self.require(seen == self.present(Space(dir)), dir, "it has pages that are not in its tree");
        let names: HashSet<&[u8]> = entries.iter().map(|(_, _, name)| name.as_slice()).collect();
        self.require(names.len() == entries.len(), dir, "a name is in it twice");
        entries
    }

    fn read_subtree(
        &mut self,
        dir: u64,
        no: u32,
        level: Option<u8>,
        (lower, upper): (u64, u64),
        seen: &mut u64,
        entries: &mut Vec<Named>,
    ) {
        let page = match self.read_page(dir, no) {
            Ok(page) => page,
            Err(error) => return self.report(dir, &error.to_string()),
        };
        *seen += 1;
        if level.is_some_and(|level| level != page.level()) {
            return self.report(dir, "its pages form no tree");
        }
        self.require(page.count() > 0, dir, "it has an empty page");
        if page.level() > 0 {
            for index in 0..page.count() {
                let begin = if index == 0 { lower } else { page.key_after(index - 1).unwrap_or(lower) };
                let bounds = (begin, page.key_after(index).unwrap_or(upper));
                self.read_subtree(dir, page.child(index), Some(page.level() - 1), bounds, seen, entries);
            }
            return;
        }
        for entry in page.entries() {
            let in_place = (lower..upper).contains(&entry.key);
            self.require(in_place, dir, "an entry is in the wrong page");
            self.require(self.hash.of(entry.name) == entry.key >> 8, dir, "an entry has the hash of another");
            entries.push((entry.ino, entry.kind, entry.name.to_vec()));
        }
    }

    fn read_page(&self, dir: u64, no: u32) -> Result<DirPage> {
        let mut bytes = Box::new([0; PAGE_BYTES]);
        self.pages.read(Space(dir), u64::from(no) * PAGE, &mut bytes[..], Hint::Once)?;
        DirPage::decode(bytes).map_err(|error| super::Error::Corrupt { ino: dir, detail: error.0 })
    }
}
