//! Many threads on one engine: writers, syncs, commands, maintenance and checks at once, with a budget
//! so small that eviction, rolling, recycling and compaction never stop. Bounded by work, not by time.

#![expect(clippy::disallowed_methods, reason = "threads are what is tested here")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use firnfs::base::limits::PAGE_BYTES;
use firnfs::base::{Name, PageNo, Space};
use firnfs::io::sim::{Call, SimClock, SimDisk, SimRng};
use firnfs::volume::{Config, CreateOptions, Engine, Error, Hint, Mounted, Operation, Pages, Source, Synced};

const WRITERS: u64 = 3;
const ROUNDS: u64 = 6_000;
/// Pages of a writer's space that carry its number.
const PAGES: u64 = 24;
/// Where all writers count together.
const SHARED: Space = Space(1000);
/// Far more than a sync ever takes; a hang is what it finds.
const ANSWER_MAX: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config { memory_bytes: 1 << 20, heap_file_bytes: 512 << 10, ..Config::default() }
}

fn open(disk: &SimDisk) -> Arc<Engine> {
    let rng = Arc::new(SimRng::new(7));
    Engine::open(Arc::new(disk.clone()), Arc::new(SimClock::new()), rng, config()).expect("it opens")
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn head(volume: &Name) -> Source {
    Source { volume: volume.clone(), snapshot: None }
}

fn sync(pages: &dyn Pages) {
    let (done, outcome) = mpsc::channel();
    let told: Synced = Box::new(move |result| done.send(result).expect("someone waits"));
    pages.sync(told);
    outcome.recv_timeout(ANSWER_MAX).expect("a sync is answered").expect("a healthy disk syncs");
}

fn word(pages: &dyn Pages, space: Space, page: u64) -> u64 {
    let mut bytes = [0; 8];
    pages.read(space, page * PAGE_BYTES as u64, &mut bytes, Hint::Once).expect("it is readable");
    u64::from_le_bytes(bytes)
}

/// One operation of a writer: its number goes to the first and the last page and to some between, some
/// are removed, and the shared counters move.
fn operation(rng: &SimRng, space: Space, number: u64) -> Operation<'static> {
    let mut operation = Operation::new();
    if rng.one_in(4) {
        let from = 1 + rng.below(PAGES - 2);
        operation.remove(space, PageNo(from), PageNo(from + rng.below(8)));
    }
    if rng.one_in(16) {
        operation.remove(space, PageNo(1), PageNo(u64::MAX));
    }
    for page in [0, 1 + rng.below(PAGES - 2), PAGES - 1] {
        let mut bytes = number.to_le_bytes().to_vec();
        if rng.one_in(2) {
            bytes.resize(PAGE_BYTES, 0);
        }
        operation.write(space, page * PAGE_BYTES as u64, bytes);
    }
    operation.add(SHARED, 8 * space.0, 1);
    operation.max(SHARED, PAGE_BYTES as u64 + 8 * space.0, number);
    operation
}

/// Each writer's operations are there whole, up to one of them; returns how many for each.
fn verify_instant(pages: &dyn Pages) -> Vec<u64> {
    (0..WRITERS)
        .map(|writer| {
            let space = Space(writer);
            let number = word(pages, space, 0);
            assert_eq!(word(pages, space, PAGES - 1), number, "an operation of writer {writer} is torn");
            let mut counters = [0; 2];
            for (index, counter) in counters.iter_mut().enumerate() {
                let mut bytes = [0; 8];
                let offset = index as u64 * PAGE_BYTES as u64 + 8 * writer;
                pages.read(SHARED, offset, &mut bytes, Hint::Keep).expect("it is readable");
                *counter = u64::from_le_bytes(bytes);
            }
            assert_eq!(counters, [number; 2], "the counters of writer {writer}");
            for page in 1..PAGES - 1 {
                assert!(
                    word(pages, space, page) <= number,
                    "page {page} of writer {writer} is of the future"
                );
            }
            number
        })
        .collect()
}

fn write(mounted: &Mounted, writer: u64, synced: &AtomicU64) {
    let rng = SimRng::new(writer);
    let space = Space(writer);
    for number in 1..=ROUNDS {
        mounted.apply(&operation(&rng, space, number)).expect("a healthy disk takes it");
        let page = if rng.one_in(2) { 0 } else { PAGES - 1 };
        assert_eq!(word(mounted, space, page), number, "a writer reads what it wrote");
        if rng.one_in(8) {
            sync(mounted);
            synced.store(number, Ordering::Release);
        }
    }
}

/// Forks, snapshots and removes, and holds what they took against what had returned before.
fn command(engine: &Arc<Engine>, volume: &Name, number: u64) {
    let (fork, snapshot) = (name(&format!("f{number}")), name(&format!("s{number}")));
    engine.snapshot(volume, &snapshot).expect("a snapshot is taken");
    engine.fork(&head(volume), &fork).expect("a fork is taken");
    let of_snapshot = Source { volume: volume.clone(), snapshot: Some(snapshot) };
    let first = {
        let mounted = engine.mount(&of_snapshot, true).expect("a snapshot is mounted");
        verify_instant(&*mounted)
    };
    {
        let mounted = engine.mount(&head(&fork), false).expect("a fork is mounted");
        let second = verify_instant(&*mounted);
        assert!(first.iter().zip(&second).all(|(a, b)| a <= b), "a later fork has no less");
        let mut change = Operation::new();
        change.remove(Space(0), PageNo(0), PageNo(u64::MAX)).write(Space(1), 0, vec![0xff; 9]);
        mounted.apply(&change).expect("a fork is writable");
        sync(&*mounted);
    }
    {
        let mounted = engine.mount(&head(volume), true).expect("an instant is mounted");
        verify_instant(&*mounted);
    }
    engine.remove(&of_snapshot).expect("a snapshot is removed");
    engine.remove(&head(&fork)).expect("a fork is removed");
}

/// A copy of the disk, taken at any moment as a kill leaves it, holds all that was synced before.
fn verify_copy(disk: &SimDisk, volume: &Name, synced: &[AtomicU64], seed: u64) {
    let least: Vec<u64> = synced.iter().map(|number| number.load(Ordering::Acquire)).collect();
    let engine = open(&disk.copy(seed));
    let mounted = engine.mount(&head(volume), false).expect("the volume is there");
    let found = verify_instant(&*mounted);
    for (writer, (found, least)) in found.iter().zip(&least).enumerate() {
        assert!(found >= least, "writer {writer}: {least} was synced, {found} came back");
    }
    let report = engine.check(&mut |_, _| {}).expect("a check runs");
    assert_eq!(report.damage, Vec::<String>::new());
}

/// Sets its flag when dropped, so that the loops end when a thread panics, too.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn everything_at_once_keeps_operations_whole_and_synced_ones_safe() {
    let disk = SimDisk::new(1);
    let engine = open(&disk);
    let volume = name("v");
    engine.create(&volume, &CreateOptions::default()).expect("it is created");
    let mounted = engine.mount(&head(&volume), false).expect("it is mounted");
    let synced: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let ended = AtomicBool::new(false);
    let until_ended = |act: &mut dyn FnMut(u64)| {
        let mut number = 0;
        while !ended.load(Ordering::Acquire) {
            act(number);
            number += 1;
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| until_ended(&mut |_| engine.maintain_step(Duration::from_millis(1))));
        }
        scope.spawn(|| until_ended(&mut |_| engine.log_step(Duration::from_millis(1))));
        scope.spawn(|| {
            let _ends = Ends(&ended);
            until_ended(&mut |number| command(&engine, &volume, number));
        });
        scope.spawn(|| {
            let _ends = Ends(&ended);
            until_ended(&mut |_| {
                let report = engine.check(&mut |_, _| {}).expect("a check runs");
                assert_eq!(report.damage, Vec::<String>::new());
            });
        });
        scope.spawn(|| {
            let _ends = Ends(&ended);
            until_ended(&mut |number| verify_copy(&disk, &volume, &synced, number));
        });
        let _ends = Ends(&ended);
        thread::scope(|writers| {
            for (writer, synced) in (0..).zip(&synced) {
                let mounted = &mounted;
                writers.spawn(move || write(mounted, writer, synced));
            }
        });
    });
    assert_eq!(verify_instant(&*mounted), vec![ROUNDS; 3]);
}

/// A writer on a disk that is nearly always full: when it is, it removes what it has.
fn write_and_empty(mounted: &Mounted, writer: u64, refusals: &AtomicU64) {
    let rng = SimRng::new(writer);
    let space = Space(writer);
    let mut content = vec![0; 64];
    for number in 1..=ROUNDS {
        let page = rng.below(64);
        let byte = u8::try_from(1 + number % 255).expect("a byte");
        let mut operation = Operation::new();
        operation.write(space, page * PAGE_BYTES as u64, vec![byte; PAGE_BYTES * 2]);
        match mounted.apply(&operation) {
            Ok(()) => {
                content.resize(66, 0);
                content[usize::try_from(page).expect("small")..][..2].fill(byte);
            }
            Err(Error::NoSpace { .. }) => {
                refusals.fetch_add(1, Ordering::Relaxed);
                let from = rng.below(32);
                let mut operation = Operation::new();
                operation.remove(space, PageNo(from), PageNo(u64::MAX)).frees = true;
                mounted.apply(&operation).expect("a full disk can be emptied");
                content[usize::try_from(from).expect("small")..].fill(0);
                sync(mounted);
            }
            Err(error) => panic!("{error}"),
        }
        let page = rng.index(content.len());
        let found = word(mounted, space, page as u64);
        assert_eq!(found, u64::from_le_bytes([content[page]; 8]), "page {page} of writer {writer}");
    }
}

#[test]
fn writers_on_a_full_disk_are_refused_and_never_stuck() {
    let disk = SimDisk::new(2);
    let rng = Arc::new(SimRng::new(7));
    // Less than what the writers want, together with what compaction needs.
    let config = Config { disk_bytes: Some(7 * (256 << 10)), heap_file_bytes: 256 << 10, ..config() };
    let engine = Engine::open(Arc::new(disk), Arc::new(SimClock::new()), rng, config).expect("it opens");
    let volume = name("v");
    engine.create(&volume, &CreateOptions::default()).expect("it is created");
    let mounted = engine.mount(&head(&volume), false).expect("it is mounted");
    let ended = AtomicBool::new(false);
    let refusals = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                engine.maintain_step(Duration::from_millis(1));
            }
        });
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                engine.log_step(Duration::from_millis(1));
            }
        });
        let _ends = Ends(&ended);
        thread::scope(|writers| {
            for writer in 0..4 {
                let (mounted, refusals) = (&mounted, &refusals);
                writers.spawn(move || write_and_empty(mounted, writer, refusals));
            }
        });
    });
    sync(&*mounted);
    let report = engine.check(&mut |_, _| {}).expect("a check runs");
    assert_eq!(report.damage, Vec::<String>::new());
    assert!(refusals.load(Ordering::Relaxed) > 0, "the disk was never full");
}

/// A volume that is synced without pause keeps neither another one out of the log, nor a fork waiting.
#[test]
fn a_busy_volume_does_not_hold_up_the_flush_of_a_quiet_one_nor_a_fork() {
    let disk = SimDisk::new(3);
    let clock = Arc::new(SimClock::new());
    let rng = Arc::new(SimRng::new(7));
    let engine =
        Engine::open(Arc::new(disk.clone()), Arc::clone(&clock) as _, rng, config()).expect("it opens");
    let (busy, quiet) = (name("busy"), name("quiet"));
    for volume in [&busy, &quiet] {
        engine.create(volume, &CreateOptions::default()).expect("it is created");
    }
    // A disk slow enough that syncs gather while a round goes on.
    disk.set_hook(|call, _| {
        if call == Call::SyncData {
            thread::sleep(Duration::from_micros(2000));
        }
    });
    let pages = engine.mount(&head(&quiet), false).expect("it is mounted");
    let (ended, all_answered) = (AtomicBool::new(false), AtomicBool::new(false));
    let log = || {
        while !all_answered.load(Ordering::Acquire) {
            engine.log_step(Duration::from_millis(1));
        }
    };
    thread::scope(|outer| {
        outer.spawn(log);
        let _answered = Ends(&all_answered);
        thread::scope(|scope| {
            let _ends = Ends(&ended);
            let mounted = engine.mount(&head(&busy), false).expect("it is mounted");
            // Clients hand their syncs to servers, as the kernel does: whoever leads is none of those who wait.
            let (requests, inbox) = mpsc::channel::<Synced>();
            let inbox = Arc::new(Mutex::new(inbox));
            for _ in 0..3 {
                let (mounted, inbox) = (Arc::clone(&mounted), Arc::clone(&inbox));
                scope.spawn(move || {
                    loop {
                        let request = inbox.lock().recv();
                        let Ok(request) = request else { return };
                        mounted.sync(request);
                    }
                });
            }
            for space in 0..6 {
                let (mounted, ended, requests) = (Arc::clone(&mounted), &ended, requests.clone());
                scope.spawn(move || {
                    while !ended.load(Ordering::Acquire) {
                        let mut operation = Operation::new();
                        operation.write(Space(space), 0, vec![1; 64]);
                        mounted.apply(&operation).expect("a healthy disk takes it");
                        let (done, outcome) = mpsc::channel();
                        let told: Synced = Box::new(move |result| done.send(result).expect("someone waits"));
                        requests.send(told).expect("servers run");
                        outcome.recv_timeout(ANSWER_MAX).expect("it is answered").expect("it succeeds");
                    }
                });
            }
            drop(requests);
            let unlogged = || {
                let status = engine.status();
                status
                    .volumes
                    .iter()
                    .find(|volume| volume.info.name == quiet)
                    .expect("it is there")
                    .unlogged_bytes
            };
            for number in 0..60 {
                let mut operation = Operation::new();
                operation.write(Space(1), 0, vec![1; 64]);
                pages.apply(&operation).expect("a healthy disk takes it");
                clock.advance(Duration::from_secs(6));
                let before = engine.status().log_syncs;
                while unlogged() > 0 {
                    let rounds = engine.status().log_syncs - before;
                    assert!(rounds < 40, "{rounds} rounds passed the quiet volume by");
                    thread::yield_now();
                }
                let before = engine.status().log_syncs;
                engine.fork(&head(&busy), &name(&format!("fork{number}"))).expect("a fork is taken");
                let rounds = engine.status().log_syncs - before;
                assert!(rounds < 40, "a fork waited for {rounds} rounds");
            }
        });
    });
}
