//! Metadata that makes no sense: errors, and findings, but no panic and no endless loop.

use std::sync::{Arc, LazyLock};

use firnfs::fs::{Fs, Ino, Kind, RenameMode, SetAttr, SetXattr, check};
use proptest::prelude::*;

use crate::mem_pages::MemPages;
use crate::support::{Counting, ROOT, Ticks, dir, file, fresh, node};

/// A volume with something of everything, and the spaces of it.
static VOLUME: LazyLock<(Arc<MemPages>, Vec<u64>)> = LazyLock::new(|| {
    let (pages, fs) = fresh();
    let large = dir(&fs, Ino::ROOT, "large").ino;
    for n in 0..3000 {
        file(&fs, large, &format!("entry-{n}"));
    }
    let below = dir(&fs, large, "below").ino;
    let ino = file(&fs, below, "file").ino;
    fs.write(ino, 0, &[7; 10_000], false).expect("written");
    fs.setxattr(&ROOT, ino, b"user.a", &[1; 5000], SetXattr::Any).expect("set");
    fs.symlink(&ROOT, below, b"link", &[b'x'; 1000]).expect("made");
    let open = fs.create(&ROOT, below, b"open", &node(Kind::File, 0o644)).expect("created").ino;
    fs.unlink(&ROOT, below, b"open").expect("unlinked");
    let spaces = vec![0, Ino::ROOT.0, 2, large.0, below.0, ino.0 | 1 << 63, open.0];
    (pages, spaces)
});

/// Does a little of everything; what comes of it is no matter here.
fn exercise(fs: &Fs) {
    let mut inos = vec![Ino::ROOT];
    let mut at = 0;
    while at < inos.len() && inos.len() < 4000 {
        let ino = inos[at];
        at += 1;
        let _ = fs.getattr(ino);
        let _ = fs.listxattr(ino);
        let _ = fs.readlink(ino);
        let _ = fs.read(ino, 0, &mut [0; 100]);
        let mut left = 4000;
        let _ = fs.readdir(ino, 0, true, &mut |entry| {
            if entry.name != b"." && entry.name != b".." && !inos.contains(&entry.ino) {
                inos.push(entry.ino);
            }
            left -= 1;
            left > 0
        });
    }
    for &ino in inos.iter().take(5).chain(inos.iter().rev().take(5)) {
        let _ = fs.mknod(&ROOT, ino, b"new", &node(Kind::Directory, 0o755));
        let _ = fs.rename(&ROOT, (ino, b"new"), (Ino::ROOT, b"moved"), RenameMode::Replace);
        let _ = fs.rename(&ROOT, (ino, b"entry-1"), (ino, b"entry-2"), RenameMode::Exchange);
        let _ = fs.unlink(&ROOT, ino, b"entry-3");
        let _ = fs.rmdir(&ROOT, ino, b"below");
        let _ = fs.write(ino, 5, b"data", true);
        let _ = fs.setattr(&ROOT, ino, &SetAttr { size: Some(3), ..SetAttr::default() });
        let _ = fs.setxattr(&ROOT, ino, b"user.b", b"v", SetXattr::Any);
        let _ = fs.open_file(&ROOT, ino, true, false);
        let _ = fs.unlink(&ROOT, ino, b"entry-4");
        let _ = fs.release(ino);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn damaged_metadata_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..40_u64, 0..4096_u64, 1..=255_u8), 1..8),
    ) {
        let (whole, spaces) = &*VOLUME;
        let pages = whole.fork();
        for (space, page, within, bits) in flips {
            let within = if page % 2 == 0 { within % 600 } else { within };
            pages.damage(*space.get(spaces), page / 2 * 4096 + within, bits);
        }
        let _ = check(&*pages);
        if let Ok(fs) = Fs::open(pages, Arc::new(Ticks::default()), &Counting::default(), ROOT) {
            exercise(&fs);
        }
    }
}

#[test]
fn every_kind_of_damage_to_a_record_is_a_finding() {
    let (whole, _) = &*VOLUME;
    // Mode, links, pages, parent, extended attributes of inode 3, which is a directory.
    for (offset, bits) in [(3, 0x10), (4, 1), (24, 1), (56, 1), (68, 1), (80, 1)] {
        let pages = whole.fork();
        pages.damage(0, 3 * 256 + offset, bits);
        assert!(!check(&*pages).is_empty(), "byte {offset}");
    }
    // A next number below numbers in use, and the counts of pages and inodes.
    for (counter, bits) in [(17, 0x0b), (24, 0xff), (32, 0xff)] {
        let pages = whole.fork();
        pages.damage(0, counter, bits);
        assert!(!check(&*pages).is_empty(), "counter at {counter}");
    }
}
