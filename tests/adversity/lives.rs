//! Lives of one data directory in which the disk fails and then stops, one after the other.

use firnfs::io::Rng;

use super::harness::course::{begin, step};
use super::harness::seeds::for_seeds;
use super::harness::world::{End, World};
use super::*;

const CALLS: [Call; 7] =
    [Call::Create, Call::Rename, Call::Remove, Call::SyncDir, Call::Write, Call::SyncData, Call::Allocate];

fn some_fault(rng: &SimRng) -> Fault {
    let errno = [libc::EIO, libc::EIO, libc::ENOSPC, libc::EMFILE][rng.index(4)];
    let fault = match rng.below(4) {
        0 => Fault::on_any(errno),
        1 => Fault::on(Call::SyncData, libc::EIO),
        _ => Fault::on(CALLS[rng.index(CALLS.len())], errno),
    };
    fault.after(rng.below(30)).times(1 + rng.below(4))
}

fn live(world: &mut World, steps: usize) {
    for _ in 0..steps {
        if world.disk.crashed() {
            return;
        }
        if let Err(error) = step(world) {
            let of_the_disk =
                matches!(error, Error::NoSpace { .. } | Error::LogFailed { .. } | Error::Io { .. });
            assert!(of_the_disk || world.disk.crashed(), "an error of the disk is called one: {error}");
        }
    }
}

#[test]
fn lives_with_faults_that_end_in_crashes_leave_instants() {
    for_seeds(60, |seed| {
        let mut world = begin(seed);
        for _ in 0..5 {
            for _ in 0..world.rng.below(3) {
                let fault = some_fault(&world.rng);
                world.disk.fail(fault);
            }
            if world.rng.one_in(2) {
                let calls = 1 + world.rng.below(300);
                world.disk.crash_at(calls);
            }
            let steps = 20 + world.rng.index(120);
            live(&mut world, steps);
            world.disk.clear_faults();
            let again = world.rng.one_in(3).then(|| 1 + world.rng.next_u64() % 20);
            let end = if world.rng.one_in(2) { End::Kill } else { End::PowerCut };
            world.crash(end, again);
        }
        live(&mut world, 40);
        world.verify();
    });
}
