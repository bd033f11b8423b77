//! The engine against a plain map of pages: random operations of every kind, with a memory budget and
//! heap files so small that eviction, rolling, recycling and compaction happen all the time.
//!
//! `FIRN_SEED=n` replays one course, `FIRN_SEEDS=n` runs n times as many.

#[path = "../harness/mod.rs"]
mod harness;

use harness::course::{begin, step};
use harness::seeds::for_seeds;

const STEPS: usize = 400;

#[test]
fn volumes_forks_and_snapshots_hold_what_the_model_holds() {
    for_seeds(150, |seed| {
        let mut world = begin(seed);
        for _ in 0..STEPS {
            step(&mut world).expect("a healthy disk lets everything succeed");
        }
        world.verify();
    });
}

#[test]
fn an_orderly_restart_keeps_everything() {
    for_seeds(60, |seed| {
        let mut world = begin(seed);
        for _ in 0..4 {
            for _ in 0..STEPS / 4 {
                step(&mut world).expect("a healthy disk lets everything succeed");
            }
            world.restart().expect("a healthy engine closes");
            world.verify();
        }
    });
}
