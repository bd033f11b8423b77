//! Pages of a directory: nodes of a B+tree whose keys are made from hashes of names.
//!
//! ```text
//!   0  magic u16   2  version u8 (1)   3  level u8 (0: leaf)   4  count u16   6  heap u16   8  zero, 8 bytes
//!  16  slots, in the order of their keys
//!      leaf:   key u64, inode u64, name_at u16, name_bytes u8, kind u8
//!      inner:  key u64, child u32
//!      …
//!      names (leaf only), from `heap` to the end of the page, with gaps where names were removed
//! ```
//!
//! A key is `hash << 8 | n`, where `n` tells names of one hash apart. The keys of an inner page say where
//! each child begins; the first child also holds everything below its key. A [`DirPage`] is well-formed
//! always: bytes become one only through [`DirPage::decode`].

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Malformed;
use crate::base::limits::PAGE_BYTES;

/// Bytes of a page.
pub type Bytes = [u8; PAGE_BYTES];

/// The smallest key of an entry; those below are for readdir's own use.
pub const KEY_MIN: u64 = 1 << 8;
/// The largest key: positive as the kernel's `loff_t`.
pub const KEY_MAX: u64 = i64::MAX as u64;
/// The highest level; far above what the number of inodes could fill.
pub const LEVEL_MAX: u8 = 8;

/// The kinds of nodes that there are, as bits: those of `S_IFMT`, shifted right by 12.
const KINDS: u16 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 12;
const MAGIC: u16 = 0xd1f1;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 16;
const LEAF_SLOT_BYTES: usize = 20;
const INNER_SLOT_BYTES: usize = 12;
const INNER_SLOTS_MAX: usize = (PAGE_BYTES - HEADER_BYTES) / INNER_SLOT_BYTES;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: U16,
    version: u8,
    level: u8,
    count: U16,
    heap: U16,
    reserved: [u8; 8],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LeafSlot {
    key: U64,
    ino: U64,
    name_at: U16,
    name_bytes: u8,
    kind: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct InnerSlot {
    key: U64,
    child: U32,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);
const _: () = assert!(size_of::<LeafSlot>() == LEAF_SLOT_BYTES);
const _: () = assert!(size_of::<InnerSlot>() == INNER_SLOT_BYTES);
// Half of a full leaf, and the largest entry: what a split leaves always takes one more.
const _: () =
    assert!(HEADER_BYTES + (PAGE_BYTES - HEADER_BYTES) / 2 + 2 * (LEAF_SLOT_BYTES + 255) < PAGE_BYTES);

/// A name in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    pub key: u64,
    pub ino: u64,
    /// The bits of `S_IFMT`, shifted right by 12, as readdir(3) has them.
    pub kind: u8,
    pub name: &'a [u8],
}

/// A well-formed page of a directory.
#[derive(Clone)]
pub struct DirPage(Box<Bytes>);

impl DirPage {
    /// An empty page of a level; a leaf is at level 0.
    pub fn new(level: u8) -> Self {
        let mut page = DirPage(Box::new([0; PAGE_BYTES]));
        let header = Header {
            magic: MAGIC.into(),
            version: VERSION,
            level,
            count: 0.into(),
            heap: u16::try_from(PAGE_BYTES).expect("a page is smaller").into(),
            reserved: [0; 8],
        };
        page.0[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        page
    }

    /// Takes bytes as a page, after checking every length, offset and order in them.
    ///
    /// # Errors
    /// When they are no page of a version that is known here.
    pub fn decode(bytes: Box<Bytes>) -> Result<Self, Malformed> {
        let page = DirPage(bytes);
        let header = page.header();
        if header.magic.get() != MAGIC || header.version != VERSION {
            return Err(Malformed("directory page of an unknown version"));
        }
        if header.level > LEVEL_MAX || header.reserved != [0; 8] {
            return Err(Malformed("directory page with an impossible header"));
        }
        if header.level == 0 {
            page.check_leaf()?
        } else {
            page.check_inner()?
        }
        Ok(page)
    }

    fn check_leaf(&self) -> Result<(), Malformed> {
        let heap = usize::from(self.header().heap.get());
        let count = usize::from(self.header().count.get());
        if heap > PAGE_BYTES || HEADER_BYTES + count * LEAF_SLOT_BYTES > heap {
            return Err(Malformed("directory page with too many entries"));
        }
        // Without a branch for each entry: every lookup comes through here.
        let mut key_before = KEY_MIN - 1;
        let mut named_bytes = 0;
        let mut bad = false;
        for slot in self.leaf_slots() {
            let key = slot.key.get();
            let (at, bytes) = (usize::from(slot.name_at.get()), usize::from(slot.name_bytes));
            bad |= key <= key_before;
            bad |= (at < heap) | (at + bytes > PAGE_BYTES) | (bytes == 0);
            bad |= (slot.ino.get() == 0) | (slot.kind > 12) | (KINDS >> (slot.kind & 15) & 1 == 0);
            key_before = key;
            named_bytes += bytes;
        }
        if bad || key_before > KEY_MAX {
            return Err(Malformed("directory page with an impossible entry"));
        }
        if named_bytes > PAGE_BYTES - heap {
            return Err(Malformed("directory page with names on top of each other"));
        }
        Ok(())
    }

    fn check_inner(&self) -> Result<(), Malformed> {
        let count = usize::from(self.header().count.get());
        if count == 0 || count > INNER_SLOTS_MAX {
            return Err(Malformed("directory page with too many children or none"));
        }
        let slots = self.inner_slots();
        let mut key_before = slots[0].key.get();
        let mut bad = slots[0].child.get() == 0;
        for slot in &slots[1..] {
            bad |= (slot.key.get() <= key_before) | (slot.child.get() == 0);
            key_before = slot.key.get();
        }
        if bad {
            return Err(Malformed("directory page with an impossible child"));
        }
        Ok(())
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        self.header().level
    }

    /// Entries of a leaf, children of an inner page.
    pub fn count(&self) -> usize {
        usize::from(self.header().count.get())
    }

    fn header(&self) -> &Header {
        Header::ref_from_bytes(&self.0[..HEADER_BYTES]).expect("of that length")
    }

    fn header_mut(&mut self) -> &mut Header {
        Header::mut_from_bytes(&mut self.0[..HEADER_BYTES]).expect("of that length")
    }

    fn set_count(&mut self, count: usize) {
        self.header_mut().count = u16::try_from(count).expect("fits a page").into();
    }

    fn leaf_slots(&self) -> &[LeafSlot] {
        let end = HEADER_BYTES + self.count() * LEAF_SLOT_BYTES;
        <[LeafSlot]>::ref_from_bytes(&self.0[HEADER_BYTES..end]).expect("a whole number of slots")
    }

    fn inner_slots(&self) -> &[InnerSlot] {
        let end = HEADER_BYTES + self.count() * INNER_SLOT_BYTES;
        <[InnerSlot]>::ref_from_bytes(&self.0[HEADER_BYTES..end]).expect("a whole number of slots")
    }

    /// Opens a gap for one slot.
    fn open_slot(&mut self, index: usize, slot_bytes: usize) -> &mut [u8] {
        let count = self.count();
        let at = HEADER_BYTES + index * slot_bytes;
        self.0.copy_within(at..HEADER_BYTES + count * slot_bytes, at + slot_bytes);
        self.set_count(count + 1);
        &mut self.0[at..at + slot_bytes]
    }

    fn close_slot(&mut self, index: usize, slot_bytes: usize) {
        let count = self.count();
        let at = HEADER_BYTES + index * slot_bytes;
        self.0.copy_within(at + slot_bytes..HEADER_BYTES + count * slot_bytes, at);
        self.set_count(count - 1);
    }
}

/// A leaf.
impl DirPage {
    pub fn entry(&self, index: usize) -> Entry<'_> {
        let slot = &self.leaf_slots()[index];
        let at = usize::from(slot.name_at.get());
        Entry {
            key: slot.key.get(),
            ino: slot.ino.get(),
            kind: slot.kind,
            name: &self.0[at..at + usize::from(slot.name_bytes)],
        }
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.count()).map(|index| self.entry(index))
    }

    /// The index of the first entry whose key is at least `key`; [`DirPage::count`] when all are below.
    pub fn position(&self, key: u64) -> usize {
        self.leaf_slots().partition_point(|slot| slot.key.get() < key)
    }

    fn free_bytes(&self) -> usize {
        let used: usize =
            self.leaf_slots().iter().map(|slot| LEAF_SLOT_BYTES + usize::from(slot.name_bytes)).sum();
        PAGE_BYTES - HEADER_BYTES - used
    }

    /// Whether an entry with a name of that length fits.
    pub fn takes(&self, name_bytes: usize) -> bool {
        let slots_end = HEADER_BYTES + self.count() * LEAF_SLOT_BYTES;
        let gap = usize::from(self.header().heap.get()) - slots_end;
        let needed = LEAF_SLOT_BYTES + name_bytes;
        needed <= gap || needed <= self.free_bytes()
    }

    /// Puts an entry in its place. It must fit, its name be of 1 to 255 bytes and its key be new.
    pub fn insert(&mut self, entry: Entry<'_>) {
        let name_bytes = u8::try_from(entry.name.len()).expect("a name of at most 255 bytes");
        let index = self.position(entry.key);
        debug_assert!(index == self.count() || self.entry(index).key != entry.key);
        let slots_end = HEADER_BYTES + (self.count() + 1) * LEAF_SLOT_BYTES;
        if slots_end + entry.name.len() > usize::from(self.header().heap.get()) {
            self.compact();
        }
        let heap = usize::from(self.header().heap.get()) - entry.name.len();
        assert!(slots_end <= heap, "the caller made sure that the entry fits");
        self.0[heap..heap + entry.name.len()].copy_from_slice(entry.name);
        let heap = u16::try_from(heap).expect("within a page");
        self.header_mut().heap = heap.into();
        let slot = LeafSlot {
            key: entry.key.into(),
            ino: entry.ino.into(),
            name_at: heap.into(),
            name_bytes,
            kind: entry.kind,
        };
        self.open_slot(index, LEAF_SLOT_BYTES).copy_from_slice(slot.as_bytes());
    }

    /// Closes the gaps between names.
    fn compact(&mut self) {
        let mut fresh = DirPage::new(0);
        for entry in self.entries() {
            fresh.push(entry);
        }
        *self = fresh;
    }

    /// Puts an entry behind all others.
    fn push(&mut self, entry: Entry<'_>) {
        let at = usize::from(self.header().heap.get()) - entry.name.len();
        self.0[at..at + entry.name.len()].copy_from_slice(entry.name);
        let heap = u16::try_from(at).expect("within a page");
        self.header_mut().heap = heap.into();
        let slot = LeafSlot {
            key: entry.key.into(),
            ino: entry.ino.into(),
            name_at: heap.into(),
            name_bytes: u8::try_from(entry.name.len()).expect("it was in a page before"),
            kind: entry.kind,
        };
        let count = self.count();
        self.open_slot(count, LEAF_SLOT_BYTES).copy_from_slice(slot.as_bytes());
    }

    pub fn remove(&mut self, index: usize) {
        let slot = &self.leaf_slots()[index];
        let (at, bytes) = (slot.name_at.get(), u16::from(slot.name_bytes));
        if at == self.header().heap.get() {
            self.header_mut().heap = (at + bytes).into();
        }
        self.close_slot(index, LEAF_SLOT_BYTES);
    }

    /// Makes an entry mean another inode.
    pub fn redirect(&mut self, index: usize, ino: u64, kind: u8) {
        let at = HEADER_BYTES + index * LEAF_SLOT_BYTES;
        let slot = LeafSlot::mut_from_bytes(&mut self.0[at..at + LEAF_SLOT_BYTES]).expect("of that length");
        slot.ino = ino.into();
        slot.kind = kind;
    }

    /// Moves the upper half of the entries, by bytes, to a new leaf. Both get at least one of two or
    /// more. Returns the leaf and the key at which it begins.
    pub fn split_leaf(&mut self) -> (u64, DirPage) {
        let half = (PAGE_BYTES - HEADER_BYTES - self.free_bytes()) / 2;
        let mut kept = 0;
        let mut bytes = 0;
        for slot in self.leaf_slots() {
            bytes += LEAF_SLOT_BYTES + usize::from(slot.name_bytes);
            if bytes > half && kept > 0 {
                break;
            }
            kept += 1;
        }
        let mut lower = DirPage::new(0);
        let mut upper = DirPage::new(0);
        for (index, entry) in self.entries().enumerate() {
            if index < kept { lower.push(entry) } else { upper.push(entry) }
        }
        let first = upper.entry(0).key;
        // Where it can, a page begins with a hash, so that all names of one hash stay together.
        let whole_hash = lower.entry(kept - 1).key >> 8 != first >> 8;
        *self = lower;
        (if whole_hash { first & !0xff } else { first }, upper)
    }
}

/// An inner page.
impl DirPage {
    /// The index of the child that holds `key`.
    pub fn child_index(&self, key: u64) -> usize {
        self.inner_slots().partition_point(|slot| slot.key.get() <= key).saturating_sub(1)
    }

    pub fn child(&self, index: usize) -> u32 {
        self.inner_slots()[index].child.get()
    }

    /// Where the child after this one begins, if there is one.
    pub fn key_after(&self, index: usize) -> Option<u64> {
        self.inner_slots().get(index + 1).map(|slot| slot.key.get())
    }

    /// Whether it has no room for another child.
    pub fn is_full(&self) -> bool {
        self.count() == INNER_SLOTS_MAX
    }

    /// Adds a child that begins at `key`.
    pub fn insert_child(&mut self, key: u64, child: u32) {
        assert!(!self.is_full(), "the caller made sure that there is room");
        let index = self.inner_slots().partition_point(|slot| slot.key.get() < key);
        let slot = InnerSlot { key: key.into(), child: child.into() };
        self.open_slot(index, INNER_SLOT_BYTES).copy_from_slice(slot.as_bytes());
    }

    pub fn remove_child(&mut self, index: usize) {
        self.close_slot(index, INNER_SLOT_BYTES);
    }

    /// Moves the upper half of the children to a new page. Returns it and the key at which it begins.
    pub fn split_inner(&mut self) -> (u64, DirPage) {
        let kept = self.count() / 2;
        let mut upper = DirPage::new(self.level());
        let slots =
            &self.0[HEADER_BYTES + kept * INNER_SLOT_BYTES..HEADER_BYTES + self.count() * INNER_SLOT_BYTES];
        upper.0[HEADER_BYTES..HEADER_BYTES + slots.len()].copy_from_slice(slots);
        upper.set_count(self.count() - kept);
        self.set_count(kept);
        (upper.inner_slots()[0].key.get(), upper)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(key: u64, name: &[u8]) -> Entry<'_> {
        Entry { key, ino: key + 1, kind: 8, name }
    }

    /// When this fails, bump the version.
    #[test]
    fn golden_bytes_of_a_leaf() {
        let mut leaf = DirPage::new(0);
        leaf.insert(Entry { key: 0x0400, ino: 5, kind: 4, name: b"sub" });
        leaf.insert(Entry { key: 0x0300, ino: 6, kind: 8, name: b"a" });
        let mut expected = [0_u8; PAGE_BYTES];
        expected[..8].copy_from_slice(&[0xf1, 0xd1, 1, 0, 2, 0, 0xfc, 0x0f]);
        expected[16..36].copy_from_slice(&[0, 3, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0xfc, 0x0f, 1, 8]);
        expected[36..56].copy_from_slice(&[0, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0xfd, 0x0f, 3, 4]);
        expected[4092..].copy_from_slice(b"asub");
        assert!(leaf.bytes() == &expected);
        assert!(DirPage::decode(Box::new(expected)).is_ok());
    }

    /// When this fails, bump the version.
    #[test]
    fn golden_bytes_of_an_inner_page() {
        let mut inner = DirPage::new(1);
        inner.insert_child(0x0200, 7);
        inner.insert_child(0, 3);
        let mut expected = [0_u8; PAGE_BYTES];
        expected[..8].copy_from_slice(&[0xf1, 0xd1, 1, 1, 2, 0, 0, 0x10]);
        expected[24] = 3;
        expected[29] = 2;
        expected[36] = 7;
        assert!(inner.bytes() == &expected);
        assert!(DirPage::decode(Box::new(expected)).is_ok());
    }

    #[test]
    fn a_leaf_reuses_the_room_of_removed_names() {
        let mut leaf = DirPage::new(0);
        let name = [b'x'; 255];
        let mut key = KEY_MIN;
        while leaf.takes(name.len()) {
            leaf.insert(entry(key, &name));
            key += 1;
        }
        let full = leaf.count();
        for _ in 0..100 {
            leaf.remove(full / 2);
            assert!(leaf.takes(name.len()));
            leaf.insert(entry(key, &name));
            key += 1;
            assert_eq!(leaf.count(), full);
            assert!(DirPage::decode(Box::new(*leaf.bytes())).is_ok());
        }
    }

    #[test]
    fn a_split_keeps_names_of_one_hash_together_where_it_can() {
        let mut leaf = DirPage::new(0);
        for n in 0..100 {
            leaf.insert(entry(((n / 40 + 1) << 8) | (n % 40), b"name"));
        }
        let (begin, upper) = leaf.split_leaf();
        assert_eq!(leaf.count() + upper.count(), 100);
        assert!(leaf.entries().all(|entry| entry.key < begin));
        assert!(upper.entries().all(|entry| entry.key >= begin));
    }

    #[test]
    fn a_split_of_an_inner_page_keeps_every_child() {
        let mut inner = DirPage::new(1);
        for n in 0_u32.. {
            if inner.is_full() {
                break;
            }
            inner.insert_child(u64::from(n) * 10, n + 1);
        }
        let all = inner.count();
        let (begin, upper) = inner.split_inner();
        assert_eq!(inner.count() + upper.count(), all);
        assert_eq!(upper.child(upper.child_index(begin)), upper.child(0));
        assert_eq!(u64::from(upper.child(0)), begin / 10 + 1);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(
            level in 0..3_u8,
            count in 0..40_u8,
            heap in 0..4200_u16,
            slots in prop::collection::vec(prop_oneof![Just(0_u8), 0..16_u8, any::<u8>()], 800),
            key in any::<u64>(),
        ) {
            let mut bytes = Box::new([0; PAGE_BYTES]);
            bytes[..6].copy_from_slice(&[0xf1, 0xd1, 1, level, count, 0]);
            bytes[6..8].copy_from_slice(&heap.to_le_bytes());
            bytes[16..816].copy_from_slice(&slots);
            if let Ok(mut page) = DirPage::decode(bytes) {
                if page.level() == 0 {
                    let names: usize = page.entries().map(|entry| entry.name.len()).sum();
                    prop_assert!(names <= PAGE_BYTES);
                    let at = page.position(key);
                    if page.takes(1) && (KEY_MIN..=KEY_MAX).contains(&key) && page.entries().all(|e| e.key != key) {
                        page.insert(entry(key, b"n"));
                        prop_assert_eq!(page.entry(at).name, b"n");
                    }
                    while page.count() > 0 {
                        page.remove(0);
                    }
                } else {
                    prop_assert!(page.child(page.child_index(key)) != 0);
                }
            }
        }

        #[test]
        fn a_leaf_holds_what_was_put_in(names in prop::collection::btree_map(KEY_MIN..KEY_MAX, "[a-z]{1,40}", 1..60)) {
            let mut leaf = DirPage::new(0);
            for (&key, name) in names.iter().rev() {
                leaf.insert(entry(key, name.as_bytes()));
            }
            let leaf = DirPage::decode(Box::new(*leaf.bytes())).expect("well-formed");
            let held: Vec<_> = leaf.entries().map(|entry| (entry.key, entry.name.to_vec())).collect();
            let wanted: Vec<_> = names.into_iter().map(|(key, name)| (key, name.into_bytes())).collect();
            prop_assert_eq!(held, wanted);
        }
    }
}
