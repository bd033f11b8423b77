//! What is done for a request, told by the answers on a transport that records them.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use firnfs::fs::{Attr, Caller, DirEntry, Fs, Ino, Kind, NewNode, SetAttr};
use firnfs::fuse::Dispatcher;
use firnfs::fuse::request::{Answer, Errno, Handle, Operation, Reply, Request};

use crate::pages::{TestPages, open_fs};

const ROOT: Caller = Caller { uid: 0, gid: 0, pid: 1 };

/// A transport of one thread.
struct Bench {
    dispatcher: Dispatcher,
    pages: Arc<TestPages>,
    fs: Arc<Fs>,
}

type Outcome = Result<Answer<'static>, Errno>;

/// A token that passes its answer on, as `/dev/fuse` would.
struct Recorder {
    answers: Option<Sender<(Outcome, Vec<Vec<u8>>)>>,
    entries: Vec<Vec<u8>>,
    room: usize,
}

impl Reply for Recorder {
    fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        let fits = self.entries.len() < self.room;
        if fits {
            self.entries.push(entry.name.to_vec());
        }
        fits
    }

    fn send(mut self, answer: Result<Answer<'_>, Errno>) {
        self.answer(answer.map(into_owned));
    }
}

impl Recorder {
    fn answer(&mut self, outcome: Outcome) {
        let answers = self.answers.take().expect("one answer");
        // A test that looks no further has dropped its end.
        let _ = answers.send((outcome, std::mem::take(&mut self.entries)));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.answers.is_some() {
            self.answer(Err(Errno(libc::EIO)));
        }
    }
}

fn into_owned(answer: Answer<'_>) -> Answer<'static> {
    match answer {
        Answer::Data(data) => Answer::Data(Cow::Owned(data.into_owned())),
        Answer::Done => Answer::Done,
        Answer::Entry(attr) => Answer::Entry(attr),
        Answer::NoEntry => Answer::NoEntry,
        Answer::Attr(attr) => Answer::Attr(attr),
        Answer::Opened(handle) => Answer::Opened(handle),
        Answer::Created(attr, handle) => Answer::Created(attr, handle),
        Answer::Written(bytes) => Answer::Written(bytes),
        Answer::StatFs(stat) => Answer::StatFs(stat),
        Answer::XattrBytes(bytes) => Answer::XattrBytes(bytes),
        Answer::Offset(offset) => Answer::Offset(offset),
        Answer::Directory => Answer::Directory,
    }
}

impl Bench {
    fn new() -> Self {
        let pages = Arc::new(TestPages::default());
        let fs = open_fs(&pages);
        Bench { dispatcher: Dispatcher::new(Arc::clone(&fs), None), pages, fs }
    }

    fn begin(&self, ino: Ino, operation: Operation<'_>) -> Receiver<(Outcome, Vec<Vec<u8>>)> {
        let (answers, received) = channel();
        let reply = Recorder { answers: Some(answers), entries: Vec::new(), room: 3 };
        self.dispatcher.serve(Request { caller: ROOT, ino, operation }, reply);
        received
    }

    fn ask(&self, ino: Ino, operation: Operation<'_>) -> Outcome {
        self.begin(ino, operation).recv().expect("an answer").0
    }

    fn create(&self, name: &str) -> Attr {
        let node = NewNode { kind: Kind::File, mode: 0o644, umask: 0, rdev: 0 };
        let name = name.as_bytes().into();
        match self.ask(Ino::ROOT, Operation::Create { name, node, flags: libc::O_RDWR }) {
            Ok(Answer::Created(attr, _)) => attr,
            other => panic!("{other:?}"),
        }
    }
}

fn write(data: &[u8], handle: Handle, flags: i32) -> Operation<'_> {
    Operation::Write { handle, offset: 0, data: data.into(), flags, kill_suidgid: false }
}

#[test]
fn a_missing_name_is_an_answer_that_may_be_cached() {
    let bench = Bench::new();
    let outcome = bench.ask(Ino::ROOT, Operation::Lookup { name: b"nothing"[..].into() });
    assert!(matches!(outcome, Ok(Answer::NoEntry)), "{outcome:?}");
}

#[test]
fn opening_a_directory_and_flushing_are_declined_for_good() {
    let bench = Bench::new();
    for operation in [Operation::OpenDir, Operation::Flush] {
        assert_eq!(bench.ask(Ino::ROOT, operation).err(), Some(Errno(libc::ENOSYS)));
    }
    assert_eq!(bench.ask(Ino::ROOT, Operation::Ioctl).err(), Some(Errno(libc::ENOTTY)));
}

#[test]
fn a_listing_stops_when_the_token_is_full() {
    let bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.create(name);
    }
    let (outcome, entries) =
        bench.begin(Ino::ROOT, Operation::ReadDir { cookie: 0, plus: false }).recv().expect("an answer");
    assert!(matches!(outcome, Ok(Answer::Directory)), "{outcome:?}");
    assert_eq!(entries.len(), 3, "of `.`, `..` and three files");
}

#[test]
fn an_attribute_answers_its_size_its_value_or_too_small() {
    let bench = Bench::new();
    let ino = bench.create("file").ino;
    let name: Cow<'static, [u8]> = b"user.k"[..].into();
    let set = Operation::SetXattr { name: name.clone(), value: b"value"[..].into(), flags: 0 };
    assert!(matches!(bench.ask(ino, set), Ok(Answer::Done)));

    let get = |bytes| bench.ask(ino, Operation::GetXattr { name: name.clone(), bytes });
    assert!(matches!(get(0), Ok(Answer::XattrBytes(5))));
    assert!(matches!(get(5), Ok(Answer::Data(value)) if *value == *b"value"));
    assert_eq!(get(4).err(), Some(Errno(libc::ERANGE)));
    assert!(matches!(bench.ask(ino, Operation::ListXattr { bytes: 0 }), Ok(Answer::XattrBytes(7))));
}

#[test]
fn flags_that_exclude_each_other_are_invalid() {
    let bench = Bench::new();
    let ino = bench.create("file").ino;
    let rename = Operation::Rename {
        name: b"file"[..].into(),
        to_parent: Ino::ROOT,
        to_name: b"other"[..].into(),
        flags: libc::RENAME_EXCHANGE | libc::RENAME_NOREPLACE,
    };
    assert_eq!(bench.ask(Ino::ROOT, rename).err(), Some(Errno(libc::EINVAL)));
    let set = Operation::SetXattr {
        name: b"user.k"[..].into(),
        value: b""[..].into(),
        flags: libc::XATTR_CREATE | libc::XATTR_REPLACE,
    };
    assert_eq!(bench.ask(ino, set).err(), Some(Errno(libc::EINVAL)));
    let seek = Operation::LSeek { offset: 0, whence: libc::SEEK_END };
    assert_eq!(bench.ask(ino, seek).err(), Some(Errno(libc::EINVAL)));
}

#[test]
fn a_synchronous_direct_write_answers_only_when_durable() {
    let bench = Bench::new();
    let ino = bench.create("file").ino;
    bench.pages.hold_syncs();
    let direct = Handle { direct: true, ..Handle::default() };
    let answer = bench.begin(ino, write(b"data", direct, libc::O_DIRECT | libc::O_DSYNC));
    assert!(answer.try_recv().is_err(), "answered before the sync");
    bench.pages.release_syncs();
    assert!(matches!(answer.recv().expect("an answer").0, Ok(Answer::Written(4))));
}

#[test]
fn a_failed_sync_fails_the_synchronous_direct_write() {
    let bench = Bench::new();
    let ino = bench.create("file").ino;
    bench.pages.fail_syncs();
    let direct = Handle { direct: true, ..Handle::default() };
    assert_eq!(bench.ask(ino, write(b"data", direct, libc::O_DSYNC)).err(), Some(Errno(libc::EIO)));
    assert_eq!(bench.ask(ino, Operation::FSync).err(), Some(Errno(libc::EIO)));
}

#[test]
fn other_writes_leave_the_sync_to_the_kernel() {
    let bench = Bench::new();
    let ino = bench.create("file").ino;
    let direct = Handle { direct: true, ..Handle::default() };
    bench.pages.hold_syncs();
    for (handle, flags) in [(direct, libc::O_DIRECT), (Handle::default(), libc::O_DSYNC)] {
        assert!(matches!(bench.ask(ino, write(b"data", handle, flags)), Ok(Answer::Written(4))));
    }
}

#[test]
fn reads_are_answered_while_changes_wait_for_the_log() {
    let bench = Bench::new();
    let ino = bench.create("file").ino;
    bench.pages.stall();
    let stalled = bench.begin(Ino::ROOT, Operation::Unlink { name: b"other"[..].into() });
    let write = bench
        .begin(bench.fs.lookup(Ino::ROOT, b"file").expect("there").ino, write(b"x", Handle::default(), 0));
    assert!(matches!(bench.ask(Ino::ROOT, Operation::StatFs), Ok(Answer::StatFs(_))));
    assert!(write.try_recv().is_err(), "written without room");
    bench.pages.resume();
    assert!(matches!(write.recv().expect("an answer").0, Ok(Answer::Written(1))));
    assert_eq!(stalled.recv().expect("an answer").0.err(), Some(Errno(libc::ENOENT)));
    assert_eq!(bench.fs.getattr(ino).expect("there").size, 1);
}

#[test]
fn finishing_answers_what_still_waits() {
    let bench = Bench::new();
    bench.pages.stall();
    let waiting: Vec<_> = (0..100)
        .map(|n| {
            let name = format!("d{n}").into_bytes().into();
            let node = NewNode { kind: Kind::Directory, mode: 0o755, umask: 0, rdev: 0 };
            bench.begin(Ino::ROOT, Operation::MkDir { name, node })
        })
        .collect();
    bench.pages.resume();
    bench.dispatcher.finish();
    for answer in waiting {
        let outcome = answer.try_recv().expect("answered by the time that finish returns").0;
        assert!(matches!(outcome, Ok(Answer::Entry(_))), "{outcome:?}");
    }
}

#[test]
fn a_panic_answers_eio_on_either_thread() {
    let bench = Bench::new();
    let ino = bench.create("file").ino;
    bench.pages.panic_on_apply(2);
    assert_eq!(bench.ask(ino, write(b"x", Handle::default(), 0)).err(), Some(Errno(libc::EIO)));
    bench.pages.no_room();
    assert_eq!(bench.ask(ino, write(b"x", Handle::default(), 0)).err(), Some(Errno(libc::EIO)));
    assert!(matches!(bench.ask(ino, write(b"x", Handle::default(), 0)), Ok(Answer::Written(1))));
}

#[test]
fn a_change_of_nothing_clears_set_id_bits() {
    let bench = Bench::new();
    let ino = bench.create("tool").ino;
    let mode = SetAttr { mode: Some(0o6755), ..SetAttr::default() };
    assert!(
        matches!(bench.ask(ino, Operation::SetAttr(mode)), Ok(Answer::Attr(attr)) if attr.mode == 0o6755)
    );
    let kill = SetAttr { kill_suidgid: true, ..SetAttr::default() };
    assert!(matches!(bench.ask(ino, Operation::SetAttr(kill)), Ok(Answer::Attr(attr)) if attr.mode == 0o755));
}
