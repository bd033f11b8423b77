//! Pages in plain maps: what [`Pages`] promises, exactly and without a disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use firnfs::base::limits::PAGE_BYTES;
use firnfs::base::{PageNo, Space};
use firnfs::volume::{Capacity, Edit, Error, Hint, Operation, Pages, Synced};
use parking_lot::{Mutex, RwLock};

const PAGE: u64 = PAGE_BYTES as u64;

type Spaces = HashMap<Space, BTreeMap<u64, Arc<[u8; PAGE_BYTES]>>>;

/// A volume in memory.
#[derive(Default)]
pub(crate) struct MemPages {
    spaces: RwLock<Spaces>,
    quota_bytes: Option<u64>,
    read_only: AtomicBool,
    failing: AtomicBool,
    applied: AtomicU64,
    before_apply: Mutex<Option<Hook>>,
}

type Hook = Box<dyn FnOnce() + Send>;

impl MemPages {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn with_quota(quota_bytes: u64) -> Arc<Self> {
        Arc::new(MemPages { quota_bytes: Some(quota_bytes), ..Default::default() })
    }

    /// An independent copy of what is there now, as after a crash or in a fork.
    pub(crate) fn fork(&self) -> Arc<Self> {
        let spaces = RwLock::new(self.spaces.read().clone());
        Arc::new(MemPages { spaces, quota_bytes: self.quota_bytes, ..Default::default() })
    }

    /// As [`MemPages::fork`], and it refuses changes.
    pub(crate) fn snapshot(&self) -> Arc<Self> {
        let copy = self.fork();
        copy.read_only.store(true, Ordering::Relaxed);
        copy
    }

    /// From now on every operation fails as on a full disk, or no longer.
    pub(crate) fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// Calls `hook` when the next operation is complete but not applied yet.
    pub(crate) fn before_next_apply(&self, hook: impl FnOnce() + Send + 'static) {
        *self.before_apply.lock() = Some(Box::new(hook));
    }

    /// Turns bits of one byte over, if there is such a page.
    pub(crate) fn damage(&self, space: u64, offset: u64, bits: u8) {
        let spaces = &mut *self.spaces.write();
        let page = spaces.get_mut(&Space(space)).and_then(|pages| pages.get_mut(&(offset / PAGE)));
        if let Some(page) = page {
            Arc::make_mut(page)[usize::try_from(offset % PAGE).expect("less than a page")] ^= bits;
        }
    }

    /// How many operations were applied.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// How many pages there are, the inode table's included.
    pub(crate) fn page_count(&self) -> usize {
        self.spaces.read().values().map(BTreeMap::len).sum()
    }

    /// How many pages a space has.
    pub(crate) fn pages_of(&self, space: u64) -> usize {
        self.spaces.read().get(&Space(space)).map_or(0, BTreeMap::len)
    }
}

fn write(spaces: &mut Spaces, space: Space, mut offset: u64, mut data: &[u8]) {
    let pages = spaces.entry(space).or_default();
    while !data.is_empty() {
        let within = usize::try_from(offset % PAGE).expect("less than a page");
        let (now, later) = data.split_at(data.len().min(PAGE_BYTES - within));
        let page = pages.entry(offset / PAGE).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
        Arc::make_mut(page)[within..within + now.len()].copy_from_slice(now);
        offset += now.len() as u64;
        data = later;
    }
}

fn read(spaces: &Spaces, space: Space, mut offset: u64, mut buf: &mut [u8]) {
    let pages = spaces.get(&space);
    while !buf.is_empty() {
        let within = usize::try_from(offset % PAGE).expect("less than a page");
        let length = buf.len().min(PAGE_BYTES - within);
        let (now, later) = buf.split_at_mut(length);
        match pages.and_then(|pages| pages.get(&(offset / PAGE))) {
            Some(page) => now.copy_from_slice(&page[within..within + length]),
            None => now.fill(0),
        }
        offset += length as u64;
        buf = later;
    }
}

fn change_word(spaces: &mut Spaces, space: Space, offset: u64, change: impl FnOnce(u64) -> u64) {
    assert!(offset.is_multiple_of(8), "words are aligned");
    let mut word = [0; 8];
    read(spaces, space, offset, &mut word);
    write(spaces, space, offset, &change(u64::from_le_bytes(word)).to_le_bytes());
}

impl Pages for MemPages {
    fn read(&self, space: Space, offset: u64, buf: &mut [u8], _hint: Hint) -> Result<(), Error> {
        read(&self.spaces.read(), space, offset, buf);
        Ok(())
    }

    fn apply(&self, operation: &Operation<'_>) -> Result<(), Error> {
        if self.read_only.load(Ordering::Relaxed) {
            return Err(Error::ReadOnly);
        }
        if self.failing.load(Ordering::Relaxed) {
            return Err(Error::NoSpace { detail: "the test says so".into() });
        }
        let hook = self.before_apply.lock().take();
        if let Some(hook) = hook {
            hook();
        }
        let spaces = &mut *self.spaces.write();
        for edit in &operation.edits {
            match edit {
                Edit::Write { space, offset, data } => write(spaces, *space, *offset, data),
                Edit::Remove { space, from, to } => {
                    if let Some(pages) = spaces.get_mut(space) {
                        let mut behind = pages.split_off(&from.0);
                        pages.append(&mut behind.split_off(&to.0));
                    }
                }
                Edit::Add { space, offset, delta } => {
                    change_word(spaces, *space, *offset, |word| word.wrapping_add(delta.cast_unsigned()));
                }
                Edit::Max { space, offset, value } => {
                    change_word(spaces, *space, *offset, |word| word.max(*value));
                }
            }
        }
        self.applied.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn has_room(&self) -> bool {
        true
    }

    fn count(&self, space: Space, from: PageNo, to: PageNo) -> u64 {
        let spaces = self.spaces.read();
        spaces.get(&space).map_or(0, |pages| pages.range(from.0..to.0.max(from.0)).count() as u64)
    }

    fn next_present(&self, space: Space, from: PageNo) -> Option<PageNo> {
        self.spaces.read().get(&space)?.range(from.0..).next().map(|(&no, _)| PageNo(no))
    }

    fn next_absent(&self, space: Space, from: PageNo) -> PageNo {
        let spaces = self.spaces.read();
        let Some(pages) = spaces.get(&space) else { return from };
        let mut absent = from.0;
        for (&no, _) in pages.range(from.0..) {
            if no != absent {
                break;
            }
            absent += 1;
        }
        PageNo(absent)
    }

    fn sync(&self, done: Synced) {
        done(Ok(()));
    }

    fn capacity(&self) -> Capacity {
        Capacity { total_bytes: 1 << 40, free_bytes: 1 << 39, quota_bytes: self.quota_bytes }
    }

    fn read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }
}
