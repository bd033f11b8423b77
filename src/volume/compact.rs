//! Compaction: what lives in a mostly dead heap file moves to another, and the file dies.
//!
//! A moved page keeps its identity and its sequence number, so that it never beats a newer one. It is
//! durable in its new place before its old one counts as dead.

use std::sync::Arc;

use super::Error;
use super::engine::Engine;
use crate::base::{FileNo, PageBuf, SlotNo};
use crate::cold::{self, Group, GroupPage, HeapFile, SlotAddr};
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
        for (slot, header) in self.heap.batches(&victim)? {
            for (slot, entry) in (slot.0 + 1..).zip(&header.entries) {
                let addr = SlotAddr::new(victim.number, SlotNo(slot));
                if self.lives(entry, addr) {
                    // A damaged page stays where it is, and its file with it.
                    if let Some(page) = read_page(&victim, entry, addr)? {
                        moved.pages.push(page);
                        from.push(addr);
                    }
                }
                if moved.pages.len() >= GROUP_PAGES {
                    self.relocate(&mut moved, &mut from, victim.number)?;
                }
            }
            for range in header.ranges {
                if self.range_lives(&range, victim.number) {
                    moved.ranges.push(range);
                }
            }
        }
        self.relocate(&mut moved, &mut from, victim.number)?;
        drop(victim);
        Ok(self.heap.reclaim()? > 0)
    }

    fn lives(&self, entry: &Entry, addr: SlotAddr) -> bool {
        self.layers.read().get(&entry.layer).is_some_and(|layer| layer.is_at(entry.space, entry.page, addr))
    }

    fn range_lives(&self, range: &Range, file: FileNo) -> bool {
        self.layers.read().get(&range.layer).is_some_and(|layer| layer.has_range_in(range, file))
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

fn read_page(file: &Arc<HeapFile>, entry: &Entry, addr: SlotAddr) -> Result<Option<GroupPage<Moved>>, Error> {
    let mut content = PageBuf::zeroed();
    match file.read(addr.slot(), &mut content[..]) {
        Ok(()) => {
            let Entry { layer, space, page, seq, .. } = *entry;
            Ok(Some(GroupPage { layer, space, page, seq, content: Moved(content) }))
        }
        Err(error @ cold::Error::Damaged { .. }) => {
            tracing::error!(%error, space = %entry.space, page = %entry.page, "a page cannot be moved");
            file.keep_in_place();
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
