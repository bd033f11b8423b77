//! The footer of a sealed heap file: a cache of its batch headers, so that recovery reads them in one
//! piece. The headers stay the authority; a footer that does not check is ignored.
//!
//! ```text
//!   body, anywhere behind the last batch:   { slot: u32, length: u32, header bytes }*
//!   trailer, the last 64 bytes of the file:
//!   0        8      12     16     24     32        40        44        48      52       56   60  64
//!   ┌────────┬──────┬──────┬──────┬──────┬─────────┬─────────┬─────────┬───────┬────────┬────┬───┐
//!   │ magic  │ ver  │  0   │ file │nonce │ body at │ body len│ body crc│batches│ end    │ crc│ 0 │
//!   └────────┴──────┴──────┴──────┴──────┴─────────┴─────────┴─────────┴───────┴────────┴────┴───┘
//! ```

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::batch::Header;
use crate::base::{FileNo, SlotNo};

const MAGIC: [u8; 8] = *b"firnfoot";
const VERSION: u32 = 1;
/// Bytes of the trailer, the last of the file.
pub const TRAILER_BYTES: usize = size_of::<RawTrailer>();
/// Bytes that a batch adds to the body, besides its header's.
pub const BODY_OVERHEAD_BYTES: usize = 8;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawTrailer {
    magic: [u8; 8],
    version: U32,
    reserved: U32,
    file: U64,
    nonce: U64,
    body_at: U64,
    body_len: U32,
    body_crc: U32,
    batches: U32,
    end: U32,
    crc: U32,
    reserved_2: U32,
}

const _: () = assert!(TRAILER_BYTES == 64);
const CRC_AT: usize = std::mem::offset_of!(RawTrailer, crc);

/// Where a footer's body lies, as its trailer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trailer {
    /// Byte offset of the body in the file.
    pub body_at: u64,
    /// In bytes.
    pub body_len: u32,
    body_crc: u32,
    batches: u32,
    /// The first slot behind the last batch.
    pub end: SlotNo,
}

/// Adds a batch to a body. `header` are the meaningful bytes of its header page.
pub fn push_batch(body: &mut Vec<u8>, slot: SlotNo, header: &[u8]) {
    body.extend_from_slice(&slot.0.to_le_bytes());
    body.extend_from_slice(&u32::try_from(header.len()).expect("within a page").to_le_bytes());
    body.extend_from_slice(header);
}

/// The trailer for a body that will lie at `body_at`.
pub fn encode_trailer(
    file: FileNo,
    nonce: u64,
    body_at: u64,
    body: &[u8],
    batches: u32,
    end: SlotNo,
) -> [u8; TRAILER_BYTES] {
    let mut raw = RawTrailer {
        magic: MAGIC,
        version: U32::new(VERSION),
        reserved: U32::new(0),
        file: U64::new(file.0),
        nonce: U64::new(nonce),
        body_at: U64::new(body_at),
        body_len: U32::new(u32::try_from(body.len()).expect("a body is smaller than its file")),
        body_crc: U32::new(crc32c::crc32c(body)),
        batches: U32::new(batches),
        end: U32::new(end.0),
        crc: U32::new(0),
        reserved_2: U32::new(0),
    };
    raw.crc = U32::new(crc32c::crc32c(&raw.as_bytes()[..CRC_AT]));
    raw.as_bytes().try_into().expect("64 bytes")
}

/// Decodes a trailer; `None` when it is none, or of another file or life.
pub fn decode_trailer(bytes: &[u8; TRAILER_BYTES], file: FileNo, nonce: u64) -> Option<Trailer> {
    let raw = RawTrailer::ref_from_bytes(bytes).ok()?;
    (raw.magic == MAGIC
        && raw.version.get() == VERSION
        && raw.file.get() == file.0
        && raw.nonce.get() == nonce
        && raw.crc.get() == crc32c::crc32c(&bytes[..CRC_AT]))
    .then(|| Trailer {
        body_at: raw.body_at.get(),
        body_len: raw.body_len.get(),
        body_crc: raw.body_crc.get(),
        batches: raw.batches.get(),
        end: SlotNo(raw.end.get()),
    })
}

/// Decodes a body; `None` when anything in it does not check.
pub fn decode_body(
    trailer: &Trailer,
    mut body: &[u8],
    file: FileNo,
    nonce: u64,
) -> Option<Vec<(SlotNo, Header)>> {
    if body.len() != usize::try_from(trailer.body_len).ok()? || crc32c::crc32c(body) != trailer.body_crc {
        return None;
    }
    let mut batches = Vec::new();
    while !body.is_empty() {
        let (slot, rest) = body.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (header, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        batches.push((SlotNo(u32::from_le_bytes(*slot)), Header::decode(header, file, nonce)?));
        body = rest;
    }
    (batches.len() == usize::try_from(trailer.batches).ok()?).then_some(batches)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Lsn;

    fn header(lsn: u64) -> Header {
        Header {
            file: FileNo(1),
            nonce: 2,
            lsn: Lsn(lsn),
            group_first: Lsn(lsn),
            commit: true,
            durable_lsn: Lsn(0),
            entries: vec![],
            ranges: vec![],
        }
    }

    fn sample() -> (Vec<u8>, [u8; TRAILER_BYTES]) {
        let mut body = Vec::new();
        for lsn in 1..4 {
            let mut bytes = vec![0; header(lsn).encoded_len()];
            header(lsn).encode(&mut bytes);
            push_batch(&mut body, SlotNo(u32::try_from(lsn).expect("small")), &bytes);
        }
        let trailer = encode_trailer(FileNo(1), 2, 8192, &body, 3, SlotNo(4));
        (body, trailer)
    }

    #[test]
    fn a_footer_gives_back_its_headers() {
        let (body, trailer) = sample();
        let trailer = decode_trailer(&trailer, FileNo(1), 2).expect("whole");
        assert_eq!((trailer.body_at, trailer.end), (8192, SlotNo(4)));
        let batches = decode_body(&trailer, &body, FileNo(1), 2).expect("whole");
        assert_eq!(batches, (1..4).map(|n| (SlotNo(n), header(n.into()))).collect::<Vec<_>>());
    }

    #[test]
    fn every_flipped_bit_of_a_footer_is_noticed() {
        let (mut body, mut trailer) = sample();
        let whole = decode_trailer(&trailer, FileNo(1), 2).expect("whole");
        for bit in 0..CRC_AT * 8 {
            trailer[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_trailer(&trailer, FileNo(1), 2), None, "bit {bit}");
            trailer[bit / 8] ^= 1 << (bit % 8);
        }
        for bit in 0..body.len() * 8 {
            body[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_body(&whole, &body, FileNo(1), 2), None, "bit {bit}");
            body[bit / 8] ^= 1 << (bit % 8);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(trailer in any::<[u8; 64]>(), body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_trailer(&trailer, FileNo(1), 2);
            let lying = Trailer {
                body_at: 0,
                body_len: u32::try_from(body.len()).expect("small"),
                body_crc: crc32c::crc32c(&body),
                batches: 1,
                end: SlotNo(0),
            };
            let _ = decode_body(&lying, &body, FileNo(1), 2);
        }
    }
}
