//! A sequence of heap files, appended to in groups of batches.
//!
//! Owns where the next batch goes and its LSN. A group is appended whole, then synced; only then does
//! anyone learn where its pages are. A file that failed takes no more: its valid end becomes part of
//! the manifest before anything that was written elsewhere instead is acknowledged.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::heap::Heap;
use super::{Error, HeapFile, SlotAddr};
use crate::base::limits::PAGE_BYTES;
use crate::base::{FileNo, LayerId, Lsn, PageBuf, PageNo, Seq, SlotNo, Space};
use crate::format::batch::{Entry, Header, RECORDS_MAX, Range};
use crate::format::footer;
use crate::format::manifest::{FileEnd, StreamKind};

/// How many pages are gathered before they are written: as many parts as one system call takes.
const STAGED_PAGES_MAX: usize = 1024 - 1 - RECORDS_MAX;

/// A page to be appended.
pub struct GroupPage<P> {
    pub layer: LayerId,
    pub space: Space,
    pub page: PageNo,
    pub seq: Seq,
    /// Where the bytes are; they do not change while the group is written.
    pub content: P,
}

/// What takes effect together.
pub struct Group<P> {
    pub pages: Vec<GroupPage<P>>,
    pub ranges: Vec<Range>,
}

/// Where a group went.
#[derive(Debug, Default)]
pub struct Receipt {
    /// For each page of the group, its slot.
    pub slots: Vec<SlotAddr>,
    /// For each range of the group, the file that holds it.
    pub range_files: Vec<FileNo>,
    /// Bytes written, headers included.
    pub bytes: u64,
}

/// A file that is being appended to.
struct Active {
    file: Arc<HeapFile>,
    next_slot: u32,
    footer: Vec<u8>,
    batches: u32,
    /// The end of what is durable in it.
    durable_end: FileEnd,
}

impl Active {
    /// Slots that batches may still take, when the next one's header has `header_len` bytes.
    fn room(&self, header_len: usize) -> u32 {
        let footer = self.footer.len() + footer::BODY_OVERHEAD_BYTES + header_len + footer::TRAILER_BYTES;
        let footer_slots = u32::try_from(footer.div_ceil(PAGE_BYTES)).expect("smaller than the file");
        self.file.slots.saturating_sub(footer_slots).saturating_sub(self.next_slot)
    }
}

/// One of the two streams of a data directory.
pub(super) struct Stream {
    kind: StreamKind,
    /// The last one takes batches; those before it were filled by the group that is being written.
    open: Vec<Active>,
    /// Files that failed, and where they end, as long as the manifest does not say so.
    failed: Vec<(FileNo, FileEnd)>,
    next_lsn: Lsn,
    durable_lsn: Lsn,
    /// A group is being appended. When it is found set by another, a panic has ended that one, and how
    /// far it got is unknown.
    appending: bool,
}

/// Batches that were made and not written yet: their header pages, and for each how many of the
/// group's pages follow it. All belong to the active file.
#[derive(Default)]
struct Staged {
    batches: Vec<(Box<PageBuf>, usize)>,
    /// The first of the group's pages that is staged.
    first_page: usize,
    /// Headers and pages.
    slots: usize,
}

impl Stream {
    pub(super) fn new(kind: StreamKind, last_lsn: Lsn) -> Self {
        Stream {
            kind,
            open: Vec::new(),
            failed: Vec::new(),
            next_lsn: Lsn(last_lsn.0 + 1),
            durable_lsn: last_lsn,
            appending: false,
        }
    }

    /// Slots that are left in the active file.
    pub(super) fn active_room(&self) -> u32 {
        self.open.last().map_or(0, |active| active.room(64 + RECORDS_MAX * 40))
    }

    /// Appends a group and syncs it. When a file fails, tries once more in a new one.
    pub(super) fn commit<P: AsRef<[u8]>>(&mut self, heap: &Heap, group: &Group<P>) -> Result<Receipt, Error> {
        let first = match self.attempt(heap, group) {
            Ok(receipt) => return Ok(receipt),
            Err(Error::NoSpace(detail)) => return Err(Error::NoSpace(detail)),
            Err(error) => error,
        };
        tracing::warn!(stream = ?self.kind, error = %first, "a heap file failed; going on in another");
        self.attempt(heap, group)
    }

    /// Appends and syncs; after an error the files that it wrote to are ended before it.
    fn attempt<P: AsRef<[u8]>>(&mut self, heap: &Heap, group: &Group<P>) -> Result<Receipt, Error> {
        self.check_whole()?;
        // Nothing is acknowledged that the manifest on disk might not know.
        heap.manifest.settle()?;
        self.record_ends(heap)?;
        let mut receipt = Receipt::default();
        if group.pages.is_empty() && group.ranges.is_empty() {
            // Whatever was ever acknowledged has been synced by its own group.
            return Ok(receipt);
        }
        self.appending = true;
        let result = self.append_and_sync(heap, group, &mut receipt);
        self.appending = false;
        match result {
            Ok(()) => Ok(receipt),
            Err(error) => {
                heap.undo_births(&receipt);
                self.abandon();
                self.record_ends(heap)?;
                Err(error)
            }
        }
    }

    /// Refuses to go on where a panic has ended an append.
    fn check_whole(&self) -> Result<(), Error> {
        let broken = || io::Error::other("an earlier append ended half-way; restart the daemon to recover");
        if self.appending { Err(Error::io("cannot write the log", broken())) } else { Ok(()) }
    }

    fn append_and_sync<P: AsRef<[u8]>>(
        &mut self,
        heap: &Heap,
        group: &Group<P>,
        receipt: &mut Receipt,
    ) -> Result<(), Error> {
        let group_first = self.next_lsn;
        let mut staged = Staged::default();
        let (mut page, mut range) = (0, 0);
        while page < group.pages.len() || range < group.ranges.len() {
            let free = self.make_room(heap, group, &mut staged)?;
            let pages = (group.pages.len() - page).min(RECORDS_MAX).min(free as usize - 1);
            let ranges = (group.ranges.len() - range).min(RECORDS_MAX - pages);
            let batch_pages = &group.pages[page..page + pages];
            let batch_ranges = &group.ranges[range..range + ranges];
            (page, range) = (page + pages, range + ranges);
            let commit = page == group.pages.len() && range == group.ranges.len();
            let header = self.make_batch(group_first, commit, batch_pages, batch_ranges, receipt);
            staged.slots += 1 + pages;
            staged.batches.push((header, pages));
            if commit || staged.slots >= STAGED_PAGES_MAX {
                self.write(group, &mut staged)?;
            }
        }
        let last = Lsn(self.next_lsn.0 - 1);
        for active in &mut self.open {
            active
                .file
                .disk
                .sync_data()
                .map_err(|error| Error::io(format!("cannot sync heap file {}", active.file.number), error))?;
        }
        self.durable_lsn = last;
        let full = self.open.len().saturating_sub(1);
        for active in self.open.drain(..full) {
            active.file.seal(FileEnd {
                last_lsn: active.durable_end.last_lsn.max(last),
                slot: SlotNo(active.next_slot),
            });
        }
        if let Some(active) = self.open.last_mut() {
            active.durable_end = FileEnd { last_lsn: last, slot: SlotNo(active.next_slot) };
        }
        Ok(())
    }

    /// Makes sure that the active file takes at least a header and a page; returns the slots left.
    fn make_room<P: AsRef<[u8]>>(
        &mut self,
        heap: &Heap,
        group: &Group<P>,
        staged: &mut Staged,
    ) -> Result<u32, Error> {
        let header_len = 64 + RECORDS_MAX * 40;
        let room = self.open.last().map_or(0, |active| active.room(header_len));
        if room >= 2 {
            return Ok(room);
        }
        self.write(group, staged)?;
        if let Some(full) = self.open.last_mut() {
            write_footer(full)?;
        }
        let file = heap.take_ready(self.kind)?;
        // Nothing of a fresh file counts until a sync says so.
        let durable_end = FileEnd { last_lsn: self.durable_lsn, slot: SlotNo(0) };
        self.open.push(Active { file, next_slot: 0, footer: Vec::new(), batches: 0, durable_end });
        let room = self.open.last().map_or(0, |active| active.room(header_len));
        assert!(room >= 2, "a heap file holds at least one batch");
        Ok(room)
    }

    /// Makes the header of the next batch and counts it as written.
    fn make_batch<P: AsRef<[u8]>>(
        &mut self,
        group_first: Lsn,
        commit: bool,
        pages: &[GroupPage<P>],
        ranges: &[Range],
        receipt: &mut Receipt,
    ) -> Box<PageBuf> {
        let active = self.open.last_mut().expect("make_room came before");
        let mut header = Header {
            file: active.file.number,
            nonce: active.file.nonce,
            lsn: self.next_lsn,
            group_first,
            commit,
            durable_lsn: self.durable_lsn,
            entries: Vec::with_capacity(pages.len()),
            ranges: ranges.to_vec(),
        };
        for (slot, page) in (active.next_slot + 1..).zip(pages) {
            let crc = crc32c::crc32c(page.content.as_ref());
            let entry = Entry { layer: page.layer, space: page.space, page: page.page, seq: page.seq, crc };
            active.file.note_page(SlotNo(slot), &entry);
            header.entries.push(entry);
            receipt.slots.push(SlotAddr::new(active.file.number, SlotNo(slot)));
        }
        receipt.range_files.extend(ranges.iter().map(|_| active.file.number));
        let mut encoded = PageBuf::zeroed();
        header.encode(&mut encoded[..]);
        footer::push_batch(&mut active.footer, SlotNo(active.next_slot), &encoded[..header.encoded_len()]);
        active.batches += 1;
        active.file.born(i64::try_from(pages.len() + ranges.len()).expect("at most 100"));
        active.next_slot += 1 + u32::try_from(pages.len()).expect("at most 100");
        receipt.bytes += ((1 + pages.len()) * PAGE_BYTES) as u64;
        self.next_lsn = Lsn(self.next_lsn.0 + 1);
        encoded
    }

    /// Writes what is staged to the active file, from where the pages are.
    fn write<P: AsRef<[u8]>>(&mut self, group: &Group<P>, staged: &mut Staged) -> Result<(), Error> {
        if staged.slots == 0 {
            return Ok(());
        }
        let active = self.open.last().expect("staged for a file");
        let mut parts = Vec::with_capacity(staged.slots);
        let mut page = staged.first_page;
        for (header, pages) in &staged.batches {
            parts.push(IoSlice::new(&header[..]));
            parts.extend(
                group.pages[page..page + pages].iter().map(|page| IoSlice::new(page.content.as_ref())),
            );
            page += pages;
        }
        let first_slot = u64::from(active.next_slot) - staged.slots as u64;
        active
            .file
            .disk
            .write_all_at(&parts, first_slot * PAGE_BYTES as u64)
            .map_err(|error| Error::io(format!("cannot write heap file {}", active.file.number), error))?;
        *staged = Staged { first_page: page, ..Staged::default() };
        Ok(())
    }

    /// Ends every open file where it was last durable. They take nothing more.
    fn abandon(&mut self) {
        for active in self.open.drain(..) {
            active.file.seal(active.durable_end);
            self.failed.push((active.file.number, active.durable_end));
        }
    }

    /// Makes the ends of failed files durable: before anything is written elsewhere instead.
    fn record_ends(&mut self, heap: &Heap) -> Result<(), Error> {
        if !self.failed.is_empty() {
            heap.end_files(&self.failed)?;
            self.failed.clear();
        }
        Ok(())
    }

    /// Seals the active file, so that the next start finds a footer.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        self.check_whole()?;
        // Whatever becomes of it: behind a footer comes no further batch.
        if let Some(mut active) = self.open.drain(..).next_back()
            && active.batches > 0
        {
            write_footer(&mut active)?;
            active
                .file
                .disk
                .sync_data()
                .map_err(|error| Error::io(format!("cannot sync heap file {}", active.file.number), error))?;
            active.file.seal(active.durable_end);
        }
        Ok(())
    }
}

fn write_footer(active: &mut Active) -> Result<(), Error> {
    let file = &active.file;
    let trailer_at = file.bytes() - footer::TRAILER_BYTES as u64;
    let body_at = trailer_at - active.footer.len() as u64;
    debug_assert!(body_at >= u64::from(active.next_slot) * PAGE_BYTES as u64);
    let trailer = footer::encode_trailer(
        file.number,
        file.nonce,
        body_at,
        &active.footer,
        active.batches,
        SlotNo(active.next_slot),
    );
    file.disk
        .write_all_at(&[IoSlice::new(&active.footer), IoSlice::new(&trailer)], body_at)
        .map_err(|error| Error::io(format!("cannot write the footer of heap file {}", file.number), error))
}
