//! Holds a mounted volume against the pages that it should have.

use firnfs::base::limits::PAGE_BYTES;
use firnfs::base::{PageNo, Space};
use firnfs::volume::{Hint, Pages};

use super::state::{EPOCH_SPACE, State};

/// Spaces that random operations use, [`EPOCH_SPACE`] aside.
pub(crate) const SPACES: u64 = 6;

/// Reads bytes of a volume.
pub(crate) fn read(pages: &dyn Pages, space: Space, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xEE; length];
    pages
        .read(space, offset, &mut bytes, Hint::Once)
        .unwrap_or_else(|error| panic!("reading {length} bytes at {offset} of space {space}: {error}"));
    bytes
}

/// The number of the last operation that a volume has.
pub(crate) fn epoch(pages: &dyn Pages) -> u64 {
    u64::from_le_bytes(read(pages, EPOCH_SPACE, 0, 8).try_into().expect("eight bytes"))
}

/// Compares a range of bytes.
pub(crate) fn assert_bytes(
    what: &str,
    pages: &dyn Pages,
    state: &State,
    space: Space,
    offset: u64,
    length: usize,
) {
    let (found, expected) = (read(pages, space, offset, length), state.read(space, offset, length));
    if let Some(at) = (0..length).find(|&at| found[at] != expected[at]) {
        let place = offset + at as u64;
        panic!(
            "{what} (instant {}): byte {place} of space {space} (page {}) is {:#04x}, not {:#04x}; its page begins {:x?}",
            state.epoch(),
            place / PAGE_BYTES as u64,
            found[at],
            expected[at],
            &read(pages, space, place - place % PAGE_BYTES as u64, 16),
        );
    }
}

/// Compares which pages of a space are there, from `from` on.
pub(crate) fn assert_presence(what: &str, pages: &dyn Pages, state: &State, space: Space) {
    let expected = state.present(space);
    let mut found = Vec::new();
    let mut next = PageNo(0);
    while let Some(page) = pages.next_present(space, next) {
        assert!(page >= next, "{what}: next_present of space {space} goes back from {next} to {page}");
        found.push(page.0);
        assert!(found.len() <= expected.len() + 1, "{what}: too many pages in space {space}: {found:?}");
        next = PageNo(page.0 + 1);
    }
    assert_eq!(found, expected, "{what} (instant {}): present pages of space {space}", state.epoch());
    let count = pages.count(space, PageNo(0), PageNo(u64::MAX));
    assert_eq!(count, expected.len() as u64, "{what}: count of space {space}");
    for pair in expected.windows(2).filter(|pair| pair[1] - pair[0] > 1) {
        let absent = pages.next_absent(space, PageNo(pair[0]));
        assert_eq!(absent, PageNo(pair[0] + 1), "{what}: first absent page of space {space}");
    }
}

/// Compares everything.
pub(crate) fn assert_same(what: &str, pages: &dyn Pages, state: &State) {
    let mut spaces: Vec<Space> = (0..SPACES).map(Space).chain([EPOCH_SPACE]).collect();
    spaces.extend(state.spaces());
    spaces.sort_unstable();
    spaces.dedup();
    for space in spaces {
        assert_presence(what, pages, state, space);
        for page in state.present(space) {
            let offset = page * PAGE_BYTES as u64;
            assert_bytes(what, pages, state, space, offset, PAGE_BYTES);
        }
    }
}
