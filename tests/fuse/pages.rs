//! Pages in memory, with a log that stalls, fails, holds back or panics when told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use firnfs::base::limits::PAGE_BYTES;
use firnfs::base::{PageNo, Space};
use firnfs::fs::{Caller, Fs};
use firnfs::io::{SystemClock, SystemRng};
use firnfs::volume::{Capacity, Edit, Error, Hint, Operation, Pages, Synced};
use parking_lot::{Condvar, Mutex};

type Page = Box<[u8; PAGE_BYTES]>;

#[derive(Default)]
pub struct TestPages {
    pages: Mutex<BTreeMap<(Space, PageNo), Page>>,
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
pub fn open_fs(pages: &Arc<TestPages>) -> Arc<Fs> {
    let owner = Caller { uid: 0, gid: 0, pid: 0 };
    let pages: Arc<dyn Pages> = Arc::clone(pages) as _;
    Arc::new(Fs::open(pages, Arc::new(SystemClock::new()), &SystemRng, owner).expect("an empty volume"))
}

impl TestPages {
    /// From now on there is no room, and changes wait until [`TestPages::resume`].
    pub fn stall(&self) {
        self.no_room();
        *self.stalled.lock() = true;
    }

    pub fn resume(&self) {
        self.without_room.store(false, Ordering::SeqCst);
        *self.stalled.lock() = false;
        self.resumed.notify_all();
    }

    /// There is no room, but a change that comes all the same does not wait.
    pub fn no_room(&self) {
        self.without_room.store(true, Ordering::SeqCst);
    }

    /// The next `times` changes panic.
    pub fn panic_on_apply(&self, times: u64) {
        self.panics.store(times, Ordering::SeqCst);
    }

    /// How many syncs were asked for.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    /// Syncs do not end until [`TestPages::release_syncs`].
    pub fn hold_syncs(&self) {
        *self.held.lock() = Some(Vec::new());
    }

    pub fn release_syncs(&self) {
        let held = self.held.lock().take();
        held.into_iter().flatten().for_each(|done| done(Ok(())));
    }

    pub fn fail_syncs(&self) {
        self.sync_fails.store(true, Ordering::SeqCst);
    }
}

impl Pages for TestPages {
    fn read(&self, space: Space, offset: u64, buf: &mut [u8], _: Hint) -> Result<(), Error> {
        let pages = self.pages.lock();
        for_each_page(offset, buf.len(), |page, within, range| {
            let part = &mut buf[range.clone()];
            match pages.get(&(space, page)) {
                Some(bytes) => part.copy_from_slice(&bytes[within..within + range.len()]),
                None => part.fill(0),
            }
        });
        Ok(())
    }

    fn apply(&self, operation: &Operation<'_>) -> Result<(), Error> {
        let panics = |left: u64| left.checked_sub(1);
        assert!(self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, panics).is_err(), "as asked for");
        let mut stalled = self.stalled.lock();
        while *stalled {
            self.resumed.wait(&mut stalled);
        }
        drop(stalled);
        let mut pages = self.pages.lock();
        for edit in &operation.edits {
            match edit {
                Edit::Write { space, offset, data } => put(&mut pages, *space, *offset, data),
                Edit::Remove { space, from, to } => {
                    pages.retain(|(owner, page), _| owner != space || page < from || page >= to);
                }
                Edit::Add { space, offset, delta } => {
                    let old = i64::from_le_bytes(word(&pages, *space, *offset));
                    put(&mut pages, *space, *offset, &old.wrapping_add(*delta).to_le_bytes());
                }
                Edit::Max { space, offset, value } => {
                    let old = u64::from_le_bytes(word(&pages, *space, *offset));
                    put(&mut pages, *space, *offset, &old.max(*value).to_le_bytes());
                }
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        !self.without_room.load(Ordering::SeqCst)
    }

    fn count(&self, space: Space, from: PageNo, to: PageNo) -> u64 {
        self.pages.lock().range((space, from)..(space, to)).count() as u64
    }

    fn next_present(&self, space: Space, from: PageNo) -> Option<PageNo> {
        let pages = self.pages.lock();
        pages.range((space, from)..=(space, PageNo(u64::MAX))).next().map(|((_, page), _)| *page)
    }

    fn next_absent(&self, space: Space, mut from: PageNo) -> PageNo {
        let pages = self.pages.lock();
        while pages.contains_key(&(space, from)) {
            from.0 += 1;
        }
        from
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

    fn capacity(&self) -> Capacity {
        Capacity { total_bytes: 1 << 40, free_bytes: 1 << 39, quota_bytes: None }
    }

    fn read_only(&self) -> bool {
        false
    }
}

fn put(pages: &mut BTreeMap<(Space, PageNo), Page>, space: Space, offset: u64, data: &[u8]) {
    for_each_page(offset, data.len(), |page, within, range| {
        let bytes = pages.entry((space, page)).or_insert_with(|| Box::new([0; PAGE_BYTES]));
        bytes[within..within + range.len()].copy_from_slice(&data[range]);
    });
}

fn word(pages: &BTreeMap<(Space, PageNo), Page>, space: Space, offset: u64) -> [u8; 8] {
    let mut word = [0; 8];
    for_each_page(offset, word.len(), |page, within, range| {
        if let Some(bytes) = pages.get(&(space, page)) {
            word[range.clone()].copy_from_slice(&bytes[within..within + range.len()]);
        }
    });
    word
}

/// Calls `each` with a page, the place within it and the part of the buffer that belongs there.
fn for_each_page(offset: u64, length: usize, mut each: impl FnMut(PageNo, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let within = usize::try_from(at % PAGE_BYTES as u64).expect("less than a page");
        let part = (PAGE_BYTES - within).min(length - done);
        each(PageNo(at / PAGE_BYTES as u64), within, done..done + part);
        done += part;
    }
}
