//! Making, linking and renaming.

use firnfs::fs::{Ino, Kind, NewNode, RenameMode};

use crate::support::{ROOT, assert_errno, assert_sound, dir, file, fresh, list, node};

#[test]
fn every_kind_of_node_keeps_what_it_was_made_with() {
    let (pages, fs) = fresh();
    for (name, kind, rdev) in [
        ("file", Kind::File, 0),
        ("fifo", Kind::Fifo, 0),
        ("socket", Kind::Socket, 0),
        ("char", Kind::CharDevice, 0x0103),
        ("block", Kind::BlockDevice, 0x0801),
        ("dir", Kind::Directory, 0),
    ] {
        let new = NewNode { kind, mode: 0o1777, umask: 0o027, rdev };
        let made = fs.mknod(&ROOT, Ino::ROOT, name.as_bytes(), &new).expect("made");
        assert_eq!((made.kind, made.mode, made.rdev), (kind, 0o1750, rdev));
        assert_eq!(fs.lookup(Ino::ROOT, name.as_bytes()).expect("found"), made);
    }
    assert_sound(&pages);
}

#[test]
fn a_symlink_of_any_length_gives_its_target_back() {
    let (pages, fs) = fresh();
    for length in [1, 127, 128, 129, 4095] {
        let target = vec![b'x'; length];
        let made = fs.symlink(&ROOT, Ino::ROOT, format!("s{length}").as_bytes(), &target).expect("made");
        assert_eq!((made.size, made.mode), (length as u64, 0o777));
        assert_eq!(fs.readlink(made.ino).expect("a target"), target);
        assert_eq!(pages.pages_of(made.ino.0), usize::from(length > 128));
        fs.unlink(&ROOT, Ino::ROOT, format!("s{length}").as_bytes()).expect("removed");
    }
    assert_errno(fs.symlink(&ROOT, Ino::ROOT, b"s", &[b'x'; 4096]), libc::ENAMETOOLONG);
    assert_errno(fs.readlink(Ino::ROOT), libc::EINVAL);
    assert_sound(&pages);
}

#[test]
fn a_set_group_id_directory_passes_its_group_on() {
    let (_pages, fs) = fresh();
    let parent = dir(&fs, Ino::ROOT, "d");
    let set = firnfs::fs::SetAttr { gid: Some(77), ..Default::default() };
    fs.setattr(&ROOT, parent.ino, &set).expect("changed");
    let set = firnfs::fs::SetAttr { mode: Some(0o2775), ..Default::default() };
    fs.setattr(&ROOT, parent.ino, &set).expect("changed");
    let below = dir(&fs, parent.ino, "d");
    assert_eq!((below.gid, below.mode), (77, 0o2755));
    let within = file(&fs, parent.ino, "f");
    assert_eq!((within.gid, within.mode), (77, 0o644));
}

#[test]
fn a_directory_cannot_be_linked() {
    let (_pages, fs) = fresh();
    let ino = dir(&fs, Ino::ROOT, "d").ino;
    assert_errno(fs.link(&ROOT, ino, Ino::ROOT, b"e"), libc::EPERM);
}

#[test]
fn a_name_in_use_is_refused() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    assert_errno(fs.mknod(&ROOT, Ino::ROOT, b"f", &node(Kind::File, 0)), libc::EEXIST);
    assert_errno(fs.create(&ROOT, Ino::ROOT, b"f", &node(Kind::File, 0)), libc::EEXIST);
    assert_errno(fs.symlink(&ROOT, Ino::ROOT, b"f", b"x"), libc::EEXIST);
    assert_errno(fs.link(&ROOT, ino, Ino::ROOT, b"f"), libc::EEXIST);
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
        assert_errno(fs.mknod(&ROOT, Ino::ROOT, name, &node(Kind::File, 0)), libc::EINVAL);
    }
    assert_sound(&pages);
}

#[test]
fn what_is_no_directory_has_no_entries() {
    let (_pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    assert_errno(fs.lookup(ino, b"x"), libc::ENOTDIR);
    assert_errno(fs.mknod(&ROOT, ino, b"x", &node(Kind::File, 0)), libc::ENOTDIR);
    assert_errno(fs.readdir(ino, 0, false, &mut |_| true), libc::ENOTDIR);
    assert_errno(fs.rmdir(&ROOT, Ino::ROOT, b"f"), libc::ENOTDIR);
    dir(&fs, Ino::ROOT, "d");
    assert_errno(fs.unlink(&ROOT, Ino::ROOT, b"d"), libc::EISDIR);
}

#[test]
fn a_rename_replaces_in_one_operation() {
    let (pages, fs) = fresh();
    let (a, b) = (file(&fs, Ino::ROOT, "a").ino, file(&fs, Ino::ROOT, "b").ino);
    fs.write(b, 0, &[1; 50_000], false).expect("written");
    let before = pages.applied();
    fs.rename(&ROOT, (Ino::ROOT, b"a"), (Ino::ROOT, b"b"), RenameMode::Replace).expect("renamed");
    assert_eq!(pages.applied(), before + 1);
    assert_eq!(fs.lookup(Ino::ROOT, b"b").expect("found").ino, a);
    assert_errno(fs.getattr(b), libc::ESTALE);
    assert_eq!(pages.pages_of(b.0), 0);
    assert_sound(&pages);
}

#[test]
fn an_exchange_swaps_a_file_and_a_directory() {
    let (pages, fs) = fresh();
    let (left, right) = (dir(&fs, Ino::ROOT, "left").ino, dir(&fs, Ino::ROOT, "right").ino);
    let (moved, stays) = (dir(&fs, left, "x").ino, file(&fs, right, "y").ino);
    fs.rename(&ROOT, (left, b"x"), (right, b"y"), RenameMode::Exchange).expect("exchanged");
    assert_eq!(fs.lookup(left, b"x").expect("found").ino, stays);
    assert_eq!(fs.lookup(right, b"y").expect("found").ino, moved);
    assert_eq!(list(&fs, moved)[1].1, right);
    assert_errno(fs.rename(&ROOT, (Ino::ROOT, b"right"), (moved, b"z"), RenameMode::Exchange), libc::EINVAL);
    assert_sound(&pages);
}

#[test]
fn two_names_of_one_file_rename_to_nothing_new() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "a").ino;
    fs.link(&ROOT, ino, Ino::ROOT, b"b").expect("linked");
    fs.rename(&ROOT, (Ino::ROOT, b"a"), (Ino::ROOT, b"b"), RenameMode::Replace).expect("nothing to do");
    assert_eq!(list(&fs, Ino::ROOT).len(), 4);
    assert_sound(&pages);
}

#[test]
fn more_inodes_than_the_cache_holds_are_all_found() {
    let (pages, fs) = fresh();
    let parent = dir(&fs, Ino::ROOT, "d").ino;
    let open = fs.create(&ROOT, parent, b"open", &node(Kind::File, 0o644)).expect("created").ino;
    fs.unlink(&ROOT, parent, b"open").expect("unlinked");
    let inos: Vec<Ino> = (0..40_000).map(|n| file(&fs, parent, &n.to_string()).ino).collect();
    for (n, ino) in inos.iter().enumerate().rev() {
        assert_eq!(fs.lookup(parent, n.to_string().as_bytes()).expect("found").ino, *ino);
    }
    fs.write(open, 0, b"still here", false).expect("an open file stays");
    fs.release(open).expect("released");
    assert_sound(&pages);
}
