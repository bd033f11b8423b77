//! What forks cost, and what they contain.

use std::fs::OpenOptions;
use std::io::Write;

use crate::pages::Pages;
use crate::support::chance::Chance;
use crate::support::daemon::Daemon;
use crate::usage::{KIB, MIB, occupied, resident};
use crate::volume_mib;

const FORKS: u64 = 200;

#[test]
fn forks_of_a_large_volume_cost_little_disk_and_memory() {
    let mut chance = Chance::seeded(3);
    let daemon = Daemon::with_memory("forks", 64);
    let mount = daemon.volume("parent");
    let mut pages = Pages::fill(&mount, volume_mib());
    // Over its budget from the start, so that what grows is what the forks need.
    (0..20_000).for_each(|_| pages.rewrite(&mut chance));
    pages.sync();
    daemon.firn(["fork", "parent", "first"]);

    let (disk, memory) = (occupied(daemon.data_dir()), resident(daemon.pid()));
    for fork in 0..FORKS {
        pages.rewrite(&mut chance);
        daemon.firn(["fork", "parent", &format!("fork-{fork}")]);
    }
    let disk = occupied(daemon.data_dir()).saturating_sub(disk) / FORKS;
    let memory = resident(daemon.pid()).saturating_sub(memory) / FORKS;
    eprintln!("forks: {} KiB of disk and {} KiB of memory each", disk / KIB, memory / KIB);
    assert!(disk < MIB, "{} KiB of disk for each fork", disk / KIB);
    assert!(memory < 256 * KIB, "{} KiB of memory for each fork", memory / KIB);
}

#[test]
fn a_fork_contains_writes_that_returned_before_it_without_fsync() {
    let mut daemon = Daemon::new("unsynced");
    let mount = daemon.volume("parent");
    let path = mount.path("log");
    let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("create");
    let mut expected: Vec<u64> = Vec::new();
    for number in 0..20 {
        let line = format!("line {number}\n").repeat(500);
        file.write_all(line.as_bytes()).expect("write");
        expected.push(expected.last().copied().unwrap_or(0) + line.len() as u64);
        daemon.firn(["fork", "parent", &format!("fork-{number}")]);
    }
    // The command's success is a promise like that of fsync.
    daemon.kill();
    daemon.start();
    for (number, length) in expected.into_iter().enumerate() {
        let fork = daemon.mount(&format!("fork-{number}"));
        let text = std::fs::read_to_string(fork.path("log")).expect("the fork has the file");
        assert_eq!(text.len() as u64, length, "fork {number}");
        assert!(text.ends_with(&format!("line {number}\n")), "fork {number}");
        daemon.umount(&fork);
    }
}

#[test]
fn children_are_whole_after_their_parent_was_removed() {
    let mut chance = Chance::seeded(5);
    let mut daemon = Daemon::with_memory("orphans", 32);
    let parent = daemon.volume("parent");
    let mut pages = Pages::fill(&parent, 32);
    let mut children = Vec::new();
    for number in 0..3 {
        (0..2_000).for_each(|_| pages.rewrite(&mut chance));
        let name = format!("child-{number}");
        daemon.firn(["fork", "parent", &name]);
        let child = daemon.mount(&name);
        let snapshot = pages.as_on(&child);
        children.push((child, snapshot));
    }
    (0..2_000).for_each(|_| pages.rewrite(&mut chance));
    drop(pages);
    daemon.umount(&parent);
    daemon.firn(["rm", "parent"]);
    for (child, pages) in &mut children {
        pages.verify(&format!("{} without its parent", child.dir().display()));
        (0..500).for_each(|_| pages.rewrite(&mut chance));
        pages.sync();
    }
    let mounts: Vec<_> = children.iter().map(|(child, _)| child).collect();
    daemon.crash(&mounts);
    for (child, pages) in &mut children {
        pages.reopen(child);
        pages.verify(&format!("{} without its parent, after a crash", child.dir().display()));
    }
}
