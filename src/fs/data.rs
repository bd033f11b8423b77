//! The contents of files: read, write, fallocate, copy, holes.

use std::ops::Range;

use crate::base::limits::{FILE_BYTES_MAX, PAGE_BYTES, REQUEST_BYTES_MAX};
use crate::base::{PageNo, Space};
use crate::format::inode::Inode;
use crate::volume::{self, Hint};

use super::change::Change;
use super::node::Locked;
use super::{Error, Fs, Ino, Result, Whence};

const PAGE: u64 = PAGE_BYTES as u64;

/// The pages that a range of bytes touches.
fn touched(from: u64, to: u64) -> Range<u64> {
    from / PAGE..to.div_ceil(PAGE)
}

/// Where a range of bytes ends, if a file can be that long.
fn end_of(offset: u64, length: u64) -> Result<u64> {
    offset.checked_add(length).filter(|&end| end <= FILE_BYTES_MAX).ok_or(Error::FileTooLarge)
}

impl Fs {
    /// Bytes at `offset`, fewer than `buf` only at the end of the file. Returns how many.
    pub fn read(&self, ino: Ino, offset: u64, buf: &mut [u8]) -> Result<usize> {
        // The lock is not kept while pages are read: a read of cold pages must not hold up writers
        // elsewhere in the file. A file that shrinks meanwhile reads as zeros where it ended.
        let size = {
            let node = self.nodes.read(ino)?;
            node.need_file()?;
            node.inode.size
        };
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buf.len().min(left);
        if length > 0 {
            self.pages.read(Space(ino.0), offset, &mut buf[..length], Hint::Once)?;
        }
        Ok(length)
    }

    /// Writes all of `data`; `kill_suidgid` clears set-id bits in the same operation.
    pub fn write(&self, ino: Ino, offset: u64, data: &[u8], kill_suidgid: bool) -> Result<()> {
        let mut node = self.nodes.write(ino)?;
        node.need_file()?;
        let mut next = node.inode;
        let mut change = Change::new();
        if data.is_empty() {
            return Ok(());
        }
        self.put(&mut change, ino, &mut next, offset, data)?;
        self.drop_privileges(&mut change, ino, &mut next, kill_suidgid)?;
        self.commit_inode(change, &mut node, next)
    }

    /// Adds bytes to a file within a change.
    fn put<'a>(
        &self,
        change: &mut Change<'a>,
        ino: Ino,
        next: &mut Inode,
        offset: u64,
        data: &'a [u8],
    ) -> Result<()> {
        let end = end_of(offset, data.len() as u64)?;
        let pages = touched(offset, end);
        let present = self.pages.count(Space(ino.0), PageNo(pages.start), PageNo(pages.end));
        let new = pages.end - pages.start - present;
        change.operation.write(Space(ino.0), offset, data);
        change.pages += new.cast_signed();
        next.pages += new;
        next.size = next.size.max(end);
        next.mtime = self.now();
        next.ctime = next.mtime;
        Ok(())
    }

    /// `mode` as of fallocate(2): 0, `FALLOC_FL_KEEP_SIZE`, `FALLOC_FL_PUNCH_HOLE` with it, and
    /// `FALLOC_FL_ZERO_RANGE` with or without it.
    ///
    /// Preallocation sets the size and makes sure that quota and disk could take all of the range now; it
    /// reserves nothing, as every write of a log goes to a new place anyway. What is preallocated reads as
    /// zeros and counts when it is written.
    pub fn fallocate(&self, ino: Ino, mode: i32, offset: u64, length: u64) -> Result<()> {
        const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
        let mut node = self.nodes.write(ino)?;
        node.need_file()?;
        if length == 0 {
            return Err(Error::Invalid);
        }
        let end = end_of(offset, length)?;
        let mut next = node.inode;
        let mut change = Change::new();
        match mode & !KEEP {
            0 => self.check_room_for(ino, offset, end)?,
            libc::FALLOC_FL_ZERO_RANGE => self.zero(&mut change, ino, &mut next, offset, end),
            libc::FALLOC_FL_PUNCH_HOLE if mode == PUNCH => {
                self.zero(&mut change, ino, &mut next, offset, end);
            }
            _ => return Err(Error::NotSupported),
        }
        if mode & KEEP == 0 {
            next.size = next.size.max(end);
        }
        next.ctime = self.now();
        if mode & !KEEP != 0 || next.size != node.inode.size {
            next.mtime = next.ctime;
        }
        self.drop_privileges(&mut change, ino, &mut next, false)?;
        self.commit_inode(change, &mut node, next)
    }

    fn check_room_for(&self, ino: Ino, from: u64, to: u64) -> Result<()> {
        let pages = touched(from, to);
        let present = self.pages.count(Space(ino.0), PageNo(pages.start), PageNo(pages.end));
        let missing = pages.end - pages.start - present;
        if self.counters.quota_left().is_some_and(|left| missing > left) {
            return Err(Error::QuotaExceeded);
        }
        let free_bytes = self.pages.capacity().free_bytes;
        if missing > free_bytes / PAGE {
            let detail = format!("{missing} pages asked for, {free_bytes} bytes free");
            return Err(volume::Error::NoSpace { detail }.into());
        }
        Ok(())
    }

    /// Makes bytes zeros: whole pages absent, parts of pages overwritten.
    fn zero(&self, change: &mut Change<'_>, ino: Ino, next: &mut Inode, from: u64, to: u64) {
        let space = Space(ino.0);
        let whole = from.div_ceil(PAGE)..to / PAGE;
        if whole.start > whole.end {
            // Within one page.
            self.zero_within_page(change, ino, from, to);
            return;
        }
        self.zero_within_page(change, ino, from, whole.start * PAGE);
        self.zero_within_page(change, ino, whole.end * PAGE, to);
        let gone = self.pages.count(space, PageNo(whole.start), PageNo(whole.end));
        if gone > 0 {
            change.operation.remove(space, PageNo(whole.start), PageNo(whole.end));
            change.operation.frees = true;
            change.pages -= gone.cast_signed();
            next.pages -= gone;
        }
    }

    /// Copies at most what one request carries, and returns how much that was: 0 at the end of the source.
    /// One operation.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the ranges overlap in one file.
    pub fn copy_file_range(
        &self,
        from: Ino,
        from_offset: u64,
        to: Ino,
        to_offset: u64,
        length: u64,
    ) -> Result<u64> {
        let mut locked = Locked::new(&self.nodes, &[from, to])?;
        locked.get(from).need_file()?;
        locked.get(to).need_file()?;
        let left = locked.get(from).inode.size.saturating_sub(from_offset);
        let length = length.min(left).min(REQUEST_BYTES_MAX as u64);
        if length == 0 {
            return Ok(0);
        }
        end_of(to_offset, length)?;
        if from == to && from_offset < to_offset + length && to_offset < from_offset + length {
            return Err(Error::Invalid);
        }
        let mut data = vec![0; usize::try_from(length).expect("at most a request")];
        self.pages.read(Space(from.0), from_offset, &mut data, Hint::Once)?;
        let mut next = locked.get(to).inode;
        let mut change = Change::new();
        self.put(&mut change, to, &mut next, to_offset, &data)?;
        self.drop_privileges(&mut change, to, &mut next, false)?;
        change.inode(to, &next);
        self.commit(change)?;
        locked.get_mut(to).inode = next;
        Ok(length)
    }

    /// The first data or hole at or after `offset`; the end of the file is a hole.
    ///
    /// # Errors
    /// [`Error::NoSuchOffset`] beyond the end, and when no data follows.
    pub fn lseek(&self, ino: Ino, offset: u64, whence: Whence) -> Result<u64> {
        let node = self.nodes.read(ino)?;
        node.need_file()?;
        let size = node.inode.size;
        if offset >= size {
            return Err(Error::NoSuchOffset);
        }
        let here = PageNo(offset / PAGE);
        let space = Space(ino.0);
        match whence {
            Whence::Data => self
                .pages
                .next_present(space, here)
                .map(|page| (page.0 * PAGE).max(offset))
                .filter(|&at| at < size)
                .ok_or(Error::NoSuchOffset),
            Whence::Hole => {
                let page = self.pages.next_absent(space, here).0;
                Ok(page.saturating_mul(PAGE).max(offset).min(size))
            }
        }
    }
}
