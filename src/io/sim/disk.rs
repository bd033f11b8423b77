//! Handles on the simulated disk: counting, failing, crashing, and the test's own interventions.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::SimRng;
use super::fault::{Call, Counters, Fault, crashed};
use super::medium::{Inode, Medium};
use crate::io::{Disk, DiskFile, DiskUsage};

/// What [`Disk::usage`] reports as the size of a disk without a limit, in bytes.
const UNLIMITED_BYTES: u64 = 1 << 44;

type Hook = Arc<dyn Fn(Call, &str) + Send + Sync>;

/// A disk in memory. Clones are handles on the same disk.
///
/// A handle is of one life of the machine: after [`SimDisk::kill`] or [`SimDisk::power_cut`], it and all
/// files opened through it give errors, and [`SimDisk::reboot`] gives a handle of the next life.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
    life: u64,
}

struct Shared {
    state: Mutex<State>,
    /// Called without the lock, so that it may block or use the disk.
    hook: Mutex<Option<Hook>>,
}

struct State {
    medium: Medium,
    rng: SimRng,
    counters: Counters,
    /// Which handles are valid.
    life: u64,
    crashed: bool,
    /// The mutating call at which the disk stops.
    crash_at: Option<u64>,
    faults: Vec<Fault>,
    bad_ranges: Vec<(Inode, Range<u64>)>,
    handles_max: usize,
}

/// How much of itself a call gets done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    Whole,
    /// It reports an error.
    Failed,
    /// The crash came while it ran.
    Interrupted,
}

/// Why a call does not succeed; without an effect, it came to a disk that had stopped before.
type Refusal = (Option<Effect>, io::Error);

impl State {
    fn new(medium: Medium, seed: u64) -> Self {
        State {
            medium,
            rng: SimRng::new(seed),
            counters: Counters::default(),
            life: 0,
            crashed: false,
            crash_at: None,
            faults: Vec::new(),
            bad_ranges: Vec::new(),
            handles_max: usize::MAX,
        }
    }

    /// Counts a call and decides how it ends.
    fn begin(&mut self, call: Call, name: &str, life: u64) -> Result<(), Refusal> {
        if self.crashed || self.life != life {
            return Err((None, crashed()));
        }
        self.counters.count(call);
        if call.mutates() && self.crash_at.is_some_and(|at| self.counters.mutations() >= at) {
            self.crashed = true;
            return Err((Some(Effect::Interrupted), crashed()));
        }
        let mut strikes = self.faults.iter_mut().filter_map(|fault| fault.strike(call, name));
        match strikes.next() {
            Some(error) => Err((Some(Effect::Failed), error)),
            None => Ok(()),
        }
    }

    /// A new life: nothing armed, no handles.
    fn end_life(&mut self) {
        self.life += 1;
        self.crashed = true;
        self.crash_at = None;
        self.faults.clear();
        self.handles_max = usize::MAX;
    }
}

impl SimDisk {
    /// An empty disk without a limit. What it does by chance follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with(State::new(Medium::default(), seed))
    }

    fn with(state: State) -> Self {
        let life = state.life;
        SimDisk { shared: Arc::new(Shared { state: Mutex::new(state), hook: Mutex::new(None) }), life }
    }

    /// Limits the disk to so many bytes; a smaller limit than what is in use leaves nothing free.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.state.lock().medium.set_capacity(bytes);
    }

    /// Limits open files; beyond it opening and creating give `EMFILE`.
    pub fn limit_handles(&self, handles: usize) {
        self.shared.state.lock().handles_max = handles;
    }

    /// Arms a fault. Several may be armed; the first that matches a call decides.
    pub fn fail(&self, fault: Fault) {
        self.shared.state.lock().faults.push(fault);
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.shared.state.lock().faults.clear();
    }

    /// Stops the disk at the `number`th mutating call from now, counted from 1: that call does all,
    /// part or nothing of its work, and it and all later calls fail.
    pub fn crash_at(&self, number: u64) {
        let mut state = self.shared.state.lock();
        state.crash_at = Some(state.counters.mutations() + number);
    }

    /// Whether the disk has stopped.
    pub fn crashed(&self) -> bool {
        let state = self.shared.state.lock();
        state.crashed || state.life != self.life
    }

    /// Ends the process that uses the disk (SIGKILL): all that it has written is there.
    pub fn kill(&self) {
        let mut state = self.shared.state.lock();
        state.end_life();
        state.medium.drop_handles();
    }

    /// Ends the machine's power: what was not synced is there, missing or torn, following `seed`.
    pub fn power_cut(&self, seed: u64) {
        let mut state = self.shared.state.lock();
        state.end_life();
        state.medium.power_cut(&SimRng::new(seed));
        state.bad_ranges.clear();
    }

    /// A handle for the life after a [`SimDisk::kill`] or [`SimDisk::power_cut`]. The capacity and the
    /// counters stay, faults and the hook do not.
    #[must_use]
    pub fn reboot(&self) -> SimDisk {
        *self.shared.hook.lock() = None;
        let mut state = self.shared.state.lock();
        state.crashed = false;
        SimDisk { shared: Arc::clone(&self.shared), life: state.life }
    }

    /// Another disk with the same files, as after a [`SimDisk::kill`]; this one is not touched.
    #[must_use]
    pub fn copy(&self, seed: u64) -> SimDisk {
        let mut medium = self.shared.state.lock().medium.clone();
        medium.drop_handles();
        Self::with(State::new(medium, seed))
    }

    /// Calls `hook` before every call, with its kind and its file's name. It may block.
    pub fn set_hook(&self, hook: impl Fn(Call, &str) + Send + Sync + 'static) {
        *self.shared.hook.lock() = Some(Arc::new(hook));
    }

    /// How often the disk was called so far.
    pub fn counters(&self) -> Counters {
        self.shared.state.lock().counters
    }

    /// How many files are open.
    pub fn open_handles(&self) -> usize {
        self.shared.state.lock().medium.handles()
    }

    /// The names of all files, in order. Not counted, works on a stopped disk.
    pub fn names(&self) -> Vec<String> {
        self.shared.state.lock().medium.names().cloned().collect()
    }

    /// A file's bytes. Not counted, works on a stopped disk.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        self.with_file(name, |medium, inode| {
            let content = medium.file(inode).content();
            let mut bytes = vec![0; usize::try_from(content.size()).expect("fits in memory")];
            content.read(&mut bytes, 0);
            bytes
        })
    }

    /// Inverts the bits of `mask` in one byte at rest.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub fn flip(&self, name: &str, offset: u64, mask: u8) {
        let there = self.with_file(name, |medium, inode| medium.file(inode).flip(offset, mask));
        assert!(there, "{name} has no byte {offset}");
    }

    /// Cuts a file short at rest.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn truncate(&self, name: &str, size: u64) {
        self.with_file(name, |medium, inode| medium.file(inode).truncate(size));
    }

    /// Makes a file of these bytes, durable, in place of any of that name.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.shared.state.lock();
        // A missing file is what a replacement starts from, too.
        let _ = state.medium.remove(name);
        let inode = state.medium.create(name).expect("the name is free");
        state.medium.file(inode).write(bytes, 0);
        state.medium.file(inode).sync();
        state.medium.sync_names();
    }

    /// Makes reads that touch this range of a file's bytes fail with `EIO`, until a power cut.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn break_range(&self, name: &str, range: Range<u64>) {
        let mut state = self.shared.state.lock();
        let inode = state.medium.lookup(name).expect("the file is there");
        state.bad_ranges.push((inode, range));
    }

    fn with_file<T>(&self, name: &str, act: impl FnOnce(&mut Medium, Inode) -> T) -> T {
        let mut state = self.shared.state.lock();
        let inode = state.medium.lookup(name).unwrap_or_else(|_| panic!("there is no file {name}"));
        act(&mut state.medium, inode)
    }

    /// Runs one call: hook, count, faults, then `act` with how much of it happens.
    fn call<T>(
        &self,
        call: Call,
        name: &str,
        act: impl FnOnce(&mut State, Effect) -> io::Result<T>,
    ) -> io::Result<T> {
        let hook = self.shared.hook.lock().clone();
        if let Some(hook) = hook {
            hook(call, name);
        }
        let mut state = self.shared.state.lock();
        match state.begin(call, name, self.life) {
            Ok(()) => act(&mut state, Effect::Whole),
            Err((effect, error)) => {
                if let Some(effect) = effect {
                    // The error of the call is the one that was decided on.
                    let _ = act(&mut state, effect);
                }
                Err(error)
            }
        }
    }

    /// A call that either happens or does not, even when it is interrupted.
    fn atomic<T>(
        &self,
        call: Call,
        name: &str,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.call(call, name, |state, effect| match effect {
            Effect::Whole => act(state),
            Effect::Interrupted if state.rng.one_in(2) => act(state),
            Effect::Interrupted | Effect::Failed => Err(crashed()),
        })
    }

    /// The handle of a file whose handle count has been raised.
    fn handle(&self, inode: Inode, name: &str) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), inode, name: name.to_owned() })
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("life", &self.life).finish_non_exhaustive()
    }
}

fn check_handles(state: &State) -> io::Result<()> {
    if state.medium.handles() >= state.handles_max {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    Ok(())
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.atomic(Call::Create, name, |state| {
            check_handles(state)?;
            let inode = state.medium.create(name)?;
            state.medium.open_handle(inode);
            Ok(inode)
        })?;
        Ok(self.handle(inode, name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.atomic(Call::Open, name, |state| {
            check_handles(state)?;
            let inode = state.medium.lookup(name)?;
            state.medium.open_handle(inode);
            Ok(inode)
        })?;
        Ok(self.handle(inode, name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.atomic(Call::Rename, from, |state| state.medium.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.atomic(Call::Remove, name, |state| state.medium.remove(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.atomic(Call::List, "", |state| Ok(state.medium.names().cloned().collect()))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.atomic(Call::SyncDir, "", |state| {
            state.medium.sync_names();
            Ok(())
        })
    }

    fn usage(&self) -> io::Result<DiskUsage> {
        self.atomic(Call::Usage, "", |state| {
            let total_bytes = state.medium.capacity().unwrap_or(UNLIMITED_BYTES);
            let free_bytes = total_bytes.saturating_sub(state.medium.used_bytes());
            Ok(DiskUsage { total_bytes, free_bytes })
        })
    }

    fn describe(&self) -> String {
        "the simulated disk".to_owned()
    }
}

/// An open file of a [`SimDisk`].
struct SimFile {
    disk: SimDisk,
    inode: Inode,
    name: String,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.shared.state.lock();
        if state.life == self.disk.life {
            state.medium.close_handle(self.inode);
        }
    }
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.atomic(Call::Read, &self.name, |state| {
            let end = offset + buf.len() as u64;
            let bad = |(inode, range): &(Inode, Range<u64>)| {
                *inode == self.inode && offset < range.end && range.start < end
            };
            if state.bad_ranges.iter().any(bad) {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            let content = state.medium.file(self.inode).content();
            if end > content.size() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            content.read(buf, offset);
            state.counters.bytes_read += buf.len() as u64;
            Ok(())
        })
    }

    fn write_all_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let data = parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>();
        self.disk.call(Call::Write, &self.name, |state, effect| {
            let length = match effect {
                Effect::Whole => data.len(),
                Effect::Failed | Effect::Interrupted => state.rng.index(data.len() + 1),
            };
            let outcome = state.medium.write(self.inode, &data[..length], offset);
            let written = match &outcome {
                Ok(()) => length,
                // As far as it fits, the kernel writes before it says that the rest does not.
                Err(_) => {
                    let fits = usize::try_from(state.medium.free_bytes()).unwrap_or(usize::MAX).min(length);
                    let part = state.rng.index(fits / 2 + 1);
                    if state.medium.write(self.inode, &data[..part], offset).is_ok() { part } else { 0 }
                }
            };
            state.counters.bytes_written += written as u64;
            outcome
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.call(Call::SyncData, &self.name, |state, effect| {
            let whole = effect == Effect::Whole || effect == Effect::Interrupted && state.rng.one_in(2);
            let file = state.medium.file(self.inode);
            if whole {
                file.sync();
            } else if effect == Effect::Failed {
                file.sync_failed(&state.rng);
            }
            Ok(())
        })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.disk.atomic(Call::Allocate, &self.name, |state| state.medium.allocate(self.inode, bytes))
    }

    fn size(&self) -> io::Result<u64> {
        self.disk.atomic(Call::Size, &self.name, |state| Ok(state.medium.file(self.inode).content().size()))
    }
}
