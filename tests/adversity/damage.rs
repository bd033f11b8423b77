//! Sectors that cannot be read any more.

use super::*;

/// The heap files that hold pages of `byte`, and where.
fn places(disk: &SimDisk, byte: u8) -> Vec<(String, u64)> {
    let page = [byte; PAGE_BYTES];
    let mut found = Vec::new();
    for name in disk.names().into_iter().filter(|name| name.starts_with("heap-")) {
        let contents = disk.contents(&name);
        let at = contents.chunks(PAGE_BYTES).position(|chunk| chunk == page);
        found.extend(at.map(|at| (name, (at * PAGE_BYTES) as u64)));
    }
    found
}

fn break_page(disk: &SimDisk, byte: u8) {
    for (name, at) in places(disk, byte) {
        disk.break_range(&name, at..at + PAGE_BYTES as u64);
    }
}

#[test]
fn a_bad_sector_makes_one_page_unreadable_and_nothing_else_fails() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let pages = create(&engine, "v");
    fill(&*pages, 1, 0, 1, 0xbd).expect("it is taken");
    fill(&*pages, 1, 1, 20, 1).expect("it is taken");
    sync(&*pages).expect("a healthy disk syncs");
    // What follows says that it was durable, so that it is no torn tail.
    fill(&*pages, 1, 21, 1, 1).expect("it is taken");
    sync(&*pages).expect("a healthy disk syncs");
    // Frames stay in RAM; a start forgets them.
    drop((pages, engine));
    disk.kill();
    let disk = disk.reboot();
    break_page(&disk, 0xbd);
    let engine = open(&disk);
    let pages = mount(&engine, "v");
    byte(&*pages, 1, 0).expect_err("the page cannot be read");
    for round in 0..60 {
        fill(&*pages, 2, 0, 40, round).expect("writes go on");
        sync(&*pages).expect("syncs go on");
        maintain(&engine);
    }
    let files = disk.names().len();
    assert!(files < 20, "garbage is still reclaimed, but there are {files} files");
    for page in 1..21 {
        assert_eq!(byte(&*pages, 1, page).expect("it is readable"), 1);
    }
    byte(&*pages, 1, 0).expect_err("the page cannot be read");
}

#[test]
fn a_bad_sector_in_the_last_group_does_not_take_the_group_for_torn() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let pages = create(&engine, "v");
    fill(&*pages, 1, 0, 20, 1).expect("it is taken");
    sync(&*pages).expect("a healthy disk syncs");
    fill(&*pages, 1, 0, 20, 2).expect("it is taken");
    fill(&*pages, 2, 0, 1, 0xbd).expect("it is taken");
    sync(&*pages).expect("a healthy disk syncs");
    drop((pages, engine));
    disk.kill();
    let disk = disk.reboot();
    break_page(&disk, 0xbd);
    for _ in 0..2 {
        let engine = open(&disk);
        let pages = mount(&engine, "v");
        byte(&*pages, 2, 0).expect_err("the page cannot be read");
        for page in 0..20 {
            assert_eq!(byte(&*pages, 1, page).expect("it is readable"), 2, "what was synced last");
        }
    }
}
