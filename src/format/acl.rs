//! POSIX ACLs as the kernel passes them in extended attributes: a version and one record for each entry.
//!
//! ```text
//!   0  version u32 (2)      4 + 8·i  tag u16, perm u16, id u32
//! ```

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Malformed;

const VERSION: u32 = 2;
/// The id of entries that name nobody.
const NOBODY: u32 = u32::MAX;

/// Whom an entry is about; in the order in which entries come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tag {
    UserObj,
    User(u32),
    GroupObj,
    Group(u32),
    Mask,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AclEntry {
    pub tag: Tag,
    /// `rwx`, 0 to 7.
    pub perm: u16,
}

/// Entries in their order, complete: one each for owner, group and others, and a mask where a user or
/// group is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acl {
    entries: Vec<AclEntry>,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    tag: U16,
    perm: U16,
    id: U32,
}

const ENTRY_BYTES: usize = 8;
const HEADER_BYTES: usize = 4;
const _: () = assert!(size_of::<Entry>() == ENTRY_BYTES);

impl Acl {
    /// Reads an ACL; `None` when it has no entries, which means that there is none.
    ///
    /// # Errors
    /// An unknown version, or entries that make no ACL.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Malformed("ACL too short"));
        };
        if u32::from_le_bytes(*header) != VERSION {
            return Err(Malformed("ACL of an unknown version"));
        }
        if rest.is_empty() {
            return Ok(None);
        }
        let raw = <[Entry]>::ref_from_bytes(rest).map_err(|_| Malformed("ACL of an odd length"))?;
        let mut entries = Vec::with_capacity(raw.len());
        for entry in raw {
            let id = entry.id.get();
            let tag = match entry.tag.get() {
                0x01 => Tag::UserObj,
                0x02 => Tag::User(id),
                0x04 => Tag::GroupObj,
                0x08 => Tag::Group(id),
                0x10 => Tag::Mask,
                0x20 => Tag::Other,
                _ => return Err(Malformed("ACL entry of an unknown kind")),
            };
            if entry.perm.get() > 7 {
                return Err(Malformed("ACL entry with unknown permissions"));
            }
            entries.push(AclEntry { tag, perm: entry.perm.get() });
        }
        let acl = Acl { entries };
        acl.check()?;
        Ok(Some(acl))
    }

    fn check(&self) -> Result<(), Malformed> {
        // Ids may come in any order among their kind.
        let rank = |tag: Tag| match tag {
            Tag::UserObj => 0,
            Tag::User(_) => 1,
            Tag::GroupObj => 2,
            Tag::Group(_) => 3,
            Tag::Mask => 4,
            Tag::Other => 5,
        };
        let count = |wanted: u8| self.entries.iter().filter(|entry| rank(entry.tag) == wanted).count();
        if !self.entries.is_sorted_by_key(|entry| rank(entry.tag)) {
            return Err(Malformed("ACL out of order"));
        }
        if count(0) != 1 || count(2) != 1 || count(5) != 1 || count(4) > 1 {
            return Err(Malformed("ACL with missing or repeated entries"));
        }
        if count(1) + count(3) > 0 && count(4) == 0 {
            return Err(Malformed("ACL without a mask"));
        }
        Ok(())
    }

    /// The bytes of the extended attribute.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + ENTRY_BYTES * self.entries.len());
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        for entry in &self.entries {
            let (tag, id): (u16, u32) = match entry.tag {
                Tag::UserObj => (0x01, NOBODY),
                Tag::User(id) => (0x02, id),
                Tag::GroupObj => (0x04, NOBODY),
                Tag::Group(id) => (0x08, id),
                Tag::Mask => (0x10, NOBODY),
                Tag::Other => (0x20, NOBODY),
            };
            let raw = Entry { tag: tag.into(), perm: entry.perm.into(), id: id.into() };
            bytes.extend_from_slice(raw.as_bytes());
        }
        bytes
    }

    /// The entries, in order.
    pub fn entries(&self) -> &[AclEntry] {
        &self.entries
    }

    /// The entries, to change their permissions.
    pub fn entries_mut(&mut self) -> &mut [AclEntry] {
        &mut self.entries
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// When this fails, the kernel changed its format.
    #[test]
    fn golden_bytes() {
        let bytes = [
            2, 0, 0, 0, // version
            1, 0, 7, 0, 255, 255, 255, 255, // owner
            2, 0, 5, 0, 0xe8, 3, 0, 0, // user 1000
            4, 0, 4, 0, 255, 255, 255, 255, // group
            16, 0, 5, 0, 255, 255, 255, 255, // mask
            32, 0, 0, 0, 255, 255, 255, 255, // others
        ];
        let acl = Acl::decode(&bytes).expect("valid").expect("not empty");
        assert_eq!(acl.entries()[1], AclEntry { tag: Tag::User(1000), perm: 5 });
        assert_eq!(acl.encode(), bytes);
    }

    #[test]
    fn an_acl_that_names_a_user_needs_a_mask() {
        let bytes = [
            2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 1, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255,
            255, 32, 0, 0, 0, 255, 255, 255, 255,
        ];
        assert_eq!(Acl::decode(&bytes), Err(Malformed("ACL without a mask")));
    }

    #[test]
    fn an_acl_without_entries_is_none() {
        assert_eq!(Acl::decode(&[2, 0, 0, 0]), Ok(None));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(tail in prop::collection::vec(prop_oneof![0..=32_u8, any::<u8>()], 0..64)) {
            let mut bytes = vec![2, 0, 0, 0];
            bytes.extend(tail);
            if let Ok(Some(acl)) = Acl::decode(&bytes) {
                prop_assert_eq!(Acl::decode(&acl.encode()), Ok(Some(acl)));
            }
        }
    }
}
