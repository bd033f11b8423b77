//! Group commit: who waits for a sync, and the rounds that serve them.
//!
//! Leader and followers: whoever finds no round going on leads one, on its own thread, for itself and
//! for all who wait; those who come meanwhile leave their callback and go. So a reply waits, never a
//! thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::head::{Cut, Head, settle_all};
use super::{Error, Synced};
use crate::cold::{self, Group, Heap};
use crate::hot::Page;
use crate::io::Clock;

/// How much log bandwidth may wait for a group.
const PENDING_TIME: Duration = Duration::from_millis(25);
/// Least and most that may wait for a group, in bytes.
const PENDING_BYTES_MIN: u64 = 8 << 20;
const PENDING_BYTES_MAX: u64 = 32 << 20;
/// Rounds of fewer bytes say nothing about bandwidth.
const MEASURED_BYTES_MIN: u64 = 1 << 20;
/// Below this, what a sync costs is mostly the sync.
const SMALL_GROUP_BYTES: u64 = 512 << 10;

struct Waiter {
    head: Arc<Head>,
    done: Synced,
}

/// Drives the log.
pub(super) struct Committer {
    waiters: Mutex<Vec<Waiter>>,
    /// Held by the leader for a whole round: cut, append, sync, settle.
    leading: Mutex<()>,
    /// Counts rounds, so that one may wait for the end of the one that is going on.
    rounds: Mutex<u64>,
    round_ended: Condvar,
    /// Measured, in bytes a second.
    bandwidth: AtomicU64,
    /// Of late, the size of a group, in bytes.
    group_bytes: AtomicU64,
    pending_max: u64,
}

impl Committer {
    /// `memory_bytes` is the whole budget, of which at most an eighth may be unlogged: waiting, or being written.
    pub(super) fn new(memory_bytes: u64) -> Self {
        Committer {
            waiters: Mutex::default(),
            leading: Mutex::default(),
            rounds: Mutex::default(),
            round_ended: Condvar::new(),
            bandwidth: AtomicU64::new(400 << 20),
            group_bytes: AtomicU64::new(0),
            pending_max: (memory_bytes / 16).clamp(1 << 20, PENDING_BYTES_MAX),
        }
    }

    /// How many bytes of one volume may wait for a group before its writers wait. As much again may be in
    /// the group that is being written, so that the disk and the writers work at the same time.
    pub(super) fn pending_bytes_max(&self) -> u64 {
        let bandwidth = self.bandwidth.load(Ordering::Relaxed);
        let bytes = bandwidth / 1000 * u64::try_from(PENDING_TIME.as_millis()).expect("25");
        bytes.max(PENDING_BYTES_MIN).min(self.pending_max)
    }

    /// Leaves a callback for when all that `head` has now is durable.
    pub(super) fn enqueue(&self, head: &Arc<Head>, done: Synced) {
        self.waiters.lock().push(Waiter { head: head.clone(), done });
    }

    /// Leads rounds as long as someone waits and nobody else leads.
    pub(super) fn drive(&self, heap: &Heap, clock: &dyn Clock) {
        while self.has_waiters() && self.lead(heap, clock, &[]) {}
    }

    /// Whether someone waits for a round.
    pub(super) fn has_waiters(&self) -> bool {
        !self.waiters.lock().is_empty()
    }

    /// Makes `heads` part of the next round, whoever leads it.
    pub(super) fn request(&self, heads: &[Arc<Head>]) {
        let nobody_asks = || Box::new(|_| ());
        self.waiters
            .lock()
            .extend(heads.iter().map(|head| Waiter { head: head.clone(), done: nobody_asks() }));
    }

    /// Leads a round for all who wait and for `heads`. `false` when another leads. Whoever leads looks
    /// for waiters again after the round, since those who came meanwhile rely on it.
    pub(super) fn lead(&self, heap: &Heap, clock: &dyn Clock, heads: &[Arc<Head>]) -> bool {
        let Some(leading) = self.leading.try_lock() else { return false };
        self.round(heap, clock, heads);
        drop(leading);
        *self.rounds.lock() += 1;
        self.round_ended.notify_all();
        true
    }

    /// Waits for the round that is going on, at most `limit`.
    pub(super) fn wait_for_round(&self, limit: Duration) {
        let mut rounds = self.rounds.lock();
        if self.leading.is_locked() {
            self.round_ended.wait_for(&mut rounds, limit);
        }
    }

    /// Runs `act` between two rounds. Whoever asks for a sync meanwhile finds no leader to join: the
    /// caller looks for waiters afterwards.
    pub(super) fn between_rounds<T>(&self, act: impl FnOnce() -> T) -> T {
        let _leading = self.leading.lock();
        act()
    }

    /// One round. Should it panic, whoever waited is told that the outcome is unknown, and the volumes of
    /// the round take no more changes: what was taken from them is not known to be anywhere.
    fn round(&self, heap: &Heap, clock: &dyn Clock, heads: &[Arc<Head>]) {
        let waiters = std::mem::take(&mut *self.waiters.lock());
        let concerned = heads.iter().chain(waiters.iter().map(|waiter| &waiter.head)).cloned().collect();
        let mut round = Round { committer: self, heads: concerned, waiters };
        let began = clock.monotonic();
        let (result, group, cuts) = heap.commit_log(|| cut_all(heads, &round.waiters));
        let ended = clock.monotonic();
        if let Ok(receipt) = &result {
            self.measure(receipt.bytes, ended.saturating_sub(began));
        }
        if let Err(error) = &result {
            note_failure(&cuts, error);
        }
        // What is durable is said first, and put in its place then: that is nobody's wait.
        let outcome = result.as_ref().map(|_| ()).map_err(|error| Error::from(error.clone()));
        for waiter in std::mem::take(&mut round.waiters) {
            let refused = waiter.head.check_alive();
            (waiter.done)(outcome.clone().and(refused));
        }
        settle_all(heap, cuts, &group, &result, ended);
    }

    /// Whether groups are so small that it pays to give them files whose blocks were written before.
    pub(super) fn syncs_are_small(&self) -> bool {
        self.group_bytes.load(Ordering::Relaxed) < SMALL_GROUP_BYTES
    }

    fn measure(&self, bytes: u64, took: Duration) {
        if bytes > 0 {
            let before = self.group_bytes.load(Ordering::Relaxed);
            self.group_bytes.store(before / 8 * 7 + bytes / 8, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        if bytes >= MEASURED_BYTES_MIN {
            let now = bytes.saturating_mul(1_000_000) / micros;
            let before = self.bandwidth.load(Ordering::Relaxed);
            self.bandwidth.store(before / 8 * 7 + now / 8, Ordering::Relaxed);
        }
    }

    /// Bytes a second that the log was measured to take.
    pub(super) fn bandwidth(&self) -> u64 {
        self.bandwidth.load(Ordering::Relaxed)
    }
}

/// A round that goes on.
struct Round<'a> {
    committer: &'a Committer,
    /// Those that it cuts.
    heads: Vec<Arc<Head>>,
    waiters: Vec<Waiter>,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // Those who came meanwhile as well: nobody is there to lead a round for them.
        let mut waiters = std::mem::take(&mut self.waiters);
        waiters.append(&mut self.committer.waiters.lock());
        let detail = "writing its log failed half-way; restart the daemon to recover";
        for head in self.heads.iter().chain(waiters.iter().map(|waiter| &waiter.head)) {
            *head.failed.write() = Some(detail.to_owned());
        }
        for waiter in waiters {
            let detail = format!("{detail}; the outcome of the sync is unknown");
            (waiter.done)(Err(Error::LogFailed { detail }));
        }
        self.committer.round_ended.notify_all();
    }
}

/// Cuts each head once: all whose sync someone waits for, and `heads`.
fn cut_all(heads: &[Arc<Head>], waiters: &[Waiter]) -> (Group<Page>, Vec<Cut>) {
    let mut group = Group { pages: Vec::new(), ranges: Vec::new() };
    let mut done: Vec<&Arc<Head>> = Vec::new();
    let mut cuts = Vec::new();
    for head in heads.iter().chain(waiters.iter().map(|waiter| &waiter.head)) {
        if !done.iter().any(|other| Arc::ptr_eq(other, head)) {
            done.push(head);
            cuts.extend(head.cut(&mut group));
        }
    }
    (group, cuts)
}

/// A full disk passes; a log that cannot be written in a second file either does not.
fn note_failure(cuts: &[Cut], error: &cold::Error) {
    if matches!(error, cold::Error::NoSpace(_)) {
        tracing::warn!(%error, "the log has no room; changes stay in memory until it has");
        return;
    }
    for cut in cuts {
        tracing::error!(volume = %cut.head.name, %error, "the log cannot be written; the volume takes no more changes");
        *cut.head.failed.write() =
            Some(format!("its log cannot be written ({error}); restart the daemon once the disk is sound"));
    }
}
