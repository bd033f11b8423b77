//! The bytes of a page, aligned so that they can go to the disk as they are.

use std::ops::{Deref, DerefMut};

use super::limits::PAGE_BYTES;

/// A page's bytes at an address that is a multiple of its size, as direct I/O wants.
#[derive(Clone)]
#[repr(C, align(4096))]
pub struct PageBuf([u8; PAGE_BYTES]);

const _: () = assert!(align_of::<PageBuf>() == PAGE_BYTES);
const _: () = assert!(size_of::<PageBuf>() == PAGE_BYTES);

impl PageBuf {
    /// Zeros, on the heap.
    pub fn zeroed() -> Box<Self> {
        Box::new(PageBuf([0; PAGE_BYTES]))
    }
}

impl Deref for PageBuf {
    type Target = [u8; PAGE_BYTES];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for PageBuf {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl AsRef<[u8]> for PageBuf {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
