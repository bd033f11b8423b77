//! Files that outlive their last name.

use std::sync::Arc;

use firnfs::fs::{Ino, Kind, RenameMode};

use crate::support::{ROOT, assert_errno, assert_sound, contents, dir, file, fresh, mount, node};

#[test]
fn an_unlinked_file_lives_until_its_last_handle_is_released() {
    let (pages, fs) = fresh();
    let ino = fs.create(&ROOT, Ino::ROOT, b"f", &node(Kind::File, 0o644)).expect("created").ino;
    fs.open_file(&ROOT, ino, false, false).expect("opened");
    fs.write(ino, 0, &[7; 9000], false).expect("written");
    fs.unlink(&ROOT, Ino::ROOT, b"f").expect("unlinked");
    assert_errno(fs.lookup(Ino::ROOT, b"f"), libc::ENOENT);
    assert_errno(fs.link(&ROOT, ino, Ino::ROOT, b"again"), libc::ENOENT);
    assert_eq!(fs.getattr(ino).expect("attributes").nlink, 0);
    fs.write(ino, 9000, &[8; 10], false).expect("written");
    fs.release(ino).expect("released");
    assert_eq!(contents(&fs, ino).len(), 9010);
    assert_sound(&pages);
    fs.release(ino).expect("released");
    assert_errno(fs.getattr(ino), libc::ESTALE);
    assert_eq!(pages.pages_of(ino.0), 0);
    assert_sound(&pages);
}

#[test]
fn the_removal_of_a_synced_file_is_to_be_durable() {
    let (_, fs) = fresh();
    let synced = file(&fs, Ino::ROOT, "journal").ino;
    file(&fs, Ino::ROOT, "other");
    fs.fsync(synced, Box::new(|result| result.expect("synced")));
    assert!(fs.remove_file(&ROOT, Ino::ROOT, b"journal").expect("removed"));
    assert!(!fs.remove_file(&ROOT, Ino::ROOT, b"other").expect("removed"));
}

#[test]
fn a_crash_does_not_leak_what_was_unlinked_while_open() {
    let (pages, fs) = fresh();
    let before = pages.page_count();
    let mut inos = Vec::new();
    for n in 0..500 {
        let name = format!("f{n}");
        let ino =
            fs.create(&ROOT, Ino::ROOT, name.as_bytes(), &node(Kind::File, 0o644)).expect("created").ino;
        fs.write(ino, 0, &[7; 5000], false).expect("written");
        if n % 2 == 0 {
            fs.unlink(&ROOT, Ino::ROOT, name.as_bytes()).expect("unlinked");
        } else {
            file(&fs, Ino::ROOT, "other");
            fs.rename(&ROOT, (Ino::ROOT, b"other"), (Ino::ROOT, name.as_bytes()), RenameMode::Replace)
                .expect("replaced");
            fs.unlink(&ROOT, Ino::ROOT, name.as_bytes()).expect("unlinked");
        }
        inos.push(ino);
    }
    let crashed = pages.fork();
    assert_sound(&crashed);
    let fs = mount(&crashed);
    assert_sound(&crashed);
    for ino in inos {
        assert_errno(fs.getattr(ino), libc::ESTALE);
    }
    assert_eq!(fs.statfs().inodes - fs.statfs().inodes_free, 1);
    assert!(crashed.page_count() <= before + 1, "the inode table is given back as well");
}

#[test]
fn the_inode_table_is_no_larger_than_its_inodes_need() {
    let (pages, fs) = fresh();
    let before = pages.page_count();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let fs = &fs;
            scope.spawn(move || {
                for n in 0..1000 {
                    let name = format!("{thread}-{n}");
                    file(fs, Ino::ROOT, &name);
                    fs.unlink(&ROOT, Ino::ROOT, name.as_bytes()).expect("unlinked");
                }
            });
        }
    });
    // The page that the next numbers are in may be there.
    assert!(pages.page_count() <= before + 1);
    assert_sound(&pages);
}

#[test]
fn a_read_only_mount_leaves_orphans_alone() {
    let (pages, fs) = fresh();
    let ino = fs.create(&ROOT, Ino::ROOT, b"f", &node(Kind::File, 0o644)).expect("created").ino;
    fs.unlink(&ROOT, Ino::ROOT, b"f").expect("unlinked");
    let snapshot = pages.snapshot();
    let read_only = mount(&snapshot);
    assert_eq!(snapshot.applied(), 0);
    assert_eq!(read_only.getattr(ino).expect("attributes").nlink, 0);
    assert_errno(read_only.mknod(&ROOT, Ino::ROOT, b"g", &node(Kind::File, 0o644)), libc::EROFS);
    assert_errno(read_only.open_file(&ROOT, ino, true, false), libc::EROFS);
    assert_sound(&snapshot);
}

#[test]
fn a_snapshot_of_a_volume_never_mounted_is_an_empty_directory() {
    let pages = crate::mem_pages::MemPages::new().snapshot();
    let fs = mount(&pages);
    assert_eq!(crate::support::list(&fs, Ino::ROOT).len(), 2);
    assert_eq!(pages.applied(), 0);
}

#[test]
fn numbers_are_not_used_again_after_a_crash() {
    let (pages, fs) = fresh();
    let last = (0..40).map(|n| file(&fs, Ino::ROOT, &format!("f{n}")).ino).max().expect("some");
    for n in 0..40 {
        fs.unlink(&ROOT, Ino::ROOT, format!("f{n}").as_bytes()).expect("unlinked");
    }
    let fs = mount(&pages.fork());
    assert!(file(&fs, Ino::ROOT, "next").ino > last);
}

#[test]
fn an_unlink_works_on_a_file_with_another_name() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "a").ino;
    fs.link(&ROOT, ino, Ino::ROOT, b"b").expect("linked");
    fs.unlink(&ROOT, Ino::ROOT, b"a").expect("unlinked");
    assert_eq!(fs.lookup(Ino::ROOT, b"b").expect("found").nlink, 1);
    assert_sound(&pages);
}

#[test]
fn an_inode_made_while_the_last_of_its_page_goes_is_kept() {
    let (pages, fs) = fresh();
    let fs = Arc::new(fs);
    let other = dir(&fs, Ino::ROOT, "other").ino;
    let mut last = Ino(0);
    // Five inodes into a page of the table, of which one is left.
    for n in 0.. {
        last = file(&fs, Ino::ROOT, &format!("f{n}")).ino;
        if last.0 % 16 == 4 && last.0 > 16 {
            (0..n).for_each(|n| fs.unlink(&ROOT, Ino::ROOT, format!("f{n}").as_bytes()).expect("unlinked"));
            let maker = Arc::clone(&fs);
            pages.before_next_apply(move || {
                file(&maker, other, "made meanwhile");
            });
            fs.unlink(&ROOT, Ino::ROOT, format!("f{n}").as_bytes()).expect("unlinked");
            break;
        }
    }
    assert_sound(&pages);
    let fs = mount(&pages);
    assert_eq!(fs.lookup(other, b"made meanwhile").expect("found").ino, Ino(last.0 + 1));
}
