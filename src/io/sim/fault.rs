//! What goes wrong, and when: armed failures, the point of a crash, and the count of calls.

use std::io;

/// A kind of I/O call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Call {
    Create,
    Open,
    Rename,
    Remove,
    List,
    SyncDir,
    Usage,
    Read,
    Write,
    SyncData,
    Allocate,
    Size,
}

impl Call {
    /// Whether it changes what the disk holds. Only these are numbered: a crash at another one
    /// leaves the same disk as a crash at the next of these.
    pub fn mutates(self) -> bool {
        !matches!(self, Call::Open | Call::List | Call::Usage | Call::Read | Call::Size)
    }
}

const CALL_KINDS: usize = Call::Size as usize + 1;

/// How often each kind was called, failed calls included, and how many bytes went each way.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counters {
    calls: [u64; CALL_KINDS],
    pub bytes_read: u64,
    pub bytes_written: u64,
}

impl Counters {
    /// Calls of one kind.
    pub fn of(&self, call: Call) -> u64 {
        self.calls[call as usize]
    }

    /// Calls of all kinds that change something: the numbers that a crash point refers to.
    pub fn mutations(&self) -> u64 {
        ALL.iter().filter(|call| call.mutates()).map(|&call| self.of(call)).sum()
    }

    pub(super) fn count(&mut self, call: Call) {
        self.calls[call as usize] += 1;
    }
}

const ALL: [Call; CALL_KINDS] = [
    Call::Create,
    Call::Open,
    Call::Rename,
    Call::Remove,
    Call::List,
    Call::SyncDir,
    Call::Usage,
    Call::Read,
    Call::Write,
    Call::SyncData,
    Call::Allocate,
    Call::Size,
];

/// Calls that will fail.
///
/// A write that fails leaves an arbitrary prefix of itself; a `sync_data` that fails leaves its pages
/// marked clean and wherever they are; any other call that fails has changed nothing.
#[derive(Clone, Debug)]
pub struct Fault {
    call: Option<Call>,
    name_prefix: String,
    skip: u64,
    count: u64,
    errno: i32,
}

impl Fault {
    /// The next call of one kind fails with `errno`, once.
    pub fn on(call: Call, errno: i32) -> Self {
        Fault { call: Some(call), name_prefix: String::new(), skip: 0, count: 1, errno }
    }

    /// The next call that changes anything fails with `errno`, once.
    pub fn on_any(errno: i32) -> Self {
        Fault { call: None, name_prefix: String::new(), skip: 0, count: 1, errno }
    }

    /// Lets `calls` of the matching ones pass first.
    #[must_use]
    pub fn after(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// Fails `calls` matching ones in a row rather than one.
    #[must_use]
    pub fn times(mut self, calls: u64) -> Self {
        self.count = calls;
        self
    }

    /// Fails all matching ones from then on, until the faults are cleared.
    #[must_use]
    pub fn forever(self) -> Self {
        self.times(u64::MAX)
    }

    /// Only for files whose name begins so.
    #[must_use]
    pub fn name(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.name_prefix);
        self
    }

    /// Whether this call fails, and with what. Counts it.
    pub(super) fn strike(&mut self, call: Call, name: &str) -> Option<io::Error> {
        let kind = self.call.map_or(call.mutates(), |wanted| wanted == call);
        if !kind || self.count == 0 || !name.starts_with(&self.name_prefix) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.count -= 1;
        Some(io::Error::from_raw_os_error(self.errno))
    }
}

/// The disk has stopped under its process.
#[derive(Debug, thiserror::Error)]
#[error("the simulated machine has crashed")]
struct Crashed;

/// What every call gets after a crash.
pub(super) fn crashed() -> io::Error {
    io::Error::other(Crashed)
}

/// Whether an error came from a crash of the simulated disk rather than from an armed fault.
pub fn is_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Crashed>())
}
