//! Resolving pages through a stack of layers, from new to old.

use std::sync::Arc;

use super::layer::{Absorbed, Found, Layer};
use super::{Error, Hint};
use crate::base::limits::{BLOCK_BYTES, PAGE_BYTES, PAGES_PER_BLOCK};
use crate::base::{BlockNo, PageNo, Space};
use crate::cold::{self, Heap, Pinned, SlotAddr};
use crate::hot::{Cache, Page};

/// A volume's layers, newest first. Beneath the last one lies the base root in the store, which
/// has no page as long as no checkpoint was made.
pub(super) type Stack = Arc<[Arc<Layer>]>;

/// What a page reads as.
enum Resolved {
    Zeros,
    Page(Page),
    Slot { addr: SlotAddr, file: Pinned, layer: usize },
}

/// A view of a stack for reading.
pub(super) struct Reader<'a> {
    pub(super) heap: &'a Heap,
    pub(super) cache: &'a Cache<Layer>,
    pub(super) layers: &'a [Arc<Layer>],
}

impl Reader<'_> {
    /// Fills `buf` from a byte offset of a space.
    pub(super) fn read(&self, space: Space, offset: u64, buf: &mut [u8], hint: Hint) -> Result<(), Error> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let in_block = usize::try_from(at % BLOCK_BYTES as u64).expect("less than a block");
            let length = (BLOCK_BYTES - in_block).min(buf.len() - done);
            let block = BlockNo(at / BLOCK_BYTES as u64);
            self.read_in_block(space, block, in_block, &mut buf[done..done + length], hint)?;
            done += length;
        }
        Ok(())
    }

    fn read_in_block(
        &self,
        space: Space,
        block: BlockNo,
        start: usize,
        buf: &mut [u8],
        hint: Hint,
    ) -> Result<(), Error> {
        let first = start / PAGE_BYTES;
        let last = (start + buf.len() - 1) / PAGE_BYTES;
        let pages = self.resolve(space, block, mask_of(first, last))?;
        let mut index = first;
        while index <= last {
            let run = run_length(&pages[index..=last]);
            // The part of `buf` that these pages fill; the first and the last may be cut.
            let from = (index * PAGE_BYTES).saturating_sub(start);
            let to = ((index + run) * PAGE_BYTES - start).min(buf.len());
            let skip = (start + from) % PAGE_BYTES;
            let part = &mut buf[from..to];
            match &pages[index] {
                Resolved::Zeros => part.fill(0),
                Resolved::Page(page) => part.copy_from_slice(&page.as_ref()[skip..skip + part.len()]),
                Resolved::Slot { addr, file, layer } => {
                    let page = PageNo(block.first_page().0 + index as u64);
                    if skip == 0 && part.len() == run * PAGE_BYTES {
                        read_slots(file, *addr, part, space, page)?;
                    } else {
                        let mut whole = vec![0; run * PAGE_BYTES];
                        read_slots(file, *addr, &mut whole, space, page)?;
                        part.copy_from_slice(&whole[skip..skip + part.len()]);
                    }
                    if hint == Hint::Keep && run == 1 && part.len() == PAGE_BYTES {
                        self.keep(*layer, space, page, *addr, part);
                    } else if hint == Hint::Keep {
                        let mut whole = vec![0; PAGE_BYTES];
                        read_slots(file, *addr, &mut whole, space, page)?;
                        self.keep(*layer, space, page, *addr, &whole);
                    }
                }
            }
            index += run;
        }
        Ok(())
    }

    fn keep(&self, layer: usize, space: Space, page: PageNo, addr: SlotAddr, bytes: &[u8]) {
        let owner = &self.layers[layer];
        if let Some((frame, true)) = owner.fill(space, page, Some(addr), &Page::new(bytes)) {
            frame.keep();
            self.cache.admit([(owner, space, page, &frame)]);
            self.cache.trim();
        }
    }

    /// A page's content, and where in the newest layer it lies in a slot, if it does.
    pub(super) fn page(&self, space: Space, page: PageNo) -> Result<(Page, Option<SlotAddr>), Error> {
        let index = page.in_block() as usize;
        let [resolved, ..] = &mut self.resolve(space, page.block(), 1 << index)?[index..] else {
            unreachable!("a block has 32 pages")
        };
        match resolved {
            Resolved::Zeros => Ok((Page::zeroed(), None)),
            Resolved::Page(content) => Ok((content.clone(), None)),
            Resolved::Slot { addr, file, layer } => {
                let mut bytes = vec![0; PAGE_BYTES];
                read_slots(file, *addr, &mut bytes, space, page)?;
                Ok((Page::new(&bytes), (*layer == 0).then_some(*addr)))
            }
        }
    }

    fn resolve(
        &self,
        space: Space,
        block: BlockNo,
        mask: u32,
    ) -> Result<[Resolved; PAGES_PER_BLOCK as usize], Error> {
        let mut pages = [const { Resolved::Zeros }; PAGES_PER_BLOCK as usize];
        let mut wanted = mask;
        for (number, layer) in self.layers.iter().enumerate() {
            let mut find = |mask| {
                let found = layer.find(self.heap, space, block, mask, &mut |index, found| {
                    pages[index as usize] = match found {
                        Found::Page(page) => Resolved::Page(page),
                        Found::Slot(addr, file) => Resolved::Slot { addr, file, layer: number },
                    };
                });
                found.map_err(|Absorbed| Error::Restacked)
            };
            wanted &= !find(wanted)?;
            if wanted == 0 {
                break;
            }
            let removed = layer.removed_mask(space, block);
            if wanted & removed != 0 {
                // A range that came with an absorbed layer is older than the pages that came before it.
                find(wanted & removed)?;
            }
            wanted &= !removed;
        }
        Ok(pages)
    }

    /// Which of the block's pages are present.
    fn mask(&self, space: Space, block: BlockNo) -> u32 {
        let mut present = 0;
        let mut hidden = 0_u32;
        for layer in self.layers {
            present |= layer.mask(space, block) & !hidden;
            if hidden | present == u32::MAX {
                break;
            }
            let removed = layer.removed_mask(space, block);
            if removed & !(hidden | present) != 0 {
                // As in `resolve`: the pages of an absorbed layer come before its ranges.
                present |= layer.mask(space, block) & !hidden;
            }
            hidden |= present | removed;
        }
        present
    }

    fn next_block(&self, space: Space, from: BlockNo) -> Option<BlockNo> {
        self.layers.iter().filter_map(|layer| layer.next_block(space, from)).min()
    }

    /// How many pages of `from..to` are present.
    pub(super) fn count(&self, space: Space, from: PageNo, to: PageNo) -> u64 {
        let mut count = 0;
        let mut next = from.block();
        while from < to
            && let Some(block) = self.next_block(space, next)
            && block.first_page() < to
        {
            let mask = self.mask(space, block) & mask_between(block, from, to);
            count += u64::from(mask.count_ones());
            next = BlockNo(block.0 + 1);
        }
        count
    }

    /// The first present page at or after `from`.
    pub(super) fn next_present(&self, space: Space, from: PageNo) -> Option<PageNo> {
        let mut next = from.block();
        loop {
            let block = self.next_block(space, next)?;
            let mask = self.mask(space, block) & mask_between(block, from, PageNo(u64::MAX));
            if mask != 0 {
                return Some(PageNo(block.first_page().0 + u64::from(mask.trailing_zeros())));
            }
            next = BlockNo(block.0 + 1);
        }
    }

    /// The first absent page at or after `from`.
    pub(super) fn next_absent(&self, space: Space, from: PageNo) -> PageNo {
        let mut block = from.block();
        loop {
            let absent = !self.mask(space, block) & mask_between(block, from, PageNo(u64::MAX));
            if absent != 0 {
                return PageNo(block.first_page().0 + u64::from(absent.trailing_zeros()));
            }
            block = BlockNo(block.0 + 1);
        }
    }
}

fn read_slots(
    file: &Pinned,
    addr: SlotAddr,
    buf: &mut [u8],
    space: Space,
    page: PageNo,
) -> Result<(), Error> {
    file.read(addr.slot(), buf).map_err(|error| {
        let error = match error {
            cold::Error::Damaged { slot, .. } => {
                let page = PageNo(page.0 + u64::from(slot.0 - addr.slot().0));
                Error::Damaged { space, page, detail: error.to_string() }
            }
            other => other.into(),
        };
        tracing::error!(%error, "cannot read a page");
        error
    })
}

/// How many pages from the first on can be read in one piece.
fn run_length(pages: &[Resolved]) -> usize {
    let Resolved::Slot { addr, .. } = &pages[0] else { return 1 };
    let follows = |(index, page): &(usize, &Resolved)| matches!(page, Resolved::Slot { addr: next, .. } if addr.is_followed_by(*next, *index));
    pages.iter().enumerate().skip(1).take_while(follows).count() + 1
}

fn mask_of(first: usize, last: usize) -> u32 {
    (u32::MAX >> (31 - last)) & (u32::MAX << first)
}

fn mask_between(block: BlockNo, from: PageNo, to: PageNo) -> u32 {
    let first = block.first_page().0;
    let low = from.0.saturating_sub(first);
    let high = to.0.saturating_sub(first);
    let below = |n: u64| if n >= u64::from(PAGES_PER_BLOCK) { u32::MAX } else { (1_u32 << n) - 1 };
    below(high) & !below(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_cover_exactly_the_pages_between() {
        assert_eq!(mask_of(0, 31), u32::MAX);
        assert_eq!(mask_of(3, 3), 8);
        assert_eq!(mask_between(BlockNo(1), PageNo(33), PageNo(35)), 0b110);
        assert_eq!(mask_between(BlockNo(1), PageNo(0), PageNo(u64::MAX)), u32::MAX);
        assert_eq!(mask_between(BlockNo(1), PageNo(64), PageNo(70)), 0);
    }
}
