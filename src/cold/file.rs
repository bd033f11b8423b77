//! One heap file: slots of pages, their checksums, and how many of them are live.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use parking_lot::Mutex;

use super::Error;
use super::spaces::Spaces;
use crate::base::limits::PAGE_BYTES;
use crate::base::{FileNo, SlotNo};
use crate::format::batch::{Entry, RECORDS_MAX, Range};
use crate::format::manifest::{FileEnd, StreamKind};
use crate::io::DiskFile;

/// A heap file, open. Holding an `Arc` of it is a pin: a pinned file is not recycled, so that what a
/// reader found in the index is still there when it reads.
pub struct HeapFile {
    pub number: FileNo,
    pub nonce: u64,
    pub stream: StreamKind,
    pub(super) disk: Arc<dyn DiskFile>,
    /// Slots in the file, footer included.
    pub slots: u32,
    /// crc32c of the page in each slot; meaningless for slots that hold none.
    crcs: Box<[AtomicU32]>,
    spaces: Spaces,
    /// Pages and ranges that something still refers to (`file_refs`). Counts down only once the
    /// successor is durable. May dip below zero for an instant, while a death overtakes a birth.
    live: AtomicI64,
    /// Those of them that are ranges which no layer keeps in mind: there is nothing beneath that they
    /// hide, and they only keep dead pages of other files from coming back.
    loose: AtomicI64,
    /// It takes no more batches.
    sealed: AtomicBool,
    end: Mutex<Option<FileEnd>>,
    /// It holds a page that cannot be read, so it cannot be emptied.
    stuck: AtomicBool,
}

/// A pinned heap file.
pub type Pinned = Arc<HeapFile>;

impl HeapFile {
    pub(super) fn new(
        number: FileNo,
        nonce: u64,
        stream: StreamKind,
        disk: Arc<dyn DiskFile>,
        slots: u32,
    ) -> Self {
        HeapFile {
            number,
            nonce,
            stream,
            disk,
            slots,
            crcs: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            spaces: Spaces::new(slots),
            live: AtomicI64::new(0),
            loose: AtomicI64::new(0),
            sealed: AtomicBool::new(false),
            end: Mutex::new(None),
            stuck: AtomicBool::new(false),
        }
    }

    /// The file's name in the data directory.
    pub fn name(number: FileNo) -> String {
        format!("heap-{:010}.firn", number.0)
    }

    /// The number in a heap file's name; `None` when it is no such name.
    pub fn number_of(name: &str) -> Option<FileNo> {
        name.strip_prefix("heap-")?.strip_suffix(".firn")?.parse().ok().map(FileNo)
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.slots) * PAGE_BYTES as u64
    }

    /// Bytes of RAM that the open file takes.
    pub fn ram_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.crcs) + self.spaces.heap_bytes()
    }

    /// Takes note of a page that was put into a slot.
    pub(super) fn note_page(&self, slot: SlotNo, entry: &Entry) {
        // Relaxed: a slot's checksum is set before the index gets the slot, under the index's lock.
        self.crcs[slot.0 as usize].store(entry.crc, Ordering::Relaxed);
        self.spaces.add(entry.space, entry.seq);
    }

    /// Whether it may have a page of the range's space, dead or alive, that the range makes absent.
    pub(super) fn may_be_hidden_by(&self, range: &Range) -> bool {
        self.spaces.may_hold_older(range.space, range.seq)
    }

    /// A live range of it is no longer kept in mind by its layer.
    pub fn loosened(&self, count: i64) {
        self.loose.fetch_add(count, Ordering::Relaxed);
    }

    /// Ranges that are live and loose.
    pub fn loose(&self) -> i64 {
        self.loose.load(Ordering::Relaxed)
    }

    /// How many slots its live entries would take if they were moved, their headers aside. A batch of
    /// loose ranges is a header alone, however few pages the file's own batches of them saved.
    pub fn weight(&self) -> u64 {
        let (live, loose) = (self.live().max(0).unsigned_abs(), self.loose().max(0).unsigned_abs());
        live.saturating_sub(loose) + loose.div_ceil(RECORDS_MAX as u64)
    }

    /// Counts out the loose ranges: those that are needed have been moved.
    pub fn loose_died(&self) {
        self.died(self.loose.swap(0, Ordering::Relaxed));
    }

    /// Reads consecutive pages into `buf` (whole pages) and checks each.
    ///
    /// # Errors
    /// The first page that does not match its checksum, or the disk's error.
    pub fn read(&self, first: SlotNo, buf: &mut [u8]) -> Result<(), Error> {
        debug_assert!(buf.len().is_multiple_of(PAGE_BYTES));
        self.disk
            .read_exact_at(buf, u64::from(first.0) * PAGE_BYTES as u64)
            .map_err(|error| Error::io(format!("cannot read heap file {}", self.number), error))?;
        for (slot, page) in (first.0..).zip(buf.chunks_exact_mut(PAGE_BYTES)) {
            if !self.matches(slot, page) {
                // The copy in the system's cache may be the bad one: pages are written past it.
                let offset = u64::from(slot) * PAGE_BYTES as u64;
                self.disk.forget_cached(offset, PAGE_BYTES as u64);
                let again = self.disk.read_exact_at(page, offset);
                if again.is_err() || !self.matches(slot, page) {
                    return Err(Error::Damaged { file: self.number, slot: SlotNo(slot) });
                }
            }
        }
        Ok(())
    }

    fn matches(&self, slot: u32, page: &[u8]) -> bool {
        crc32c::crc32c(page) == self.crcs[slot as usize].load(Ordering::Relaxed)
    }

    /// Counts `count` more live pages or ranges.
    pub fn born(&self, count: i64) {
        self.live.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts `count` fewer. To be called only once whatever replaced them is durable.
    pub fn died(&self, count: i64) {
        // Release: whoever sees zero also sees the index without the slots.
        self.live.fetch_sub(count, Ordering::Release);
    }

    /// Live pages and ranges.
    pub fn live(&self) -> i64 {
        self.live.load(Ordering::Acquire)
    }

    /// Whether it takes no more batches.
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Compaction shall leave it alone.
    pub fn keep_in_place(&self) {
        self.stuck.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    pub(super) fn seal(&self, end: FileEnd) {
        self.disk.writes_ended();
        *self.end.lock() = Some(end);
        self.sealed.store(true, Ordering::Release);
    }

    /// Where it ends, once sealed.
    pub fn end(&self) -> Option<FileEnd> {
        *self.end.lock()
    }
}

impl fmt::Debug for HeapFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapFile")
            .field("number", &self.number)
            .field("live", &self.live())
            .finish_non_exhaustive()
    }
}
