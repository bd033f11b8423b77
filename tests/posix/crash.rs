//! The filesystem on the engine and a simulated disk: after any crash it is sound, and not older than its
//! last sync.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firnfs::base::Name;
use firnfs::fs::{Error, Fs, Ino, Kind, RenameMode, check};
use firnfs::io::Rng;
use firnfs::io::sim::{SimClock, SimDisk, SimRng};
use firnfs::volume::{Config, CreateOptions, Engine, Mounted, Pages, Source};

use crate::support::{ROOT, node};

struct Machine {
    engine: Arc<Engine>,
    mounted: Arc<Mounted>,
    fs: Fs,
}

fn source() -> Source {
    Source { volume: volume(), snapshot: None }
}

fn volume() -> Name {
    "volume".parse().expect("a name")
}

impl Machine {
    fn start(disk: &SimDisk, seed: u64) -> Self {
        let config = Config {
            memory_bytes: 8 << 20,
            heap_file_bytes: 1 << 20,
            flush_interval: Duration::from_secs(5),
            disk_bytes: None,
        };
        let clock = Arc::new(SimClock::new());
        let rng = Arc::new(SimRng::new(seed));
        let disk = Arc::new(disk.clone());
        let engine =
            Engine::open(disk, Arc::clone(&clock) as _, Arc::clone(&rng) as _, config).expect("opened");
        if engine.list().is_empty() {
            engine.create(&volume(), &CreateOptions::default()).expect("created");
        }
        let mounted = engine.mount(&source(), false).expect("mounted");
        let findings = check(&*mounted);
        assert!(findings.is_empty(), "{findings:#?}");
        let fs = Fs::open(Arc::clone(&mounted) as _, clock, &*rng, ROOT).expect("a filesystem");
        Machine { engine, mounted, fs }
    }

    fn make_room(&self) {
        self.engine.log_step(Duration::ZERO);
        self.engine.maintain_step(Duration::ZERO);
    }

    fn sync(&self) -> bool {
        let synced = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&synced);
        self.fs.sync(Box::new(move |outcome| told.store(outcome.is_ok(), Ordering::Relaxed)));
        for _ in 0..100 {
            if synced.load(Ordering::Relaxed) {
                return true;
            }
            self.make_room();
        }
        false
    }

    /// One random call; what it says is no matter, as long as it ends.
    fn call(&self, rng: &SimRng) -> Result<(), Error> {
        let fs = &self.fs;
        let name = |rng: &SimRng| format!("entry-{}", rng.below(40));
        let top = || fs.lookup(Ino::ROOT, b"top").map(|attr| attr.ino);
        let dir = if rng.one_in(2) { Ino::ROOT } else { top()? };
        let (old, new) = (name(rng), name(rng));
        let (old, new) = (old.as_bytes(), new.as_bytes());
        match rng.below(8) {
            0 | 1 => {
                let ino = fs.create(&ROOT, dir, old, &node(Kind::File, 0o644))?.ino;
                fs.write(ino, rng.below(100_000), &[7; 9000], false)?;
                // Sometimes it stays open, and an unlink makes it an orphan.
                if rng.one_in(2) { fs.release(ino) } else { fs.unlink(&ROOT, dir, old) }
            }
            2 => fs.mknod(&ROOT, dir, old, &node(Kind::Directory, 0o755)).map(|_| ()),
            3 => fs.unlink(&ROOT, dir, old),
            4 => fs.rmdir(&ROOT, dir, old),
            5 => fs.rename(&ROOT, (dir, old), (Ino::ROOT, new), RenameMode::Replace),
            6 => fs.rename(&ROOT, (dir, old), (top()?, new), RenameMode::Exchange),
            _ => fs.link(&ROOT, fs.lookup(dir, old)?.ino, dir, new).map(|_| ()),
        }
    }

    /// The number in the name of the only entry of `epoch`.
    fn epoch(&self) -> u64 {
        let Ok(attr) = self.fs.lookup(Ino::ROOT, b"epoch") else { return 0 };
        let names = crate::support::list(&self.fs, attr.ino);
        assert!(names.len() <= 3, "a rename shows one name: {names:?}");
        names.get(2).map_or(0, |(name, _)| name.parse().expect("a number"))
    }

    fn set_epoch(&self, epoch: u64) -> Result<(), Error> {
        let fs = &self.fs;
        let dir = match fs.lookup(Ino::ROOT, b"epoch") {
            Ok(attr) => attr.ino,
            Err(_) => fs.mknod(&ROOT, Ino::ROOT, b"epoch", &node(Kind::Directory, 0o755))?.ino,
        };
        let (old, new) = (self.epoch().to_string(), epoch.to_string());
        match fs.rename(&ROOT, (dir, old.as_bytes()), (dir, new.as_bytes()), RenameMode::NoReplace) {
            Err(Error::NotFound) => fs.mknod(&ROOT, dir, new.as_bytes(), &node(Kind::Fifo, 0)).map(|_| ()),
            other => other,
        }
    }
}

#[test]
fn after_any_crash_the_filesystem_is_sound_and_not_older_than_its_last_sync() {
    let (mut crashes, mut syncs) = (0, 0);
    for seed in 0..25 {
        let rng = SimRng::new(seed);
        let mut disk = SimDisk::new(seed);
        let (mut next, mut synced) = (1, 0);
        for life in 0..4 {
            let machine = Machine::start(&disk, rng.next_u64());
            assert!(machine.epoch() >= synced, "seed {seed}, life {life}: older than its sync");
            let _ = machine.fs.mknod(&ROOT, Ino::ROOT, b"top", &node(Kind::Directory, 0o755));
            disk.crash_at(rng.below(150) + 1);
            for _ in 0..400 {
                if disk.crashed() {
                    break;
                }
                if !machine.mounted.has_room() {
                    machine.make_room();
                    continue;
                }
                let _ = machine.call(&rng);
                if machine.set_epoch(next).is_ok() {
                    next += 1;
                }
                if rng.one_in(8) {
                    let epoch = machine.epoch();
                    if machine.sync() {
                        synced = epoch;
                        syncs += 1;
                    }
                }
            }
            crashes += u32::from(disk.crashed());
            disk.power_cut(rng.next_u64());
            drop(machine);
            disk = disk.reboot();
        }
        Machine::start(&disk, seed);
    }
    assert!(crashes >= 25 && syncs >= 100, "{crashes} crashes and {syncs} syncs prove little");
}
