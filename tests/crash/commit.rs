//! Syncs: what they cost, what they share, and what they never do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firnfs::io::sim::{Call, Fault, SimDisk};
use firnfs::volume::{Config, CreateOptions, Error, Pages};
use parking_lot::{Condvar, Mutex};

use crate::rig::{Rig, head, name, small_files, waiter};

/// Holds the disk's syncs until it is opened.
#[derive(Default)]
struct Barrier {
    /// Whether a sync waits, and whether it may go on.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Barrier {
    fn hold_syncs(disk: &SimDisk) -> Arc<Self> {
        let barrier = Arc::new(Barrier::default());
        let held = Arc::clone(&barrier);
        disk.set_hook(move |call, _| {
            if call == Call::SyncData {
                let mut state = held.state.lock();
                state.0 = true;
                held.changed.notify_all();
                held.changed.wait_while(&mut state, |(_, open)| !*open);
            }
        });
        barrier
    }

    fn wait_until_held(&self) {
        self.changed.wait_while(&mut self.state.lock(), |(held, _)| !*held);
    }

    fn open(&self) {
        self.state.lock().1 = true;
        self.changed.notify_all();
    }
}

fn warmed_up() -> Rig {
    let rig = Rig::new(Config { memory_bytes: 64 << 20, ..Config::default() });
    rig.put(0, 1).unwrap();
    rig.sync().unwrap();
    rig.maintain(4);
    rig
}

#[test]
fn a_sync_costs_one_write_and_one_sync_of_one_file() {
    let rig = warmed_up();
    rig.put_many(10, 5, 2).unwrap();
    let before = rig.disk.counters();
    rig.sync().unwrap();
    let after = rig.disk.counters();
    assert_eq!(after.mutations() - before.mutations(), 2);
    assert_eq!(after.of(Call::Write) - before.of(Call::Write), 1);
    assert_eq!(after.of(Call::SyncData) - before.of(Call::SyncData), 1);
    assert_eq!(after.bytes_written - before.bytes_written, 6 << 12, "a header and the pages");
}

#[test]
fn a_sync_of_nothing_touches_no_disk() {
    let rig = warmed_up();
    let before = rig.disk.counters().mutations();
    rig.sync().unwrap();
    assert_eq!(rig.disk.counters().mutations(), before);
}

#[test]
fn those_who_wait_at_the_same_time_share_one_sync() {
    let rig = warmed_up();
    rig.put(1, 1).unwrap();
    let barrier = Barrier::hold_syncs(&rig.disk);
    let before = rig.disk.counters().of(Call::SyncData);
    let mut followers = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| rig.sync_until_told());
        barrier.wait_until_held();
        for page in 2..10 {
            rig.put(page, 1).unwrap();
            let (done, outcome) = waiter();
            rig.volume.sync(done);
            assert!(outcome.lock().is_none(), "not before its own sync");
            followers.push(outcome);
        }
        barrier.open();
    });
    assert!(followers.iter().all(|outcome| matches!(*outcome.lock(), Some(Ok(())))));
    assert_eq!(rig.disk.counters().of(Call::SyncData) - before, 2, "the leader's, and one for the others");
    let rig = rig.power_cut(1);
    assert_eq!(rig.all(10), [1; 10]);
}

#[test]
fn volumes_share_a_sync_as_well() {
    let rig = warmed_up();
    rig.engine.create(&name("w"), &CreateOptions::default()).unwrap();
    let other = rig.engine.mount(&head("w"), false).unwrap();
    let Rig { disk, clock, config, engine, volume } = rig;
    let second = Rig {
        disk: disk.clone(),
        clock: clock.clone(),
        config: config.clone(),
        engine: engine.clone(),
        volume: other,
    };
    let rig = Rig { disk, clock, config, engine, volume };
    rig.put(1, 1).unwrap();
    let barrier = Barrier::hold_syncs(&rig.disk);
    let before = rig.disk.counters().of(Call::SyncData);
    std::thread::scope(|scope| {
        scope.spawn(|| rig.sync_until_told());
        barrier.wait_until_held();
        rig.put(2, 2).unwrap();
        second.put(2, 2).unwrap();
        let (first, _) = waiter();
        rig.volume.sync(first);
        let (last, _) = waiter();
        second.volume.sync(last);
        barrier.open();
    });
    assert_eq!(rig.disk.counters().of(Call::SyncData) - before, 2);
}

#[test]
fn readers_and_writers_do_not_wait_for_a_sync() {
    let rig = warmed_up();
    let rig = rig.kill();
    rig.put(1, 1).unwrap();
    rig.sync().unwrap();
    rig.put(2, 1).unwrap();
    let barrier = Barrier::hold_syncs(&rig.disk);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rig.sync_until_told();
            ended.store(true, Ordering::Release);
        });
        barrier.wait_until_held();
        assert_eq!(rig.get(0).unwrap(), 1, "from the disk");
        assert_eq!(rig.get(2).unwrap(), 1, "what is being written");
        rig.put(2, 5).unwrap();
        assert_eq!(rig.get(2).unwrap(), 5, "what was written meanwhile");
        assert!(!ended.load(Ordering::Acquire));
        barrier.open();
    });
    let rig = rig.power_cut(1);
    assert!([1, 5].contains(&rig.get(2).unwrap()));
}

#[test]
fn a_failed_sync_is_repeated_in_another_file_and_never_on_the_same() {
    let rig = warmed_up();
    rig.put_many(1, 3, 7).unwrap();
    rig.disk.fail(Fault::on(Call::SyncData, libc::EIO).name("heap-"));
    let synced = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&synced);
    rig.disk.set_hook(move |call, file| {
        if call == Call::SyncData && file.starts_with("heap-") {
            seen.lock().push(file.to_owned());
        }
    });
    rig.sync().expect("the pages are still in memory");
    let failed = synced.lock()[0].clone();
    assert!(synced.lock()[1..].iter().all(|file| *file != failed), "{:?}", synced.lock());
    for seed in 0..20 {
        let copy = rig.disk.copy(seed);
        copy.power_cut(seed);
        let copy = copy.reboot();
        let engine = crate::rig::open(&copy, &rig.clock, &rig.config).unwrap();
        let volume = engine.mount(&head("v"), false).unwrap();
        for page in 1..4 {
            assert_eq!(crate::rig::first_byte(&*volume, page).unwrap(), 7);
        }
    }
}

#[test]
fn a_log_that_cannot_be_written_at_all_refuses_changes_and_says_why() {
    let rig = warmed_up();
    rig.put(1, 7).unwrap();
    rig.disk.fail(Fault::on(Call::SyncData, libc::EIO).forever());
    rig.sync().expect_err("nothing can be synced");
    rig.disk.clear_faults();
    let error = rig.put(2, 7).expect_err("the volume takes no more changes");
    assert!(matches!(error, Error::LogFailed { .. }), "{error}");
    rig.sync().expect_err("a sync is not retried into success");
    assert_eq!([rig.get(0).unwrap(), rig.get(1).unwrap()], [1, 7], "reads go on");
    assert!(rig.engine.status().volumes[0].failed.is_some());
    let rig = rig.power_cut(5);
    assert_eq!(rig.get(0).unwrap(), 1);
    rig.put(2, 7).expect("after a restart it takes changes");
    rig.sync().unwrap();
}

#[test]
fn what_is_not_synced_is_durable_after_the_flush_interval() {
    for busy in [false, true] {
        let rig = Rig::new(small_files());
        rig.put(0, 1).unwrap();
        let mut rounds = 0;
        while rig.clock_monotonic() < Duration::from_secs(5) {
            rig.clock.advance(Duration::from_millis(100));
            if busy {
                rig.put(1 + rounds % 8, 9).unwrap();
            }
            rig.engine.log_step(Duration::ZERO);
            rounds += 1;
        }
        let rig = rig.power_cut(3);
        assert_eq!(rig.get(0).unwrap(), 1, "busy: {busy}");
    }
}

#[test]
fn a_page_written_many_times_between_two_syncs_is_logged_once() {
    let rig = warmed_up();
    for round in 0..100 {
        rig.put(1, round).unwrap();
    }
    let before = rig.disk.counters().bytes_written;
    rig.sync().unwrap();
    assert_eq!(rig.disk.counters().bytes_written - before, 2 << 12);
}

#[test]
fn closing_makes_everything_durable_and_refuses_what_comes_later() {
    let rig = warmed_up();
    rig.put(1, 7).unwrap();
    rig.engine.close().unwrap();
    assert!(matches!(rig.put(2, 7), Err(Error::ShuttingDown)));
    let rig = rig.power_cut(1);
    assert_eq!(rig.get(1).unwrap(), 7);
}
