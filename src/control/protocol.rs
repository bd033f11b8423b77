//! What is said over the socket, and its bytes.
//!
//! ```text
//! ┌───────┬────────────┬───────────────┬── … ──┐
//! │ "frn" │ version u8 │ length u32 LE │ JSON  │
//! └───────┴────────────┴───────────────┴── … ──┘
//! ```
//! A client sends a [`Request`]; the server answers with any number of [`Reply::Progress`], then one
//! [`Reply::Done`] or [`Reply::Failed`]. Then the next request may come. Pure functions, no I/O.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::options::MountOptions;
use crate::base::Name;
use crate::volume::{CreateOptions, Source, Status, VolumeInfo};

/// Raised when a message changes its meaning.
pub const VERSION: u8 = 1;
const MAGIC: [u8; 3] = *b"frn";
/// Bytes before the JSON.
pub const HEADER_BYTES: usize = 8;
/// The most JSON that a client may send, in bytes: two paths and some names.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
/// The most JSON that a daemon may send, in bytes: a list of a hundred thousand snapshots.
pub const REPLY_BYTES_MAX: usize = 64 << 20;
/// How often a server says that it is still at work.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// After this much silence a client takes the server for hung.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

const _: () = assert!(SILENCE_MAX.as_secs() >= 3 * HEARTBEAT.as_secs());

/// What a client asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Who is there? Answered once the data directory is open.
    Hello,
    Create {
        name: Name,
        options: CreateOptions,
    },
    Mount {
        source: Source,
        directory: PathBuf,
        options: MountOptions,
    },
    Unmount {
        target: UnmountTarget,
        lazy: bool,
    },
    /// Answers whether a mount is gone: at once when it is, else within a few seconds.
    AwaitUnmount {
        directory: PathBuf,
    },
    Fork {
        source: Source,
        new: Name,
    },
    Snapshot {
        volume: Name,
        snapshot: Name,
    },
    Rollback {
        volume: Name,
        snapshot: Name,
    },
    Remove {
        source: Source,
    },
    List,
    Status {
        volume: Option<Name>,
    },
    Check {
        volume: Option<Name>,
    },
    Sync {
        volume: Name,
    },
    /// Which files of a volume's writable mounts are open.
    OpenFiles {
        volume: Name,
    },
}

/// What `firn umount` was given: a volume's name comes before a directory of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmountTarget {
    /// As the operator wrote it, for messages.
    pub text: String,
    pub source: Option<Source>,
    pub directory: Option<PathBuf>,
}

/// What a daemon says while and after it works on a request. The answer is the verb's own JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Progress(Progress),
    Done(serde_json::Value),
    Failed { message: String },
}

/// How far a long job is; `total` 0: not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub step: String,
    pub done: u64,
    pub total: u64,
}

/// The answer to [`Request::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonInfo {
    pub pid: u32,
    /// Version of the program.
    pub version: String,
}

impl DaemonInfo {
    /// This process.
    pub fn own() -> Self {
        DaemonInfo { pid: std::process::id(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountInfo {
    pub source: Source,
    pub directory: PathBuf,
    pub read_only: bool,
}

/// A line of `firn ls`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedVolume {
    #[serde(flatten)]
    pub info: VolumeInfo,
    /// Pages of the volume's own layers on the local disk, in bytes.
    pub local_bytes: u64,
    pub mounts: Vec<MountInfo>,
}

/// The answer to [`Request::Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DaemonStatus {
    pub daemon: DaemonInfo,
    pub data_dir: PathBuf,
    pub uptime_seconds: u64,
    /// The daemon's resident memory as the kernel counts it, in bytes.
    pub resident_bytes: u64,
    pub mounts: Vec<MountInfo>,
    #[serde(flatten)]
    pub engine: Status,
}

/// Files of one mount that are open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFilesOf {
    pub directory: PathBuf,
    pub inodes: Vec<u64>,
}

/// The bytes of a message.
///
/// # Errors
/// When it is larger than `bytes_max`.
pub fn encode<T: Serialize>(message: &T, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, message).map_err(|error| Error::Protocol(error.to_string()))?;
    let length = bytes.len() - HEADER_BYTES;
    let length =
        u32::try_from(length).ok().filter(|_| length <= bytes_max).ok_or_else(|| too_large(length))?;
    bytes[..3].copy_from_slice(&MAGIC);
    bytes[3] = VERSION;
    bytes[4..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// How many bytes of JSON follow a header.
///
/// # Errors
/// A foreign or other version's peer, or a message larger than `bytes_max`.
pub fn decode_header(header: [u8; HEADER_BYTES], bytes_max: usize) -> Result<usize, Error> {
    let [m0, m1, m2, version, l0, l1, l2, l3] = header;
    if [m0, m1, m2] != MAGIC {
        return Err(Error::Protocol("the peer is no firn".to_owned()));
    }
    if version != VERSION {
        return Err(Error::Protocol(format!("the peer speaks version {version}, this is version {VERSION}")));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    usize::try_from(length)
        .ok()
        .filter(|&length| length <= bytes_max)
        .ok_or_else(|| too_large(usize::try_from(length).unwrap_or(usize::MAX)))
}

/// A message from its JSON.
///
/// # Errors
/// Anything that is no such message.
pub fn decode_body<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| Error::Protocol(error.to_string()))
}

fn too_large(length: usize) -> Error {
    Error::Protocol(format!("a message of {length} bytes is too large"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(bytes: &[u8]) -> [u8; HEADER_BYTES] {
        bytes[..HEADER_BYTES].try_into().expect("long enough")
    }

    #[test]
    fn the_header_is_these_bytes() {
        // A change here is a new VERSION.
        let bytes = encode(&Request::Hello, REQUEST_BYTES_MAX).expect("small");
        assert_eq!(bytes, *b"frn\x01\x07\0\0\0\"hello\"");
    }

    #[test]
    fn a_request_comes_back_as_it_was() {
        let name = |text: &str| text.parse::<Name>().expect("valid");
        let source = Source { volume: name("db"), snapshot: Some(name("s")) };
        for request in [
            Request::Create { name: name("db"), options: CreateOptions::default() },
            Request::Mount {
                source: source.clone(),
                directory: "/m".into(),
                options: MountOptions::default(),
            },
            Request::Unmount {
                target: UnmountTarget { text: "x".into(), source: None, directory: Some("/m".into()) },
                lazy: false,
            },
            Request::Fork { source, new: name("new") },
            Request::Check { volume: None },
            Request::List,
        ] {
            let bytes = encode(&request, REQUEST_BYTES_MAX).expect("small");
            assert_eq!(
                decode_header(header(&bytes), REQUEST_BYTES_MAX).expect("ours"),
                bytes.len() - HEADER_BYTES
            );
            let back: Request = decode_body(&bytes[HEADER_BYTES..]).expect("ours");
            assert_eq!(format!("{back:?}"), format!("{request:?}"));
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused_on_arrival() {
        let json = br#"{"remove":{"source":{"volume":"../etc","snapshot":null}}}"#;
        assert!(decode_body::<Request>(json).is_err());
    }

    #[test]
    fn messages_beyond_the_bound_are_neither_sent_nor_accepted() {
        let reply = Reply::Failed { message: "x".repeat(100) };
        assert!(encode(&reply, 99).is_err());
        let bytes = encode(&reply, REPLY_BYTES_MAX).expect("small");
        assert!(decode_header(header(&bytes), 99).is_err());
        assert!(decode_header(*b"frn\x01\xff\xff\xff\xff", REPLY_BYTES_MAX).is_err());
    }

    #[test]
    fn another_version_is_named() {
        let error = decode_header(*b"frn\x02\0\0\0\0", 10).expect_err("other version").to_string();
        assert!(error.contains("version 2"), "{error}");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: [u8; HEADER_BYTES], body: Vec<u8>) {
            if let Ok(length) = decode_header(bytes, 4096) {
                prop_assert!(length <= 4096);
            }
            let _ = decode_body::<Request>(&body);
            let _ = decode_body::<Reply>(&body);
        }

        #[test]
        fn garbled_requests_never_panic(at in 0_usize..60, bit in 0_u8..8) {
            let mut bytes = encode(
                &Request::Fork { source: Source { volume: "db".parse().expect("valid"), snapshot: None }, new: "x".parse().expect("valid") },
                REQUEST_BYTES_MAX,
            ).expect("small");
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if decode_header(header(&bytes), REQUEST_BYTES_MAX).is_ok() {
                let _ = decode_body::<Request>(&bytes[HEADER_BYTES..]);
            }
        }
    }
}
