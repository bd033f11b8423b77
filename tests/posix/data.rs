//! The contents of files.

use firnfs::fs::{Fs, Ino, SetAttr, Whence};

use crate::support::{ROOT, assert_errno, assert_sound, contents, dir, file, fresh};

const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;

fn resize(fs: &Fs, ino: Ino, size: u64) {
    fs.setattr(&ROOT, ino, &SetAttr { size: Some(size), ..SetAttr::default() }).expect("resized");
}

#[test]
fn a_file_that_shrank_and_grew_shows_zeros() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    fs.write(ino, 0, &[7; 10_000], false).expect("written");
    resize(&fs, ino, 5000);
    assert_sound(&pages);
    resize(&fs, ino, 10_000);
    let bytes = contents(&fs, ino);
    assert!(bytes[..5000].iter().all(|&byte| byte == 7));
    assert!(bytes[5000..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_write_beyond_the_end_leaves_zeros_between() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    fs.write(ino, 0, &[7; 10], false).expect("written");
    fs.write(ino, 20_000, &[8; 10], false).expect("written");
    let bytes = contents(&fs, ino);
    assert!(bytes[10..20_000].iter().all(|&byte| byte == 0));
    assert_eq!(pages.pages_of(ino.0), 2);
    assert_eq!(fs.getattr(ino).expect("attributes").blocks, 16);
}

#[test]
fn a_file_may_be_16_tib_and_no_larger() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    let size = 16_u64 << 40;
    fs.write(ino, size - 1, b"x", false).expect("written");
    assert_eq!(fs.getattr(ino).expect("attributes").size, size);
    assert_errno(fs.write(ino, size, b"x", false), libc::EFBIG);
    assert_errno(fs.write(ino, u64::MAX, b"xy", false), libc::EFBIG);
    assert_errno(fs.fallocate(ino, 0, size, 1), libc::EFBIG);
    let set = SetAttr { size: Some(size + 1), ..SetAttr::default() };
    assert_errno(fs.setattr(&ROOT, ino, &set), libc::EFBIG);
    assert_eq!(pages.pages_of(ino.0), 1);
    resize(&fs, ino, 0);
    assert_eq!(pages.pages_of(ino.0), 0);
    assert_sound(&pages);
}

#[test]
fn preallocation_sets_the_size_and_reads_as_zeros() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    fs.write(ino, 0, &[7; 100], false).expect("written");
    fs.fallocate(ino, 0, 50, 10_000).expect("allocated");
    assert_eq!(contents(&fs, ino).len(), 10_050);
    assert!(contents(&fs, ino)[..100].iter().all(|&byte| byte == 7));
    fs.fallocate(ino, KEEP, 0, 100_000).expect("allocated");
    assert_eq!(contents(&fs, ino).len(), 10_050);
    assert_sound(&pages);
}

#[test]
fn a_punched_hole_reads_as_zeros_and_gives_whole_pages_back() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    fs.write(ino, 0, &[7; 5 * 4096], false).expect("written");
    fs.fallocate(ino, PUNCH, 4000, 10_000).expect("punched");
    let bytes = contents(&fs, ino);
    assert_eq!(bytes.len(), 5 * 4096);
    let holds = |(at, &byte): (usize, &u8)| (byte == 0) == (4000..14_000).contains(&at);
    assert!(bytes.iter().enumerate().all(holds));
    assert_eq!(pages.pages_of(ino.0), 3);
    fs.fallocate(ino, ZERO, 5 * 4096 - 10, 20).expect("zeroed");
    assert_eq!(contents(&fs, ino).len(), 5 * 4096 + 10);
    assert_sound(&pages);
}

#[test]
fn other_ways_to_allocate_are_not_supported() {
    let (_pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    for mode in [
        libc::FALLOC_FL_COLLAPSE_RANGE,
        libc::FALLOC_FL_INSERT_RANGE,
        libc::FALLOC_FL_UNSHARE_RANGE,
        libc::FALLOC_FL_PUNCH_HOLE,
        PUNCH | ZERO,
    ] {
        assert_errno(fs.fallocate(ino, mode, 0, 4096), libc::EOPNOTSUPP);
    }
    assert_errno(fs.fallocate(ino, 0, 0, 0), libc::EINVAL);
}

#[test]
fn data_and_holes_are_found_page_by_page() {
    let (_pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    fs.write(ino, 8192, &[7; 100], false).expect("written");
    fs.write(ino, 20_480, &[7; 100], false).expect("written");
    let data = |offset| fs.lseek(ino, offset, Whence::Data);
    let hole = |offset| fs.lseek(ino, offset, Whence::Hole);
    assert_eq!(data(0).expect("data"), 8192);
    assert_eq!(data(8200).expect("data"), 8200);
    assert_eq!(data(12_288).expect("data"), 20_480);
    assert_eq!(hole(0).expect("hole"), 0);
    assert_eq!(hole(8192).expect("hole"), 12_288);
    assert_eq!(hole(20_500).expect("the end"), 20_580);
    assert_errno(data(20_580), libc::ENXIO);
    assert_errno(hole(20_580), libc::ENXIO);
    resize(&fs, ino, 100_000);
    assert_errno(data(30_000), libc::ENXIO);
    assert_eq!(hole(30_000).expect("hole"), 30_000);
}

#[test]
fn a_copy_is_bounded_by_a_request_and_by_the_source() {
    let (pages, fs) = fresh();
    let (from, to) = (file(&fs, Ino::ROOT, "from").ino, file(&fs, Ino::ROOT, "to").ino);
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for (n, part) in data.chunks(1 << 20).enumerate() {
        fs.write(from, (n as u64) << 20, part, false).expect("written");
    }
    let mut copied = 0;
    loop {
        let before = pages.applied();
        let length = fs.copy_file_range(from, copied, to, copied, u64::MAX).expect("copied");
        if length == 0 {
            break;
        }
        assert!(length <= 1 << 20 && pages.applied() == before + 1);
        copied += length;
    }
    assert!(contents(&fs, to) == data);
    assert_errno(fs.copy_file_range(to, 0, to, 100, 101), libc::EINVAL);
    assert_eq!(fs.copy_file_range(to, 0, to, 100, 100).expect("copied"), 100);
    assert_sound(&pages);
}

#[test]
fn a_failed_write_changes_nothing() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    fs.write(ino, 0, b"before", false).expect("written");
    let attr = fs.getattr(ino).expect("attributes");
    pages.fail(true);
    assert_errno(fs.write(ino, 0, &[7; 9000], false), libc::ENOSPC);
    pages.fail(false);
    assert_eq!(contents(&fs, ino), b"before");
    assert_eq!(fs.getattr(ino).expect("attributes"), attr);
    assert_sound(&pages);
}

#[test]
fn a_directory_has_no_contents() {
    let (_pages, fs) = fresh();
    let ino = dir(&fs, Ino::ROOT, "d").ino;
    assert_errno(fs.write(ino, 0, b"x", false), libc::EISDIR);
    assert_errno(fs.read(ino, 0, &mut [0]), libc::EISDIR);
    assert_errno(fs.setattr(&ROOT, ino, &SetAttr { size: Some(0), ..SetAttr::default() }), libc::EISDIR);
}
