//! fuser's replies as [`Reply`] tokens, and our values in its terms.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr,
};

use super::request::{Answer, Errno, Handle, Reply};
use crate::base::limits::PAGE_BYTES;
use crate::fs::{Attr, DirEntry, Ino, Kind};
use crate::io::Timestamp;

/// For how long the kernel may believe attributes and names, those that do not exist included. All
/// changes pass through it, so it knows by itself when they end.
const CACHE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Inode numbers are never reused, so none has a second life.
const GENERATION: Generation = Generation(0);

macro_rules! tokens {
    ($($kind:ident($reply:ty)),* $(,)?) => {
        /// One of fuser's replies. Dropped unused, it answers `EIO` by itself.
        pub(super) enum Token {
            $($kind($reply),)*
        }

        $(impl From<$reply> for Token {
            fn from(reply: $reply) -> Self {
                Token::$kind(reply)
            }
        })*

        impl Token {
            fn error(self, errno: fuser::Errno) {
                match self {
                    $(Token::$kind(reply) => reply.error(errno),)*
                }
            }
        }
    };
}

tokens! {
    Attr(ReplyAttr),
    Create(ReplyCreate),
    Data(ReplyData),
    Directory(ReplyDirectory),
    DirectoryPlus(ReplyDirectoryPlus),
    Empty(ReplyEmpty),
    Entry(ReplyEntry),
    Ioctl(ReplyIoctl),
    Lseek(ReplyLseek),
    Open(ReplyOpen),
    Statfs(ReplyStatfs),
    Write(ReplyWrite),
    Xattr(ReplyXattr),
}

impl Reply for Token {
    fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        let (ino, name) = (INodeNo(entry.ino.0), OsStr::from_bytes(entry.name));
        let full = match self {
            Token::Directory(reply) => reply.add(ino, entry.cookie, file_type(entry.kind), name),
            Token::DirectoryPlus(reply) => {
                // The kernel takes only number and type from `.` and `..`, which come without more.
                let attr = entry.attr.as_ref().map_or_else(|| bare(entry.ino, entry.kind), file_attr);
                reply.add(ino, entry.cookie, name, &CACHE, &attr, GENERATION)
            }
            _ => true,
        };
        !full
    }

    fn send(self, answer: Result<Answer<'_>, Errno>) {
        match (self, answer) {
            (token, Err(Errno(errno))) => token.error(fuser::Errno::from_i32(errno)),
            (Token::Empty(reply), Ok(Answer::Done)) => reply.ok(),
            (Token::Entry(reply), Ok(Answer::Entry(attr))) => {
                reply.entry(&CACHE, &file_attr(&attr), GENERATION);
            }
            // Number 0 says that there is nothing of the name, which the kernel then remembers.
            (Token::Entry(reply), Ok(Answer::NoEntry)) => {
                reply.entry(&CACHE, &bare(Ino(0), Kind::File), GENERATION);
            }
            (Token::Attr(reply), Ok(Answer::Attr(attr))) => reply.attr(&CACHE, &file_attr(&attr)),
            (Token::Data(reply), Ok(Answer::Data(data))) => reply.data(&data),
            (Token::Xattr(reply), Ok(Answer::Data(data))) => reply.data(&data),
            (Token::Xattr(reply), Ok(Answer::XattrBytes(bytes))) => reply.size(bytes),
            (Token::Open(reply), Ok(Answer::Opened(handle))) => {
                reply.opened(FileHandle(handle.to_bits()), open_flags(handle));
            }
            (Token::Create(reply), Ok(Answer::Created(attr, handle))) => {
                let (attr, bits) = (file_attr(&attr), FileHandle(handle.to_bits()));
                reply.created(&CACHE, &attr, GENERATION, bits, open_flags(handle));
            }
            (Token::Write(reply), Ok(Answer::Written(bytes))) => reply.written(bytes),
            (Token::Lseek(reply), Ok(Answer::Offset(offset))) => match i64::try_from(offset) {
                Ok(offset) => reply.offset(offset),
                Err(_) => reply.error(fuser::Errno::EOVERFLOW),
            },
            (Token::Statfs(reply), Ok(Answer::StatFs(stat))) => reply.statfs(
                stat.blocks,
                stat.blocks_free,
                stat.blocks_free,
                stat.inodes,
                stat.inodes_free,
                stat.block_bytes,
                stat.name_bytes_max,
                stat.block_bytes,
            ),
            (Token::Directory(reply), Ok(Answer::Directory)) => reply.ok(),
            (Token::DirectoryPlus(reply), Ok(Answer::Directory)) => reply.ok(),
            (token, Ok(answer)) => {
                debug_assert!(false, "{answer:?} does not answer this request");
                token.error(fuser::Errno::EIO);
            }
        }
    }
}

/// Pages stay cached from one open to the next. `O_DIRECT` goes by them, and its writes within the
/// file's size need not exclude each other.
fn open_flags(handle: Handle) -> FopenFlags {
    if handle.direct {
        FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
    } else {
        FopenFlags::FOPEN_KEEP_CACHE
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}

fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        perm: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        ..bare(attr.ino, attr.kind)
    }
}

/// Number and type, and nothing else.
fn bare(ino: Ino, kind: Kind) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino.0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: file_type(kind),
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: u32::try_from(PAGE_BYTES).expect("4096"),
        flags: 0,
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    let distance = Duration::from_nanos(time.nanos.unsigned_abs());
    if time.nanos < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// A time as fuser received it. Of one before 1970 the kernel sends whole seconds rounded down and
/// nanoseconds to be added; fuser subtracts those, which is undone here.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i128::from(after.as_secs()), after.subsec_nanos()),
        Err(before) => (-i128::from(before.duration().as_secs()), before.duration().subsec_nanos()),
    };
    let total = seconds * 1_000_000_000 + i128::from(nanos);
    let limit = if total < 0 { i64::MIN } else { i64::MAX };
    Timestamp { nanos: i64::try_from(total).unwrap_or(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_survive_the_way_through_fuser() {
        // 0.5 s before the epoch: the kernel sends -1 s and 500,000,000 ns, fuser makes -1.5 s of it.
        let received = UNIX_EPOCH - Duration::new(1, 500_000_000);
        assert_eq!(timestamp(received), Timestamp { nanos: -500_000_000 });
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(7)), Timestamp { nanos: -7_000_000_000 });
    }

    #[test]
    fn times_beyond_our_range_stop_at_its_ends() {
        let far = Duration::from_secs(1 << 40);
        assert_eq!(timestamp(UNIX_EPOCH + far), Timestamp { nanos: i64::MAX });
        assert_eq!(timestamp(UNIX_EPOCH - far), Timestamp { nanos: i64::MIN });
    }

    #[test]
    fn times_that_are_sent_are_exact() {
        for nanos in [0_i64, 1, 999_999_999, 1_800_000_000_123_456_789, -1, -1_500_000_000] {
            let expected = if nanos < 0 {
                UNIX_EPOCH - Duration::from_nanos(nanos.unsigned_abs())
            } else {
                UNIX_EPOCH + Duration::from_nanos(nanos.unsigned_abs())
            };
            assert_eq!(system_time(Timestamp { nanos }), expected);
        }
    }
}
