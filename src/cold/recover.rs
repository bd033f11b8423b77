//! Recovery: what the heap files of a stream say happened, as far as it can be believed.
//!
//! Groups take effect whole and in LSN order. The log ends before the first group that is not whole,
//! when that group was never known to be durable: the torn tail. Below what some later header says is
//! durable, a missing batch is damage, and the start is refused rather than the log cut short.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use super::scan::{self, Located};
use super::{Error, HeapFile, SlotAddr};
use crate::base::limits::PAGE_BYTES;
use crate::base::{FileNo, Lsn, Seq, SlotNo};
use crate::format::batch::{Entry, Header, Range};
use crate::format::manifest::{FileEnd, Manifest};

/// A page that recovery found.
#[derive(Clone, Copy, Debug)]
pub struct RecoveredEntry {
    pub entry: Entry,
    pub addr: SlotAddr,
}

/// A range that recovery found.
#[derive(Clone, Copy, Debug)]
pub struct RecoveredRange {
    pub range: Range,
    pub file: FileNo,
}

/// Receives what recovery finds, in LSN order within a stream.
pub trait Recovered {
    /// Comes first, with the manifest that everything else belongs to.
    fn begin(&mut self, manifest: &Manifest);
    fn entry(&mut self, entry: RecoveredEntry);
    fn range(&mut self, range: RecoveredRange);
}

/// How a stream ended.
#[derive(Debug, Default)]
pub(super) struct StreamEnd {
    /// The highest LSN seen or promised anywhere, believed or not; the next one is above it.
    pub(super) last_lsn: Lsn,
    /// The highest sequence number seen anywhere.
    pub(super) last_seq: Seq,
    /// For each file, where its part of the log ends.
    pub(super) ends: Vec<(FileNo, FileEnd)>,
}

/// Bytes that could be read, and the slot that they begin at.
type Readable = (u32, Vec<u8>);

struct Batch {
    file: usize,
    slot: SlotNo,
    header: Header,
}

struct Walk<'a> {
    files: &'a [(Arc<HeapFile>, Option<FileEnd>)],
    sink: &'a mut dyn Recovered,
    end: StreamEnd,
    /// Batches of the group that has not ended yet.
    open_group: Vec<Batch>,
    /// Whole groups that nothing said to be durable yet.
    held: VecDeque<Vec<Batch>>,
    /// The LSN that must come next; none behind a file that was sealed, since files may be gone there.
    expected: Option<Lsn>,
    durable: Lsn,
    /// A file that was in use has nothing readable.
    hole: bool,
}

/// Walks the files of a stream, in the order of their numbers.
pub(super) fn walk(
    files: &[(Arc<HeapFile>, Option<FileEnd>)],
    sink: &mut dyn Recovered,
) -> Result<StreamEnd, Error> {
    let mut walk = Walk {
        files,
        sink,
        end: StreamEnd::default(),
        open_group: Vec::new(),
        held: VecDeque::new(),
        expected: None,
        durable: Lsn(0),
        hole: false,
    };
    walk.end.ends =
        files.iter().map(|(file, _)| (file.number, FileEnd { last_lsn: Lsn(0), slot: SlotNo(0) })).collect();
    walk.run()?;
    Ok(walk.end)
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), Error> {
        for index in 0..self.files.len() {
            let (file, end) = &self.files[index];
            let batches = scan::batches(file, *end)?;
            self.note_seen(&batches);
            match end {
                Some(end) => self.take_sealed(index, *end, batches)?,
                None => {
                    if !self.take_open(index, batches)? {
                        break;
                    }
                }
            }
        }
        self.finish()
    }

    /// A file that was sealed: all of it was durable, so all of it counts, and files before and behind
    /// it may have been reclaimed since.
    fn take_sealed(&mut self, index: usize, end: FileEnd, batches: Vec<Located>) -> Result<(), Error> {
        self.raise_durable(end.last_lsn);
        // Its group may have ended in a file that is gone: no LSN up to there is given out again.
        self.end.last_lsn = self.end.last_lsn.max(end.last_lsn);
        let mut next_slot = 0;
        for (slot, header) in batches {
            if slot.0 != next_slot {
                return Err(damaged(&self.files[index].0, SlotNo(next_slot), "a batch is missing"));
            }
            next_slot = slot.0 + 1 + pages_of(&header);
            self.apply(&[Batch { file: index, slot, header }]);
        }
        if next_slot < end.slot.0 {
            return Err(damaged(&self.files[index].0, SlotNo(next_slot), "a batch is missing"));
        }
        self.expected = None;
        Ok(())
    }

    /// A file that was in use when the last daemon ended. Returns whether the log goes on behind it.
    fn take_open(&mut self, index: usize, batches: Vec<Located>) -> Result<bool, Error> {
        if batches.is_empty() {
            // Prepared and not used; if a later one was used, this one has lost all that it had.
            self.hole = true;
            return Ok(true);
        }
        let mut next_slot = 0;
        let mut batches = batches.into_iter();
        while let Some((slot, header)) = batches.next() {
            if slot.0 != next_slot || self.breaks(&header) {
                self.check_gap_is_tail(index, &header, batches.as_slice())?;
                return Ok(false);
            }
            next_slot = slot.0 + 1 + pages_of(&header);
            self.accept(Batch { file: index, slot, header });
        }
        Ok(true)
    }

    fn note_seen(&mut self, batches: &[Located]) {
        for (_, header) in batches {
            self.end.last_lsn = self.end.last_lsn.max(header.lsn);
            let seqs = header.entries.iter().map(|e| e.seq).chain(header.ranges.iter().map(|r| r.seq));
            self.end.last_seq = seqs.fold(self.end.last_seq, Seq::max);
        }
    }

    /// Whether this header cannot follow what came before.
    fn breaks(&self, header: &Header) -> bool {
        let in_order = self.expected.is_none_or(|expected| header.lsn == expected);
        let same_group = self.open_group.first().is_none_or(|b| b.header.group_first == header.group_first);
        self.hole || !in_order || !same_group
    }

    fn accept(&mut self, batch: Batch) {
        let header = &batch.header;
        self.expected = Some(Lsn(header.lsn.0 + 1));
        self.raise_durable(header.durable_lsn);
        let commit = header.commit;
        self.open_group.push(batch);
        if commit {
            let group = std::mem::take(&mut self.open_group);
            if group.last().is_some_and(|last| last.header.lsn <= self.durable) {
                self.apply(&group);
            } else {
                self.held.push_back(group);
            }
        }
    }

    fn raise_durable(&mut self, durable: Lsn) {
        self.durable = self.durable.max(durable);
        while self
            .held
            .front()
            .and_then(|group| group.last())
            .is_some_and(|last| last.header.lsn <= self.durable)
        {
            let group = self.held.pop_front().expect("looked at above");
            self.apply(&group);
        }
    }

    /// The log stops at a hole, before `found`. That is the torn tail unless something behind it says
    /// that what is missing was durable.
    fn check_gap_is_tail(&mut self, index: usize, found: &Header, rest: &[Located]) -> Result<(), Error> {
        let missing = self.expected.unwrap_or(Lsn(found.lsn.0.saturating_sub(1)));
        let durable_of = |batches: &[Located]| batches.iter().map(|(_, header)| header.durable_lsn).max();
        let mut durable = self.durable.max(found.durable_lsn).max(durable_of(rest).unwrap_or_default());
        for (file, end) in &self.files[index + 1..] {
            let batches = scan::batches(file, *end)?;
            self.note_seen(&batches);
            durable = durable.max(durable_of(&batches).unwrap_or_default());
            durable = durable.max(end.map_or(Lsn(0), |end| end.last_lsn));
        }
        if durable >= missing {
            let what = format!("the batch with LSN {missing} is missing, though LSN {durable} was durable");
            return Err(damaged(&self.files[index].0, SlotNo(0), &what));
        }
        Ok(())
    }

    /// Applies the groups at the tail whose pages are whole. They are written once more: what a sync
    /// failed to write may be in the system's cache as if it were on the disk, and no later sync of it
    /// would write it. A page that cannot be read says nothing of a tear: its group may have been
    /// acknowledged, so it counts, and the page alone is unreadable.
    fn finish(&mut self) -> Result<(), Error> {
        while let Some(group) = self.held.pop_front() {
            let whole: Option<Vec<Vec<Readable>>> =
                group.iter().map(|batch| self.whole_batch(batch)).collect();
            let Some(whole) = whole else {
                tracing::info!(lsn = %group[0].header.lsn, "the log ends before a torn group");
                break;
            };
            for (batch, runs) in group.iter().zip(&whole) {
                let file = &self.files[batch.file].0;
                for (slot, bytes) in runs {
                    let at = u64::from(*slot) * PAGE_BYTES as u64;
                    file.disk.write_all_at(&[IoSlice::new(bytes)], at).map_err(|error| {
                        Error::io(format!("cannot write heap file {} again", file.number), error)
                    })?;
                }
            }
            self.apply(&group);
        }
        Ok(())
    }

    /// What of a batch can be read, if all of that is what its header says.
    fn whole_batch(&self, batch: &Batch) -> Option<Vec<Readable>> {
        let file = &self.files[batch.file].0;
        let first = batch.slot.0 + 1;
        let mut bytes = vec![0; (1 + batch.header.entries.len()) * PAGE_BYTES];
        let (header, pages) = bytes.split_at_mut(PAGE_BYTES);
        batch.header.encode(header);
        let is_whole = |page: &[u8], entry: &Entry| crc32c::crc32c(page) == entry.crc;
        if file.disk.read_exact_at(pages, u64::from(first) * PAGE_BYTES as u64).is_ok() {
            let mut checked = pages.chunks_exact(PAGE_BYTES).zip(&batch.header.entries);
            return checked.all(|(page, entry)| is_whole(page, entry)).then(|| vec![(batch.slot.0, bytes)]);
        }
        let mut runs = vec![(batch.slot.0, header.to_vec())];
        for (slot, entry) in (first..).zip(&batch.header.entries) {
            let mut page = vec![0; PAGE_BYTES];
            match file.disk.read_exact_at(&mut page, u64::from(slot) * PAGE_BYTES as u64) {
                Ok(()) if is_whole(&page, entry) => runs.push((slot, page)),
                // The file was cut short, or the page was torn.
                Ok(()) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
                Err(error) => {
                    tracing::error!(file = %file.number, slot, space = %entry.space, page = %entry.page, %error,
                        "a page at the end of the log cannot be read");
                }
            }
        }
        Some(runs)
    }

    fn apply(&mut self, group: &[Batch]) {
        for batch in group {
            let file = &self.files[batch.file].0;
            for (slot, entry) in (batch.slot.0 + 1..).zip(&batch.header.entries) {
                file.note_page(SlotNo(slot), entry);
                let addr = SlotAddr::new(file.number, SlotNo(slot));
                self.sink.entry(RecoveredEntry { entry: *entry, addr });
            }
            for range in &batch.header.ranges {
                self.sink.range(RecoveredRange { range: *range, file: file.number });
            }
            self.end.ends[batch.file].1 = FileEnd {
                last_lsn: batch.header.lsn,
                slot: SlotNo(batch.slot.0 + 1 + pages_of(&batch.header)),
            };
        }
    }
}

fn pages_of(header: &Header) -> u32 {
    u32::try_from(header.entries.len()).expect("at most 100")
}

fn damaged(file: &HeapFile, slot: SlotNo, what: &str) -> Error {
    Error::DataDirectory(format!(
        "the log is damaged: heap file {} ({}), slot {slot}: {what}; nothing was changed; restore the file from a copy, or set the data directory aside",
        file.number,
        HeapFile::name(file.number),
    ))
}
