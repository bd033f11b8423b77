//! What each system call costs in requests. A request more is about 10 µs for every caller: these
//! tests fail when one is added, and when one is saved the number here goes down.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use rustix::fs::statfs;

use crate::test_mount::TestMount;

/// A mount on which every question that is asked only once has been asked.
fn warm() -> TestMount {
    let mount = TestMount::new();
    let mut file = File::create(mount.path("warm")).expect("created");
    file.write_all(b"warm").expect("written");
    drop(file);
    mount.requests.wait_for("RELEASE");
    assert_eq!(fs::read_dir(mount.mount.target()).expect("a directory").count(), 1);
    fs::metadata(mount.path("warm")).expect("there");
    mount
}

/// The requests that `action` causes, up to and with what it leaves to the background: as many as
/// `expected`, unless they are fewer.
fn assert_costs(mount: &TestMount, expected: &[&'static str], action: impl FnOnce()) {
    mount.requests.clear();
    action();
    if let Some(last) = expected.last() {
        mount.requests.wait_for(last);
    }
    statfs(mount.mount.target()).expect("alive");
    let mut seen = mount.requests.seen();
    assert_eq!(seen.pop(), Some("STATFS"), "the end mark");
    assert_eq!(seen, expected);
}

/// A file whose making has left nothing to the background, in a directory whose attributes are known.
fn make(mount: &TestMount, name: &str, bytes: usize) {
    mount.requests.clear();
    fs::write(mount.path(name), vec![7; bytes]).expect("written");
    mount.requests.wait_for("RELEASE");
    fs::metadata(mount.mount.target()).expect("the root");
}

fn file_of(mount: &TestMount, name: &str, bytes: usize) -> File {
    make(mount, name, bytes);
    OpenOptions::new().read(true).write(true).open(mount.path(name)).expect("there")
}

#[test]
fn opening_and_closing_a_known_file_costs_two() {
    let mount = warm();
    assert_costs(&mount, &["OPEN", "RELEASE"], || {
        File::open(mount.path("warm")).expect("there");
    });
}

/// GETXATTR is for `security.capability`: the kernel asks for it before it changes a file whose
/// attributes it has fetched since the last change.
#[test]
fn truncating_at_open_costs_no_size_change() {
    let mount = warm();
    assert_costs(&mount, &["OPEN", "GETXATTR", "RELEASE"], || {
        File::create(mount.path("warm")).expect("there");
    });
    assert_eq!(fs::metadata(mount.path("warm")).expect("there").len(), 0);
}

#[test]
fn the_first_write_after_a_look_at_the_file_costs_one_more() {
    let mount = warm();
    let file = file_of(&mount, "data", 4096);
    file.metadata().expect("open");
    for expected in [&["GETXATTR", "WRITE"][..], &["WRITE"]] {
        assert_costs(&mount, expected, || file.write_all_at(&[1; 4096], 0).expect("written"));
    }
}

/// The answer to a change of a directory cannot carry the directory's new attributes.
#[test]
fn the_first_walk_through_a_changed_directory_costs_one() {
    let mount = warm();
    make(&mount, "data", 1);
    fs::create_dir(mount.path("dir")).expect("made");
    assert_costs(&mount, &["GETATTR"], || drop(fs::symlink_metadata(mount.path("dir"))));
    assert_costs(&mount, &[], || drop(fs::symlink_metadata(mount.path("dir"))));
}

#[test]
fn stat_of_a_known_file_costs_nothing() {
    let mount = warm();
    assert_costs(&mount, &[], || {
        assert_eq!(fs::metadata(mount.path("warm")).expect("there").len(), 4);
    });
}

#[test]
fn stat_of_an_unknown_name_costs_one_and_then_nothing() {
    let mount = warm();
    let missing = mount.path("missing");
    assert_costs(&mount, &["LOOKUP"], || assert!(!missing.exists()));
    assert_costs(&mount, &[], || assert!(!missing.exists()));
}

#[test]
fn reading_costs_one_and_again_nothing() {
    let mount = warm();
    // Another inode in the kernel's cache would hold what was written.
    let file = file_of(&mount, "data", 4096);
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
    let mut buf = [0; 4096];
    assert_costs(&mount, &["READ"], || file.read_exact_at(&mut buf, 0).expect("whole"));
    assert_costs(&mount, &[], || file.read_exact_at(&mut buf, 0).expect("whole"));
    assert_eq!(buf, [7; 4096]);
}

#[test]
fn pages_survive_closing_and_opening() {
    let mount = warm();
    make(&mount, "data", 4096);
    assert_costs(&mount, &["OPEN", "RELEASE"], || {
        let mut text = Vec::new();
        // No size is asked for: the attributes are known.
        File::open(mount.path("data")).expect("there").take(4096).read_to_end(&mut text).expect("readable");
        assert_eq!(text, [7; 4096]);
    });
}

#[test]
fn creating_a_name_never_seen_costs_two() {
    let mount = warm();
    let mut file = None;
    assert_costs(&mount, &["LOOKUP", "CREATE"], || {
        file = Some(File::create_new(mount.path("new")).expect("created"));
    });
}

#[test]
fn creating_a_name_known_to_be_free_costs_one() {
    let mount = warm();
    assert!(!mount.path("new").exists());
    let mut file = None;
    assert_costs(&mount, &["CREATE"], || file = Some(File::create(mount.path("new")).expect("created")));
}

#[test]
fn a_synced_write_costs_two() {
    let mount = warm();
    let file = file_of(&mount, "data", 4096);
    for _ in 0..3 {
        assert_costs(&mount, &["WRITE", "FSYNC"], || {
            file.write_all_at(&[1; 4096], 0).expect("written");
            file.sync_data().expect("synced");
        });
    }
}

#[test]
fn a_synced_append_costs_two() {
    let mount = warm();
    make(&mount, "data", 4096);
    let mut file = OpenOptions::new().append(true).open(mount.path("data")).expect("there");
    for _ in 0..3 {
        assert_costs(&mount, &["WRITE", "FSYNC"], || {
            file.write_all(&[1; 100]).expect("written");
            file.sync_data().expect("synced");
        });
    }
}

#[test]
fn a_mebibyte_is_written_and_read_at_once() {
    let mount = warm();
    let file = file_of(&mount, "data", 1);
    assert_costs(&mount, &["WRITE"], || file.write_all_at(&vec![1; 1 << 20], 0).expect("written"));
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
    let mut buf = vec![0; 1 << 20];
    assert_costs(&mount, &["READ"], || file.read_exact_at(&mut buf, 0).expect("whole"));
}

#[test]
fn a_synchronous_write_costs_two_and_a_direct_one_costs_one() {
    let mount = warm();
    make(&mount, "data", 8192);
    let open = |flags| OpenOptions::new().write(true).custom_flags(flags).open(mount.path("data"));
    let buffered = open(libc::O_DSYNC).expect("there");
    assert_costs(&mount, &["WRITE", "FSYNC"], || buffered.write_all_at(&[1; 4096], 0).expect("written"));
    let syncs = mount.pages.syncs();
    let direct = open(libc::O_DSYNC | libc::O_DIRECT).expect("there");
    let aligned = Aligned([2; 4096]);
    assert_costs(&mount, &["WRITE"], || direct.write_all_at(&aligned.0, 4096).expect("written"));
    assert_eq!(mount.pages.syncs(), syncs + 1, "durable before the call returned");
}

#[repr(align(4096))]
struct Aligned([u8; 4096]);

#[test]
fn renaming_costs_one_beside_the_look_at_the_new_name() {
    let mount = warm();
    make(&mount, "old", 1);
    assert_costs(&mount, &["LOOKUP", "RENAME"], || {
        fs::rename(mount.path("old"), mount.path("new")).expect("renamed");
    });
}

#[test]
fn unlinking_costs_one() {
    let mount = warm();
    make(&mount, "data", 1);
    assert_costs(&mount, &["UNLINK"], || fs::remove_file(mount.path("data")).expect("removed"));
}

#[test]
fn listing_costs_what_its_pages_cost_and_brings_the_attributes() {
    let mount = warm();
    for name in ["a", "b", "c"] {
        make(&mount, name, 1);
    }
    assert_costs(&mount, &["READDIRPLUS", "READDIRPLUS"], || {
        for entry in fs::read_dir(mount.mount.target()).expect("a directory") {
            assert!(entry.expect("an entry").metadata().expect("there").nlink() == 1);
        }
    });
}
