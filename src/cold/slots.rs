//! Where the pages of one block lie: the value of the cold index.

use crate::base::limits::PAGES_PER_BLOCK;
use crate::base::{FileNo, SlotNo};

const SLOT_BITS: u32 = 24;

/// A slot of a heap file, packed: 40 bits of file number, 24 of slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlotAddr(u64);

impl SlotAddr {
    const NONE: SlotAddr = SlotAddr(u64::MAX);

    /// Packs an address.
    ///
    /// # Panics
    /// When the file number or the slot exceeds what fits; limits of heap files keep both below.
    pub fn new(file: FileNo, slot: SlotNo) -> Self {
        assert!(slot.0 < 1 << SLOT_BITS && file.0 < 1 << (64 - SLOT_BITS), "a slot address has 40 + 24 bits");
        SlotAddr(file.0 << SLOT_BITS | u64::from(slot.0))
    }

    /// The heap file.
    pub fn file(self) -> FileNo {
        FileNo(self.0 >> SLOT_BITS)
    }

    /// The slot within it.
    pub fn slot(self) -> SlotNo {
        SlotNo(u32::try_from(self.0 & ((1 << SLOT_BITS) - 1)).expect("24 bits"))
    }

    /// Whether `other` is the slot `distance` behind this one, in the same file.
    pub fn is_followed_by(self, other: SlotAddr, distance: usize) -> bool {
        other.0.checked_sub(self.0) == Some(distance as u64) && other.file() == self.file()
    }

    fn next(self, by: u32) -> Self {
        SlotAddr(self.0 + u64::from(by))
    }
}

/// The slots of a block's pages: one extent where they are consecutive, a slot each where not.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Slots {
    #[default]
    Empty,
    /// The pages of `mask`, in order, lie in consecutive slots from `first`.
    Run {
        first: SlotAddr,
        mask: u32,
    },
    Scattered(Box<[SlotAddr; PAGES_PER_BLOCK as usize]>),
}

const _: () = assert!(size_of::<Slots>() == 16);

impl Slots {
    /// Which pages are there, a bit each.
    pub fn mask(&self) -> u32 {
        match self {
            Slots::Empty => 0,
            Slots::Run { mask, .. } => *mask,
            Slots::Scattered(slots) => {
                slots.iter().rev().fold(0, |mask, slot| mask << 1 | u32::from(*slot != SlotAddr::NONE))
            }
        }
    }

    /// Where page `index` of the block lies.
    pub fn get(&self, index: u32) -> Option<SlotAddr> {
        match self {
            Slots::Empty => None,
            Slots::Run { first, mask } => {
                (mask & 1 << index != 0).then(|| first.next((mask & ((1 << index) - 1)).count_ones()))
            }
            Slots::Scattered(slots) => Some(slots[index as usize]).filter(|slot| *slot != SlotAddr::NONE),
        }
    }

    /// Puts page `index` at `addr`; returns where it was.
    pub fn set(&mut self, index: u32, addr: SlotAddr) -> Option<SlotAddr> {
        match self {
            Slots::Empty => {
                *self = Slots::Run { first: addr, mask: 1 << index };
                None
            }
            Slots::Run { first, mask } if *mask >> index == 0 && first.next(mask.count_ones()) == addr => {
                *mask |= 1 << index;
                None
            }
            Slots::Run { mask, .. } if *mask == 1 << index => {
                let old = self.get(index);
                *self = Slots::Run { first: addr, mask: 1 << index };
                old
            }
            Slots::Run { .. } => {
                let old = self.get(index);
                let mut slots = Box::new([SlotAddr::NONE; PAGES_PER_BLOCK as usize]);
                for (page, slot) in self.iter() {
                    slots[page as usize] = slot;
                }
                slots[index as usize] = addr;
                *self = Slots::Scattered(slots);
                old
            }
            Slots::Scattered(slots) => {
                let old = std::mem::replace(&mut slots[index as usize], addr);
                // The last page of a block that was written through: worth a look whether it became one run.
                if slots[index as usize + 1..].iter().all(|slot| *slot == SlotAddr::NONE) {
                    self.compact();
                }
                Some(old).filter(|slot| *slot != SlotAddr::NONE)
            }
        }
    }

    /// Makes page `index` absent; returns where it was.
    pub fn remove(&mut self, index: u32) -> Option<SlotAddr> {
        let old = self.get(index)?;
        if self.mask() == 1 << index {
            *self = Slots::Empty;
            return Some(old);
        }
        if let Slots::Run { first, mask } = self {
            let rest = *mask & !(1 << index);
            if rest >> index == 0 {
                *mask = rest;
                return Some(old);
            }
            if rest & ((1 << index) - 1) == 0 {
                *self = Slots::Run { first: first.next(1), mask: rest };
                return Some(old);
            }
            let mut slots = Box::new([SlotAddr::NONE; PAGES_PER_BLOCK as usize]);
            for (page, slot) in self.iter() {
                slots[page as usize] = slot;
            }
            *self = Slots::Scattered(slots);
        }
        let Slots::Scattered(slots) = self else { unreachable!("made so above") };
        slots[index as usize] = SlotAddr::NONE;
        Some(old)
    }

    /// The pages that are there and where, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, SlotAddr)> + '_ {
        (0..PAGES_PER_BLOCK).filter_map(|index| self.get(index).map(|addr| (index, addr)))
    }

    /// Bytes on the heap beside the value itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Slots::Empty | Slots::Run { .. } => 0,
            Slots::Scattered(slots) => size_of_val(&**slots),
        }
    }

    fn compact(&mut self) {
        let mut run: Option<(SlotAddr, u32)> = None;
        for (index, addr) in self.iter() {
            match &mut run {
                None => run = Some((addr, 1 << index)),
                Some((first, mask)) if first.next(mask.count_ones()) == addr => *mask |= 1 << index,
                Some(_) => return,
            }
        }
        *self = run.map_or(Slots::Empty, |(first, mask)| Slots::Run { first, mask });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_block_written_in_order_is_one_run_and_stays_one_when_rewritten() {
        let mut slots = Slots::Empty;
        for base in [100, 500] {
            for index in 0..32 {
                slots.set(index, SlotAddr::new(FileNo(1), SlotNo(base + index)));
            }
            assert_eq!(slots, Slots::Run { first: SlotAddr::new(FileNo(1), SlotNo(base)), mask: u32::MAX });
        }
    }

    proptest! {
        #[test]
        fn slots_behave_like_a_map(steps in proptest::collection::vec((0_u32..32, 0_u32..64, any::<bool>()), 0..200)) {
            let mut slots = Slots::Empty;
            let mut model = BTreeMap::new();
            for (index, slot, put) in steps {
                if put {
                    let addr = SlotAddr::new(FileNo(3), SlotNo(slot));
                    prop_assert_eq!(slots.set(index, addr), model.insert(index, addr));
                } else {
                    prop_assert_eq!(slots.remove(index), model.remove(&index));
                }
                prop_assert_eq!(slots.iter().collect::<Vec<_>>(), model.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
                prop_assert_eq!(slots.mask(), model.keys().fold(0, |mask, index| mask | 1 << index));
            }
        }
    }
}
