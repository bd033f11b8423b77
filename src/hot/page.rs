//! The bytes of a page in RAM, shared by those who read and log them.
//!
//! Pages come from a pool and go back to it: under load each is written, logged and given up within
//! milliseconds, and an allocator that takes it back and hands it out again costs as much as the copy.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::PageBuf;
use crate::base::limits::PAGE_BYTES;

/// Pages that wait for use at most: 8 MiB.
const POOL_PAGES_MAX: usize = 2048;

static POOL: Mutex<Vec<Box<PageBuf>>> = Mutex::new(Vec::new());

/// Gives back half of the pages that wait for use; for when little is going on.
pub fn shrink_pool() {
    let mut pool = POOL.lock();
    let half = pool.len() / 2;
    let rest = pool.split_off(half);
    if half == 0 {
        *pool = Vec::new();
    }
    drop(pool);
    drop(rest);
}

/// The bytes of a page. Shared with whoever reads or logs them just now: a writer copies then.
#[derive(Clone)]
pub struct Page(Arc<Pooled>);

/// A page's memory; `None` only while it is dropped.
struct Pooled(Option<Box<PageBuf>>);

impl Pooled {
    /// Memory with whatever was in it before.
    fn take() -> Box<PageBuf> {
        let waiting = POOL.lock().pop();
        waiting.unwrap_or_else(PageBuf::zeroed)
    }

    fn bytes(&self) -> &[u8; PAGE_BYTES] {
        self.0.as_deref().expect("only drop takes it")
    }
}

impl Clone for Pooled {
    fn clone(&self) -> Self {
        let mut memory = Self::take();
        memory.copy_from_slice(self.bytes());
        Pooled(Some(memory))
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(memory) = self.0.take() {
            let mut pool = POOL.lock();
            if pool.len() < POOL_PAGES_MAX {
                pool.push(memory);
            }
        }
    }
}

impl Page {
    /// A page with these bytes.
    ///
    /// # Panics
    /// When `bytes` is not one page long.
    pub fn new(bytes: &[u8]) -> Self {
        let mut memory = Pooled::take();
        memory.copy_from_slice(bytes);
        Page(Arc::new(Pooled(Some(memory))))
    }

    /// A page of zeros.
    pub fn zeroed() -> Self {
        let mut memory = Pooled::take();
        memory.fill(0);
        Page(Arc::new(Pooled(Some(memory))))
    }

    /// The bytes, to be changed; copied first when someone else holds them.
    pub fn make_mut(&mut self) -> &mut [u8; PAGE_BYTES] {
        Arc::make_mut(&mut self.0).0.as_deref_mut().expect("only drop takes it")
    }
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_copies_a_page_that_someone_else_holds() {
        let mut mine = Page::new(&[1; PAGE_BYTES]);
        let held = mine.clone();
        mine.make_mut()[0] = 2;
        assert_eq!((mine.as_ref()[0], held.as_ref()[0]), (2, 1));
    }

    #[test]
    fn a_page_of_zeros_is_zero_whatever_its_memory_held_before() {
        for _ in 0..8 {
            drop(Page::new(&[0xff; PAGE_BYTES]));
            assert!(Page::zeroed().as_ref().iter().all(|byte| *byte == 0));
        }
    }
}
