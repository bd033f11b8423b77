//! What POSIX ACLs and modes mean for each other. Who may do what is the kernel's business.

use crate::format::acl::{Acl, Tag};
use crate::format::xattr::Xattrs;

use super::{Error, Ino, Result};

/// An ACL among the extended attributes of an inode.
pub(super) fn stored(ino: Ino, xattrs: &Xattrs, name: &[u8]) -> Result<Option<Acl>> {
    let Some(bytes) = xattrs.get(name) else { return Ok(None) };
    Acl::decode(bytes).map_err(|error| Error::Corrupt { ino: ino.0, detail: error.0 })
}

fn has_mask(acl: &Acl) -> bool {
    acl.entries().iter().any(|entry| entry.tag == Tag::Mask)
}

/// The permission bits of a mode that an entry stands for, as a shift; the group's bits are the mask
/// where there is one.
fn shift(tag: Tag, has_mask: bool) -> Option<u32> {
    match tag {
        Tag::UserObj => Some(6),
        Tag::Mask => Some(3),
        Tag::GroupObj if !has_mask => Some(3),
        Tag::Other => Some(0),
        Tag::GroupObj | Tag::User(_) | Tag::Group(_) => None,
    }
}

/// The permission bits that an ACL gives a mode.
pub(super) fn permissions(acl: &Acl) -> u16 {
    let has_mask = has_mask(acl);
    acl.entries()
        .iter()
        .fold(0, |mode, entry| mode | shift(entry.tag, has_mask).map_or(0, |shift| entry.perm << shift))
}

/// The permission bits that say all that the ACL says, if there are such.
pub(super) fn as_mode(acl: &Acl) -> Option<u16> {
    let minimal =
        acl.entries().iter().all(|entry| matches!(entry.tag, Tag::UserObj | Tag::GroupObj | Tag::Other));
    minimal.then(|| permissions(acl))
}

/// Makes an access ACL follow a chmod.
pub(super) fn chmod(acl: &mut Acl, mode: u16) {
    let has_mask = has_mask(acl);
    for entry in acl.entries_mut() {
        if let Some(shift) = shift(entry.tag, has_mask) {
            entry.perm = mode >> shift & 7;
        }
    }
}

/// Makes a parent's default ACL into the access ACL of a new node that was asked for with `mode`: neither
/// gives more than the other. Returns the mode that results.
pub(super) fn inherit(acl: &mut Acl, mode: u16) -> u16 {
    let has_mask = has_mask(acl);
    for entry in acl.entries_mut() {
        if let Some(shift) = shift(entry.tag, has_mask) {
            entry.perm &= mode >> shift & 7;
        }
    }
    mode & !0o777 | permissions(acl)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Acl {
        let mut bytes = vec![2, 0, 0, 0];
        for (tag, perm, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(perm.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        Acl::decode(&bytes).expect("valid").expect("not empty")
    }

    #[test]
    fn chmod_sets_the_mask_and_not_the_group() {
        let mut list = acl(&[(1, 7, 0), (2, 7, 5), (4, 5, 0), (16, 7, 0), (32, 0, 0)]);
        chmod(&mut list, 0o640);
        assert_eq!(list, acl(&[(1, 6, 0), (2, 7, 5), (4, 5, 0), (16, 4, 0), (32, 0, 0)]));
        assert_eq!(permissions(&list), 0o640);
        assert_eq!(as_mode(&list), None);
    }

    #[test]
    fn a_minimal_acl_is_a_mode() {
        assert_eq!(as_mode(&acl(&[(1, 7, 0), (4, 5, 0), (32, 1, 0)])), Some(0o751));
    }

    #[test]
    fn an_inherited_acl_and_the_mode_limit_each_other() {
        let mut list = acl(&[(1, 7, 0), (4, 7, 0), (8, 7, 9), (16, 5, 0), (32, 4, 0)]);
        assert_eq!(inherit(&mut list, 0o2666), 0o2644);
        assert_eq!(list, acl(&[(1, 6, 0), (4, 7, 0), (8, 7, 9), (16, 4, 0), (32, 4, 0)]));
    }
}
