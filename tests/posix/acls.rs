//! POSIX ACLs, as far as they are the filesystem's business.

use firnfs::format::acl::Acl;
use firnfs::fs::{Ino, Kind, NewNode, SetAttr, SetXattr};

use crate::support::{ROOT, USER, assert_errno, assert_sound, dir, file, fresh, node};

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// Owner, user 5, group, mask and others.
fn acl(owner: u8, user: u8, group: u8, mask: u8, other: u8) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0];
    for (tag, perm, id) in [
        (1, owner, u32::MAX),
        (2, user, 5),
        (4, group, u32::MAX),
        (16, mask, u32::MAX),
        (32, other, u32::MAX),
    ] {
        bytes.extend([tag, 0, perm, 0]);
        bytes.extend(id.to_le_bytes());
    }
    assert!(Acl::decode(&bytes).is_ok());
    bytes
}

fn minimal(owner: u8, group: u8, other: u8) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0];
    for (tag, perm) in [(1, owner), (4, group), (32, other)] {
        bytes.extend([tag, 0, perm, 0, 255, 255, 255, 255]);
    }
    bytes
}

#[test]
fn an_access_acl_and_the_mode_follow_each_other() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    fs.setxattr(&ROOT, ino, ACCESS, &acl(7, 6, 5, 4, 1), SetXattr::Any).expect("set");
    assert_eq!(fs.getattr(ino).expect("attributes").mode, 0o741);
    fs.setattr(&ROOT, ino, &SetAttr { mode: Some(0o620), ..SetAttr::default() }).expect("changed");
    assert_eq!(fs.getxattr(ino, ACCESS).expect("there"), acl(6, 6, 5, 2, 0));
    assert_sound(&pages);
}

#[test]
fn an_acl_that_is_a_mode_is_kept_as_one() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    fs.setxattr(&ROOT, ino, ACCESS, &acl(7, 6, 5, 4, 1), SetXattr::Any).expect("set");
    fs.setxattr(&ROOT, ino, ACCESS, &minimal(6, 4, 0), SetXattr::Any).expect("set");
    assert_eq!(fs.getattr(ino).expect("attributes").mode, 0o640);
    assert_errno(fs.getxattr(ino, ACCESS), libc::ENODATA);
    assert_eq!(pages.pages_of(ino.0 | 1 << 63), 0);
    fs.removexattr(&ROOT, ino, ACCESS).expect("there is none, as wanted");
    assert_sound(&pages);
}

#[test]
fn a_default_acl_replaces_the_umask_and_is_inherited() {
    let (pages, fs) = fresh();
    let parent = dir(&fs, Ino::ROOT, "d").ino;
    fs.setxattr(&ROOT, parent, DEFAULT, &acl(7, 7, 5, 7, 5), SetXattr::Any).expect("set");
    let before = pages.applied();
    let new = NewNode { kind: Kind::File, mode: 0o666, umask: 0o077, rdev: 0 };
    let made = fs.mknod(&ROOT, parent, b"f", &new).expect("made");
    assert_eq!(pages.applied(), before + 1);
    assert_eq!(made.mode, 0o664);
    assert_eq!(fs.getxattr(made.ino, ACCESS).expect("inherited"), acl(6, 7, 5, 6, 4));
    assert_errno(fs.getxattr(made.ino, DEFAULT), libc::ENODATA);
    let below = fs.mknod(&ROOT, parent, b"d", &node(Kind::Directory, 0o777)).expect("made");
    assert_eq!(fs.getxattr(below.ino, DEFAULT).expect("inherited"), acl(7, 7, 5, 7, 5));
    assert_eq!(fs.getxattr(below.ino, ACCESS).expect("inherited"), acl(7, 7, 5, 7, 5));
    let link = fs.symlink(&ROOT, parent, b"s", b"target").expect("made");
    assert_eq!((link.mode, fs.listxattr(link.ino).expect("names").len()), (0o777, 0));
    assert_sound(&pages);
}

#[test]
fn a_default_acl_that_is_a_mode_leaves_files_without_one() {
    let (pages, fs) = fresh();
    let parent = dir(&fs, Ino::ROOT, "d").ino;
    fs.setxattr(&ROOT, parent, DEFAULT, &minimal(7, 5, 0), SetXattr::Any).expect("set");
    let made = fs.mknod(&ROOT, parent, b"f", &node(Kind::File, 0o666)).expect("made");
    assert_eq!(made.mode, 0o640);
    assert!(fs.listxattr(made.ino).expect("names").is_empty());
    assert_sound(&pages);
}

#[test]
fn only_directories_have_default_acls() {
    let (_pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    let set = fs.setxattr(&ROOT, ino, DEFAULT, &minimal(7, 5, 0), SetXattr::Any);
    assert_errno(set, libc::EACCES);
    assert_errno(fs.setxattr(&ROOT, ino, ACCESS, b"nonsense", SetXattr::Any), libc::EINVAL);
}

#[test]
fn setting_an_acl_from_outside_the_group_clears_set_group_id() {
    let (_pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    fs.setattr(&ROOT, ino, &SetAttr { mode: Some(0o2755), ..SetAttr::default() }).expect("changed");
    fs.setxattr(&ROOT, ino, ACCESS, &minimal(7, 5, 5), SetXattr::Any).expect("set");
    assert_eq!(fs.getattr(ino).expect("attributes").mode, 0o2755);
    fs.setxattr(&USER, ino, ACCESS, &minimal(7, 5, 5), SetXattr::Any).expect("set");
    assert_eq!(fs.getattr(ino).expect("attributes").mode, 0o755);
}
