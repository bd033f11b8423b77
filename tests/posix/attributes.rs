//! Modes, owners, times and set-id bits.

use firnfs::fs::{Attr, Fs, Ino, Kind, SetAttr, SetTime, SetXattr};
use firnfs::io::Timestamp;

use crate::support::{ROOT, USER, assert_errno, dir, file, fresh, node};

fn set(fs: &Fs, ino: Ino, set: SetAttr) -> Attr {
    fs.setattr(&ROOT, ino, &set).expect("changed")
}

fn set_id(fs: &Fs, ino: Ino, mode: u16) {
    assert_eq!(set(fs, ino, SetAttr { mode: Some(mode), ..SetAttr::default() }).mode, mode);
}

fn mode(fs: &Fs, ino: Ino) -> u16 {
    fs.getattr(ino).expect("attributes").mode
}

#[test]
fn times_are_kept_to_the_nanosecond_and_before_the_epoch() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    let (atime, mtime) =
        (Timestamp { nanos: -1_234_567_891 }, Timestamp { nanos: 9_000_000_000_123_456_789 });
    let times =
        SetAttr { atime: Some(SetTime::At(atime)), mtime: Some(SetTime::At(mtime)), ..SetAttr::default() };
    set(&fs, ino, times);
    let attr = crate::support::mount(&pages).getattr(ino).expect("attributes");
    assert_eq!((attr.atime, attr.mtime), (atime, mtime));
}

#[test]
fn each_call_updates_the_times_that_posix_names() {
    let (_pages, fs) = fresh();
    let parent = dir(&fs, Ino::ROOT, "d").ino;
    let ino = file(&fs, parent, "f").ino;
    let look = || (fs.getattr(parent).expect("attributes"), fs.getattr(ino).expect("attributes"));
    let changed = |call: &dyn Fn()| {
        let (dir_before, before) = look();
        call();
        let (dir_after, after) = look();
        (
            (dir_after.mtime > dir_before.mtime, dir_after.ctime > dir_before.ctime),
            (after.mtime > before.mtime, after.ctime > before.ctime),
        )
    };
    let (none, both, ctime) = ((false, false), (true, true), (false, true));
    assert_eq!(changed(&|| fs.write(ino, 0, b"x", false).expect("written")), (none, both));
    assert_eq!(changed(&|| set_id(&fs, ino, 0o600)), (none, ctime));
    assert_eq!(
        changed(&|| {
            fs.link(&ROOT, ino, parent, b"g").expect("linked");
        }),
        (both, ctime)
    );
    assert_eq!(changed(&|| fs.unlink(&ROOT, parent, b"g").expect("unlinked")), (both, ctime));
    let rename = || fs.rename(&ROOT, (parent, b"f"), (parent, b"h"), firnfs::fs::RenameMode::Replace);
    assert_eq!(changed(&|| rename().expect("renamed")), (both, ctime));
    let xattr = || fs.setxattr(&ROOT, ino, b"user.a", b"b", SetXattr::Any);
    assert_eq!(changed(&|| xattr().expect("set")), (none, ctime));
    let truncate = || fs.open_file(&ROOT, ino, true, true).and_then(|_| fs.release(ino));
    assert_eq!(changed(&|| truncate().expect("truncated")), (none, both));
    assert_eq!(
        changed(&|| {
            fs.read(ino, 0, &mut [0; 10]).expect("read");
        }),
        (none, none)
    );
}

#[test]
fn a_write_clears_set_id_bits_when_the_kernel_says_so() {
    let (_pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    set_id(&fs, ino, 0o6755);
    fs.write(ino, 0, b"x", false).expect("written");
    assert_eq!(mode(&fs, ino), 0o6755);
    fs.write(ino, 0, b"x", true).expect("written");
    assert_eq!(mode(&fs, ino), 0o755);
    // Without execution for the group the bit means locking.
    set_id(&fs, ino, 0o6745);
    fs.write(ino, 0, b"x", true).expect("written");
    assert_eq!(mode(&fs, ino), 0o2745);
}

#[test]
fn set_id_bits_go_with_the_owner_the_size_and_an_empty_request() {
    let (_pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    let cases: [(&dyn Fn(), u16); 5] = [
        (
            &|| {
                set(&fs, ino, SetAttr { uid: Some(5), ..SetAttr::default() });
            },
            0o755,
        ),
        (
            &|| {
                set(&fs, ino, SetAttr { gid: Some(5), ..SetAttr::default() });
            },
            0o755,
        ),
        (
            &|| {
                set(&fs, ino, SetAttr::default());
            },
            0o755,
        ),
        (
            &|| {
                set(&fs, ino, SetAttr { size: Some(9), ..SetAttr::default() });
            },
            0o6755,
        ),
        (
            &|| {
                assert!(fs.setattr(&USER, ino, &SetAttr { size: Some(3), ..SetAttr::default() }).is_ok());
            },
            0o755,
        ),
    ];
    for (call, left) in cases {
        set_id(&fs, ino, 0o6755);
        call();
        assert_eq!(mode(&fs, ino), left);
    }
    let ino = dir(&fs, Ino::ROOT, "d").ino;
    set_id(&fs, ino, 0o2755);
    set(&fs, ino, SetAttr { uid: Some(5), ..SetAttr::default() });
    assert_eq!(mode(&fs, ino), 0o2755, "a directory keeps its bits");
}

#[test]
fn file_capabilities_go_with_a_change_of_data_or_owner() {
    let (pages, fs) = fresh();
    let ino = file(&fs, Ino::ROOT, "f").ino;
    let calls: [&dyn Fn(); 3] = [
        &|| fs.write(ino, 0, b"x", false).expect("written"),
        &|| {
            set(&fs, ino, SetAttr { uid: Some(5), ..SetAttr::default() });
        },
        &|| fs.fallocate(ino, 16, 0, 10).expect("zeroed"),
    ];
    fs.setxattr(&ROOT, ino, b"user.kept", b"x", SetXattr::Any).expect("set");
    for call in calls {
        fs.setxattr(&ROOT, ino, b"security.capability", &[1; 20], SetXattr::Any).expect("set");
        let before = pages.applied();
        call();
        assert_eq!(pages.applied(), before + 1);
        assert_errno(fs.getxattr(ino, b"security.capability"), libc::ENODATA);
        assert_eq!(fs.getxattr(ino, b"user.kept").expect("kept"), b"x");
    }
}

#[test]
fn a_new_node_belongs_to_its_maker() {
    let (_pages, fs) = fresh();
    let made = fs.mknod(&USER, Ino::ROOT, b"f", &node(Kind::File, 0o666)).expect("made");
    assert_eq!((made.uid, made.gid, made.mode, made.nlink), (1000, 1000, 0o644, 1));
}
