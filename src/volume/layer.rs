//! A layer: what changed in a volume since a base, as pages and removed ranges.
//!
//! One table by block holds for each page its frame, its slot, or both (the frame is newer then, or the
//! same). So a page is found by one lookup, and a page that leaves RAM is in its slot already.
//! Invariant: a page that is in the table is newer than every range of the layer that covers it, since
//! a range takes what it covers out of the table. A frozen layer's content never changes; its pages
//! still move between RAM and slots.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::base::limits::PAGES_PER_BLOCK;
use crate::base::{BlockNo, FileNo, LayerId, PageNo, Seq, Space};
use crate::cold::{Heap, Pinned, SlotAddr, Slots};
use crate::format::batch::Range;
use crate::hot::{Frame, Meter, Owner, Page};

const SHARDS: usize = 16;
/// What a block costs in its table, beside frames and scattered slots.
const BLOCK_RAM_BYTES: usize = 72;

type Frames = Box<[Option<Arc<Frame>>; PAGES_PER_BLOCK as usize]>;
type Table = BTreeMap<(Space, BlockNo), Block>;

/// The pages of one block that a layer has.
#[derive(Default)]
struct Block {
    frames: Option<Frames>,
    slots: Slots,
}

impl Block {
    fn frame(&self, index: u32) -> Option<&Arc<Frame>> {
        self.frames.as_ref()?[index as usize].as_ref()
    }

    fn set_frame(&mut self, index: u32, frame: Arc<Frame>) {
        self.frames.get_or_insert_with(|| Box::new([const { None }; PAGES_PER_BLOCK as usize]))
            [index as usize] = Some(frame);
    }

    fn take_frame(&mut self, index: u32) -> Option<Arc<Frame>> {
        let frames = self.frames.as_mut()?;
        let taken = frames[index as usize].take();
        if frames.iter().all(Option::is_none) {
            self.frames = None;
        }
        taken
    }

    fn mask(&self) -> u32 {
        let frames = self.frames.iter().flat_map(|frames| frames.iter().enumerate());
        frames.fold(self.slots.mask(), |mask, (index, frame)| mask | u32::from(frame.is_some()) << index)
    }

    fn is_empty(&self) -> bool {
        self.frames.is_none() && matches!(self.slots, Slots::Empty)
    }
}

/// A range record of a layer.
#[derive(Clone, Copy, Debug)]
struct Removed {
    from: PageNo,
    to: PageNo,
    seq: Seq,
    /// The heap file that holds the record, once it is logged.
    file: Option<FileNo>,
}

/// Where a page of a layer is.
pub(super) enum Found {
    Page(Page),
    Slot(SlotAddr, Pinned),
}

/// The layer was absorbed by another while it was being read: the stack is an old one.
#[derive(Debug)]
pub(super) struct Absorbed;

/// What became of a range that is durable now.
pub(super) enum Settled {
    /// The layer keeps it in mind.
    Kept,
    /// Only its record is left.
    Loose,
}

/// Live entries of heap files that nothing refers to any more.
pub(super) type Deaths = Vec<(FileNo, i64)>;

/// A layer.
pub(super) struct Layer {
    pub id: LayerId,
    shards: [RwLock<Table>; SHARDS],
    removed: RwLock<BTreeMap<Space, Vec<Removed>>>,
    meter: Arc<Meter>,
}

impl Layer {
    /// A layer without content.
    pub(super) fn new(id: LayerId, meter: Arc<Meter>) -> Arc<Self> {
        Arc::new(Layer { id, shards: Default::default(), removed: RwLock::default(), meter })
    }

    fn shard(&self, space: Space) -> &RwLock<Table> {
        // Fibonacci hashing: neighbouring inodes go to different shards.
        let hash = space.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
        &self.shards[usize::try_from(hash).expect("4 bits")]
    }

    /// Whether it has neither page nor range.
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.read().is_empty()) && self.removed.read().is_empty()
    }

    /// Which of the block's pages are here, a bit each.
    pub(super) fn mask(&self, space: Space, block: BlockNo) -> u32 {
        self.shard(space).read().get(&(space, block)).map_or(0, Block::mask)
    }

    /// Which of the block's pages a range covers, a bit each.
    pub(super) fn removed_mask(&self, space: Space, block: BlockNo) -> u32 {
        covered(self.removed.read().get(&space), block)
    }

    /// The first block at or after `from` that has a page here.
    pub(super) fn next_block(&self, space: Space, from: BlockNo) -> Option<BlockNo> {
        let table = self.shard(space).read();
        table.range((space, from)..=(space, BlockNo(u64::MAX))).next().map(|((_, block), _)| *block)
    }

    /// Calls `each` for those of the block's pages in `mask` that are here; returns which were.
    pub(super) fn find(
        &self,
        heap: &Heap,
        space: Space,
        block: BlockNo,
        mask: u32,
        each: &mut dyn FnMut(u32, Found),
    ) -> Result<u32, Absorbed> {
        let table = self.shard(space).read();
        let Some(entry) = table.get(&(space, block)) else { return Ok(0) };
        let here = entry.mask() & mask;
        let mut file: Option<Pinned> = None;
        for index in (0..PAGES_PER_BLOCK).filter(|index| here & 1 << index != 0) {
            if let Some(frame) = entry.frame(index) {
                each(index, Found::Page(frame.page()));
            } else if let Some(addr) = entry.slots.get(index) {
                let pinned = match file.take() {
                    Some(pinned) if pinned.number == addr.file() => pinned,
                    // The slot is live while the shard is locked, so its file is there; unless all of the
                    // layer is another's now, which looks after the slots.
                    _ => heap.file(addr.file()).ok_or(Absorbed)?,
                };
                file = Some(pinned.clone());
                each(index, Found::Slot(addr, pinned));
            }
        }
        Ok(here)
    }

    /// The frame of a page, if it is in RAM, and its slot.
    pub(super) fn peek(&self, space: Space, page: PageNo) -> (Option<Arc<Frame>>, Option<SlotAddr>) {
        let table = self.shard(space).read();
        let Some(block) = table.get(&(space, page.block())) else { return (None, None) };
        (block.frame(page.in_block()).cloned(), block.slots.get(page.in_block()))
    }

    /// Puts a clean frame in front of a page whose slot is (still) `slot`, unless there is a frame
    /// already. Returns the frame in the table, or `None` when the slot is another by now.
    pub(super) fn fill(
        &self,
        space: Space,
        page: PageNo,
        slot: Option<SlotAddr>,
        content: &Page,
    ) -> Option<(Arc<Frame>, bool)> {
        let mut table = self.shard(space).write();
        let known = table.get(&(space, page.block()));
        if let Some(frame) = known.and_then(|block| block.frame(page.in_block())) {
            return Some((frame.clone(), false));
        }
        if known.and_then(|block| block.slots.get(page.in_block())) != slot {
            return None;
        }
        let block = self.block_mut(&mut table, space, page);
        let frame = Frame::clean(content.clone(), &self.meter);
        block.set_frame(page.in_block(), frame.clone());
        Some((frame, true))
    }

    /// The frame of a page that is about to be changed; made of `content` where there is none.
    pub(super) fn frame_for_change(
        &self,
        space: Space,
        page: PageNo,
        content: impl FnOnce() -> Page,
    ) -> Arc<Frame> {
        let mut table = self.shard(space).write();
        let block = self.block_mut(&mut table, space, page);
        if let Some(frame) = block.frame(page.in_block()) {
            return frame.clone();
        }
        let frame = Frame::clean(content(), &self.meter);
        block.set_frame(page.in_block(), frame.clone());
        frame
    }

    fn block_mut<'t>(&self, table: &'t mut Table, space: Space, page: PageNo) -> &'t mut Block {
        table.entry((space, page.block())).or_insert_with(|| {
            self.meter.add(BLOCK_RAM_BYTES);
            Block::default()
        })
    }

    /// Takes what a range covers out of the table and records the range: not even that when it hides
    /// nothing, neither here on the disk nor beneath.
    pub(super) fn remove(&self, range: &Range, hides_nothing: bool) -> Deaths {
        let mut deaths = Deaths::new();
        let mut files = |file| count_death(&mut deaths, file);
        let mut removed = self.removed.write();
        let ranges = removed.entry(range.space).or_default();
        ranges.retain(|old| {
            let superseded = range.from <= old.from && old.to <= range.to;
            if superseded && let Some(file) = old.file {
                files(file);
            }
            !superseded
        });
        if !hides_nothing {
            ranges.push(Removed { from: range.from, to: range.to, seq: range.seq, file: None });
        } else if ranges.is_empty() {
            removed.remove(&range.space);
        }
        let mut table = self.shard(range.space).write();
        let last = PageNo(range.to.0.saturating_sub(1)).block();
        let keys: Vec<_> = table
            .range((range.space, range.from.block())..=(range.space, last))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let block = table.get_mut(&key).expect("listed just now");
            let slots_before = block.slots.heap_bytes();
            for index in 0..PAGES_PER_BLOCK {
                let page = PageNo(key.1.first_page().0 + u64::from(index));
                if page < range.from || page >= range.to {
                    continue;
                }
                if let Some(frame) = block.take_frame(index) {
                    frame.lock().removed = true;
                }
                if let Some(addr) = block.slots.remove(index) {
                    files(addr.file());
                }
            }
            self.meter.sub(slots_before.saturating_sub(block.slots.heap_bytes()));
            if block.is_empty() {
                table.remove(&key);
                self.meter.sub(BLOCK_RAM_BYTES);
            }
        }
        deaths
    }

    /// A page's content is durable in `addr` as of `seq`. Returns the file whose entry died for it: its
    /// former one, once what is here now is durable; `Err` with the new one when a range has taken the
    /// page out since, which may not be durable yet.
    pub(super) fn settle(
        &self,
        space: Space,
        page: PageNo,
        seq: Seq,
        addr: SlotAddr,
    ) -> Result<Option<FileNo>, FileNo> {
        let removed = self.removed.read();
        let covered = removed.get(&space).is_some_and(|ranges| {
            ranges.iter().any(|range| range.from <= page && page < range.to && range.seq > seq)
        });
        if covered {
            return Err(addr.file());
        }
        let mut table = self.shard(space).write();
        drop(removed);
        let block = self.block_mut(&mut table, space, page);
        let before = block.slots.heap_bytes();
        let old = block.slots.set(page.in_block(), addr);
        let after = block.slots.heap_bytes();
        self.meter.add(after);
        self.meter.sub(before);
        if let Some(frame) = block.frame(page.in_block()) {
            let mut state = frame.lock();
            state.logged = state.logged.max(seq);
            let clean = state.is_clean();
            drop(state);
            // Held by the table and the cut only. Data that was written whole has the kernel's page
            // cache for its next reader.
            if clean && !frame.is_kept() && Arc::strong_count(frame) <= 2 {
                block.take_frame(page.in_block());
            }
        }
        Ok(old.map(SlotAddr::file))
    }

    /// A range is durable in `file`. `Err` when another has superseded it since. A range that hides
    /// nothing `beneath` is loose from now on: all that it made absent here is absent.
    pub(super) fn settle_range(
        &self,
        range: &Range,
        file: FileNo,
        beneath: &[Arc<Layer>],
    ) -> Result<Settled, FileNo> {
        let mut removed = self.removed.write();
        let Some(ranges) = removed.get_mut(&range.space) else { return Err(file) };
        let Some(own) = ranges.iter().position(|own| own.seq == range.seq) else { return Err(file) };
        if hides(range.space, range.from, range.to, beneath) {
            ranges[own].file = Some(file);
            return Ok(Settled::Kept);
        }
        ranges.swap_remove(own);
        if ranges.is_empty() {
            removed.remove(&range.space);
        }
        Ok(Settled::Loose)
    }

    /// Gives up the ranges that hide nothing `beneath`; returns the files that hold their records.
    pub(super) fn loosen(&self, beneath: &[Arc<Layer>]) -> Vec<FileNo> {
        let mut loose = Vec::new();
        self.removed.write().retain(|space, ranges| {
            ranges.retain(|own| match own.file {
                Some(file) if !hides(*space, own.from, own.to, beneath) => {
                    loose.push(file);
                    false
                }
                _ => true,
            });
            !ranges.is_empty()
        });
        loose
    }

    /// Whether it keeps a range of the space in mind: one that hides something, or is not durable yet.
    pub(super) fn has_ranges(&self, space: Space) -> bool {
        self.removed.read().contains_key(&space)
    }

    /// Whether a page of the range is in a slot here.
    pub(super) fn has_slots(&self, space: Space, from: PageNo, to: PageNo) -> bool {
        let table = self.shard(space).read();
        let last = PageNo(to.0.saturating_sub(1)).block();
        table
            .range((space, from.block())..=(space, last))
            .any(|(_, block)| !matches!(block.slots, Slots::Empty))
    }

    /// Follows a page that was moved, unless it is no longer where it was.
    pub(super) fn relocate(&self, space: Space, page: PageNo, from: SlotAddr, to: SlotAddr) -> bool {
        let mut table = self.shard(space).write();
        let Some(block) = table.get_mut(&(space, page.block())) else { return false };
        if block.slots.get(page.in_block()) != Some(from) {
            return false;
        }
        let before = block.slots.heap_bytes();
        block.slots.set(page.in_block(), to);
        self.meter.add(block.slots.heap_bytes());
        self.meter.sub(before);
        true
    }

    /// Follows a range record that was moved, unless it is no longer where it was.
    pub(super) fn relocate_range(&self, range: &Range, from: FileNo, to: FileNo) -> bool {
        let mut removed = self.removed.write();
        let ranges = removed.get_mut(&range.space);
        match ranges
            .and_then(|ranges| ranges.iter_mut().find(|own| own.seq == range.seq && own.file == Some(from)))
        {
            Some(own) => {
                own.file = Some(to);
                true
            }
            None => false,
        }
    }

    /// Whether the page's slot is `addr`.
    pub(super) fn is_at(&self, space: Space, page: PageNo, addr: SlotAddr) -> bool {
        self.peek(space, page).1 == Some(addr)
    }

    /// Whether the range record in `file` is the layer's own.
    pub(super) fn has_range_in(&self, range: &Range, file: FileNo) -> bool {
        let removed = self.removed.read();
        removed
            .get(&range.space)
            .is_some_and(|ranges| ranges.iter().any(|own| own.seq == range.seq && own.file == Some(file)))
    }

    /// Whether all of it is durable.
    pub(super) fn is_settled(&self) -> bool {
        let is_clean = |block: &Block| {
            block
                .frames
                .iter()
                .flat_map(|frames| frames.iter())
                .flatten()
                .all(|frame| frame.lock().is_clean())
        };
        self.shards.iter().all(|shard| shard.read().values().all(is_clean))
            && self.removed.read().values().flatten().all(|range| range.file.is_some())
    }

    /// Takes in everything of a settled layer just beneath, except what is hidden here. Returns what of
    /// it died for something durable, and what died for a range that may not be durable yet. The other
    /// layer stays as it is for those who still read it.
    pub(super) fn absorb(&self, beneath: &Layer) -> (Deaths, Deaths) {
        let (mut dead, mut dying) = (Deaths::new(), Deaths::new());
        for shard in &beneath.shards {
            for ((space, number), block) in &*shard.read() {
                // The ranges stay locked: one that comes now finds what is put here.
                let removed = self.removed.read();
                let hidden = covered(removed.get(space), *number);
                let mut table = self.shard(*space).write();
                for (index, addr) in block.slots.iter() {
                    if hidden & 1 << index != 0 {
                        count_death(&mut dying, addr.file());
                        continue;
                    }
                    let page = PageNo(number.first_page().0 + u64::from(index));
                    let own = self.block_mut(&mut table, *space, page);
                    if own.slots.get(index).is_some() {
                        count_death(&mut dead, addr.file());
                        continue;
                    }
                    // Beneath a frame as well: when that is logged, its slot takes this one's place.
                    let before = own.slots.heap_bytes();
                    own.slots.set(index, addr);
                    self.meter.add(own.slots.heap_bytes());
                    self.meter.sub(before);
                }
            }
        }
        // After the pages, which are newer than the ranges of their own layer.
        let mut removed = self.removed.write();
        for (space, ranges) in &*beneath.removed.read() {
            let own = removed.entry(*space).or_default();
            for range in ranges {
                let file = range.file.expect("a settled layer's ranges are logged");
                if own.iter().any(|newer| newer.from <= range.from && range.to <= newer.to) {
                    count_death(&mut dying, file);
                } else {
                    own.push(*range);
                }
            }
        }
        (dead, dying)
    }

    /// Live entries by heap file: pages in slots and ranges that are logged.
    pub(super) fn live_by_file(&self) -> BTreeMap<FileNo, i64> {
        let mut live = BTreeMap::new();
        for shard in &self.shards {
            for block in shard.read().values() {
                for (_, addr) in block.slots.iter() {
                    *live.entry(addr.file()).or_default() += 1;
                }
            }
        }
        for range in self.removed.read().values().flatten() {
            if let Some(file) = range.file {
                *live.entry(file).or_default() += 1;
            }
        }
        live
    }

    /// Puts what recovery found into the table, which only recovery may do.
    pub(super) fn adopt(&self, space: Space, page: PageNo, addr: SlotAddr) {
        let mut table = self.shard(space).write();
        let block = self.block_mut(&mut table, space, page);
        let before = block.slots.heap_bytes();
        block.slots.set(page.in_block(), addr);
        self.meter.add(block.slots.heap_bytes());
        self.meter.sub(before);
    }

    /// Puts a range that recovery found among the layer's; `older` says which of the pages in the table
    /// are older than the range.
    pub(super) fn adopt_range(&self, range: &Range, file: FileNo, older: &dyn Fn(PageNo) -> bool) {
        let mut removed = self.removed.write();
        let ranges = removed.entry(range.space).or_default();
        ranges.push(Removed { from: range.from, to: range.to, seq: range.seq, file: Some(file) });
        let mut table = self.shard(range.space).write();
        let mut next = Bound::Included((range.space, range.from.block()));
        while let Some((key, block)) = table.range_mut((next, Bound::Unbounded)).next() {
            let key = *key;
            if key.0 != range.space || key.1.first_page() >= range.to {
                break;
            }
            for index in 0..PAGES_PER_BLOCK {
                let page = PageNo(key.1.first_page().0 + u64::from(index));
                if range.from <= page && page < range.to && older(page) {
                    block.slots.remove(index);
                }
            }
            if block.is_empty() {
                table.remove(&key);
                self.meter.sub(BLOCK_RAM_BYTES);
            }
            next = Bound::Excluded(key);
        }
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            for block in shard.get_mut().values() {
                self.meter.sub(BLOCK_RAM_BYTES + block.slots.heap_bytes());
            }
        }
    }
}

impl Owner for Layer {
    fn evict(&self, space: Space, page: PageNo, frame: &Arc<Frame>) -> bool {
        let mut table = self.shard(space).write();
        let key = (space, page.block());
        let Some(block) = table.get_mut(&key) else { return false };
        let ours = block.frame(page.in_block()).is_some_and(|own| Arc::ptr_eq(own, frame));
        // The table's, and the caller's: under the shard's lock nobody can take another.
        if !ours || Arc::strong_count(frame) > 2 || !frame.lock().is_clean() {
            return false;
        }
        block.take_frame(page.in_block());
        if block.is_empty() {
            table.remove(&key);
            self.meter.sub(BLOCK_RAM_BYTES);
        }
        true
    }
}

/// Which pages of a block the ranges cover, a bit each.
fn covered(ranges: Option<&Vec<Removed>>, block: BlockNo) -> u32 {
    let first = block.first_page().0;
    let below = |page: PageNo| match page.0.saturating_sub(first) {
        n if n >= u64::from(PAGES_PER_BLOCK) => u32::MAX,
        n => (1_u32 << n) - 1,
    };
    ranges.into_iter().flatten().fold(0, |mask, range| mask | (below(range.to) & !below(range.from)))
}

/// Whether one of the layers has a page that the range would make absent.
pub(super) fn hides(space: Space, from: PageNo, to: PageNo, beneath: &[Arc<Layer>]) -> bool {
    let reaches = |layer: &Arc<Layer>| {
        layer.next_block(space, from.block()).is_some_and(|block| block.first_page() < to)
    };
    beneath.iter().any(reaches)
}

fn count_death(deaths: &mut Deaths, file: FileNo) {
    match deaths.last_mut() {
        Some((last, count)) if *last == file => *count += 1,
        _ => deaths.push((file, 1)),
    }
}
