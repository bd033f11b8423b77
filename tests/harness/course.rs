//! A random course of a world: what is done next, drawn from its seed.

use std::time::Duration;

use firnfs::base::limits::PAGE_BYTES;
use firnfs::base::{Name, PageNo, Space};
use firnfs::io::Rng;
use firnfs::io::sim::SimRng;
use firnfs::volume::{Config, Error, Operation};

use super::compare::{SPACES, assert_bytes, assert_presence};
use super::world::{World, head, snapshot_of};

/// Pages of a space that most writes fall upon.
const DENSE_PAGES: u64 = 160;
const VOLUMES_MAX: usize = 5;
const SNAPSHOTS_MAX: usize = 4;

/// A configuration so small that eviction, rolling, recycling and compaction happen within a test.
pub(crate) fn small_config(rng: &SimRng) -> Config {
    Config {
        memory_bytes: 1 << (20 + rng.below(3)),
        heap_file_bytes: 256 << (10 + rng.below(3)),
        flush_interval: Duration::from_secs(5),
        disk_bytes: None,
    }
}

/// Makes a world with one mounted volume.
pub(crate) fn begin(seed: u64) -> World {
    let config = small_config(&SimRng::new(!seed));
    let mut world = World::new(seed, config);
    let name = world.new_name("v");
    world.create(&name).expect("a volume is created");
    world.mount(&name).expect("a volume is mounted");
    world
}

/// Does one random thing.
///
/// # Errors
/// What the engine reports, where a healthy disk would have let it succeed.
pub(crate) fn step(world: &mut World) -> Result<(), Error> {
    match world.rng.below(100) {
        0..60 => write(world),
        60..70 => compare(world),
        70..78 => sync(world),
        78..86 => {
            world.engine().log_step(Duration::ZERO);
            Ok(())
        }
        86..92 => {
            world.engine().maintain_step(Duration::ZERO);
            Ok(())
        }
        92..94 => {
            let millis = world.rng.below(8_000);
            world.clock.advance(Duration::from_millis(millis));
            Ok(())
        }
        _ => command(world),
    }
}

fn any<T: Clone>(rng: &SimRng, of: &[T]) -> Option<T> {
    (!of.is_empty()).then(|| of[rng.index(of.len())].clone())
}

/// A mounted volume; mounts one where none is.
fn some_mounted(world: &mut World) -> Result<Name, Error> {
    let mounted: Vec<Name> = world
        .volumes
        .iter()
        .filter(|(_, volume)| volume.mounted.is_some())
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(name) = any(&world.rng, &mounted) {
        return Ok(name);
    }
    let all: Vec<Name> = world.volumes.keys().cloned().collect();
    let name = match any(&world.rng, &all) {
        Some(name) => name,
        None => {
            let name = world.new_name("v");
            world.create(&name)?;
            name
        }
    };
    world.mount(&name)?;
    Ok(name)
}

fn write(world: &mut World) -> Result<(), Error> {
    let name = some_mounted(world)?;
    let operation = random_operation(&world.rng);
    world.apply(&name, operation)
}

fn compare(world: &mut World) -> Result<(), Error> {
    let name = some_mounted(world)?;
    let mounted = world.mounted(&name);
    let state = world.volumes[&name].head.now();
    let space = Space(world.rng.below(SPACES));
    let (offset, length) = random_extent(&world.rng);
    assert_bytes(name.as_str(), &*mounted, state, space, offset, length);
    if world.rng.one_in(4) {
        assert_presence(name.as_str(), &*mounted, state, space);
    }
    Ok(())
}

fn sync(world: &mut World) -> Result<(), Error> {
    let name = some_mounted(world)?;
    world.sync(&name)
}

/// One to four edits.
fn random_operation(rng: &SimRng) -> Operation<'static> {
    let mut operation = Operation::new();
    for _ in 0..=rng.below(4) {
        let space = Space(rng.below(SPACES));
        match rng.below(20) {
            0..12 => {
                let (offset, length) = random_extent(rng);
                operation.write(space, offset, random_bytes(rng, length));
            }
            12..15 => {
                let from = rng.below(DENSE_PAGES);
                operation.remove(space, PageNo(from), PageNo(from + 1 + rng.below(40)));
                operation.frees = true;
            }
            15 => {
                operation.remove(space, PageNo(rng.below(DENSE_PAGES)), PageNo(u64::MAX));
                operation.frees = true;
            }
            16..18 => {
                let delta = i64::from_le_bytes(rng.next_u64().to_le_bytes());
                operation.add(space, 8 * rng.below(4096), delta);
            }
            _ => {
                operation.max(space, 8 * rng.below(4096), rng.next_u64());
            }
        }
    }
    operation
}

/// Where a read or a write goes, and how long it is: whole pages as often as odd bytes.
fn random_extent(rng: &SimRng) -> (u64, usize) {
    const PAGE: u64 = PAGE_BYTES as u64;
    let page = match rng.below(16) {
        0 => (1 << 28) + rng.below(8),
        1..6 => rng.below(8),
        _ => rng.below(DENSE_PAGES),
    };
    if rng.one_in(2) {
        let pages = if rng.one_in(8) { rng.index(40) } else { rng.index(4) } + 1;
        return (page * PAGE, pages * PAGE_BYTES);
    }
    let longest = if rng.one_in(4) { 40_000 } else { 600 };
    (page * PAGE + rng.below(PAGE), rng.index(longest) + 1)
}

fn random_bytes(rng: &SimRng, length: usize) -> Vec<u8> {
    if rng.one_in(16) {
        return vec![0; length];
    }
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(rng.next_u64().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Something that an operator does.
fn command(world: &mut World) -> Result<(), Error> {
    let all: Vec<Name> = world.volumes.keys().cloned().collect();
    let Some(name) = any(&world.rng, &all) else { return Ok(()) };
    let snapshots: Vec<Name> = world.volume(&name).snapshots.keys().cloned().collect();
    let snapshot = any(&world.rng, &snapshots);
    let mounted = world.volume(&name).mounted.is_some();
    match (world.rng.below(12), snapshot) {
        (0 | 1, _) if mounted => {
            if world.rng.one_in(2) {
                world.sync(&name)?;
            }
            world.unmount(&name);
            Ok(())
        }
        (0..3, _) if !mounted => world.mount(&name),
        (3 | 4, None) if all.len() < VOLUMES_MAX => {
            let new = world.new_name("f");
            world.fork(&head(&name), &new)
        }
        (3 | 4, Some(snapshot)) if all.len() < VOLUMES_MAX => {
            let new = world.new_name("f");
            let from_head = world.rng.one_in(2);
            let source = if from_head { head(&name) } else { snapshot_of(&name, &snapshot) };
            world.fork(&source, &new)
        }
        (5 | 6, _) if snapshots.len() < SNAPSHOTS_MAX => {
            let new = world.new_name("s");
            world.snapshot(&name, &new)
        }
        (7, Some(snapshot)) if !mounted => world.rollback(&name, &snapshot),
        (8 | 9, Some(snapshot)) => world.remove(&snapshot_of(&name, &snapshot)),
        (10, None) if !mounted && all.len() > 1 => world.remove(&head(&name)),
        (11, _) if all.len() < VOLUMES_MAX => {
            let new = world.new_name("v");
            world.create(&new)
        }
        _ => Ok(()),
    }
}
