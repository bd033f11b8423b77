//! A volume's head: its stack of layers, what of it is unlogged, and the gate.
//!
//! The gate is what makes an instant: an operation is applied under its shared side, a cut or a freeze
//! takes the exclusive side, so each operation lies wholly before or wholly after. No I/O is ever done
//! under it: frames and the content beneath partial writes are obtained before.
//!
//! Locks, in order: gate, a layer's ranges, a layer's shard, a frame, `pending`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::Error;
use super::layer::{Deaths, Layer, Settled};
use super::stack::Stack;
use crate::base::limits::PAGE_BYTES;
use crate::base::{FileNo, LayerId, Name, PageNo, Space};
use crate::cold::{Group, GroupPage, Heap, Receipt};
use crate::format::batch::Range;
use crate::hot::{Frame, Page};

/// What the gate guards.
pub(super) struct Top {
    /// Newest first; the first one takes changes.
    pub(super) layers: Stack,
    /// The layer that takes changes after the next freeze; `None` until the manifest knows one.
    pub(super) next_mutable: Option<LayerId>,
}

/// A frame that changed since the last cut.
pub(super) struct Dirty {
    pub(super) layer: Arc<Layer>,
    pub(super) space: Space,
    pub(super) page: PageNo,
    pub(super) frame: Arc<Frame>,
}

/// What changed since the last cut.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) dirty: Vec<Dirty>,
    pub(super) ranges: Vec<(Arc<Layer>, Range)>,
    /// Entries that the pending ranges killed: dead for good once those are durable.
    pub(super) deaths: Deaths,
    /// Since when something is pending.
    pub(super) since: Option<Duration>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.dirty.is_empty() && self.ranges.is_empty() && self.deaths.is_empty()
    }
}

/// A volume.
pub(super) struct Head {
    pub(super) name: Name,
    pub(super) gate: RwLock<Top>,
    pub(super) pending: Mutex<Pending>,
    /// Pages and ranges that are not durable: pending, or in a group that is being written.
    pub(super) unlogged: AtomicU64,
    /// Those of them that are in a group that is being written.
    in_cut: AtomicU64,
    /// Mounted for writing.
    pub(super) mounted: AtomicBool,
    /// Why it takes no more changes.
    pub(super) failed: RwLock<Option<String>>,
}

/// What of a head was taken for a group.
pub(super) struct Cut {
    pub(super) head: Arc<Head>,
    dirty: Vec<Dirty>,
    ranges: Vec<(Arc<Layer>, Range)>,
    deaths: Deaths,
    /// How much of the head's unlogged count this is.
    counted: u64,
}

impl Head {
    pub(super) fn new(name: Name, layers: Stack, next_mutable: LayerId) -> Arc<Self> {
        Arc::new(Head {
            name,
            gate: RwLock::new(Top { layers, next_mutable: Some(next_mutable) }),
            pending: Mutex::default(),
            unlogged: AtomicU64::new(0),
            in_cut: AtomicU64::new(0),
            mounted: AtomicBool::new(false),
            failed: RwLock::new(None),
        })
    }

    /// The layers as they are now, newest first.
    pub(super) fn layers(&self) -> Stack {
        self.gate.read().layers.clone()
    }

    /// Bytes that are not durable.
    pub(super) fn unlogged_bytes(&self) -> u64 {
        self.unlogged.load(Ordering::Relaxed) * PAGE_BYTES as u64
    }

    /// Bytes that no group has taken yet.
    pub(super) fn pending_bytes(&self) -> u64 {
        let unlogged = self.unlogged.load(Ordering::Relaxed);
        unlogged.saturating_sub(self.in_cut.load(Ordering::Relaxed)) * PAGE_BYTES as u64
    }

    /// Whether a group that has pages of it is being written. Under the gate, no group begins.
    pub(super) fn is_being_cut(&self) -> bool {
        self.in_cut.load(Ordering::Acquire) != 0
    }

    /// Whether it refuses changes.
    pub(super) fn check_alive(&self) -> Result<(), Error> {
        match &*self.failed.read() {
            Some(detail) => Err(Error::LogFailed { detail: detail.clone() }),
            None => Ok(()),
        }
    }

    /// Takes all that is unlogged, at one instant, into `group`.
    pub(super) fn cut(self: &Arc<Self>, group: &mut Group<Page>) -> Option<Cut> {
        let exclusive = self.gate.write();
        let mut pending = self.pending.lock();
        if pending.is_empty() {
            return None;
        }
        let Pending { mut dirty, ranges, deaths, .. } = std::mem::take(&mut *pending);
        drop(pending);
        let counted = (dirty.len() + ranges.len()) as u64;
        self.in_cut.store(counted, Ordering::Release);
        let first = group.pages.len();
        dirty.retain(|entry| {
            let mut state = entry.frame.lock();
            state.dirty = false;
            if !state.removed {
                group.pages.push(GroupPage {
                    layer: entry.layer.id,
                    space: entry.space,
                    page: entry.page,
                    seq: state.seq,
                    content: state.page.clone(),
                });
            }
            !state.removed
        });
        drop(exclusive);
        // In the order of their places, so that neighbours lie together in the file.
        let pages = &mut group.pages[first..];
        let key = |page: &GroupPage<Page>| (page.layer, page.space, page.page);
        pages.sort_unstable_by_key(key);
        dirty.sort_unstable_by_key(|entry| (entry.layer.id, entry.space, entry.page));
        group.ranges.extend(ranges.iter().map(|(_, range)| *range));
        Some(Cut { head: self.clone(), dirty, ranges, deaths, counted })
    }

    /// Puts back what was taken: it could not be written.
    fn restore(&self, cut: Cut, now: Duration) {
        let mut pending = self.pending.lock();
        let mut restored = cut.ranges.len() as u64;
        for entry in cut.dirty {
            let mut state = entry.frame.lock();
            if !state.dirty && !state.removed {
                state.dirty = true;
                restored += 1;
                drop(state);
                pending.dirty.push(entry);
            }
        }
        let later = std::mem::replace(&mut pending.ranges, cut.ranges);
        pending.ranges.extend(later);
        pending.deaths.extend(cut.deaths);
        pending.since = Some(pending.since.map_or(now, |since| since.min(now)));
        self.in_cut.store(0, Ordering::Release);
        self.unlogged.fetch_sub(cut.counted - restored, Ordering::Relaxed);
    }
}

impl Cut {
    /// How many pages and ranges of the group are this cut's.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.dirty.len(), self.ranges.len())
    }

    /// The group is durable: the pages are where `slots` says, the ranges in `range_files`.
    pub(super) fn settle(
        self,
        heap: &Heap,
        slots: &[crate::cold::SlotAddr],
        seqs: &[crate::base::Seq],
        range_files: &[FileNo],
    ) {
        debug_assert_eq!(self.dirty.len(), slots.len());
        let mut not_yet_dead = Deaths::new();
        for ((entry, addr), seq) in self.dirty.iter().zip(slots).zip(seqs) {
            match entry.layer.settle(entry.space, entry.page, *seq, *addr) {
                Ok(Some(old)) => heap.died(old, 1),
                Ok(None) => {}
                Err(file) => not_yet_dead.push((file, 1)),
            }
        }
        let stack = self.head.layers();
        for ((layer, range), file) in self.ranges.iter().zip(range_files) {
            let depth = stack.iter().position(|other| other.id == layer.id);
            let beneath = depth.map_or(&stack[..], |depth| &stack[depth + 1..]);
            match layer.settle_range(range, *file, beneath) {
                Ok(Settled::Kept) => {}
                Ok(Settled::Loose) => heap.loosened(*file),
                Err(file) => not_yet_dead.push((file, 1)),
            }
        }
        for (file, count) in self.deaths {
            heap.died(file, count);
        }
        if !not_yet_dead.is_empty() {
            self.head.pending.lock().deaths.extend(not_yet_dead);
        }
        self.head.in_cut.store(0, Ordering::Release);
        self.head.unlogged.fetch_sub(self.counted, Ordering::Relaxed);
    }

    /// The group could not be written: everything is pending again.
    pub(super) fn restore(self, now: Duration) {
        let head = self.head.clone();
        head.restore(self, now);
    }
}

/// Settles or restores the cuts of a group.
pub(super) fn settle_all(
    heap: &Heap,
    cuts: Vec<Cut>,
    group: &Group<Page>,
    result: &Result<Receipt, crate::cold::Error>,
    now: Duration,
) {
    let (mut page, mut range) = (0, 0);
    let seqs: Vec<_> = group.pages.iter().map(|page| page.seq).collect();
    for cut in cuts {
        let (pages, ranges) = cut.sizes();
        match result {
            Ok(receipt) => cut.settle(
                heap,
                &receipt.slots[page..page + pages],
                &seqs[page..page + pages],
                &receipt.range_files[range..range + ranges],
            ),
            Err(_) => cut.restore(now),
        }
        page += pages;
        range += ranges;
    }
}
