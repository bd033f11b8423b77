//! A page's way from memory to the disk, and what goes on beside it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firnfs::io::sim::{Call, Fault, SimDisk};
use firnfs::volume::{Config, CreateOptions, Error, Pages};
use parking_lot::{Condvar, Mutex};

use crate::rig::{Rig, head, name, small_files, waiter};

thread_local! {
    /// Whether this thread is in a hook already.
    static WATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `look` before every call that is not one of its own.
fn before_every_call(disk: &SimDisk, look: impl Fn() + Send + Sync + 'static) {
    disk.set_hook(move |_, _| {
        if !WATCHING.replace(true) {
            look();
            WATCHING.set(false);
        }
    });
}

/// Holds the first call that it is told to, until it is opened.
#[derive(Default)]
struct Turnstile {
    /// Whether a call waits, and whether it may go on.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Turnstile {
    fn hold_first(disk: &SimDisk, which: impl Fn(Call, &str) -> bool + Send + Sync + 'static) -> Arc<Self> {
        let turnstile = Arc::new(Turnstile::default());
        let held = Arc::clone(&turnstile);
        disk.set_hook(move |call, file| {
            let mut state = held.state.lock();
            if !state.0 && which(call, file) {
                state.0 = true;
                held.changed.notify_all();
                held.changed.wait_while(&mut state, |(_, open)| !*open);
            }
        });
        turnstile
    }

    fn wait_until_held(&self) {
        self.changed.wait_while(&mut self.state.lock(), |(held, _)| !*held);
    }

    fn open(&self) {
        self.state.lock().1 = true;
        self.changed.notify_all();
    }
}

#[test]
fn a_page_is_readable_at_every_call_on_its_way_to_the_disk() {
    let config = Config { memory_bytes: 1 << 20, ..small_files() };
    let rig = Rig::new(config);
    let volume = Arc::clone(&rig.volume);
    let (looks, wrong) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (counted, collected) = (Arc::clone(&looks), Arc::clone(&wrong));
    rig.put_many(0, 300, 1).unwrap();
    before_every_call(&rig.disk, move || {
        *counted.lock() += 1;
        for page in (0..300).step_by(29) {
            match crate::rig::first_byte(&*volume, page) {
                Ok(1) => {}
                other => collected.lock().push(format!("page {page}: {other:?}")),
            }
        }
    });
    rig.sync().unwrap();
    for round in 0..30 {
        rig.put_many(1000, 60, round).unwrap();
        rig.sync().unwrap();
        rig.maintain(4);
    }
    rig.disk.set_hook(|_, _| {});
    assert!(*looks.lock() > 100);
    assert_eq!(*wrong.lock(), Vec::<String>::new());
}

#[test]
fn a_page_whose_group_failed_is_read_as_it_was_written_and_never_from_the_disk() {
    let rig = Rig::new(small_files());
    rig.put(0, 1).unwrap();
    rig.sync().unwrap();
    rig.put(0, 2).unwrap();
    rig.disk.fail(Fault::on(Call::Write, libc::EIO).name("heap-").forever());
    rig.sync().expect_err("nothing can be written");
    rig.maintain(10);
    assert_eq!(rig.get(0).unwrap(), 2);
    let rig = rig.kill();
    assert_eq!(rig.get(0).unwrap(), 1, "no slot refers to what was never written");
    rig.check();
}

#[test]
fn a_file_is_not_reused_under_a_reader() {
    let rig = Rig::new(Config { memory_bytes: 1 << 20, ..small_files() });
    rig.put_many(0, 8, 7).unwrap();
    rig.sync().unwrap();
    let rig = rig.kill();
    let turnstile =
        Turnstile::hold_first(&rig.disk, |call, file| call == Call::Read && file.starts_with("heap-"));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| rig.get(3).expect("it reads what it found"));
        turnstile.wait_until_held();
        for round in 0..100 {
            rig.put_many(0, 40, 100 + round).unwrap();
            rig.sync().unwrap();
            rig.maintain(6);
        }
        turnstile.open();
        assert_eq!(reader.join().expect("the reader ends"), 7, "the page as it was when it was found");
    });
    rig.check();
}

#[test]
fn syncs_and_writes_do_not_wait_for_maintenance() {
    let of_maintenance = [Call::Allocate, Call::Create, Call::Rename, Call::SyncDir];
    for held in of_maintenance {
        let rig = Rig::new(Config { memory_bytes: 64 << 20, ..Config::default() });
        rig.put(0, 1).unwrap();
        rig.sync().unwrap();
        // The log has room, so that it needs none of what is being made ready.
        let turnstile = Turnstile::hold_first(&rig.disk, move |call, _| call == held);
        let opened = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !opened.load(Ordering::Acquire) {
                    rig.maintain(1);
                    rig.engine.create(&name("w"), &CreateOptions::default()).ok();
                }
            });
            turnstile.wait_until_held();
            for page in 1..20 {
                rig.put(page, 2).unwrap();
                rig.sync().expect("while maintenance waits for the disk");
                assert_eq!(rig.get(page).unwrap(), 2);
            }
            opened.store(true, Ordering::Release);
            turnstile.open();
        });
    }
}

#[test]
fn files_grow_with_bytes_and_not_with_pages_or_syncs() {
    let rig = Rig::new(Config { memory_bytes: 64 << 20, ..Config::default() });
    rig.maintain(10);
    let before = rig.heap_files().len();
    for page in 0..50 {
        rig.put(page, 1).unwrap();
        rig.sync().unwrap();
        rig.maintain(1);
    }
    assert_eq!(rig.heap_files().len(), before, "what is there takes many more");
    let saves = rig.disk.counters().of(Call::Rename);
    rig.put_many(2000, 200, 1).unwrap();
    rig.sync().unwrap();
    assert_eq!(rig.disk.counters().of(Call::Rename), saves, "and the manifest has nothing to learn");
}

#[test]
fn what_is_unlogged_is_bounded_without_any_sync() {
    let rig = Rig::new(Config { memory_bytes: 64 << 20, ..Config::default() });
    let mut highest = 0;
    for page in 0..4000 {
        rig.put_many(page * 8, 8, 3).unwrap();
        highest = highest.max(rig.engine.status().volumes[0].unlogged_bytes);
    }
    assert!(highest <= (64 << 20) / 8, "{highest} bytes at once");
    assert!(rig.engine.status().log_syncs > 10, "writers have logged it themselves");
}

#[test]
fn half_of_what_may_be_unlogged_is_logged_in_the_background_at_once() {
    let rig = Rig::new(Config { memory_bytes: 64 << 20, ..Config::default() });
    rig.put(0, 1).unwrap();
    rig.engine.log_step(std::time::Duration::ZERO);
    assert_eq!(rig.engine.status().log_syncs, 0, "a little may wait");
    rig.put_many(0, 600, 1).unwrap();
    rig.engine.log_step(std::time::Duration::ZERO);
    assert_eq!(rig.engine.status().volumes[0].unlogged_bytes, 0);
}

#[test]
fn frames_that_are_durable_give_their_memory_back() {
    let budget = 24 << 20;
    let rig = Rig::new(Config { memory_bytes: budget, ..Config::default() });
    let idle = rig.engine.status().memory_used_bytes;
    for round in 0..40 {
        rig.put_many(round * 256, 256, 1).unwrap();
        assert_eq!(rig.get(round * 256).unwrap(), 1);
        assert!(rig.engine.status().memory_used_bytes <= budget, "round {round}");
    }
    rig.sync().unwrap();
    let Rig { disk: _disk, engine, volume, .. } = rig;
    drop(volume);
    engine.remove(&head("v")).unwrap();
    for _ in 0..50 {
        engine.maintain_step(std::time::Duration::ZERO);
    }
    let left = engine.status().memory_used_bytes;
    assert!(left <= idle + (1 << 20), "{left} bytes are left of a volume that is gone, {idle} at first");
}

/// Whoever leads a round may be the thread of any request.
#[test]
fn a_round_that_panics_answers_who_waits_and_nothing_is_acknowledged_after_it() {
    for call in [Call::Write, Call::SyncData] {
        let rig = Rig::new(small_files());
        rig.engine.create(&name("other"), &CreateOptions::default()).unwrap();
        let other = rig.engine.mount(&head("other"), false).unwrap();
        rig.put(0, 1).unwrap();
        rig.sync().unwrap();
        rig.put(1, 2).unwrap();
        let follower = Arc::new(Mutex::new(None));
        let (left, volume, armed) = (Arc::clone(&follower), Arc::clone(&rig.volume), AtomicBool::new(true));
        rig.disk.set_hook(move |now, file| {
            if now == call && file.starts_with("heap-") && armed.swap(false, Ordering::AcqRel) {
                let (done, outcome) = waiter();
                volume.sync(done);
                *left.lock() = Some(outcome);
                panic!("in the midst of a round");
            }
        });
        let (done, leader) = waiter();
        catch_unwind(AssertUnwindSafe(|| rig.volume.sync(done))).expect_err("the hook panics");
        rig.disk.set_hook(|_, _| {});
        let follower = follower.lock().take().expect("it came meanwhile");
        for outcome in [leader, follower] {
            let told = outcome.lock().take().expect("nobody waits for ever");
            assert!(matches!(told, Err(Error::LogFailed { .. })), "{told:?}");
        }
        rig.put(2, 3).expect_err("the volume takes no more changes");
        rig.sync().expect_err("and acknowledges none");
        assert_eq!(rig.all(2), [1, 2], "reads go on");
        let (done, outcome) = waiter();
        let mut operation = firnfs::volume::Operation::new();
        operation.write(crate::rig::SPACE, 0, vec![9; 4096]);
        other.apply(&operation).expect("nothing of it was in that round");
        other.sync(done);
        outcome.lock().take().expect("it is answered").expect_err("the log of all is doubtful");
        rig.engine.close().expect_err("there is something that cannot be saved");
        drop(other);
        let rig = rig.power_cut(1);
        assert_eq!(rig.get(0).unwrap(), 1, "what was acknowledged is there");
        rig.put(1, 4).unwrap();
        rig.sync().expect("a restart recovers");
        rig.check();
    }
}
