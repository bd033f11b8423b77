//! Random calls, compared with the oracle after each, across remounts and crashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use firnfs::fs::{Fs, Ino, Kind, RenameMode, SetAttr, SetXattr};
use proptest::prelude::*;

use crate::mem_pages::MemPages;
use crate::oracle::{Id, Item, Oracle, ROOT as ROOT_ID};
use crate::support::{ROOT, assert_sound, contents, fresh, list, mount, node};

/// A call. Numbers pick among what is there at that moment.
#[derive(Clone, Debug)]
enum Call {
    Make { dir: usize, name: usize, kind: Kind, open: bool },
    Symlink { dir: usize, name: usize, bytes: usize },
    Link { node: usize, dir: usize, name: usize },
    Unlink { dir: usize, name: usize },
    Rmdir { dir: usize, name: usize },
    Rename { from: (usize, usize), to: (usize, usize), mode: RenameMode },
    Write { file: usize, offset: usize, bytes: usize, fill: u8 },
    Truncate { file: usize, size: usize },
    Punch { file: usize, offset: usize, bytes: usize },
    Zero { file: usize, offset: usize, bytes: usize, keep: bool },
    Allocate { file: usize, offset: usize, bytes: usize, keep: bool },
    Copy { from: usize, from_offset: usize, to: usize, to_offset: usize, bytes: usize },
    SetXattr { node: usize, name: usize, bytes: usize },
    RemoveXattr { node: usize, name: usize },
    Open { node: usize },
    Release { node: usize },
    Remount,
    Crash,
}

const NAMES: usize = 6;

fn name(pick: usize) -> Vec<u8> {
    match pick % NAMES {
        0 => vec![b'x'; 255],
        pick => vec![b'a'; pick],
    }
}

fn xattr_name(pick: usize) -> &'static [u8] {
    [&b"user.one"[..], b"user.two", b"security.capability"][pick % 3]
}

fn call() -> impl Strategy<Value = Call> {
    let pick = || 0..64_usize;
    let kind = || prop_oneof![3 => Just(Kind::File), 3 => Just(Kind::Directory), 1 => Just(Kind::Fifo)];
    let mode =
        || prop_oneof![Just(RenameMode::Replace), Just(RenameMode::NoReplace), Just(RenameMode::Exchange)];
    let offset = || prop_oneof![0..40_000_usize, (0..10_usize).prop_map(|page| page * 4096)];
    prop_oneof![
        6 => (pick(), pick(), kind(), any::<bool>()).prop_map(|(dir, name, kind, open)| Call::Make { dir, name, kind, open }),
        1 => (pick(), pick(), 1..4096_usize).prop_map(|(dir, name, bytes)| Call::Symlink { dir, name, bytes }),
        2 => (pick(), pick(), pick()).prop_map(|(node, dir, name)| Call::Link { node, dir, name }),
        3 => (pick(), pick()).prop_map(|(dir, name)| Call::Unlink { dir, name }),
        2 => (pick(), pick()).prop_map(|(dir, name)| Call::Rmdir { dir, name }),
        6 => ((pick(), pick()), (pick(), pick()), mode()).prop_map(|(from, to, mode)| Call::Rename { from, to, mode }),
        4 => (pick(), offset(), offset(), any::<u8>()).prop_map(|(file, offset, bytes, fill)| Call::Write { file, offset, bytes, fill }),
        2 => (pick(), offset()).prop_map(|(file, size)| Call::Truncate { file, size }),
        2 => (pick(), offset(), offset()).prop_map(|(file, offset, bytes)| Call::Punch { file, offset, bytes }),
        2 => (pick(), offset(), offset(), any::<bool>()).prop_map(|(file, offset, bytes, keep)| Call::Zero { file, offset, bytes, keep }),
        1 => (pick(), offset(), offset(), any::<bool>()).prop_map(|(file, offset, bytes, keep)| Call::Allocate { file, offset, bytes, keep }),
        2 => (pick(), offset(), pick(), offset(), offset()).prop_map(|(from, from_offset, to, to_offset, bytes)| Call::Copy { from, from_offset, to, to_offset, bytes }),
        2 => (pick(), pick(), 0..9000_usize).prop_map(|(node, name, bytes)| Call::SetXattr { node, name, bytes }),
        1 => (pick(), pick()).prop_map(|(node, name)| Call::RemoveXattr { node, name }),
        2 => pick().prop_map(|node| Call::Open { node }),
        2 => pick().prop_map(|node| Call::Release { node }),
        1 => Just(Call::Remount),
        1 => Just(Call::Crash),
    ]
}

/// The filesystem and its oracle, side by side.
struct Pair {
    pages: Arc<MemPages>,
    fs: Fs,
    oracle: Oracle,
    inos: BTreeMap<Id, Ino>,
}

fn chosen(among: &[Id], pick: usize) -> Option<Id> {
    (!among.is_empty()).then(|| among[pick % among.len()])
}

impl Pair {
    fn new() -> Self {
        let (pages, fs) = fresh();
        Pair { pages, fs, oracle: Oracle::new(), inos: BTreeMap::from([(ROOT_ID, Ino::ROOT)]) }
    }

    fn dir(&self, pick: usize) -> Id {
        chosen(&self.oracle.dirs(), pick).expect("there is the root")
    }

    fn file(&self, pick: usize) -> Option<Id> {
        chosen(&self.oracle.of_kind(Kind::File), pick)
    }

    fn ino(&self, id: Id) -> Ino {
        self.inos[&id]
    }

    /// Makes a call of both, and first with a full disk: then nothing may change.
    fn make_call(&mut self, call: &Call) {
        let before = self.pages.applied();
        if !matches!(call, Call::Open { .. } | Call::Release { .. } | Call::Remount | Call::Crash) {
            self.pages.fail(true);
            let _ = self.call_fs(call);
            self.pages.fail(false);
            assert_eq!(self.pages.applied(), before);
        }
        match call {
            Call::Remount | Call::Crash => self.remount(matches!(call, Call::Crash)),
            _ => {
                let real = self.call_fs(call);
                let wanted = self.call_oracle(call, real.ok().flatten());
                assert_eq!(real.map(|_| ()), wanted, "{call:?}");
                assert!(self.pages.applied() <= before + 1, "more than one operation: {call:?}");
            }
        }
    }

    /// Returns the inode of what was made.
    fn call_fs(&self, call: &Call) -> Result<Option<Ino>, i32> {
        let fs = &self.fs;
        let done =
            |result: Result<(), firnfs::fs::Error>| result.map(|()| None).map_err(|error| error.errno());
        match *call {
            Call::Make { dir, name: n, kind, open } => {
                let (parent, node) = (self.ino(self.dir(dir)), node(kind, 0o755));
                let made = if open && kind == Kind::File {
                    fs.create(&ROOT, parent, &name(n), &node)
                } else {
                    fs.mknod(&ROOT, parent, &name(n), &node)
                };
                made.map(|attr| Some(attr.ino)).map_err(|error| error.errno())
            }
            Call::Symlink { dir, name: n, bytes } => fs
                .symlink(&ROOT, self.ino(self.dir(dir)), &name(n), &vec![b't'; bytes])
                .map(|attr| Some(attr.ino))
                .map_err(|error| error.errno()),
            Call::Link { node, dir, name: n } => {
                let id = chosen(&self.oracle.live(), node).expect("there is the root");
                let (ino, parent) = (self.ino(id), self.ino(self.dir(dir)));
                done(fs.link(&ROOT, ino, parent, &name(n)).map(|_| ()))
            }
            Call::Unlink { dir, name: n } => done(fs.unlink(&ROOT, self.ino(self.dir(dir)), &name(n))),
            Call::Rmdir { dir, name: n } => done(fs.rmdir(&ROOT, self.ino(self.dir(dir)), &name(n))),
            Call::Rename { from, to, mode } => {
                let (from_dir, to_dir) = (self.ino(self.dir(from.0)), self.ino(self.dir(to.0)));
                done(fs.rename(&ROOT, (from_dir, &name(from.1)), (to_dir, &name(to.1)), mode))
            }
            Call::SetXattr { node, name, bytes } => {
                let id = chosen(&self.oracle.live(), node).expect("there is the root");
                done(fs.setxattr(&ROOT, self.ino(id), xattr_name(name), &vec![7; bytes], SetXattr::Any))
            }
            Call::RemoveXattr { node, name } => {
                let id = chosen(&self.oracle.live(), node).expect("there is the root");
                done(fs.removexattr(&ROOT, self.ino(id), xattr_name(name)))
            }
            Call::Open { node } => {
                let id = chosen(&self.oracle.live(), node).expect("there is the root");
                done(fs.open_file(&ROOT, self.ino(id), true, false).map(|_| ()))
            }
            Call::Release { node } => match self.open_node(node) {
                Some(id) => done(fs.release(self.ino(id))),
                None => Ok(None),
            },
            Call::Remount | Call::Crash => Ok(None),
            _ => self.call_data(call),
        }
    }

    fn call_data(&self, call: &Call) -> Result<Option<Ino>, i32> {
        let fs = &self.fs;
        let (Call::Write { file, .. }
        | Call::Truncate { file, .. }
        | Call::Punch { file, .. }
        | Call::Zero { file, .. }
        | Call::Allocate { file, .. }
        | Call::Copy { from: file, .. }) = *call
        else {
            unreachable!("the other calls are not about data")
        };
        let Some(ino) = self.file(file).map(|id| self.ino(id)) else { return Ok(None) };
        let fallocate = |mode: i32, offset: usize, bytes: usize| {
            fs.fallocate(ino, mode, offset as u64, bytes.max(1) as u64)
        };
        match *call {
            Call::Write { offset, bytes, fill, .. } => {
                fs.write(ino, offset as u64, &vec![fill; bytes], false)
            }
            Call::Truncate { size, .. } => {
                let set = SetAttr { size: Some(size as u64), ..SetAttr::default() };
                fs.setattr(&ROOT, ino, &set).map(|_| ())
            }
            Call::Punch { offset, bytes, .. } => fallocate(3, offset, bytes),
            Call::Zero { offset, bytes, keep, .. } => fallocate(16 | i32::from(keep), offset, bytes),
            Call::Allocate { offset, bytes, keep, .. } => fallocate(i32::from(keep), offset, bytes),
            Call::Copy { from_offset, to, to_offset, bytes, .. } => {
                let to = self.ino(self.file(to).expect("there is a file"));
                fs.copy_file_range(ino, from_offset as u64, to, to_offset as u64, bytes as u64).map(|_| ())
            }
            _ => unreachable!("matched above"),
        }
        .map(|()| None)
        .map_err(|error| error.errno())
    }

    fn open_node(&self, pick: usize) -> Option<Id> {
        let mut open = self.oracle.live();
        open.retain(|&id| self.oracle.get(id).opens > 0);
        chosen(&open, pick)
    }

    fn call_oracle(&mut self, call: &Call, made: Option<Ino>) -> Result<(), i32> {
        match *call {
            Call::Make { dir, name: n, kind, open } => {
                let id = self.oracle.make(self.dir(dir), &name(n), kind)?;
                self.oracle.get_mut(id).opens = u32::from(open && kind == Kind::File);
                self.inos.insert(id, made.expect("it was made"));
                Ok(())
            }
            Call::Symlink { dir, name: n, bytes } => {
                let id = self.oracle.make(self.dir(dir), &name(n), Kind::Symlink)?;
                self.oracle.get_mut(id).data = vec![b't'; bytes];
                self.inos.insert(id, made.expect("it was made"));
                Ok(())
            }
            Call::Link { node, dir, name: n } => {
                let id = chosen(&self.oracle.live(), node).expect("there is the root");
                self.oracle.link(id, self.dir(dir), &name(n))
            }
            Call::Unlink { dir, name: n } => self.oracle.remove(self.dir(dir), &name(n), false),
            Call::Rmdir { dir, name: n } => self.oracle.remove(self.dir(dir), &name(n), true),
            Call::Rename { from, to, mode } => {
                let (from_dir, to_dir) = (self.dir(from.0), self.dir(to.0));
                self.oracle.rename((from_dir, &name(from.1)), (to_dir, &name(to.1)), mode)
            }
            Call::SetXattr { node, name, bytes } => {
                let id = chosen(&self.oracle.live(), node).expect("there is the root");
                self.oracle.get_mut(id).xattrs.insert(xattr_name(name).to_vec(), vec![7; bytes]);
                Ok(())
            }
            Call::RemoveXattr { node, name } => {
                let id = chosen(&self.oracle.live(), node).expect("there is the root");
                let removed = self.oracle.get_mut(id).xattrs.remove(xattr_name(name));
                removed.map(|_| ()).ok_or(libc::ENODATA)
            }
            Call::Open { node } => {
                let id = chosen(&self.oracle.live(), node).expect("there is the root");
                self.oracle.get_mut(id).opens += 1;
                Ok(())
            }
            Call::Release { node } => {
                if let Some(id) = self.open_node(node) {
                    self.oracle.release(id);
                }
                Ok(())
            }
            Call::Remount | Call::Crash => Ok(()),
            _ => self.change_oracle_data(call),
        }
    }

    fn change_oracle_data(&mut self, call: &Call) -> Result<(), i32> {
        let changed = match *call {
            Call::Write { file, offset, bytes, fill } => self.file(file).map(|id| {
                self.oracle.write(id, offset, &vec![fill; bytes]);
                (bytes > 0).then_some(id)
            }),
            Call::Truncate { file, size } => self.file(file).map(|id| {
                self.oracle.get_mut(id).data.resize(size, 0);
                Some(id)
            }),
            Call::Punch { file, offset, bytes } => self.file(file).map(|id| {
                self.oracle.zero(id, offset, bytes.max(1), true);
                Some(id)
            }),
            Call::Zero { file, offset, bytes, keep } => self.file(file).map(|id| {
                self.oracle.zero(id, offset, bytes.max(1), keep);
                Some(id)
            }),
            Call::Allocate { file, offset, bytes, keep } => self.file(file).map(|id| {
                let size = self.oracle.get(id).data.len();
                let size = if keep { size } else { size.max(offset + bytes.max(1)) };
                self.oracle.get_mut(id).data.resize(size, 0);
                Some(id)
            }),
            Call::Copy { from, from_offset, to, to_offset, bytes } => {
                match (self.file(from), self.file(to)) {
                    (Some(from), Some(to)) => {
                        let source = &self.oracle.get(from).data;
                        let end = source.len().min(from_offset + bytes);
                        let data = source.get(from_offset..end).unwrap_or_default().to_vec();
                        let overlaps =
                            from_offset < to_offset + data.len() && to_offset < from_offset + data.len();
                        if from == to && overlaps && !data.is_empty() {
                            return Err(libc::EINVAL);
                        }
                        self.oracle.write(to, to_offset, &data);
                        Some((!data.is_empty()).then_some(to))
                    }
                    _ => None,
                }
            }
            _ => unreachable!("the other calls are not about data"),
        };
        // A change of data takes file capabilities away.
        if let Some(Some(id)) = changed {
            self.oracle.get_mut(id).xattrs.remove(&b"security.capability"[..]);
        }
        Ok(())
    }

    fn remount(&mut self, crash: bool) {
        assert_sound(&self.pages);
        if crash {
            self.pages = self.pages.fork();
        }
        self.fs = mount(&self.pages);
        self.oracle.crash();
        self.compare();
    }

    fn compare(&self) {
        assert_sound(&self.pages);
        for id in self.oracle.live() {
            self.compare_node(id, self.oracle.get(id));
        }
        let inodes = self.fs.statfs().inodes - self.fs.statfs().inodes_free;
        assert_eq!(inodes, self.oracle.live().len() as u64);
    }

    fn compare_node(&self, id: Id, item: &Item) {
        let ino = self.ino(id);
        let attr = self.fs.getattr(ino).expect("attributes");
        assert_eq!((attr.kind, attr.nlink), (item.kind, item.nlink));
        match item.kind {
            Kind::Directory => {
                let mut names: Vec<_> = item
                    .entries
                    .iter()
                    .map(|(name, &id)| (String::from_utf8_lossy(name).into_owned(), self.ino(id)))
                    .collect();
                names.push((".".into(), ino));
                if item.nlink > 0 {
                    names.push(("..".into(), self.ino(item.parent)));
                }
                let mut listed = list(&self.fs, ino);
                listed.retain(|(name, _)| item.nlink > 0 || name != "..");
                listed.sort();
                names.sort();
                assert_eq!(listed, names);
                for (name, &child) in &item.entries {
                    assert_eq!(self.fs.lookup(ino, name).expect("a name").ino, self.ino(child));
                }
            }
            Kind::File => assert!(contents(&self.fs, ino) == item.data, "other contents"),
            Kind::Symlink => assert_eq!(self.fs.readlink(ino).expect("a target"), item.data),
            _ => {}
        }
        let names = self.fs.listxattr(ino).expect("extended attributes");
        let mut names: Vec<_> = names.split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        assert!(names.iter().eq(item.xattrs.keys()));
        for (name, value) in &item.xattrs {
            assert_eq!(&self.fs.getxattr(ino, name).expect("a value"), value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn random_calls_do_what_plain_maps_do(calls in prop::collection::vec(call(), 1..120)) {
        let mut pair = Pair::new();
        for call in &calls {
            pair.make_call(call);
        }
        pair.compare();
        pair.remount(true);
    }
}
