//! Crashes at each I/O call of a short course, and at random ones of a long one.

use firnfs::io::sim::SimRng;

use crate::harness::course::{begin, step};
use crate::harness::seeds::for_seeds;
use crate::harness::world::{End, World};

/// Goes on until the disk stops or `steps` are done.
fn run(world: &mut World, steps: usize) {
    for _ in 0..steps {
        if world.disk.crashed() {
            return;
        }
        if let Err(error) = step(world) {
            assert!(world.disk.crashed(), "without a crash everything succeeds: {error}");
        }
    }
}

fn crash_at_each_call(seed: u64, end: End) {
    const STEPS: usize = 24;
    let mut number = 1;
    loop {
        let mut world = begin(seed);
        world.disk.crash_at(number);
        run(&mut world, STEPS);
        let reached = world.disk.crashed();
        world.crash(end, None);
        run(&mut world, STEPS / 4);
        world.verify();
        if !reached {
            break;
        }
        number += 1;
    }
}

#[test]
fn a_kill_at_any_call_leaves_an_instant() {
    for_seeds(6, |seed| crash_at_each_call(seed, End::Kill));
}

#[test]
fn a_power_cut_at_any_call_leaves_an_instant() {
    for_seeds(10, |seed| crash_at_each_call(seed, End::PowerCut));
}

/// Several lives of one data directory, each ended at a random call, now and then twice in a row.
fn many_lives(seed: u64, end: impl Fn(&SimRng) -> End) {
    let mut world = begin(seed);
    for _ in 0..6 {
        let calls = world.rng.below(400) + 1;
        world.disk.crash_at(calls);
        run(&mut world, 300);
        let again = world.rng.one_in(3).then(|| world.rng.below(20) + 1);
        let end = end(&world.rng);
        world.crash(end, again);
    }
    world.restart().expect("an engine that came back closes in order");
    world.verify();
}

#[test]
fn lives_that_end_in_kills_and_power_cuts_leave_instants() {
    for_seeds(80, |seed| {
        many_lives(seed, |rng| if rng.one_in(2) { End::Kill } else { End::PowerCut });
    });
}
