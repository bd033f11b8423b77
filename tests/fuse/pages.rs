//! Pages in memory whose log stalls, fails, holds back or panics when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use firnfs::base::{PageNo, Space};
use firnfs::fs::{Caller, Fs};
use firnfs::io::{SystemClock, SystemRng};
use firnfs::volume::{Capacity, Error, Hint, Operation, Pages, Synced};
use parking_lot::{Condvar, Mutex};

use crate::mem_pages::MemPages;

#[derive(Default)]
pub(crate) struct TestPages {
    pages: MemPages,
    stalled: Mutex<bool>,
    resumed: Condvar,
    without_room: AtomicBool,
    panics: AtomicU64,
    syncs: AtomicU64,
    sync_fails: AtomicBool,
    /// Syncs that wait, when they are to wait.
    held: Mutex<Option<Vec<Synced>>>,
}

/// An empty filesystem in `pages`, owned by root.
pub(crate) fn open_fs(pages: &Arc<TestPages>) -> Arc<Fs> {
    let owner = Caller { uid: 0, gid: 0, pid: 0 };
    let pages: Arc<dyn Pages> = Arc::clone(pages) as _;
    Arc::new(Fs::open(pages, Arc::new(SystemClock::new()), &SystemRng, owner).expect("an empty volume"))
}

impl TestPages {
    /// From now on there is no room, and changes wait until [`TestPages::resume`].
    pub(crate) fn stall(&self) {
        self.no_room();
        *self.stalled.lock() = true;
    }

    pub(crate) fn resume(&self) {
        self.without_room.store(false, Ordering::SeqCst);
        *self.stalled.lock() = false;
        self.resumed.notify_all();
    }

    /// There is no room, but a change that comes all the same does not wait.
    pub(crate) fn no_room(&self) {
        self.without_room.store(true, Ordering::SeqCst);
    }

    /// The next `times` changes panic.
    pub(crate) fn panic_on_apply(&self, times: u64) {
        self.panics.store(times, Ordering::SeqCst);
    }

    /// How many syncs were asked for.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    /// Syncs do not end until [`TestPages::release_syncs`].
    pub(crate) fn hold_syncs(&self) {
        *self.held.lock() = Some(Vec::new());
    }

    pub(crate) fn release_syncs(&self) {
        let held = self.held.lock().take();
        held.into_iter().flatten().for_each(|done| done(Ok(())));
    }

    pub(crate) fn fail_syncs(&self) {
        self.sync_fails.store(true, Ordering::SeqCst);
    }
}

impl Pages for TestPages {
    fn apply(&self, operation: &Operation<'_>) -> Result<(), Error> {
        let panics = |left: u64| left.checked_sub(1);
        assert!(
            self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, panics).is_err(),
            "as asked for"
        );
        let mut stalled = self.stalled.lock();
        while *stalled {
            self.resumed.wait(&mut stalled);
        }
        drop(stalled);
        self.pages.apply(operation)
    }

    fn has_room(&self) -> bool {
        !self.without_room.load(Ordering::SeqCst)
    }

    fn sync(&self, done: Synced) {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.sync_fails.load(Ordering::SeqCst) {
            return done(Err(Error::LogFailed { detail: "as asked for".to_owned() }));
        }
        if let Some(held) = &mut *self.held.lock() {
            return held.push(done);
        }
        done(Ok(()));
    }

    fn read(&self, space: Space, offset: u64, buf: &mut [u8], hint: Hint) -> Result<(), Error> {
        self.pages.read(space, offset, buf, hint)
    }

    fn count(&self, space: Space, from: PageNo, to: PageNo) -> u64 {
        self.pages.count(space, from, to)
    }

    fn next_present(&self, space: Space, from: PageNo) -> Option<PageNo> {
        self.pages.next_present(space, from)
    }

    fn next_absent(&self, space: Space, from: PageNo) -> PageNo {
        self.pages.next_absent(space, from)
    }

    fn capacity(&self) -> Capacity {
        self.pages.capacity()
    }

    fn read_only(&self) -> bool {
        self.pages.read_only()
    }
}
