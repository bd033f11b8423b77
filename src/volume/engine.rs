//! One data directory, open: its volumes, its log, and the steps that keep it in shape.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use super::committer::Committer;
use super::head::Head;
use super::layer::Layer;
use super::types::{Config, Source, Status, VolumeStatus};
use super::{Error, VolumeInfo};
use crate::base::limits::PAGE_BYTES;
use crate::base::{LayerId, Name};
use crate::cold::{self, Heap};
use crate::format::manifest::StreamKind;
use crate::hot::{Cache, shrink_pool};
use crate::io::{Clock, Rng};

/// Of the memory budget, what is not for frames and index: buffers, stacks, the program itself.
pub(super) const MEMORY_FIXED_BYTES: u64 = 16 << 20;
/// Log room beyond what is unlogged below which writers begin to look for more, in bytes.
const LOG_SLACK_BYTES: u64 = 1 << 20;

/// How long a writer without room waits for the round of another before it looks again.
const ROUND_WAIT_MAX: Duration = Duration::from_millis(100);

/// Wakes a thread that waits for work.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        let mut rung = self.rung.lock();
        if !*rung {
            *rung = true;
            self.changed.notify_one();
        }
    }

    fn wait(&self, limit: Duration) {
        let mut rung = self.rung.lock();
        if !*rung && !limit.is_zero() {
            self.changed.wait_for(&mut rung, limit);
        }
        *rung = false;
    }
}

/// Mounts of one source.
#[derive(Default)]
pub(super) struct Mounts {
    pub(super) writers: usize,
    pub(super) readers: usize,
}

/// One data directory, open. Dropping it without [`Engine::close`] is what a crash looks like.
///
/// Locks, in order: `admin`, `maintaining`, the committer's `leading`, `heads`, `layers`, then those of
/// `head`, `layer` and `cold`.
pub struct Engine {
    pub(super) heap: Heap,
    pub(super) cache: Cache<Layer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) config: Config,
    /// The next sequence number.
    pub(super) seq: AtomicU64,
    pub(super) heads: RwLock<HashMap<Name, Arc<Head>>>,
    /// Every layer that a volume or snapshot refers to.
    pub(super) layers: RwLock<HashMap<LayerId, Arc<Layer>>>,
    /// Layers that nobody refers to any more, and whose pages still count as live.
    pub(super) graveyard: Mutex<Vec<Arc<Layer>>>,
    pub(super) mounts: Mutex<HashMap<Source, Mounts>>,
    /// A layer may have become one volume's alone since it was last looked for.
    pub(super) may_absorb: AtomicBool,
    /// One command that changes the manifest's volumes at a time.
    pub(super) admin: Mutex<()>,
    /// One step that moves or buries pages at a time.
    pub(super) maintaining: Mutex<()>,
    pub(super) committer: Committer,
    log_bell: Bell,
    /// The log's thread has seen nothing that will be due, and sleeps until it is woken.
    log_idle: AtomicBool,
    maintain_bell: Bell,
    closed: AtomicBool,
}

impl Engine {
    pub(super) fn assemble(
        heap: Heap,
        cache: Cache<Layer>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        config: Config,
        next_seq: u64,
    ) -> Self {
        Engine {
            heap,
            cache,
            clock,
            rng,
            committer: Committer::new(config.memory_bytes),
            config,
            seq: AtomicU64::new(next_seq),
            heads: RwLock::default(),
            layers: RwLock::default(),
            graveyard: Mutex::default(),
            mounts: Mutex::default(),
            may_absorb: AtomicBool::new(true),
            admin: Mutex::default(),
            maintaining: Mutex::default(),
            log_bell: Bell::default(),
            log_idle: AtomicBool::new(false),
            maintain_bell: Bell::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Whether [`Engine::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Logs what waits too long or is too much; a thread of its own calls it in a loop. Returns after at
    /// most `wait` when there is nothing to do.
    pub fn log_step(&self, wait: Duration) {
        let now = self.clock.monotonic();
        // Before looking: whoever changes something after it rings.
        self.log_idle.store(true, Ordering::SeqCst);
        let heads: Vec<Arc<Head>> = self.heads.read().values().cloned().collect();
        let mut next_due = wait;
        let due: Vec<Arc<Head>> = heads
            .into_iter()
            .filter(|head| {
                let Some(since) = head.pending.lock().since else { return false };
                self.log_idle.store(false, Ordering::SeqCst);
                let age = now.saturating_sub(since);
                next_due = next_due.min(self.config.flush_interval.saturating_sub(age));
                age >= self.config.flush_interval || self.is_half_full(head)
            })
            .collect();
        if !self.committer.has_waiters() && (due.is_empty() || self.is_closed()) {
            self.log_bell.wait(next_due);
        } else if !self.lead(&due) {
            // Whoever leads may go on and on, for others: these are to be in its next round.
            self.committer.request(&due);
            self.committer.wait_for_round(wait);
        } else if due.iter().any(|head| head.failed.read().is_some() || self.is_half_full(head)) {
            // The log takes nothing just now: not to be tried again in a busy loop.
            self.log_bell.wait(wait);
        }
    }

    fn is_half_full(&self, head: &Head) -> bool {
        head.pending_bytes() * 2 >= self.committer.pending_bytes_max()
    }

    /// Wakes the log's thread when it has nothing to wait for yet, or more to do than to wait.
    pub(super) fn ring_log_if_due(&self, head: &Head) {
        if self.log_idle.load(Ordering::SeqCst) && self.log_idle.swap(false, Ordering::SeqCst)
            || self.is_half_full(head)
        {
            self.log_bell.ring();
        }
    }

    /// Prepares heap files, reclaims, compacts, buries removed layers: one bounded step of whichever is
    /// most urgent. Another thread calls it in a loop. Returns after at most `wait` when idle.
    pub fn maintain_step(&self, wait: Duration) {
        match self.maintain() {
            Ok(true) => {}
            Ok(false) => {
                shrink_pool();
                self.maintain_bell.wait(wait);
            }
            Err(error @ Error::NoSpace { .. }) => {
                tracing::debug!(%error, "no room for maintenance");
                self.maintain_bell.wait(wait);
            }
            Err(error) => {
                tracing::warn!(%error, "a maintenance step failed; it is tried again");
                self.maintain_bell.wait(wait);
            }
        }
    }

    fn maintain(&self) -> Result<bool, Error> {
        if self.is_closed() {
            return Ok(false);
        }
        self.cache.trim();
        if self.bury()? || self.heap.reclaim()? > 0 {
            return Ok(true);
        }
        let short = self.heap.log_room_bytes() < self.log_room_wanted();
        let mut full = false;
        if short && self.may_grow() {
            match self.heap.prepare(StreamKind::Log) {
                Ok(()) => return Ok(true),
                Err(cold::Error::NoSpace(_)) => full = true,
                Err(error) => return Err(error.into()),
            }
        }
        if (full || self.is_worth_compacting()) && self.compact()? {
            return Ok(true);
        }
        if short {
            self.heap.prepare(StreamKind::Log)?;
            return Ok(true);
        }
        if self.absorb()? {
            return Ok(true);
        }
        let ahead = usize::from(self.committer.syncs_are_small() && self.may_grow());
        Ok(self.heap.fill_spares(ahead)? || ahead > 0 && self.heap.write_spare()?)
    }

    /// How much the log should be able to take without another file.
    fn log_room_wanted(&self) -> u64 {
        self.unlogged_bytes() + (self.committer.pending_bytes_max() * 3).min(self.heap.file_bytes() * 2)
    }

    /// Whether another heap file keeps the disk below what it may be: half more than is live, and four
    /// files less what else is in the directory. A volume that is nearly empty may have six: one in use
    /// and one in waiting for each stream, and the reserve.
    fn may_grow(&self) -> bool {
        let (stats, file) = (self.heap.stats(), self.heap.file_bytes());
        let bound = stats.live_bytes + stats.live_bytes / 2 + 4 * file - file / 4;
        stats.bytes + file <= bound.max(6 * file)
    }

    /// Whether there is so much garbage that moving what lives between it pays.
    fn is_worth_compacting(&self) -> bool {
        let (stats, file) = (self.heap.stats(), self.heap.file_bytes());
        stats.bytes > (stats.live_bytes + stats.live_bytes * 3 / 10 + 3 * file).max(5 * file)
    }

    /// Whether the log can take what is unlogged and a little more.
    pub(super) fn has_log_room(&self) -> bool {
        self.heap.log_room_bytes() >= self.unlogged_bytes() + LOG_SLACK_BYTES.min(self.heap.file_bytes() / 4)
    }

    fn unlogged_bytes(&self) -> u64 {
        let bytes: u64 = self.heads.read().values().map(|head| head.unlogged_bytes()).sum();
        bytes + bytes / 50
    }

    /// Makes sure that the log can take `bytes` beyond what is unlogged. What gives space back may use
    /// the reserve.
    pub(super) fn ensure_log_room(&self, bytes: u64, frees: bool) -> Result<(), Error> {
        loop {
            let slack = LOG_SLACK_BYTES.min(self.heap.file_bytes() / 8);
            let room = self.heap.log_room_bytes();
            if room >= self.unlogged_bytes() + bytes + slack {
                if room < self.log_room_wanted() {
                    self.maintain_bell.ring();
                }
                return Ok(());
            }
            if frees {
                self.maintain_bell.ring();
                return Ok(());
            }
            if !self.may_grow() && self.make_progress()? {
                continue;
            }
            match self.heap.prepare(StreamKind::Log) {
                Ok(()) => {}
                Err(error @ cold::Error::NoSpace(_)) => {
                    if !self.make_progress()? {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gains room by whatever does; `false` when nothing did.
    fn make_progress(&self) -> Result<bool, Error> {
        Ok(self.heap.reclaim()? > 0 || self.bury()? || self.log_deaths() || self.compact()?)
    }

    /// Logs removals whose victims count as live until then. Returns whether there were any.
    fn log_deaths(&self) -> bool {
        let has_deaths = |head: &Arc<Head>| !head.pending.lock().deaths.is_empty();
        let heads: Vec<Arc<Head>> =
            self.heads.read().values().filter(|head| has_deaths(head)).cloned().collect();
        if heads.is_empty() {
            return false;
        }
        if !self.lead(&heads) {
            self.committer.wait_for_round(ROUND_WAIT_MAX);
            return true;
        }
        // A log that takes nothing just now leaves them where they were.
        !heads.iter().all(has_deaths)
    }

    /// Bytes that may still be written: what the disk has free, less what the guard keeps, plus
    /// garbage in heap files.
    pub(super) fn free_bytes(&self) -> u64 {
        let stats = self.heap.stats();
        let garbage = stats.bytes.saturating_sub(stats.live_bytes);
        let free = self.heap.usage().map_or(0, |usage| usage.free_bytes);
        let free = match self.config.disk_bytes {
            Some(budget) => free.min(budget.saturating_sub(stats.bytes)),
            None => free,
        };
        free.saturating_sub(2 * self.heap.file_bytes()) + garbage / 3
    }

    /// Figures of everything.
    pub fn status(&self) -> Status {
        let stats = self.heap.stats();
        let infos = self.list();
        let volumes = infos.into_iter().filter_map(|info| self.volume_status(info)).collect();
        Status {
            volumes,
            memory_budget_bytes: self.config.memory_bytes,
            memory_used_bytes: self.cache.meter.bytes() as u64 + stats.ram_bytes,
            heap_files: stats.files,
            heap_bytes: stats.bytes,
            live_bytes: stats.live_bytes,
            disk_free_bytes: self.heap.usage().map_or(0, |usage| usage.free_bytes),
            log_syncs: stats.syncs,
            log_bytes: stats.appended_bytes,
            log_bandwidth_bytes: self.committer.bandwidth(),
        }
    }

    fn volume_status(&self, info: VolumeInfo) -> Option<VolumeStatus> {
        let head = self.heads.read().get(&info.name)?.clone();
        let layers = head.layers();
        let live = |layer: &Arc<Layer>| layer.live_by_file().values().sum::<i64>();
        let pages = layers.iter().map(live).sum::<i64>();
        Some(VolumeStatus {
            unlogged_bytes: head.unlogged_bytes(),
            layers: layers.len() as u64,
            local_bytes: u64::try_from(pages).unwrap_or(0) * PAGE_BYTES as u64,
            failed: head.failed.read().clone(),
            info,
        })
    }

    /// Makes everything durable and ends the steps; what is applied after it is lost.
    ///
    /// # Errors
    /// The log's; what was not durable is lost then.
    pub fn close(&self) -> Result<(), Error> {
        let heads: Vec<Arc<Head>> = self.heads.read().values().cloned().collect();
        // One volume's failure is no reason to lose what the others have.
        let unlogged = heads.iter().filter(|head| head.unlogged_bytes() > 0);
        let result = unlogged.map(|head| self.sync_head(head)).fold(Ok(()), Result::and);
        self.closed.store(true, Ordering::Release);
        self.log_bell.ring();
        self.maintain_bell.ring();
        let _nothing_moves = self.maintaining.lock();
        let closed = self.between_rounds(|| self.heap.close());
        // The thread that logs may have gone: nobody is left without an answer.
        self.committer.drive(&self.heap, &*self.clock);
        result.and(closed.map_err(Error::from))
    }

    /// Runs `act` while nothing is being logged.
    pub(super) fn between_rounds<T>(&self, act: impl FnOnce() -> T) -> T {
        let value = self.committer.between_rounds(act);
        if self.committer.has_waiters() {
            self.lead(&[]);
        }
        value
    }

    /// Leads one round, for `heads` and all who wait; `false` when another leads. Those who came
    /// meanwhile are left to the thread that logs: a command or a writer is not held for others.
    pub(super) fn lead(&self, heads: &[Arc<Head>]) -> bool {
        let led = self.committer.lead(&self.heap, &*self.clock, heads);
        if led && self.committer.has_waiters() {
            self.log_bell.ring();
        }
        led
    }
}
