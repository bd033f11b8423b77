//! One file: what reads see, what is durable, and what is on its way between the two.

use std::collections::{BTreeMap, BTreeSet};

use super::SimRng;
use super::content::{Content, Page, pages_of};

/// What a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

/// A change that is not durable yet.
#[derive(Clone, Debug)]
enum Pending {
    Write { offset: u64, data: Vec<u8> },
    Allocate { bytes: u64 },
}

/// How a power cut treats what was not synced, file by file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Kept,
    Dropped,
    Torn,
}

impl Fate {
    fn draw(rng: &SimRng) -> Self {
        match rng.below(3) {
            0 => Fate::Kept,
            1 => Fate::Dropped,
            _ => Fate::Torn,
        }
    }
}

/// A file's bytes with their durability.
///
/// Invariant: without pending changes and limbo, `cached` and `durable` are equal.
#[derive(Clone, Default, Debug)]
pub(super) struct File {
    cached: Content,
    durable: Content,
    pending: Vec<Pending>,
    /// Pages that a failed sync has marked clean: read from the cache, perhaps on the disk, and not
    /// written by a later sync. As on Linux since 4.13.
    limbo: BTreeMap<u64, Page>,
}

impl File {
    /// What reads see.
    pub(super) fn content(&self) -> &Content {
        &self.cached
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        if !data.is_empty() {
            self.cached.write(data, offset);
            self.pending.push(Pending::Write { offset, data: data.to_vec() });
        }
    }

    pub(super) fn allocate(&mut self, bytes: u64) {
        self.cached.allocate(bytes);
        self.pending.push(Pending::Allocate { bytes });
    }

    /// Makes everything written durable, except for pages that an earlier sync has lost.
    pub(super) fn sync(&mut self) {
        for page in self.dirty_pages() {
            self.durable.copy_page(page, &self.cached);
            self.limbo.remove(&page);
        }
        self.settle_size();
    }

    /// A sync that fails: of each dirty page nobody can say where it is, and no later sync writes it.
    pub(super) fn sync_failed(&mut self, rng: &SimRng) {
        for page in self.dirty_pages() {
            match rng.below(3) {
                // It had reached the disk.
                0 => self.durable.copy_page(page, &self.cached),
                // It left the cache, and the disk has what it had before.
                1 => self.cached.copy_page(page, &self.durable),
                _ => {
                    let bytes = self.cached.page(page).expect("a dirty page is cached");
                    self.limbo.insert(page, bytes.clone());
                    continue;
                }
            }
            self.limbo.remove(&page);
        }
        self.settle_size();
    }

    /// What is left after a power cut: each unsynced change kept, dropped or torn at sectors.
    ///
    /// Any subset in the order of writing gives each sector any of the contents that it ever had since
    /// the last sync, which is all that a page cache can do.
    pub(super) fn power_cut(&mut self, rng: &SimRng) {
        // Whole outcomes are rare by chance alone once there are many writes.
        let common = match rng.below(4) {
            0 => Some(Fate::Kept),
            1 => Some(Fate::Dropped),
            _ => None,
        };
        let fate = || common.unwrap_or_else(|| Fate::draw(rng));
        let size = self.size_after_cut(rng, common);
        for (page, bytes) in std::mem::take(&mut self.limbo) {
            let offset = page * bytes.len() as u64;
            self.settle(rng, fate(), offset, &bytes[..]);
        }
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Write { offset, data } => self.settle(rng, fate(), offset, &data),
                Pending::Allocate { bytes } => self.durable.allocate(bytes),
            }
        }
        self.durable.truncate(size);
        self.cached = self.durable.clone();
    }

    /// Inverts bits of one byte, in the cache and on the disk. Returns false behind the end.
    pub(super) fn flip(&mut self, offset: u64, mask: u8) -> bool {
        if offset >= self.cached.size() {
            return false;
        }
        for content in [&mut self.cached, &mut self.durable] {
            if offset < content.size() {
                let mut byte = [0];
                content.read(&mut byte, offset);
                content.write(&[byte[0] ^ mask], offset);
            }
        }
        true
    }

    /// Cuts the file short, in the cache and on the disk, and makes what is left durable.
    pub(super) fn truncate(&mut self, size: u64) {
        self.cached.truncate(size);
        self.durable = self.cached.clone();
        self.pending.clear();
        self.limbo.clear();
    }

    fn dirty_pages(&mut self) -> BTreeSet<u64> {
        let mut pages = BTreeSet::new();
        for pending in self.pending.drain(..) {
            if let Pending::Write { offset, data } = pending {
                pages.extend(pages_of(offset, data.len()));
            }
        }
        pages
    }

    /// Size and blocks are metadata, which the filesystem's own journal keeps in order.
    fn settle_size(&mut self) {
        self.durable.set_extent_of(&self.cached);
    }

    /// Any of the sizes that the file had since the last sync.
    fn size_after_cut(&self, rng: &SimRng, common: Option<Fate>) -> u64 {
        let mut sizes = vec![self.durable.size()];
        for pending in &self.pending {
            let end = match pending {
                Pending::Write { offset, data } => offset + data.len() as u64,
                Pending::Allocate { bytes } => *bytes,
            };
            let before = sizes[sizes.len() - 1];
            sizes.push(before.max(end));
        }
        match common {
            Some(Fate::Kept) => sizes[sizes.len() - 1],
            Some(Fate::Dropped) => sizes[0],
            _ => sizes[rng.index(sizes.len())],
        }
    }

    fn settle(&mut self, rng: &SimRng, fate: Fate, offset: u64, data: &[u8]) {
        match fate {
            Fate::Kept => self.durable.write(data, offset),
            Fate::Dropped => {}
            Fate::Torn => {
                let sector = SECTOR_BYTES as u64;
                let mut at = 0;
                while at < data.len() {
                    let to_boundary = sector - (offset + at as u64) % sector;
                    let count = usize::try_from(to_boundary).expect("a sector").min(data.len() - at);
                    if rng.one_in(2) {
                        self.durable.write(&data[at..at + count], offset + at as u64);
                    }
                    at += count;
                }
            }
        }
    }
}
