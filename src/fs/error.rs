//! What a filesystem call can fail with; one exhaustive map to errno.

use crate::volume;

/// An error of a filesystem call.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("no such file or directory")]
    NotFound,
    #[error("file exists")]
    Exists,
    #[error("not a directory")]
    NotDirectory,
    #[error("is a directory")]
    IsDirectory,
    #[error("directory not empty")]
    NotEmpty,
    #[error("operation not permitted")]
    NotPermitted,
    #[error("permission denied")]
    AccessDenied,
    #[error("invalid argument")]
    Invalid,
    #[error("name too long")]
    NameTooLong,
    #[error("file too large")]
    FileTooLarge,
    #[error("too many links")]
    TooManyLinks,
    #[error("no such attribute")]
    NoAttribute,
    #[error("result too large")]
    Range,
    #[error("argument list too long")]
    TooBig,
    #[error("not supported")]
    NotSupported,
    #[error("no data or hole there")]
    NoSuchOffset,
    #[error("quota exceeded")]
    QuotaExceeded,
    #[error("stale inode")]
    Stale,
    /// What is stored makes no sense.
    #[error("inode {ino}: {detail}")]
    Corrupt { ino: u64, detail: &'static str },
    #[error(transparent)]
    Volume(#[from] volume::Error),
}

impl Error {
    /// The number that the caller of the system call sees.
    pub fn errno(&self) -> i32 {
        match self {
            Error::NotFound => libc::ENOENT,
            Error::Exists => libc::EEXIST,
            Error::NotDirectory => libc::ENOTDIR,
            Error::IsDirectory => libc::EISDIR,
            Error::NotEmpty => libc::ENOTEMPTY,
            Error::NotPermitted => libc::EPERM,
            Error::AccessDenied => libc::EACCES,
            Error::Invalid => libc::EINVAL,
            Error::NameTooLong => libc::ENAMETOOLONG,
            Error::FileTooLarge => libc::EFBIG,
            Error::TooManyLinks => libc::EMLINK,
            Error::NoAttribute => libc::ENODATA,
            Error::Range => libc::ERANGE,
            Error::TooBig => libc::E2BIG,
            Error::NotSupported => libc::EOPNOTSUPP,
            Error::NoSuchOffset => libc::ENXIO,
            Error::QuotaExceeded => libc::EDQUOT,
            Error::Stale => libc::ESTALE,
            Error::Corrupt { .. } => libc::EIO,
            Error::Volume(error) => match error {
                volume::Error::ReadOnly => libc::EROFS,
                volume::Error::NoSpace { .. } => libc::ENOSPC,
                volume::Error::ShuttingDown => libc::ESHUTDOWN,
                volume::Error::NoVolume(_)
                | volume::Error::NoSnapshot { .. }
                | volume::Error::VolumeExists(_)
                | volume::Error::SnapshotExists { .. }
                | volume::Error::Busy { .. }
                | volume::Error::Damaged { .. }
                | volume::Error::LogFailed { .. }
                | volume::Error::Restacked
                | volume::Error::Io { .. }
                | volume::Error::DataDirectory(_) => libc::EIO,
            },
        }
    }
}
