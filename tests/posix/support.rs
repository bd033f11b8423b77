//! A filesystem for a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use firnfs::fs::{Attr, Caller, Error, Fs, Ino, Kind, NewNode, check};
use firnfs::io::{Clock, Rng, Timestamp};

use crate::mem_pages::MemPages;

pub(crate) const ROOT: Caller = Caller { uid: 0, gid: 0, pid: 1 };
pub(crate) const USER: Caller = Caller { uid: 1000, gid: 1000, pid: 2 };

/// A clock on which every look is a microsecond later.
#[derive(Default)]
pub(crate) struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        Timestamp { nanos: 1_000 * (1 + self.0.fetch_add(1, Ordering::Relaxed)) }
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Numbers that are as good as random.
#[derive(Default)]
pub(crate) struct Counting(AtomicU64);

impl Rng for Counting {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

pub(crate) fn mount(pages: &Arc<MemPages>) -> Fs {
    let pages = Arc::clone(pages);
    Fs::open(pages, Arc::new(Ticks::default()), &Counting::default(), ROOT).expect("a filesystem")
}

pub(crate) fn fresh() -> (Arc<MemPages>, Fs) {
    let pages = MemPages::new();
    let fs = mount(&pages);
    (pages, fs)
}

pub(crate) fn node(kind: Kind, mode: u16) -> NewNode {
    NewNode { kind, mode, umask: 0o022, rdev: 0 }
}

pub(crate) fn file(fs: &Fs, parent: Ino, name: &str) -> Attr {
    fs.mknod(&ROOT, parent, name.as_bytes(), &node(Kind::File, 0o644)).expect("a new file")
}

pub(crate) fn dir(fs: &Fs, parent: Ino, name: &str) -> Attr {
    fs.mknod(&ROOT, parent, name.as_bytes(), &node(Kind::Directory, 0o755)).expect("a new directory")
}

pub(crate) fn contents(fs: &Fs, ino: Ino) -> Vec<u8> {
    let size = usize::try_from(fs.getattr(ino).expect("attributes").size).expect("a small file");
    let mut bytes = vec![0xee; size + 10];
    let length = fs.read(ino, 0, &mut bytes).expect("a readable file");
    assert_eq!(length, size, "a short read within the file");
    bytes.truncate(length);
    bytes
}

pub(crate) fn list(fs: &Fs, ino: Ino) -> Vec<(String, Ino)> {
    let mut names = Vec::new();
    fs.readdir(ino, 0, false, &mut |entry| {
        names.push((String::from_utf8_lossy(entry.name).into_owned(), entry.ino));
        true
    })
    .expect("a readable directory");
    names
}

#[track_caller]
pub(crate) fn assert_errno<T: std::fmt::Debug>(result: Result<T, Error>, errno: i32) {
    let error = result.expect_err("an error");
    assert_eq!(error.errno(), errno, "{error}");
}

#[track_caller]
pub(crate) fn assert_sound(pages: &MemPages) {
    let findings = check(pages);
    assert!(findings.is_empty(), "{findings:#?}");
}
