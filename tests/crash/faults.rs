//! A disk that reports errors: nothing acknowledged is lost, nothing is invented, and it passes.

use firnfs::io::sim::{Call, Fault};
use firnfs::volume::Error;

use crate::harness::course::{begin, step};
use crate::harness::seeds::for_seeds;
use crate::harness::world::{End, World};

/// Whether an error says that the disk is at fault.
fn is_of_the_disk(error: &Error) -> bool {
    matches!(error, Error::NoSpace { .. } | Error::LogFailed { .. } | Error::Io { .. })
}

fn run(world: &mut World, steps: usize) {
    for _ in 0..steps {
        if let Err(error) = step(world) {
            assert!(is_of_the_disk(&error), "an error of the disk is called one: {error}");
        }
    }
}

/// Arms a fault, goes on, disarms it, goes on, and ends the life.
fn with_fault(seed: u64, fault: Fault) {
    let mut world = begin(seed);
    run(&mut world, 60);
    world.disk.fail(fault);
    run(&mut world, 60);
    world.disk.clear_faults();
    run(&mut world, 60);
    let end = if world.rng.one_in(2) { End::Kill } else { End::PowerCut };
    world.crash(end, None);
    run(&mut world, 40);
    world.verify();
}

#[test]
fn an_io_error_on_any_call_loses_nothing_acknowledged() {
    for_seeds(120, |seed| with_fault(seed, Fault::on_any(libc::EIO).after(seed % 40)));
}

#[test]
fn a_full_disk_on_any_call_loses_nothing_acknowledged() {
    for_seeds(120, |seed| {
        let call = [Call::Write, Call::Allocate, Call::Create][usize::try_from(seed % 3).expect("small")];
        with_fault(seed, Fault::on(call, libc::ENOSPC).after(seed % 7).times(1 + seed % 5));
    });
}

#[test]
fn a_sync_that_fails_once_loses_nothing_acknowledged_before_or_after() {
    for_seeds(120, |seed| with_fault(seed, Fault::on(Call::SyncData, libc::EIO).after(seed % 12)));
}

#[test]
fn a_directory_sync_that_fails_loses_nothing_acknowledged() {
    for_seeds(60, |seed| {
        with_fault(seed, Fault::on(Call::SyncDir, libc::EIO).after(seed % 4).times(1 + seed % 2))
    });
}

#[test]
fn too_few_descriptors_lose_nothing_acknowledged() {
    for_seeds(60, |seed| {
        with_fault(seed, Fault::on(Call::Create, libc::EMFILE).after(seed % 4).times(1 + seed % 3))
    });
}
