//! What a volume should hold: a plain map of pages, and the operations since an instant.

use std::collections::BTreeMap;
use std::sync::Arc;

use firnfs::base::limits::PAGE_BYTES;
use firnfs::base::{PageNo, Space};
use firnfs::volume::{Edit, Operation};

/// Where every operation leaves its number, so that a recovered volume says which instant it is.
pub(crate) const EPOCH_SPACE: Space = Space(1 << 40);

type Page = [u8; PAGE_BYTES];
const PAGE: u64 = PAGE_BYTES as u64;

/// The pages of a volume at one instant.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pages: BTreeMap<(u64, u64), Arc<Page>>,
}

impl State {
    pub(crate) fn apply(&mut self, operation: &Operation<'_>) {
        for edit in &operation.edits {
            match edit {
                Edit::Write { space, offset, data } => self.write(*space, *offset, data),
                Edit::Remove { space, from, to } => self.remove(*space, *from, *to),
                Edit::Add { space, offset, delta } => {
                    let old = i64::from_le_bytes(self.word(*space, *offset));
                    self.write(*space, *offset, &old.wrapping_add(*delta).to_le_bytes());
                }
                Edit::Max { space, offset, value } => {
                    let old = u64::from_le_bytes(self.word(*space, *offset));
                    self.write(*space, *offset, &old.max(*value).to_le_bytes());
                }
            }
        }
    }

    fn write(&mut self, space: Space, offset: u64, data: &[u8]) {
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let within = usize::try_from(at % PAGE).unwrap();
            let (part, tail) = rest.split_at(rest.len().min(PAGE_BYTES - within));
            let page = self.pages.entry((space.0, at / PAGE)).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[within..within + part.len()].copy_from_slice(part);
            (at, rest) = (at + part.len() as u64, tail);
        }
    }

    fn remove(&mut self, space: Space, from: PageNo, to: PageNo) {
        // The end of the last space but one is the start of what must stay.
        let range = (space.0, from.0)..(space.0, to.0.max(from.0));
        let gone: Vec<_> = self.pages.range(range).map(|(key, _)| *key).collect();
        for key in gone {
            self.pages.remove(&key);
        }
    }

    fn word(&self, space: Space, offset: u64) -> [u8; 8] {
        self.read(space, offset, 8).try_into().expect("eight bytes")
    }

    /// Bytes; what was never written is zeros.
    pub(crate) fn read(&self, space: Space, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let within = usize::try_from(at % PAGE).unwrap();
            let count = (PAGE_BYTES - within).min(length - done);
            if let Some(page) = self.pages.get(&(space.0, at / PAGE)) {
                bytes[done..done + count].copy_from_slice(&page[within..within + count]);
            }
            done += count;
        }
        bytes
    }

    /// The number of the operation that was applied last, 0 before the first.
    pub(crate) fn epoch(&self) -> u64 {
        u64::from_le_bytes(self.word(EPOCH_SPACE, 0))
    }

    /// The present pages of a space, in order.
    pub(crate) fn present(&self, space: Space) -> Vec<u64> {
        self.pages.range((space.0, 0)..=(space.0, u64::MAX)).map(|((_, page), _)| *page).collect()
    }

    /// All spaces that have a page.
    pub(crate) fn spaces(&self) -> Vec<Space> {
        let mut spaces: Vec<u64> = self.pages.keys().map(|(space, _)| *space).collect();
        spaces.dedup();
        spaces.into_iter().map(Space).collect()
    }
}

/// A writable head: what it is now, and every instant that a crash may take it back to.
#[derive(Clone, Default)]
pub(crate) struct Head {
    /// The earliest instant that it may be taken back to.
    durable: State,
    /// What was applied since, in order.
    since: Vec<Operation<'static>>,
    now: State,
}

impl Head {
    /// A head that begins, durably, at an instant.
    pub(crate) fn at(state: State) -> Self {
        Head { durable: state.clone(), since: Vec::new(), now: state }
    }

    pub(crate) fn now(&self) -> &State {
        &self.now
    }

    pub(crate) fn apply(&mut self, operation: Operation<'static>) {
        self.now.apply(&operation);
        self.since.push(operation);
    }

    /// Everything so far has been acknowledged as durable.
    pub(crate) fn synced(&mut self) {
        self.durable = self.now.clone();
        self.since.clear();
    }

    /// The instant of an epoch, if a crash may take the head there.
    pub(crate) fn instant(&self, epoch: u64) -> Option<State> {
        let mut state = self.durable.clone();
        let mut rest = self.since.iter();
        while state.epoch() != epoch {
            state.apply(rest.next()?);
        }
        Some(state)
    }

    /// The epochs that a crash may take the head to, first and last, for messages.
    pub(crate) fn epochs(&self) -> (u64, u64) {
        (self.durable.epoch(), self.now.epoch())
    }
}
