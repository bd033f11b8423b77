//! A file's bytes, sparse.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Granularity of the page cache and of block allocation, in bytes.
const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

/// A page, shared between what is cached and what is durable until one of them changes.
pub(super) type Page = Arc<[u8; PAGE_BYTES]>;

/// The bytes of a file at one instant. Pages that are not there are zeros.
#[derive(Clone, Default, Debug)]
pub(super) struct Content {
    pages: BTreeMap<u64, Page>,
    size: u64,
    /// Pages at the front that have blocks whether written or not.
    allocated_pages: u64,
    /// Written pages behind the allocated ones.
    other_pages: u64,
}

/// The numbers of the pages that a run of bytes touches.
pub(super) fn pages_of(offset: u64, length: usize) -> Range<u64> {
    offset / PAGE..(offset + length as u64).div_ceil(PAGE)
}

/// Where each piece of a run of bytes lies: (page, offset within it, range within the run).
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let within = usize::try_from(at % PAGE).expect("less than a page");
        let count = (PAGE_BYTES - within).min(length - done);
        let piece = (at / PAGE, within, done..done + count);
        done += count;
        Some(piece)
    })
}

impl Content {
    /// Bytes from the start to the end.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Blocks in use, in bytes.
    pub(super) fn used_bytes(&self) -> u64 {
        (self.allocated_pages + self.other_pages) * PAGE
    }

    /// How many bytes of blocks a write would add.
    pub(super) fn growth(&self, offset: u64, length: usize) -> u64 {
        let new = |page: &u64| *page >= self.allocated_pages && !self.pages.contains_key(page);
        pages_of(offset, length).filter(new).count() as u64 * PAGE
    }

    /// Copies bytes out; what lies behind the end is zeros.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) {
        for (page, within, part) in pieces(offset, buf.len()) {
            let part = &mut buf[part];
            match self.pages.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[within..within + part.len()]),
                None => part.fill(0),
            }
        }
    }

    /// Puts bytes at an offset, growing the file to hold them.
    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        for (page, within, part) in pieces(offset, data.len()) {
            let target = self.pages.entry(page).or_insert_with(|| {
                self.other_pages += u64::from(page >= self.allocated_pages);
                Arc::new([0; PAGE_BYTES])
            });
            Arc::make_mut(target)[within..within + part.len()].copy_from_slice(&data[part]);
        }
        self.size = self.size.max(offset + data.len() as u64);
    }

    /// Gives blocks to the first `bytes` and grows the file to that size.
    pub(super) fn allocate(&mut self, bytes: u64) {
        self.size = self.size.max(bytes);
        self.allocated_pages = self.allocated_pages.max(bytes.div_ceil(PAGE));
        self.other_pages = self.pages.range(self.allocated_pages..).count() as u64;
    }

    /// Cuts the file to at most `size` bytes.
    pub(super) fn truncate(&mut self, size: u64) {
        if size >= self.size {
            return;
        }
        let kept = size.div_ceil(PAGE);
        self.pages.retain(|&page, _| page < kept);
        let within = usize::try_from(size % PAGE).expect("less than a page");
        if within > 0
            && let Some(last) = self.pages.get_mut(&(size / PAGE))
        {
            Arc::make_mut(last)[within..].fill(0);
        }
        self.size = size;
        self.allocated_pages = self.allocated_pages.min(kept);
        self.other_pages = self.pages.range(self.allocated_pages..).count() as u64;
    }

    /// Takes size and blocks of `other`, not its bytes.
    pub(super) fn set_extent_of(&mut self, other: &Content) {
        self.size = other.size;
        self.allocated_pages = other.allocated_pages;
        self.other_pages = self.pages.range(self.allocated_pages..).count() as u64;
    }

    /// The page of a number, if it was ever written.
    pub(super) fn page(&self, number: u64) -> Option<&Page> {
        self.pages.get(&number)
    }

    /// Makes one page what it is in `other`.
    pub(super) fn copy_page(&mut self, number: u64, other: &Content) {
        let behind = u64::from(number >= self.allocated_pages);
        match other.pages.get(&number) {
            Some(page) => {
                if self.pages.insert(number, Arc::clone(page)).is_none() {
                    self.other_pages += behind;
                }
            }
            None => {
                if self.pages.remove(&number).is_some() {
                    self.other_pages -= behind;
                }
            }
        }
    }
}
