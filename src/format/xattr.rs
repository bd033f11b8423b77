//! All extended attributes of an inode, as one run of bytes in a space of their own.
//!
//! ```text
//!   0  magic u16   2  version u16 (1)   4  count u32
//!   8  entries: name length u8, value length u32, name, value
//! ```

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Malformed;
use crate::base::limits::{XATTR_NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX};

const MAGIC: u16 = 0xa77e;
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 8;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: U16,
    version: U16,
    count: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EntryHead {
    name_bytes: u8,
    value_bytes: U32,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);
const _: () = assert!(size_of::<EntryHead>() == 5);
const _: () = assert!(XATTR_NAME_BYTES_MAX <= u8::MAX as usize);

/// Names and values, in the order in which they were first set.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Xattrs {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Xattrs {
    /// Reads all attributes.
    ///
    /// # Errors
    /// When the bytes are no attributes of a version that is known here.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        const SHORT: Malformed = Malformed("extended attributes cut short");
        let (header, mut rest) = Header::ref_from_prefix(bytes).map_err(|_| SHORT)?;
        if header.magic.get() != MAGIC || header.version.get() != VERSION {
            return Err(Malformed("extended attributes of an unknown version"));
        }
        let mut entries = Vec::new();
        for _ in 0..header.count.get() {
            let (head, tail) = EntryHead::ref_from_prefix(rest).map_err(|_| SHORT)?;
            let (name, tail) = tail.split_at_checked(usize::from(head.name_bytes)).ok_or(SHORT)?;
            let (value, tail) = tail.split_at_checked(head.value_bytes.get() as usize).ok_or(SHORT)?;
            if name.is_empty() || name.contains(&0) || value.len() > XATTR_VALUE_BYTES_MAX {
                return Err(Malformed("extended attribute that cannot be"));
            }
            entries.push((name.to_vec(), value.to_vec()));
            rest = tail;
        }
        if !rest.is_empty() {
            return Err(Malformed("extended attributes with something behind them"));
        }
        Ok(Xattrs { entries })
    }

    /// The bytes; empty when there are no attributes.
    pub fn encode(&self) -> Vec<u8> {
        if self.entries.is_empty() {
            return Vec::new();
        }
        let count = u32::try_from(self.entries.len()).expect("names of a bounded run of bytes");
        let header = Header { magic: MAGIC.into(), version: VERSION.into(), count: count.into() };
        let mut bytes = header.as_bytes().to_vec();
        for (name, value) in &self.entries {
            let head = EntryHead {
                name_bytes: u8::try_from(name.len()).expect("checked by set"),
                value_bytes: u32::try_from(value.len()).expect("checked by set").into(),
            };
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value);
        }
        bytes
    }

    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.entries.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// Sets or replaces a value. The caller has checked the lengths against the limits.
    pub fn set(&mut self, name: &[u8], value: Vec<u8>) {
        debug_assert!((1..=XATTR_NAME_BYTES_MAX).contains(&name.len()));
        debug_assert!(value.len() <= XATTR_VALUE_BYTES_MAX);
        match self.entries.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.entries.push((name.to_vec(), value)),
        }
    }

    /// Removes an attribute; says whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(known, _)| known != name);
        self.entries.len() < before
    }

    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|(name, _)| name.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// When this fails, bump the version.
    #[test]
    fn golden_bytes() {
        let mut xattrs = Xattrs::default();
        xattrs.set(b"user.a", b"xyz".to_vec());
        xattrs.set(b"user.b", Vec::new());
        let expected = b"\x7e\xa7\x01\0\x02\0\0\0\x06\x03\0\0\0user.axyz\x06\0\0\0\0user.b";
        assert_eq!(xattrs.encode(), expected);
        assert_eq!(Xattrs::decode(expected), Ok(xattrs));
    }

    #[test]
    fn no_attributes_are_no_bytes() {
        let mut xattrs = Xattrs::default();
        xattrs.set(b"user.a", b"1".to_vec());
        assert!(xattrs.remove(b"user.a") && !xattrs.remove(b"user.a"));
        assert!(xattrs.encode().is_empty());
    }

    #[test]
    fn every_truncation_is_noticed() {
        let mut xattrs = Xattrs::default();
        xattrs.set(b"user.a", b"xyz".to_vec());
        let bytes = xattrs.encode();
        for length in 0..bytes.len() {
            assert!(Xattrs::decode(&bytes[..length]).is_err());
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(tail in prop::collection::vec(prop_oneof![0..=4_u8, any::<u8>()], 0..64)) {
            let mut bytes = vec![0x7e, 0xa7, 1, 0];
            bytes.extend(tail);
            if let Ok(xattrs) = Xattrs::decode(&bytes) {
                prop_assert!(xattrs.names().count() <= bytes.len());
            }
        }
    }
}
