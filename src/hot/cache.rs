//! Which frames go when RAM runs short: a queue with a second chance for what was touched (CLOCK).
//! Nearly as good as LRU, and a hit costs one store instead of a move under a lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Frame, Meter};
use crate::base::{PageNo, Space};

/// Frames looked at in one call of [`Cache::trim`], so that it is bounded when all are dirty.
const LOOKS_MAX: usize = 4096;

/// Whoever's table a frame hangs in.
pub trait Owner: Send + Sync {
    /// Takes the frame out of the table, if it is still there, clean, and held by nobody but the
    /// table and the caller.
    fn evict(&self, space: Space, page: PageNo, frame: &Arc<Frame>) -> bool;
}

struct Resident<O> {
    owner: Weak<O>,
    space: Space,
    page: PageNo,
    frame: Weak<Frame>,
}

/// All frames of the process, and how many bytes they may take.
pub struct Cache<O> {
    queue: Mutex<VecDeque<Resident<O>>>,
    budget_bytes: AtomicUsize,
    pub meter: Arc<Meter>,
}

impl<O: Owner> Cache<O> {
    /// A cache that keeps its meter below `budget_bytes`.
    pub fn new(budget_bytes: usize) -> Self {
        Cache { queue: Mutex::default(), budget_bytes: AtomicUsize::new(budget_bytes), meter: Arc::default() }
    }

    /// Takes note of frames that were put into a table.
    pub fn admit<'a>(&self, frames: impl IntoIterator<Item = (&'a Arc<O>, Space, PageNo, &'a Arc<Frame>)>)
    where
        O: 'a,
    {
        let mut queue = self.queue.lock();
        for (owner, space, page, frame) in frames {
            queue.push_back(Resident {
                owner: Arc::downgrade(owner),
                space,
                page,
                frame: Arc::downgrade(frame),
            });
        }
        // Frames that died by themselves (their file was removed) leave their place in the queue behind.
        if queue.len() > 1024 && queue.len() * size_of::<Frame>() > self.meter.bytes() {
            queue.retain(|resident| resident.frame.strong_count() > 0);
            queue.shrink_to(1024);
        }
    }

    /// Whether frames should go.
    pub fn is_over_budget(&self) -> bool {
        self.meter.bytes() > self.budget_bytes.load(Ordering::Relaxed)
    }

    /// Gives up frames until the budget holds, or as far as it goes: what is dirty stays.
    pub fn trim(&self) {
        for _ in 0..LOOKS_MAX {
            if !self.is_over_budget() {
                return;
            }
            let Some(resident) = self.queue.lock().pop_front() else { return };
            let (Some(frame), Some(owner)) = (resident.frame.upgrade(), resident.owner.upgrade()) else {
                continue;
            };
            if frame.take_used() || !owner.evict(resident.space, resident.page, &frame) {
                let removed = frame.lock().removed;
                if !removed {
                    self.queue.lock().push_back(resident);
                }
            }
        }
    }
}
