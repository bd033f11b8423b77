//! One volume on a simulated disk, in a known state.

use std::sync::Arc;
use std::time::Duration;

use firnfs::base::limits::PAGE_BYTES;
use firnfs::base::{Name, PageNo, Space};
use firnfs::io::Disk;
use firnfs::io::sim::{SimClock, SimDisk, SimRng};
use firnfs::volume::{Config, CreateOptions, Engine, Error, Hint, Mounted, Operation, Pages, Source, Synced};
use parking_lot::Mutex;

/// The space that the tests write to.
pub(crate) const SPACE: Space = Space(7);
const PAGE: u64 = PAGE_BYTES as u64;

/// An engine with a volume `v`, mounted.
pub(crate) struct Rig {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) config: Config,
    pub(crate) engine: Arc<Engine>,
    pub(crate) volume: Arc<Mounted>,
}

/// Files of 64 pages, so that a few writes fill one.
pub(crate) fn small_files() -> Config {
    Config { memory_bytes: 8 << 20, heap_file_bytes: 256 << 10, ..Config::default() }
}

/// A name of letters and digits.
pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("letters and digits")
}

/// The head of a volume.
pub(crate) fn head(volume: &str) -> Source {
    Source { volume: name(volume), snapshot: None }
}

/// A snapshot of a volume.
pub(crate) fn snapshot(volume: &str, snapshot: &str) -> Source {
    Source { volume: name(volume), snapshot: Some(name(snapshot)) }
}

/// Opens what is on a disk.
pub(crate) fn open(disk: &SimDisk, clock: &Arc<SimClock>, config: &Config) -> Result<Arc<Engine>, Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    // A nonce must not repeat from one life to the next.
    let rng = SimRng::new(0x5eed ^ u64::from(u32::from_le_bytes(*b"firn")) ^ blake_of(&*disk));
    Engine::open(disk, Arc::clone(clock) as _, Arc::new(rng), config.clone())
}

/// A number that differs between the lives of a disk.
fn blake_of(disk: &dyn Disk) -> u64 {
    let names = disk.list().unwrap_or_default().join(" ");
    u64::from_le_bytes(blake3::hash(names.as_bytes()).as_bytes()[..8].try_into().expect("eight bytes"))
}

impl Rig {
    pub(crate) fn new(config: Config) -> Self {
        Self::on(SimDisk::new(1), config)
    }

    /// On an empty disk.
    pub(crate) fn on(disk: SimDisk, config: Config) -> Self {
        let clock = Arc::new(SimClock::new());
        let engine = open(&disk, &clock, &config).expect("an empty data directory opens");
        engine.create(&name("v"), &CreateOptions::default()).expect("a volume is created");
        let volume = engine.mount(&head("v"), false).expect("it can be mounted");
        Rig { disk, clock, config, engine, volume }
    }

    /// Writes one page full of `byte`.
    pub(crate) fn put(&self, page: u64, byte: u8) -> Result<(), Error> {
        self.put_many(page, 1, byte)
    }

    /// Writes `count` pages full of `byte`, in one operation.
    pub(crate) fn put_many(&self, page: u64, count: usize, byte: u8) -> Result<(), Error> {
        let mut operation = Operation::new();
        operation.write(SPACE, page * PAGE, vec![byte; count * PAGE_BYTES]);
        self.volume.apply(&operation)
    }

    /// Makes pages absent, in an operation that gives space back.
    pub(crate) fn remove(&self, from: u64, to: u64) -> Result<(), Error> {
        let mut operation = Operation::new();
        operation.remove(SPACE, PageNo(from), PageNo(to));
        operation.frees = true;
        self.volume.apply(&operation)
    }

    /// Makes everything durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let (done, outcome) = waiter();
        self.volume.sync(done);
        let result = outcome.lock().take();
        result.expect("a sync alone ends before it returns")
    }

    /// Makes everything durable, while other threads sync as well.
    pub(crate) fn sync_until_told(&self) {
        self.engine.sync(&name("v")).expect("a healthy disk syncs");
        // What the thread that logs does for those who came meanwhile.
        self.engine.log_step(Duration::ZERO);
    }

    /// Time since the rig began.
    pub(crate) fn clock_monotonic(&self) -> Duration {
        firnfs::io::Clock::monotonic(&*self.clock)
    }

    /// The first byte of a page, the others being the same.
    pub(crate) fn get(&self, page: u64) -> Result<u8, Error> {
        first_byte(&*self.volume, page)
    }

    /// What the pages below `count` hold.
    pub(crate) fn all(&self, count: u64) -> Vec<u8> {
        (0..count).map(|page| self.get(page).expect("a healthy disk reads")).collect()
    }

    pub(crate) fn maintain(&self, steps: usize) {
        for _ in 0..steps {
            self.engine.maintain_step(Duration::ZERO);
        }
    }

    /// The daemon's death and the next start.
    pub(crate) fn kill(self) -> Self {
        self.disk.kill();
        self.start()
    }

    /// A power cut and the next start.
    pub(crate) fn power_cut(self, seed: u64) -> Self {
        self.disk.power_cut(seed);
        self.start()
    }

    fn start(self) -> Self {
        let Rig { disk, clock, config, engine, volume } = self;
        drop((engine, volume));
        let disk = disk.reboot();
        let engine = open(&disk, &clock, &config).expect("it starts again");
        let volume = engine.mount(&head("v"), false).expect("the volume is there");
        Rig { disk, clock, config, engine, volume }
    }

    /// Names of the heap files, in order.
    pub(crate) fn heap_files(&self) -> Vec<String> {
        self.disk.names().into_iter().filter(|name| name.starts_with("heap-")).collect()
    }

    /// Asserts that nothing is damaged or miscounted.
    pub(crate) fn check(&self) {
        let report = self.engine.check(&mut |_, _| {}).expect("a check runs");
        assert_eq!(report.damage, Vec::<String>::new());
    }
}

/// The first byte of a page that is full of one byte.
pub(crate) fn first_byte(pages: &dyn Pages, page: u64) -> Result<u8, Error> {
    let mut bytes = [0; PAGE_BYTES];
    pages.read(SPACE, page * PAGE, &mut bytes, Hint::Once)?;
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "page {page} is whole");
    Ok(bytes[0])
}

/// What a sync's callback said, once it has.
pub(crate) type Outcome = Arc<Mutex<Option<Result<(), Error>>>>;

/// A sync's callback and where it tells.
pub(crate) fn waiter() -> (Synced, Outcome) {
    let outcome = Outcome::default();
    let told = Arc::clone(&outcome);
    (Box::new(move |result| *told.lock() = Some(result)), outcome)
}
