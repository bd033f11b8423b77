//! Directories: large ones, and reading them while they change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firnfs::fs::{Ino, Kind, RenameMode};

use crate::mem_pages::MemPages;
use crate::support::{ROOT, assert_errno, assert_sound, dir, file, fresh, list, mount, node};

fn name(n: usize) -> String {
    format!("entry-{n}")
}

/// Reads a directory in replies of `per_reply` entries, calling `between` after each.
fn read_in_parts(
    pages: &Arc<MemPages>,
    ino: Ino,
    per_reply: usize,
    mut between: impl FnMut(usize),
) -> BTreeMap<String, usize> {
    let fs = mount(pages);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut cookie = 0;
    for reply in 0.. {
        let mut taken = 0;
        fs.readdir(ino, cookie, false, &mut |entry| {
            if taken == per_reply {
                return false;
            }
            taken += 1;
            assert!(entry.cookie > cookie, "cookies grow");
            assert!(i64::try_from(entry.cookie).is_ok(), "cookies are offsets");
            cookie = entry.cookie;
            *seen.entry(String::from_utf8_lossy(entry.name).into_owned()).or_default() += 1;
            true
        })
        .expect("a readable directory");
        if taken == 0 {
            return seen;
        }
        between(reply);
    }
    unreachable!("the loop ends when there is no more")
}

#[test]
fn a_reader_sees_what_stays_exactly_once_while_others_come_and_go() {
    const STAY: usize = 200_000;
    let pages = MemPages::new();
    let fs = mount(&pages);
    let ino = dir(&fs, Ino::ROOT, "large").ino;
    for n in 0..STAY {
        file(&fs, ino, &name(n));
    }
    for n in 0..20_000 {
        file(&fs, ino, &format!("goes-{n}"));
    }
    drop(fs);
    // The reader's filesystem and the changing one are one and the same in production; here the reader
    // keeps nothing between replies.
    let changing = mount(&pages);
    let (mut gone, mut come) = (0, 0);
    let mut cookie = 0;
    let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    loop {
        let mut taken = 0;
        changing
            .readdir(ino, cookie, true, &mut |entry| {
                if taken == 1000 {
                    return false;
                }
                taken += 1;
                cookie = entry.cookie;
                assert_eq!(entry.attr.is_none(), entry.name == b"." || entry.name == b"..");
                *seen.entry(entry.name.to_vec()).or_default() += 1;
                true
            })
            .expect("a readable directory");
        if taken == 0 {
            break;
        }
        for _ in 0..100 {
            if gone < 20_000 {
                changing.unlink(&ROOT, ino, format!("goes-{gone}").as_bytes()).expect("removed");
                gone += 1;
            }
            file(&changing, ino, &format!("comes-{come}"));
            come += 1;
        }
    }
    assert!(seen.values().all(|&times| times == 1));
    assert!((0..STAY).all(|n| seen.contains_key(name(n).as_bytes())));
    assert_sound(&pages);
}

#[test]
fn a_reply_of_any_size_continues_where_the_last_ended() {
    let (pages, fs) = fresh();
    let ino = dir(&fs, Ino::ROOT, "d").ino;
    for n in 0..1000 {
        file(&fs, ino, &name(n));
    }
    for per_reply in [1, 2, 3, 7, 500, 5000] {
        let seen = read_in_parts(&pages, ino, per_reply, |_| {});
        assert_eq!(seen.len(), 1002);
        assert!(seen.values().all(|&times| times == 1));
    }
}

#[test]
fn an_emptied_directory_gives_all_its_pages_back() {
    let (pages, fs) = fresh();
    let ino = dir(&fs, Ino::ROOT, "d").ino;
    for n in 0..20_000 {
        file(&fs, ino, &name(n));
    }
    let attr = fs.getattr(ino).expect("attributes");
    assert_eq!(attr.size, pages.pages_of(ino.0) as u64 * 4096);
    assert_errno(fs.rmdir(&ROOT, Ino::ROOT, b"d"), libc::ENOTEMPTY);
    for n in 0..10_000 {
        fs.unlink(&ROOT, ino, name(n * 2).as_bytes()).expect("removed");
    }
    assert_sound(&pages);
    for n in 0..10_000 {
        fs.unlink(&ROOT, ino, name(n * 2 + 1).as_bytes()).expect("removed");
    }
    assert_eq!(pages.pages_of(ino.0), 0);
    fs.rmdir(&ROOT, Ino::ROOT, b"d").expect("removed");
    assert_sound(&pages);
}

#[test]
fn freed_pages_are_used_again() {
    let (pages, fs) = fresh();
    let ino = dir(&fs, Ino::ROOT, "d").ino;
    let fill = |from: usize| {
        (from..from + 5000).for_each(|n| {
            file(&fs, ino, &name(n));
        })
    };
    fill(0);
    let full = pages.pages_of(ino.0);
    for round in 1..5 {
        for n in 0..5000 {
            fs.unlink(&ROOT, ino, name((round - 1) * 5000 + n).as_bytes()).expect("removed");
        }
        fill(round * 5000);
        assert!(pages.pages_of(ino.0) <= full + full / 4);
        assert_sound(&pages);
    }
}

#[test]
fn names_of_255_bytes_fit_and_longer_ones_are_refused() {
    let (pages, fs) = fresh();
    for n in 0..100_u8 {
        let mut long = vec![b'x'; 255];
        long[254] = n + 1;
        long[0] = 255 - n;
        if !long.contains(&b'/') {
            fs.mknod(&ROOT, Ino::ROOT, &long, &node(Kind::File, 0o644)).expect("made");
            assert!(fs.lookup(Ino::ROOT, &long).is_ok());
        }
    }
    let longer = [b'x'; 256];
    assert_errno(fs.lookup(Ino::ROOT, &longer), libc::ENAMETOOLONG);
    assert_errno(fs.mknod(&ROOT, Ino::ROOT, &longer, &node(Kind::File, 0)), libc::ENAMETOOLONG);
    assert_errno(fs.unlink(&ROOT, Ino::ROOT, &longer), libc::ENAMETOOLONG);
    let rename = fs.rename(&ROOT, (Ino::ROOT, b"a"), (Ino::ROOT, &longer), RenameMode::Replace);
    assert_errno(rename, libc::ENAMETOOLONG);
    assert_sound(&pages);
}

#[test]
fn the_parent_of_the_root_is_the_root() {
    let (_pages, fs) = fresh();
    assert_eq!(list(&fs, Ino::ROOT), [(".".to_owned(), Ino::ROOT), ("..".to_owned(), Ino::ROOT)]);
}

#[test]
fn a_moved_directory_has_its_new_parent() {
    let (pages, fs) = fresh();
    let (a, b) = (dir(&fs, Ino::ROOT, "a").ino, dir(&fs, Ino::ROOT, "b").ino);
    let moved = dir(&fs, a, "moved").ino;
    fs.rename(&ROOT, (a, b"moved"), (b, b"here"), RenameMode::Replace).expect("renamed");
    assert_eq!(list(&fs, moved)[1], ("..".to_owned(), b));
    assert_eq!(fs.getattr(a).expect("attributes").nlink, 2);
    assert_eq!(fs.getattr(b).expect("attributes").nlink, 3);
    assert_errno(fs.rename(&ROOT, (Ino::ROOT, b"b"), (moved, b"loop"), RenameMode::Replace), libc::EINVAL);
    assert_sound(&pages);
}

#[test]
fn many_threads_leave_a_sound_tree() {
    let (pages, fs) = fresh();
    let dirs: Vec<Ino> = (0..4).map(|n| dir(&fs, Ino::ROOT, &name(n)).ino).collect();
    let fs = &fs;
    let dirs = &dirs;
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            scope.spawn(move || {
                let mut seed = thread as u64 + 1;
                let mut pick = |below: usize| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    usize::try_from((seed >> 33) % below as u64).expect("small")
                };
                for _ in 0..5000 {
                    // Also below, so that children are older than their parents and the other way.
                    let mut choose = || {
                        let (top, below) = (dirs[pick(4)], name(pick(8)));
                        match fs.lookup(top, below.as_bytes()) {
                            Ok(attr) if attr.kind == Kind::Directory && pick(2) == 0 => attr.ino,
                            _ => top,
                        }
                    };
                    let (from, to) = (choose(), choose());
                    let (old, new) = (name(pick(8)), name(pick(8)));
                    let (old, new) = (old.as_bytes(), new.as_bytes());
                    // Whatever the others do meanwhile, each call succeeds or fails cleanly.
                    let result = match pick(8) {
                        0 => fs.mknod(&ROOT, from, old, &node(Kind::File, 0o644)).map(|_| ()),
                        1 => fs.mknod(&ROOT, from, old, &node(Kind::Directory, 0o755)).map(|_| ()),
                        2 => fs.unlink(&ROOT, from, old),
                        3 => fs.rmdir(&ROOT, from, old),
                        4 => fs.rename(&ROOT, (from, old), (to, new), RenameMode::Exchange),
                        5 => fs
                            .lookup(from, old)
                            .and_then(|attr| fs.link(&ROOT, attr.ino, to, new).map(|_| ())),
                        6 => fs.readdir(from, 0, true, &mut |_| true),
                        _ => fs.rename(&ROOT, (from, old), (to, new), RenameMode::Replace),
                    };
                    if let Err(error) = result {
                        let expected = [
                            libc::ENOENT,
                            libc::EEXIST,
                            libc::ENOTEMPTY,
                            libc::ENOTDIR,
                            libc::EISDIR,
                            libc::EPERM,
                            libc::EINVAL,
                            libc::ESTALE,
                        ];
                        assert!(expected.contains(&error.errno()), "{error}");
                    }
                }
            });
        }
    });
    assert_sound(&pages);
    let names: BTreeSet<_> = list(fs, Ino::ROOT).into_iter().collect();
    assert_eq!(names.len(), 6, "nobody changed the root");
}
