//! Writers, syncs, forks and maintenance on threads of their own: what a crash or a fork leaves is one
//! instant, whoever was doing what.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use firnfs::base::Space;
use firnfs::volume::{Hint, Operation, Pages};

use crate::rig::{Rig, head, name, small_files};

const WRITERS: u64 = 3;
const TOTAL: Space = Space(1);

/// Each operation counts in its writer's own page, twice, and in a total that all share.
fn operation(writer: u64, count: u64) -> Operation<'static> {
    let mut operation = Operation::new();
    operation.write(Space(10 + writer), 0, vec![u8::try_from(count % 251).unwrap(); 9000]);
    operation.write(Space(20 + writer), 8 * writer, count.to_le_bytes().to_vec());
    operation.add(TOTAL, 0, 1);
    operation
}

fn word(pages: &dyn Pages, space: Space, offset: u64) -> u64 {
    let mut bytes = [0; 8];
    pages.read(space, offset, &mut bytes, Hint::Once).unwrap();
    u64::from_le_bytes(bytes)
}

/// The counts of all writers, after a look at whether they belong to one instant.
fn counts(pages: &dyn Pages) -> Vec<u64> {
    let counts: Vec<u64> = (0..WRITERS).map(|writer| word(pages, Space(20 + writer), 8 * writer)).collect();
    assert_eq!(counts.iter().sum::<u64>(), word(pages, TOTAL, 0), "all writers stand at one instant");
    for (writer, count) in (0..WRITERS).zip(&counts) {
        let mut bytes = [0; 9000];
        pages.read(Space(10 + writer), 0, &mut bytes, Hint::Once).unwrap();
        assert_eq!(bytes, [u8::try_from(count % 251).unwrap(); 9000], "an operation is there whole");
    }
    counts
}

#[test]
fn crashes_and_forks_amid_writers_leave_instants() {
    for seed in 0..12 {
        let rig = Rig::new(small_files());
        let stop = AtomicBool::new(false);
        let applied: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
        let synced: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
        let mut forks = Vec::new();
        // Those who wait for a sync rely on the thread that logs: it ends last.
        let running = AtomicU64::new(WRITERS);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (rig, stop, running, applied, synced) = (&rig, &stop, &running, &applied, &synced);
                scope.spawn(move || {
                    let index = usize::try_from(writer).unwrap();
                    for count in 1.. {
                        if stop.load(Ordering::Acquire)
                            || rig.volume.apply(&operation(writer, count)).is_err()
                        {
                            break;
                        }
                        applied[index].store(count, Ordering::Release);
                        if count % 7 == writer && rig.engine.sync(&name("v")).is_ok() {
                            synced[index].store(count, Ordering::Release);
                        }
                    }
                    running.fetch_sub(1, Ordering::AcqRel);
                });
            }
            scope.spawn(|| {
                while running.load(Ordering::Acquire) > 0 || !stop.load(Ordering::Acquire) {
                    rig.engine.log_step(Duration::from_millis(1));
                    rig.engine.maintain_step(Duration::from_millis(1));
                }
            });
            for number in 0..6 {
                while applied.iter().any(|count| count.load(Ordering::Acquire) < 30 * (number + 1)) {
                    std::thread::yield_now();
                }
                let before: Vec<u64> = applied.iter().map(|count| count.load(Ordering::Acquire)).collect();
                let fork = name(&format!("f{number}"));
                rig.engine.fork(&head("v"), &fork).expect("a healthy disk takes a fork");
                forks.push((fork, before));
            }
            if seed % 2 == 0 {
                rig.disk.crash_at(seed + 1);
                while !rig.disk.crashed() {
                    std::thread::yield_now();
                }
            }
            stop.store(true, Ordering::Release);
        });
        let floor: Vec<u64> = synced.iter().map(|count| count.load(Ordering::Acquire)).collect();
        let rig = if seed % 4 == 0 { rig.kill() } else { rig.power_cut(seed) };
        let found = counts(&*rig.volume);
        assert!(found.iter().zip(&floor).all(|(found, floor)| found >= floor), "{found:?} {floor:?}");
        for (fork, before) in forks {
            let fork = rig.engine.mount(&head(fork.as_str()), false).unwrap();
            let found = counts(&*fork);
            assert!(found.iter().zip(&before).all(|(found, before)| found >= before), "{found:?} {before:?}");
        }
        rig.check();
    }
}
