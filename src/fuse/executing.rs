//! Which files are being executed: the kernel forgets to ask itself before it truncates one.
//!
//! `open(O_RDONLY | O_TRUNC)` sends OPEN, which truncates, and only then does the kernel find that the
//! file is a running program and fail the call with `ETXTBSY`. By then the program is gone. For
//! openings that write it checks first.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::fs::Ino;

/// How often each file is open for execution. Bounded by the handles that the kernel has open.
#[derive(Default)]
pub(super) struct Executing(Mutex<HashMap<Ino, u64>>);

impl Executing {
    /// The kernel's mark of an opening for execution (`__FMODE_EXEC`), beside the flags of open(2).
    pub(super) const FLAG: i32 = 0x20;

    /// Whether an opening with these flags would destroy a running program.
    pub(super) fn forbids(&self, ino: Ino, flags: i32) -> bool {
        let truncates_unchecked = flags & libc::O_TRUNC != 0 && flags & libc::O_ACCMODE == libc::O_RDONLY;
        truncates_unchecked && self.0.lock().contains_key(&ino)
    }

    pub(super) fn begin(&self, ino: Ino) {
        *self.0.lock().entry(ino).or_default() += 1;
    }

    pub(super) fn end(&self, ino: Ino) {
        let mut files = self.0.lock();
        if let Some(count) = files.get_mut(&ino) {
            *count -= 1;
            if *count == 0 {
                files.remove(&ino);
            }
        }
    }
}
