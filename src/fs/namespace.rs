//! Finding and making names: lookup, mknod, create, symlink, link, readlink.

use crate::base::Space;
use crate::base::limits::{LINKS_MAX, PAGE_BYTES, SYMLINK_BYTES_MAX};
use crate::format::inode::{HAS_DEFAULT_ACL, HEAD_BYTES, INLINE_BYTES, Inode, S_IFLNK, S_IFMT, record_at};
use crate::format::xattr::Xattrs;
use crate::volume::Hint;

use super::change::{Change, TABLE};
use super::directory::{Directory, Found};
use super::node::{Locked, Node};
use super::{Attr, Caller, Error, Fs, Ino, Kind, NewNode, Result, acl, names, xattr};

const S_ISGID: u16 = 0o2000;
/// How often a lookup follows a name whose inode goes away at that moment.
const LOOKUP_TRIES: usize = 16;

impl Fs {
    /// The attributes of what a name leads to.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::NotDirectory`] when `parent` is none.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        for _ in 0..LOOKUP_TRIES {
            let found = self.find(parent, name)?;
            match self.getattr(found.ino) {
                // Removed, or replaced, since it was found.
                Err(Error::Stale) => {}
                other => return other,
            }
        }
        Err(Error::Stale)
    }

    /// What a name leads to at this moment.
    pub(super) fn find(&self, parent: Ino, name: &[u8]) -> Result<Found> {
        names::check(name)?;
        let node = self.nodes.read(parent)?;
        node.need_dir()?;
        if node.inode.pages == 0 {
            return Err(Error::NotFound);
        }
        let hash = self.hash.of(name);
        Directory::new(&*self.pages, parent, &node.inode).find(hash, name)?.ok_or(Error::NotFound)
    }

    /// The target of a symlink.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let node = self.nodes.read(ino)?;
        if node.inode.mode & S_IFMT != S_IFLNK {
            return Err(Error::Invalid);
        }
        let mut target = vec![0; usize::try_from(node.inode.size).expect("checked when decoded")];
        if target.len() <= INLINE_BYTES {
            self.pages.read(TABLE, record_at(ino.0) + HEAD_BYTES as u64, &mut target, Hint::Keep)?;
        } else {
            self.pages.read(Space(ino.0), 0, &mut target, Hint::Keep)?;
        }
        Ok(target)
    }

    /// Makes a file, directory, fifo, socket or device.
    pub fn mknod(&self, caller: &Caller, parent: Ino, name: &[u8], node: &NewNode) -> Result<Attr> {
        if node.kind == Kind::Symlink {
            return Err(Error::Invalid);
        }
        self.make(caller, parent, name, node, &[], 0)
    }

    /// `mknod` of a regular file and `open_file` in one atomic step.
    pub fn create(&self, caller: &Caller, parent: Ino, name: &[u8], node: &NewNode) -> Result<Attr> {
        if node.kind != Kind::File {
            return Err(Error::Invalid);
        }
        self.make(caller, parent, name, node, &[], 1)
    }

    /// Makes a symlink.
    pub fn symlink(&self, caller: &Caller, parent: Ino, name: &[u8], target: &[u8]) -> Result<Attr> {
        match target.len() {
            0 => return Err(Error::NotFound),
            length if length > SYMLINK_BYTES_MAX => return Err(Error::NameTooLong),
            _ => {}
        }
        let node = NewNode { kind: Kind::Symlink, mode: 0o777, umask: 0, rdev: 0 };
        self.make(caller, parent, name, &node, target, 0)
    }

    fn make(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        node: &NewNode,
        target: &[u8],
        opens: u32,
    ) -> Result<Attr> {
        names::check(name)?;
        let hash = self.hash.of(name);
        let mut parent_node = self.nodes.write(parent)?;
        parent_node.need_dir()?;
        let mut parent_next = parent_node.inode;
        if parent_next.nlink == 0 {
            return Err(Error::NotFound);
        }
        let mut dir = Directory::new(&*self.pages, parent, &parent_next);
        let ino = self.counters.allocate();
        dir.insert(hash, name, ino, node.kind.entry_kind())?;

        let now = self.now();
        let mut inode = newborn(caller, parent, &parent_next, node, now);
        let xattrs = self.inherit(parent, &parent_next, node, &mut inode)?;
        parent_next.mtime = now;
        parent_next.ctime = now;
        if node.kind == Kind::Directory {
            if parent_next.nlink >= LINKS_MAX {
                return Err(Error::TooManyLinks);
            }
            parent_next.nlink += 1;
        }

        let mut change = Change::new();
        change.pages += dir.finish(&mut change.operation, &mut parent_next);
        change.inode(parent, &parent_next);
        let inline = put_target(&mut change, ino, &mut inode, target);
        self.store_xattrs(&mut change, ino, &mut inode, &xattrs)?;
        change.new_inode(ino, &inode, inline);
        self.commit(change)?;
        parent_node.inode = parent_next;
        self.nodes.add(Node::new(ino, inode, opens));
        Ok(Attr::new(ino, &inode))
    }

    /// Gives a new inode the ACLs that its parent has for it, or else applies the umask.
    fn inherit(
        &self,
        parent: Ino,
        parent_inode: &Inode,
        node: &NewNode,
        inode: &mut Inode,
    ) -> Result<Xattrs> {
        let mut xattrs = Xattrs::default();
        if node.kind == Kind::Symlink {
            return Ok(xattrs);
        }
        let default = if parent_inode.flags & HAS_DEFAULT_ACL == 0 {
            None
        } else {
            acl::stored(parent, &self.load_xattrs(parent, parent_inode)?, xattr::ACL_DEFAULT)?
        };
        let Some(default) = default else {
            inode.mode &= !(node.umask & 0o777);
            return Ok(xattrs);
        };
        if node.kind == Kind::Directory {
            xattrs.set(xattr::ACL_DEFAULT, default.encode());
        }
        let mut access = default;
        inode.mode = acl::inherit(&mut access, inode.mode);
        if acl::as_mode(&access).is_none() {
            xattrs.set(xattr::ACL_ACCESS, access.encode());
        }
        Ok(xattrs)
    }

    /// Gives a node that is no directory another name.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that has no name any more.
    pub fn link(&self, _caller: &Caller, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        names::check(name)?;
        let hash = self.hash.of(name);
        let mut locked = Locked::new(&self.nodes, &[parent, ino])?;
        locked.get(parent).need_dir()?;
        let node = locked.get(ino);
        if node.is_dir() {
            return Err(Error::NotPermitted);
        }
        let mut next = node.inode;
        let mut parent_next = locked.get(parent).inode;
        if next.nlink == 0 || parent_next.nlink == 0 {
            return Err(Error::NotFound);
        }
        let mut dir = Directory::new(&*self.pages, parent, &parent_next);
        dir.insert(hash, name, ino, node.kind())?;
        if next.nlink >= LINKS_MAX {
            return Err(Error::TooManyLinks);
        }
        next.nlink += 1;
        next.ctime = self.now();
        parent_next.mtime = next.ctime;
        parent_next.ctime = next.ctime;
        let mut change = Change::new();
        change.pages += dir.finish(&mut change.operation, &mut parent_next);
        change.inode(parent, &parent_next);
        change.inode(ino, &next);
        self.commit(change)?;
        locked.get_mut(parent).inode = parent_next;
        locked.get_mut(ino).inode = next;
        Ok(Attr::new(ino, &next))
    }
}

/// A new inode: what the caller asked for, and the group of a set-group-id directory.
fn newborn(caller: &Caller, parent: Ino, parent_inode: &Inode, node: &NewNode, now: i64) -> Inode {
    let is_dir = node.kind == Kind::Directory;
    let set_gid = parent_inode.mode & S_ISGID;
    Inode {
        mode: node.kind.bits() | node.mode & 0o7777 | if is_dir { set_gid } else { 0 },
        nlink: if is_dir { 2 } else { 1 },
        uid: caller.uid,
        gid: if set_gid == 0 { caller.gid } else { parent_inode.gid },
        rdev: if matches!(node.kind, Kind::CharDevice | Kind::BlockDevice) { node.rdev } else { 0 },
        size: 0,
        pages: 0,
        atime: now,
        mtime: now,
        ctime: now,
        parent: if is_dir { parent.0 } else { 0 },
        xattr_bytes: 0,
        dir_hint: 0,
        flags: 0,
    }
}

/// Stores the target of a symlink: returned to lie in the record where it is short, in a page otherwise.
fn put_target<'t>(change: &mut Change<'_>, ino: Ino, inode: &mut Inode, target: &'t [u8]) -> &'t [u8] {
    inode.size = target.len() as u64;
    if target.len() <= INLINE_BYTES {
        return target;
    }
    let mut page = target.to_vec();
    page.resize(PAGE_BYTES, 0);
    change.operation.write(Space(ino.0), 0, page);
    change.pages += 1;
    inode.pages = 1;
    &[]
}
