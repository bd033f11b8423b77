//! Extended attributes, and the ACLs among them.

use crate::base::limits::{PAGE_BYTES, XATTR_BLOB_BYTES_MAX, XATTR_NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX};
use crate::base::{PageNo, Space};
use crate::format::acl::Acl;
use crate::format::inode::{HAS_ACCESS_ACL, HAS_CAPABILITY, HAS_DEFAULT_ACL, Inode, S_IFLNK, S_IFMT};
use crate::format::xattr::Xattrs;
use crate::volume::{self, Hint};

use super::change::Change;
use super::node::Node;
use super::{Caller, Error, Fs, Ino, LAST_PAGE, Result, SetXattr, acl};

pub(super) const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
pub(super) const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
pub(super) const CAPABILITY: &[u8] = b"security.capability";

const S_ISGID: u16 = 0o2000;
/// Bytes of names that listxattr(2) can return.
const LIST_BYTES_MAX: usize = 64 << 10;

/// Attributes that the inode record knows of, so that asking for them costs nothing where they are not.
const FLAGGED: [(&[u8], u32); 3] =
    [(ACL_ACCESS, HAS_ACCESS_ACL), (ACL_DEFAULT, HAS_DEFAULT_ACL), (CAPABILITY, HAS_CAPABILITY)];

/// The space of an inode's extended attributes.
pub(super) fn space(ino: Ino) -> Space {
    Space(ino.0 | 1 << 63)
}

/// Whether the record alone says that an attribute is not there.
fn is_absent(inode: &Inode, name: &[u8]) -> bool {
    inode.xattr_bytes == 0 || FLAGGED.iter().any(|&(known, flag)| known == name && inode.flags & flag == 0)
}

impl Fs {
    /// The value of an extended attribute. Costs nothing where the inode has none, nor for ACLs and file
    /// capabilities that it does not have.
    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let node = self.nodes.read(ino)?;
        if is_absent(&node.inode, name) {
            return Err(Error::NoAttribute);
        }
        let xattrs = self.load_xattrs(ino, &node.inode)?;
        xattrs.get(name).map(<[u8]>::to_vec).ok_or(Error::NoAttribute)
    }

    /// Names, each followed by a zero byte.
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<u8>> {
        let node = self.nodes.read(ino)?;
        let mut list = Vec::new();
        for name in self.load_xattrs(ino, &node.inode)?.names() {
            list.extend_from_slice(name);
            list.push(0);
        }
        Ok(list)
    }

    /// Sets an extended attribute; an access ACL sets the mode as well.
    pub fn setxattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: SetXattr,
    ) -> Result<()> {
        if name.is_empty() || name.len() > XATTR_NAME_BYTES_MAX || name.contains(&0) {
            return Err(Error::Range);
        }
        if value.len() > XATTR_VALUE_BYTES_MAX {
            return Err(Error::TooBig);
        }
        let mut node = self.nodes.write(ino)?;
        let mut next = node.inode;
        let mut xattrs = self.load_xattrs(ino, &next)?;
        match (mode, xattrs.get(name).is_some()) {
            (SetXattr::Create, true) => return Err(Error::Exists),
            (SetXattr::Replace, false) => return Err(Error::NoAttribute),
            _ => {}
        }
        if name.starts_with(b"system.") {
            set_acl(caller, &node, &mut next, &mut xattrs, name, value)?;
        } else {
            xattrs.set(name, value.to_vec());
        }
        next.ctime = self.now();
        let mut change = Change::new();
        self.store_xattrs(&mut change, ino, &mut next, &xattrs)?;
        self.commit_inode(change, &mut node, next)
    }

    /// Removes an extended attribute.
    pub fn removexattr(&self, _caller: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        let mut node = self.nodes.write(ino)?;
        let mut next = node.inode;
        let mut xattrs = self.load_xattrs(ino, &next)?;
        if !xattrs.remove(name) {
            // Having no ACL is what removing one asks for.
            return if name == ACL_ACCESS || name == ACL_DEFAULT { Ok(()) } else { Err(Error::NoAttribute) };
        }
        next.ctime = self.now();
        let mut change = Change::freeing();
        self.store_xattrs(&mut change, ino, &mut next, &xattrs)?;
        self.commit_inode(change, &mut node, next)
    }

    pub(super) fn load_xattrs(&self, ino: Ino, inode: &Inode) -> Result<Xattrs> {
        if inode.xattr_bytes == 0 {
            return Ok(Xattrs::default());
        }
        let mut bytes = vec![0; inode.xattr_bytes as usize];
        self.pages.read(space(ino), 0, &mut bytes, Hint::Keep)?;
        Xattrs::decode(&bytes).map_err(|error| Error::Corrupt { ino: ino.0, detail: error.0 })
    }

    /// Writes all attributes of an inode within a change. Whole pages, so that nothing need be read.
    pub(super) fn store_xattrs(
        &self,
        change: &mut Change<'_>,
        ino: Ino,
        next: &mut Inode,
        xattrs: &Xattrs,
    ) -> Result<()> {
        let pages_before = next.xattr_pages();
        let mut bytes = xattrs.encode();
        let names_bytes: usize = xattrs.names().map(|name| name.len() + 1).sum();
        if bytes.len() > XATTR_BLOB_BYTES_MAX || names_bytes > LIST_BYTES_MAX {
            let detail = format!("inode {} has too many extended attributes", ino.0);
            return Err(volume::Error::NoSpace { detail }.into());
        }
        next.xattr_bytes = u32::try_from(bytes.len()).expect("bounded above");
        for (name, flag) in FLAGGED {
            next.flags = if xattrs.get(name).is_some() { next.flags | flag } else { next.flags & !flag };
        }
        let pages = next.xattr_pages();
        if !bytes.is_empty() {
            bytes.resize(bytes.len().next_multiple_of(PAGE_BYTES), 0);
            change.operation.write(space(ino), 0, bytes);
        }
        if pages < pages_before {
            change.operation.remove(space(ino), PageNo(pages), LAST_PAGE);
        }
        change.pages += pages.cast_signed() - pages_before.cast_signed();
        Ok(())
    }
}

/// Sets an ACL; one that says no more than a mode becomes just that.
fn set_acl(
    caller: &Caller,
    node: &Node,
    next: &mut Inode,
    xattrs: &mut Xattrs,
    name: &[u8],
    value: &[u8],
) -> Result<()> {
    if name != ACL_ACCESS && name != ACL_DEFAULT || next.mode & S_IFMT == S_IFLNK {
        return Err(Error::NotSupported);
    }
    let list = Acl::decode(value).map_err(|_| Error::Invalid)?;
    if name == ACL_DEFAULT {
        if !node.is_dir() {
            return if list.is_some() { Err(Error::AccessDenied) } else { Ok(()) };
        }
        replace(xattrs, ACL_DEFAULT, list.as_ref());
        return Ok(());
    }
    let Some(list) = list else {
        xattrs.remove(ACL_ACCESS);
        return Ok(());
    };
    next.mode = next.mode & !0o777 | acl::permissions(&list);
    // Only members of the group may leave the bit. Other groups of the caller are not known here.
    if caller.uid != 0 && caller.gid != next.gid {
        next.mode &= !S_ISGID;
    }
    replace(xattrs, ACL_ACCESS, Some(&list).filter(|list| acl::as_mode(list).is_none()));
    Ok(())
}

fn replace(xattrs: &mut Xattrs, name: &[u8], list: Option<&Acl>) {
    match list {
        Some(list) => xattrs.set(name, list.encode()),
        None => {
            xattrs.remove(name);
        }
    }
}
