//! Extended attributes.

use firnfs::fs::{Ino, SetXattr};

use crate::support::{ROOT, assert_errno, assert_sound, file, fresh};

#[test]
fn values_to_64_kib_are_kept_and_larger_ones_refused() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    let value: Vec<u8> = (0..65_536_u32).map(|n| n.to_le_bytes()[0]).collect();
    fs.setxattr(&ROOT, ino, b"user.large", &value, SetXattr::Any).expect("set");
    fs.setxattr(&ROOT, ino, b"user.empty", b"", SetXattr::Any).expect("set");
    assert!(fs.getxattr(ino, b"user.large").expect("there") == value);
    assert_eq!(fs.getxattr(ino, b"user.empty").expect("there"), b"");
    assert_eq!(fs.listxattr(ino).expect("names"), b"user.large\0user.empty\0");
    assert_errno(fs.setxattr(&ROOT, ino, b"user.x", &[0; 65_537], SetXattr::Any), libc::E2BIG);
    let name = [b'n'; 256];
    assert_errno(fs.setxattr(&ROOT, ino, &name, b"", SetXattr::Any), libc::ERANGE);
    assert_sound(&pages);
    fs.removexattr(&ROOT, ino, b"user.large").expect("removed");
    assert_sound(&pages);
    fs.removexattr(&ROOT, ino, b"user.empty").expect("removed");
    assert_eq!(pages.pages_of(ino.0 | 1 << 63), 0);
    assert_sound(&pages);
}

#[test]
fn create_and_replace_are_told_apart() {
    let (_pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    let set = |mode| fs.setxattr(&ROOT, ino, b"user.a", b"v", mode);
    assert_errno(set(SetXattr::Replace), libc::ENODATA);
    set(SetXattr::Create).expect("created");
    assert_errno(set(SetXattr::Create), libc::EEXIST);
    set(SetXattr::Replace).expect("replaced");
    assert_errno(fs.getxattr(ino, b"user.b"), libc::ENODATA);
    assert_errno(fs.removexattr(&ROOT, ino, b"user.b"), libc::ENODATA);
    assert_errno(fs.setxattr(&ROOT, ino, b"system.other", b"v", SetXattr::Any), libc::EOPNOTSUPP);
}

#[test]
fn attributes_of_one_inode_are_bounded() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    let mut count = 0;
    let error = loop {
        let name = format!("user.{count}");
        match fs.setxattr(&ROOT, ino, name.as_bytes(), &[0; 60_000], SetXattr::Any) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.errno(), count), (libc::ENOSPC, 17));
    assert_sound(&pages);
    fs.unlink(&ROOT, Ino::ROOT, b"f").expect("removed");
    assert_eq!(pages.pages_of(ino.0 | 1 << 63), 0);
    assert_sound(&pages);
}
