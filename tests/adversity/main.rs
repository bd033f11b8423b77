//! Particular misfortunes, each told as a claim: what a random course meets too rarely.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use firnfs::base::limits::PAGE_BYTES;
use firnfs::base::{Name, PageNo, Space};
use firnfs::io::sim::{Call, Fault, SimClock, SimDisk, SimRng};
use firnfs::volume::{Config, CreateOptions, Engine, Error, Hint, Mounted, Operation, Pages, Source};

#[expect(dead_code, reason = "each test program uses its own part")]
#[path = "../harness/mod.rs"]
mod harness;

mod damage;
mod full;
mod lives;
mod recovery;

const FILE_BYTES: u64 = 256 << 10;

fn config() -> Config {
    Config { memory_bytes: 1 << 20, heap_file_bytes: FILE_BYTES, ..Config::default() }
}

fn open_with(disk: &SimDisk, config: Config) -> Result<Arc<Engine>, Error> {
    let rng = Arc::new(SimRng::new(disk.counters().mutations()));
    Engine::open(Arc::new(disk.clone()), Arc::new(SimClock::new()), rng, config)
}

fn open(disk: &SimDisk) -> Arc<Engine> {
    open_with(disk, config()).expect("the data directory opens")
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn head(volume: &str) -> Source {
    Source { volume: name(volume), snapshot: None }
}

fn create(engine: &Arc<Engine>, volume: &str) -> Arc<Mounted> {
    engine.create(&name(volume), &CreateOptions::default()).expect("it is created");
    mount(engine, volume)
}

fn mount(engine: &Arc<Engine>, volume: &str) -> Arc<Mounted> {
    engine.mount(&head(volume), false).expect("it is mounted")
}

/// Writes whole pages of one byte.
fn fill(pages: &dyn Pages, space: u64, from: u64, count: usize, byte: u8) -> Result<(), Error> {
    let mut operation = Operation::new();
    operation.write(Space(space), from * PAGE_BYTES as u64, vec![byte; count * PAGE_BYTES]);
    pages.apply(&operation)
}

fn remove(pages: &dyn Pages, space: u64) -> Result<(), Error> {
    let mut operation = Operation::new();
    operation.remove(Space(space), PageNo(0), PageNo(u64::MAX)).frees = true;
    pages.apply(&operation)
}

fn sync(pages: &dyn Pages) -> Result<(), Error> {
    let (done, outcome) = mpsc::channel();
    pages.sync(Box::new(move |result| done.send(result).expect("someone waits")));
    outcome.try_recv().expect("a sync without company is answered at once")
}

/// The first byte of a page.
fn byte(pages: &dyn Pages, space: u64, page: u64) -> Result<u8, Error> {
    let mut bytes = vec![0; PAGE_BYTES];
    pages.read(Space(space), page * PAGE_BYTES as u64, &mut bytes, Hint::Once)?;
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a page is of one byte");
    Ok(bytes[0])
}

/// Maintenance, as long as it finds something to do.
fn maintain(engine: &Engine) {
    for _ in 0..200 {
        engine.maintain_step(Duration::ZERO);
    }
}
