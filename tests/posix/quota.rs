//! Quota: what counts, what is refused, and that the way back is always open.

use firnfs::fs::{Ino, Kind, SetXattr};

use crate::mem_pages::MemPages;
use crate::support::{ROOT, assert_errno, assert_sound, file, mount, node};

const PAGE: u64 = 4096;

#[test]
fn a_full_quota_refuses_new_pages_and_takes_rewrites() {
    let pages = MemPages::with_quota(100 * PAGE);
    let fs = mount(&pages);
    let ino = file(&fs, Ino::ROOT, "f").ino;
    let mut written = 0;
    let error = loop {
        match fs.write(ino, written, &[7; 4096], false) {
            Ok(()) => written += PAGE,
            Err(error) => break error,
        }
    };
    assert_eq!(error.errno(), libc::EDQUOT);
    // One page is the root directory's.
    assert_eq!(written, 99 * PAGE);
    assert_eq!(fs.statfs().blocks, 100);
    assert_eq!(fs.statfs().blocks_free, 0);
    fs.write(ino, 0, &[8; 8192], false).expect("rewritten");
    assert_errno(fs.fallocate(ino, 0, 0, written + PAGE), libc::EDQUOT);
    fs.fallocate(ino, 0, 0, written).expect("it is all there");
    assert_errno(fs.setxattr(&ROOT, ino, b"user.a", b"b", SetXattr::Any), libc::EDQUOT);
    assert_sound(&pages);
}

#[test]
fn what_is_removed_can_be_written_again() {
    let pages = MemPages::with_quota(50 * PAGE);
    let fs = mount(&pages);
    for _ in 0..10 {
        let ino = fs.create(&ROOT, Ino::ROOT, b"f", &node(Kind::File, 0o644)).expect("created").ino;
        fs.write(ino, 0, &[7; 40 * 4096], false).expect("written");
        // Also while it is open, when the list of orphans needs a page.
        fs.unlink(&ROOT, Ino::ROOT, b"f").expect("unlinked");
        fs.release(ino).expect("released");
    }
    assert_sound(&pages);
}

#[test]
fn an_open_file_can_be_unlinked_on_a_full_quota() {
    let pages = MemPages::with_quota(10 * PAGE);
    let fs = mount(&pages);
    let ino = fs.create(&ROOT, Ino::ROOT, b"f", &node(Kind::File, 0o644)).expect("created").ino;
    fs.write(ino, 0, &[7; 9 * 4096], false).expect("written");
    fs.unlink(&ROOT, Ino::ROOT, b"f").expect("unlinked");
    assert_sound(&pages);
    fs.release(ino).expect("released");
    assert_eq!(fs.statfs().blocks_free, 10);
}

#[test]
fn usage_survives_a_remount() {
    let pages = MemPages::with_quota(1000 * PAGE);
    let fs = mount(&pages);
    let ino = file(&fs, Ino::ROOT, "f").ino;
    fs.write(ino, 0, &[7; 100_000], false).expect("written");
    let free = fs.statfs().blocks_free;
    assert_eq!(mount(&pages).statfs().blocks_free, free);
    assert_eq!(free, 1000 - 25 - 1);
}
