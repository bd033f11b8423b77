//! Which spaces a heap file may have pages of, and how old: a small filter (B. H. Bloom, 1970).
//!
//! It answers whether a range record is still needed to keep dead pages of the file from coming back in
//! a recovery. A false yes keeps a record a little longer; there is no false no.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::{Seq, Space};

/// Bits for each slot of the file. With two probes, of a file whose every page is of another space, one
/// question in twenty gets a false yes.
const BITS_PER_SLOT: usize = 8;

pub(super) struct Spaces {
    bits: Box<[AtomicU64]>,
    /// The lowest sequence number of any page in the file.
    oldest: AtomicU64,
}

impl Spaces {
    /// The filter of an empty file.
    pub(super) fn new(slots: u32) -> Self {
        let words = (slots as usize * BITS_PER_SLOT).div_ceil(64).next_power_of_two();
        Spaces { bits: (0..words).map(|_| AtomicU64::new(0)).collect(), oldest: AtomicU64::new(u64::MAX) }
    }

    /// A page of `space` was written to the file.
    pub(super) fn add(&self, space: Space, seq: Seq) {
        for (word, bit) in self.probes(space) {
            self.bits[word].fetch_or(bit, Ordering::Relaxed);
        }
        self.oldest.fetch_min(seq.0, Ordering::Relaxed);
    }

    /// Whether the file may have a page of `space` that is older than `seq`.
    pub(super) fn may_hold_older(&self, space: Space, seq: Seq) -> bool {
        self.oldest.load(Ordering::Relaxed) < seq.0
            && self
                .probes(space)
                .iter()
                .all(|(word, bit)| self.bits[*word].load(Ordering::Relaxed) & bit != 0)
    }

    /// Bytes of RAM beside the value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.bits)
    }

    fn probes(&self, space: Space) -> [(usize, u64); 2] {
        // Fibonacci hashing, two halves of the product.
        let hash = (space.0 ^ space.0 >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        [hash >> 32, hash & 0xffff_ffff].map(|half| {
            let at = usize::try_from(half ^ half >> 15).expect("32 bits") % (self.bits.len() * 64);
            (at / 64, 1 << (at % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_always_found_and_what_was_not_seldom() {
        let spaces = Spaces::new(16384);
        for space in 0..16384 {
            spaces.add(Space(space * 3), Seq(10));
        }
        assert!((0..16384).all(|space| spaces.may_hold_older(Space(space * 3), Seq(11))));
        let wrong = (0..16384).filter(|space| spaces.may_hold_older(Space(space * 3 + 1), Seq(11))).count();
        assert!(wrong < 16384 / 8, "{wrong}");
    }

    #[test]
    fn a_file_of_newer_pages_holds_none_that_is_older() {
        let spaces = Spaces::new(64);
        spaces.add(Space(1), Seq(10));
        assert!(!spaces.may_hold_older(Space(1), Seq(10)));
        assert!(spaces.may_hold_older(Space(1), Seq(11)));
    }
}
