//! Reading the batches of a heap file: from its footer, else from the headers themselves.

use super::{Error, HeapFile};
use crate::base::SlotNo;
use crate::base::limits::PAGE_BYTES;
use crate::format::batch::Header;
use crate::format::footer;
use crate::format::manifest::FileEnd;

/// How much is read at once while looking for headers, in slots.
const CHUNK_SLOTS: u32 = 64;

/// A batch and where its header lies.
pub(super) type Located = (SlotNo, Header);

/// The batches of `file` in the order of their slots, as far as `end` allows. Batches behind a damaged
/// header are found as well; the hole shows in the LSNs.
pub(super) fn batches(file: &HeapFile, end: Option<FileEnd>) -> Result<Vec<Located>, Error> {
    let mut batches = match from_footer(file)? {
        Some(batches) => batches,
        None => from_headers(file, end.map_or(file.slots, |end| end.slot.0.min(file.slots)))?,
    };
    if let Some(end) = end {
        batches.retain(|(slot, header)| *slot < end.slot && header.lsn <= end.last_lsn);
    }
    Ok(batches)
}

fn from_footer(file: &HeapFile) -> Result<Option<Vec<Located>>, Error> {
    let io = |error| Error::io(format!("cannot read the footer of heap file {}", file.number), error);
    let size = file.disk.size().map_err(io)?;
    let Some(trailer_at) = size.min(file.bytes()).checked_sub(footer::TRAILER_BYTES as u64) else {
        return Ok(None);
    };
    let mut trailer = [0; footer::TRAILER_BYTES];
    file.disk.read_exact_at(&mut trailer, trailer_at).map_err(io)?;
    let Some(trailer) = footer::decode_trailer(&trailer, file.number, file.nonce) else { return Ok(None) };
    if trailer.body_at.checked_add(trailer.body_len.into()).is_none_or(|end| end > trailer_at) {
        return Ok(None);
    }
    let mut body = vec![0; trailer.body_len as usize];
    file.disk.read_exact_at(&mut body, trailer.body_at).map_err(io)?;
    let batches = footer::decode_body(&trailer, &body, file.number, file.nonce);
    Ok(batches.filter(|batches| batches.iter().all(|(slot, header)| fits(file, *slot, header))))
}

fn from_headers(file: &HeapFile, end: u32) -> Result<Vec<Located>, Error> {
    let mut batches = Vec::new();
    let mut chunk = Chunk::default();
    let mut slot = 0;
    while slot < end {
        let header = Header::decode(chunk.page(file, slot)?, file.number, file.nonce)
            .filter(|header| fits(file, SlotNo(slot), header));
        slot += match header {
            Some(header) => {
                let pages = u32::try_from(header.entries.len()).expect("at most 100");
                batches.push((SlotNo(slot), header));
                1 + pages
            }
            // Beyond a torn or damaged header only a look at every page finds the next.
            None => 1,
        };
    }
    Ok(batches)
}

fn fits(file: &HeapFile, slot: SlotNo, header: &Header) -> bool {
    let pages = u32::try_from(header.entries.len()).expect("at most 100");
    slot.0.checked_add(1 + pages).is_some_and(|end| end <= file.slots)
}

#[derive(Default)]
struct Chunk {
    first: u32,
    bytes: Vec<u8>,
}

impl Chunk {
    fn page(&mut self, file: &HeapFile, slot: u32) -> Result<&[u8], Error> {
        let held = u32::try_from(self.bytes.len() / PAGE_BYTES).expect("a chunk is small");
        if slot < self.first || slot >= self.first + held {
            let slots = CHUNK_SLOTS.min(file.slots - slot);
            self.first = slot;
            self.bytes.resize(slots as usize * PAGE_BYTES, 0);
            let at = u64::from(slot) * PAGE_BYTES as u64;
            if file.disk.read_exact_at(&mut self.bytes, at).is_err() {
                // It may be a bad sector in a page that nobody asked for.
                self.bytes.resize(PAGE_BYTES, 0);
                file.disk
                    .read_exact_at(&mut self.bytes, at)
                    .map_err(|error| Error::io(format!("cannot read heap file {}", file.number), error))?;
            }
        }
        let at = (slot - self.first) as usize * PAGE_BYTES;
        Ok(&self.bytes[at..at + PAGE_BYTES])
    }
}
