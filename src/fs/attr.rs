//! Attributes: getattr, setattr, and the clearing of set-id bits and file capabilities.

use crate::base::limits::{FILE_BYTES_MAX, PAGE_BYTES};
use crate::base::{PageNo, Space};
use crate::format::inode::{HAS_ACCESS_ACL, HAS_CAPABILITY, Inode, S_IFDIR, S_IFMT};

use super::change::Change;
use super::node::WriteGuard;
use super::{Attr, Caller, Error, Fs, Ino, LAST_PAGE, Result, SetAttr, SetTime, acl, xattr};

const S_ISUID: u16 = 0o4000;
const S_ISGID: u16 = 0o2000;
const S_IXGRP: u16 = 0o0010;
const PERMISSIONS: u16 = 0o7777;

impl Fs {
    /// What stat(2) shows.
    ///
    /// # Errors
    /// [`Error::Stale`] when there is no such inode, or no more.
    pub fn getattr(&self, ino: Ino) -> Result<Attr> {
        let node = self.nodes.read(ino)?;
        Ok(Attr::new(ino, &node.inode))
    }

    /// Applies what `set` names; a size change clears set-id bits where POSIX wants it.
    pub fn setattr(&self, caller: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        let mut node = self.nodes.write(ino)?;
        let now = self.now();
        let mut next = node.inode;
        let mut change = Change::new();
        next.ctime = now;
        if let Some(size) = set.size {
            node.need_file()?;
            self.resize(&mut change, ino, &mut next, size)?;
            next.mtime = now;
        }
        next.uid = set.uid.unwrap_or(next.uid);
        next.gid = set.gid.unwrap_or(next.gid);
        let owner_changes = set.uid.is_some() || set.gid.is_some();
        if owner_changes || set.size.is_some() || set.is_kill() {
            let kill = owner_changes || set.is_kill() || caller.uid != 0;
            self.drop_privileges(&mut change, ino, &mut next, kill)?;
        }
        if let Some(mode) = set.mode {
            next.mode = next.mode & S_IFMT | mode & PERMISSIONS;
            if next.flags & HAS_ACCESS_ACL != 0 {
                self.chmod_acl(&mut change, ino, &mut next)?;
            }
        }
        let time = |set: Option<SetTime>, old: i64| match set {
            None => old,
            Some(SetTime::Now) => now,
            Some(SetTime::At(at)) => at.nanos,
        };
        next.atime = time(set.atime, next.atime);
        next.mtime = time(set.mtime, next.mtime);
        next.ctime = time(set.ctime, next.ctime);
        self.commit_inode(change, &mut node, next)?;
        Ok(Attr::new(ino, &next))
    }

    /// Commits a change of one inode, its new record included.
    pub(super) fn commit_inode(
        &self,
        mut change: Change<'_>,
        node: &mut WriteGuard,
        next: Inode,
    ) -> Result<()> {
        change.inode(node.ino, &next);
        self.commit(change)?;
        node.inode = next;
        Ok(())
    }

    /// Takes file capabilities from a file that changes, and with `set_id` its set-id bits: the set-user
    /// one always, the set-group one where it means execution rather than locking. Directories keep
    /// theirs.
    pub(super) fn drop_privileges(
        &self,
        change: &mut Change<'_>,
        ino: Ino,
        next: &mut Inode,
        set_id: bool,
    ) -> Result<()> {
        if next.mode & S_IFMT == S_IFDIR {
            return Ok(());
        }
        if set_id {
            let group = if next.mode & S_IXGRP != 0 { S_ISGID } else { 0 };
            next.mode &= !(S_ISUID | group);
        }
        if next.flags & HAS_CAPABILITY != 0 {
            let mut xattrs = self.load_xattrs(ino, next)?;
            xattrs.remove(xattr::CAPABILITY);
            self.store_xattrs(change, ino, next, &xattrs)?;
        }
        Ok(())
    }

    /// Follows a change of the mode in the access ACL.
    fn chmod_acl(&self, change: &mut Change<'_>, ino: Ino, next: &mut Inode) -> Result<()> {
        let mut xattrs = self.load_xattrs(ino, next)?;
        if let Some(mut list) = acl::stored(ino, &xattrs, xattr::ACL_ACCESS)? {
            acl::chmod(&mut list, next.mode);
            xattrs.set(xattr::ACL_ACCESS, list.encode());
            self.store_xattrs(change, ino, next, &xattrs)?;
        }
        Ok(())
    }

    /// Changes the size of a file. What comes reads as zeros and costs nothing.
    pub(super) fn resize(
        &self,
        change: &mut Change<'_>,
        ino: Ino,
        next: &mut Inode,
        size: u64,
    ) -> Result<()> {
        if size > FILE_BYTES_MAX {
            return Err(Error::FileTooLarge);
        }
        if size < next.size {
            let page_bytes = PAGE_BYTES as u64;
            let space = Space(ino.0);
            let kept = PageNo(size.div_ceil(page_bytes));
            let gone = self.pages.count(space, kept, LAST_PAGE);
            if gone > 0 {
                change.operation.remove(space, kept, LAST_PAGE);
                change.pages -= gone.cast_signed();
                next.pages -= gone;
            }
            let tail_end = (kept.0 * page_bytes).min(next.size);
            self.zero_within_page(change, ino, size, tail_end);
            change.operation.frees = true;
        }
        next.size = size;
        Ok(())
    }

    /// Writes zeros to bytes of one page, if there is such a page.
    pub(super) fn zero_within_page(&self, change: &mut Change<'_>, ino: Ino, from: u64, to: u64) {
        let page = from / PAGE_BYTES as u64;
        if from < to && self.pages.count(Space(ino.0), PageNo(page), PageNo(page + 1)) > 0 {
            let bytes = usize::try_from(to - from).expect("within a page");
            change.operation.write(Space(ino.0), from, &[0; PAGE_BYTES][..bytes]);
        }
    }
}

impl SetAttr {
    /// Whether set-id bits are to go: asked for, or by the kernel's way to ask with nothing set.
    fn is_kill(&self) -> bool {
        let SetAttr { mode, uid, gid, size, atime, mtime, ctime, kill_suidgid } = *self;
        let nothing = mode.is_none() && uid.is_none() && gid.is_none() && size.is_none();
        kill_suidgid || nothing && atime.is_none() && mtime.is_none() && ctime.is_none()
    }
}
