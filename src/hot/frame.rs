//! A page in RAM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::Page;
use crate::base::Seq;
use crate::base::limits::PAGE_BYTES;

/// Bytes of RAM, counted as they come and go.
#[derive(Default, Debug)]
pub struct Meter {
    bytes: AtomicUsize,
}

impl Meter {
    /// Counts bytes that were taken.
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were given back.
    pub fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What a frame costs: the page, the frame, its place in the cache's queue and in its owner's table.
const FRAME_BYTES: usize = PAGE_BYTES + 256;

/// A frame.
pub struct Frame {
    state: Mutex<FrameState>,
    /// Touched since the cache last looked.
    used: AtomicBool,
    /// Worth its RAM once it is durable: metadata, or a page that is changed in parts.
    kept: AtomicBool,
    meter: Arc<Meter>,
}

/// What a frame's lock guards.
pub struct FrameState {
    pub page: Page,
    /// Of the last mutation.
    pub seq: Seq,
    /// Of the last mutation that is durable in the log.
    pub logged: Seq,
    /// Changed since the last cut.
    pub dirty: bool,
    /// No longer in its owner's table: its page was made absent.
    pub removed: bool,
}

impl FrameState {
    /// Whether all of it is durable.
    pub fn is_clean(&self) -> bool {
        !self.dirty && self.logged == self.seq
    }
}

impl Frame {
    /// A frame whose content is also elsewhere.
    pub fn clean(page: Page, meter: &Arc<Meter>) -> Arc<Self> {
        meter.add(FRAME_BYTES);
        let state = FrameState { page, seq: Seq(0), logged: Seq(0), dirty: false, removed: false };
        Arc::new(Frame {
            state: Mutex::new(state),
            used: AtomicBool::new(false),
            kept: AtomicBool::new(false),
            meter: meter.clone(),
        })
    }

    /// The frame's state, locked: for a moment, and never across I/O.
    pub fn lock(&self) -> MutexGuard<'_, FrameState> {
        self.state.lock()
    }

    /// The page as it is now.
    pub fn page(&self) -> Page {
        self.used.store(true, Ordering::Relaxed);
        self.lock().page.clone()
    }

    /// Makes the frame stay when it is durable, until the cache wants its RAM. Returns whether it was to
    /// go before: the caller admits it to the cache then.
    pub fn keep(&self) -> bool {
        !self.kept.swap(true, Ordering::Relaxed)
    }

    /// Whether it stays when it is durable.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    pub(super) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.meter.sub(FRAME_BYTES);
    }
}
