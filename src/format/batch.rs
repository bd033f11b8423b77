//! A batch header: the page that precedes the pages of a batch in a heap file.
//!
//! ```text
//!   0        8     10    12      14      16     24     32     40           48           56   60   64
//!   ┌────────┬─────┬─────┬───────┬───────┬──────┬──────┬──────┬────────────┬────────────┬────┬────┬─────────…
//!   │ magic  │ ver │flags│entries│ranges │ file │nonce │ LSN  │ group_first│ durable_lsn│ crc│  0 │ records
//!   └────────┴─────┴─────┴───────┴───────┴──────┴──────┴──────┴────────────┴────────────┴────┴────┴─────────…
//!   entry (40 bytes): layer, space, page, seq: u64; crc32c of the page: u32; 0: u32
//!   range (40 bytes): layer, space, from, to, seq: u64
//! ```
//!
//! The entries come first, the ranges behind them; the page of entry *i* lies in the slot *i* + 1
//! behind the header. The crc covers everything but itself. The file number and its nonce tell a
//! batch of this file from one of its former life and from user data that imitates a header.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::base::limits::PAGE_BYTES;
use crate::base::{FileNo, LayerId, Lsn, PageNo, Seq, Space};

const MAGIC: [u8; 8] = *b"firnbtch";
/// Version of this layout.
pub const VERSION: u16 = 1;
/// The last batch of its group.
const FLAG_COMMIT: u16 = 1;

/// Entries and ranges that one batch holds at most, together.
pub const RECORDS_MAX: usize = (PAGE_BYTES - size_of::<RawHeader>()) / RECORD_BYTES;
const RECORD_BYTES: usize = 40;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U16,
    flags: U16,
    entries: U16,
    ranges: U16,
    file: U64,
    nonce: U64,
    lsn: U64,
    group_first: U64,
    durable_lsn: U64,
    crc: U32,
    reserved: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    layer: U64,
    space: U64,
    page: U64,
    seq: U64,
    crc: U32,
    reserved: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRange {
    layer: U64,
    space: U64,
    from: U64,
    to: U64,
    seq: U64,
}

const _: () = assert!(size_of::<RawHeader>() == 64);
const _: () = assert!(size_of::<RawEntry>() == RECORD_BYTES);
const _: () = assert!(size_of::<RawRange>() == RECORD_BYTES);
const _: () = assert!(RECORDS_MAX == 100);
const CRC_AT: usize = std::mem::offset_of!(RawHeader, crc);

/// A page of the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub layer: LayerId,
    pub space: Space,
    pub page: PageNo,
    /// Of the mutation that the page's content came from.
    pub seq: Seq,
    /// crc32c of the page.
    pub crc: u32,
}

/// Pages that became absent: `from` included, `to` excluded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    pub layer: LayerId,
    pub space: Space,
    pub from: PageNo,
    pub to: PageNo,
    pub seq: Seq,
}

/// A decoded batch header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    pub file: FileNo,
    pub nonce: u64,
    pub lsn: Lsn,
    /// The first LSN of the group that takes effect as a whole.
    pub group_first: Lsn,
    /// Whether the group ends here.
    pub commit: bool,
    /// Everything up to here was on stable storage when this was written.
    pub durable_lsn: Lsn,
    pub entries: Vec<Entry>,
    pub ranges: Vec<Range>,
}

impl Header {
    /// Bytes of the page that carry meaning.
    pub fn encoded_len(&self) -> usize {
        size_of::<RawHeader>() + (self.entries.len() + self.ranges.len()) * RECORD_BYTES
    }

    /// Writes the header into the front of `out`; what follows is left alone.
    ///
    /// # Panics
    /// With more than [`RECORDS_MAX`] records, or an `out` shorter than [`Header::encoded_len`].
    pub fn encode(&self, out: &mut [u8]) {
        assert!(self.entries.len() + self.ranges.len() <= RECORDS_MAX, "a batch holds 100 records");
        let out = &mut out[..self.encoded_len()];
        let count = |n: usize| U16::new(u16::try_from(n).expect("at most 100"));
        let raw = RawHeader {
            magic: MAGIC,
            version: U16::new(VERSION),
            flags: U16::new(if self.commit { FLAG_COMMIT } else { 0 }),
            entries: count(self.entries.len()),
            ranges: count(self.ranges.len()),
            file: U64::new(self.file.0),
            nonce: U64::new(self.nonce),
            lsn: U64::new(self.lsn.0),
            group_first: U64::new(self.group_first.0),
            durable_lsn: U64::new(self.durable_lsn.0),
            crc: U32::new(0),
            reserved: U32::new(0),
        };
        out[..size_of::<RawHeader>()].copy_from_slice(raw.as_bytes());
        let mut records = out[size_of::<RawHeader>()..].chunks_exact_mut(RECORD_BYTES);
        for entry in &self.entries {
            let raw = RawEntry {
                layer: U64::new(entry.layer.0),
                space: U64::new(entry.space.0),
                page: U64::new(entry.page.0),
                seq: U64::new(entry.seq.0),
                crc: U32::new(entry.crc),
                reserved: U32::new(0),
            };
            records.next().expect("one place a record").copy_from_slice(raw.as_bytes());
        }
        for range in &self.ranges {
            let raw = RawRange {
                layer: U64::new(range.layer.0),
                space: U64::new(range.space.0),
                from: U64::new(range.from.0),
                to: U64::new(range.to.0),
                seq: U64::new(range.seq.0),
            };
            records.next().expect("one place a record").copy_from_slice(raw.as_bytes());
        }
        let crc = header_crc(out);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Decodes a header from the front of `bytes`.
    ///
    /// `None` when the bytes are no whole header of this version, or belong to another file or to
    /// another life of it.
    pub fn decode(bytes: &[u8], file: FileNo, nonce: u64) -> Option<Header> {
        let (raw, rest) = RawHeader::ref_from_prefix(bytes).ok()?;
        if raw.magic != MAGIC
            || raw.version.get() != VERSION
            || raw.file.get() != file.0
            || raw.nonce.get() != nonce
        {
            return None;
        }
        let entries = usize::from(raw.entries.get());
        let ranges = usize::from(raw.ranges.get());
        let records = rest.get(..(entries + ranges) * RECORD_BYTES)?;
        if entries + ranges > RECORDS_MAX
            || header_crc(&bytes[..size_of::<RawHeader>() + records.len()]) != raw.crc.get()
        {
            return None;
        }
        let (entries, ranges) = records.split_at(entries * RECORD_BYTES);
        Some(Header {
            file,
            nonce,
            lsn: Lsn(raw.lsn.get()),
            group_first: Lsn(raw.group_first.get()),
            commit: raw.flags.get() & FLAG_COMMIT != 0,
            durable_lsn: Lsn(raw.durable_lsn.get()),
            entries: entries.chunks_exact(RECORD_BYTES).map(decode_entry).collect::<Option<_>>()?,
            ranges: ranges.chunks_exact(RECORD_BYTES).map(decode_range).collect::<Option<_>>()?,
        })
    }
}

fn decode_entry(bytes: &[u8]) -> Option<Entry> {
    let raw = RawEntry::ref_from_bytes(bytes).ok()?;
    Some(Entry {
        layer: LayerId(raw.layer.get()),
        space: Space(raw.space.get()),
        page: PageNo(raw.page.get()),
        seq: Seq(raw.seq.get()),
        crc: raw.crc.get(),
    })
}

fn decode_range(bytes: &[u8]) -> Option<Range> {
    let raw = RawRange::ref_from_bytes(bytes).ok()?;
    Some(Range {
        layer: LayerId(raw.layer.get()),
        space: Space(raw.space.get()),
        from: PageNo(raw.from.get()),
        to: PageNo(raw.to.get()),
        seq: Seq(raw.seq.get()),
    })
}

fn header_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), &bytes[CRC_AT + 4..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Header {
        Header {
            file: FileNo(7),
            nonce: 0x1122_3344_5566_7788,
            lsn: Lsn(42),
            group_first: Lsn(41),
            commit: true,
            durable_lsn: Lsn(40),
            entries: vec![Entry {
                layer: LayerId(3),
                space: Space(9),
                page: PageNo(5),
                seq: Seq(77),
                crc: 0xdead,
            }],
            ranges: vec![Range {
                layer: LayerId(3),
                space: Space(8),
                from: PageNo(0),
                to: PageNo(u64::MAX),
                seq: Seq(78),
            }],
        }
    }

    #[test]
    fn golden_bytes_of_a_header_stay_the_same_or_the_version_is_bumped() {
        let mut page = [0_u8; PAGE_BYTES];
        sample().encode(&mut page);
        let digest = blake3::hash(&page).to_hex();
        assert_eq!(&digest.as_str()[..16], "b83efd264ecf0b7e");
    }

    #[test]
    fn a_header_of_another_file_or_nonce_is_none() {
        let mut page = [0_u8; PAGE_BYTES];
        sample().encode(&mut page);
        assert_eq!(Header::decode(&page, FileNo(7), 0x1122_3344_5566_7788), Some(sample()));
        assert_eq!(Header::decode(&page, FileNo(8), 0x1122_3344_5566_7788), None);
        assert_eq!(Header::decode(&page, FileNo(7), 1), None);
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let mut page = [0_u8; PAGE_BYTES];
        sample().encode(&mut page);
        for bit in 0..sample().encoded_len() * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&page, FileNo(7), 0x1122_3344_5566_7788), None, "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..4200)) {
            let _ = Header::decode(&bytes, FileNo(0), 0);
        }
    }
}
