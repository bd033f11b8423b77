//! Compaction: what lives in a mostly dead heap file moves to another, and the file dies.
//!
//! A moved page keeps its identity and its sequence number, so that it never beats a newer one. It is
//! durable in its new place before its old one counts as dead. A range record moves while its layer keeps
//! it in mind, or while another file may have a page that would come back without it.

use std::collections::HashMap;

use super::Error;
use super::engine::Engine;
use crate::base::{FileNo, LayerId, PageBuf, SlotNo, Space};
use crate::cold::{Group, GroupPage, HeapFile, SlotAddr};
use crate::format::batch::{Entry, Range};

/// Pages that are moved in one group.
const GROUP_PAGES: usize = 1024;

/// A page on its way.
struct Moved(Box<PageBuf>);

impl AsRef<[u8]> for Moved {
    fn as_ref(&self) -> &[u8] {
        &self.0[..]
    }
}

impl Engine {
    /// Empties the file with the fewest live entries. Returns whether that gave anything back.
    pub(super) fn compact(&self) -> Result<bool, Error> {
        let _only_one = self.maintaining.lock();
        let Some((victim, live)) = self.heap.emptiest() else { return Ok(false) };
        // A file that is nearly all alive gives nothing back.
        if live * 10 > u64::from(victim.slots) * 9 {
            return Ok(false);
        }
        let mut moved = Group { pages: Vec::new(), ranges: Vec::new() };
        let mut from = Vec::new();
        let mut loose = Loose::default();
        let batches = self.heap.batches(&victim).inspect_err(|_| victim.keep_in_place())?;
        for (slot, header) in batches {
            for (slot, entry) in (slot.0 + 1..).zip(&header.entries) {
                let addr = SlotAddr::new(victim.number, SlotNo(slot));
                if let Some(layer) = self.lives(entry, addr) {
                    // A page that cannot be read stays where it is, and its file with it.
                    if let Some(page) = read_page(&victim, entry, addr, layer) {
                        moved.pages.push(page);
                        from.push(addr);
                    }
                }
                if moved.pages.len() >= GROUP_PAGES {
                    self.relocate(&mut moved, &mut from, victim.number)?;
                }
            }
            for mut range in header.ranges {
                let Some(layer) = self.layers.read().get(&range.layer).map(|layer| layer.id) else {
                    continue;
                };
                range.layer = layer;
                if self.range_lives(&range, victim.number) {
                    moved.ranges.push(range);
                } else if victim.loose() > 0 {
                    loose.add(range);
                }
            }
        }
        self.relocate(&mut moved, &mut from, victim.number)?;
        self.move_loose(loose, &victim)?;
        drop(victim);
        Ok(self.heap.reclaim()? > 0)
    }

    /// The layer that the page is live in, by now.
    fn lives(&self, entry: &Entry, addr: SlotAddr) -> Option<LayerId> {
        let layers = self.layers.read();
        let layer = layers.get(&entry.layer)?;
        layer.is_at(entry.space, entry.page, addr).then_some(layer.id)
    }

    fn range_lives(&self, range: &Range, file: FileNo) -> bool {
        self.layers.read().get(&range.layer).is_some_and(|layer| layer.has_range_in(range, file))
    }

    /// Moves those of a file's loose ranges that are still needed; the file's own count for nothing then.
    fn move_loose(&self, loose: Loose, source: &HeapFile) -> Result<(), Error> {
        let mut ranges: Vec<Range> = loose.ranges.into_values().flatten().collect();
        ranges.retain(|range| self.heap.needs_range(range, source.number));
        if !ranges.is_empty() {
            let receipt = self.heap.commit_moves(&Group::<Moved> { pages: Vec::new(), ranges })?;
            for file in receipt.range_files {
                self.heap.loosened(file);
            }
        }
        source.loose_died();
        Ok(())
    }

    fn relocate(
        &self,
        group: &mut Group<Moved>,
        from: &mut Vec<SlotAddr>,
        source: FileNo,
    ) -> Result<(), Error> {
        if group.pages.is_empty() && group.ranges.is_empty() {
            return Ok(());
        }
        let receipt = self.heap.commit_moves(group)?;
        let layers = self.layers.read();
        for ((page, old), new) in group.pages.iter().zip(&*from).zip(&receipt.slots) {
            let layer = layers.get(&page.layer);
            let followed = layer.is_some_and(|layer| layer.relocate(page.space, page.page, *old, *new));
            // Whichever of the two copies the index does not refer to is dead.
            self.heap.died(if followed { source } else { new.file() }, 1);
        }
        for (range, file) in group.ranges.iter().zip(&receipt.range_files) {
            let layer = layers.get(&range.layer);
            let followed = layer.is_some_and(|layer| layer.relocate_range(range, source, *file));
            self.heap.died(if followed { source } else { *file }, 1);
        }
        group.pages.clear();
        group.ranges.clear();
        from.clear();
        Ok(())
    }
}

/// Loose ranges of a file, without those that a newer one of them covers.
#[derive(Default)]
struct Loose {
    ranges: HashMap<(LayerId, Space), Vec<Range>>,
}

impl Loose {
    /// Adds a range; they come in the order of their sequence numbers, or nearly.
    fn add(&mut self, range: Range) {
        let others = self.ranges.entry((range.layer, range.space)).or_default();
        others.retain(|other| !(range.seq > other.seq && range.from <= other.from && other.to <= range.to));
        others.push(range);
    }
}

fn read_page(file: &HeapFile, entry: &Entry, addr: SlotAddr, layer: LayerId) -> Option<GroupPage<Moved>> {
    let mut content = PageBuf::zeroed();
    match file.read(addr.slot(), &mut content[..]) {
        Ok(()) => {
            let Entry { space, page, seq, .. } = *entry;
            Some(GroupPage { layer, space, page, seq, content: Moved(content) })
        }
        Err(error) => {
            tracing::error!(%error, space = %entry.space, page = %entry.page, "a page cannot be moved");
            file.keep_in_place();
            None
        }
    }
}
