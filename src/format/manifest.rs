//! The manifest: which volumes, layers and heap files a data directory has.
//!
//! ```text
//!   0        8         12        16                24
//!   ┌────────┬─────────┬─────────┬─────────────────┬──────────────────
//!   │ magic  │ version │ crc32c  │ length of body  │ body (JSON)
//!   └────────┴─────────┴─────────┴─────────────────┴──────────────────
//! ```
//!
//! The crc covers length and body. JSON, so that an operator can read it; small, since pages are
//! not in it.

use serde::{Deserialize, Serialize};

use crate::base::{FileNo, LayerId, Lsn, Name, SlotNo};

const MAGIC: [u8; 8] = *b"firnmani";
/// Version of the data directory; a newer one is refused.
pub const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;

/// Everything that a data directory must know to make sense of its heap files.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// Layer ids from here on were never given out.
    pub next_layer: LayerId,
    /// File numbers from here on were never given out.
    pub next_file: FileNo,
    pub volumes: Vec<VolumeRecord>,
    /// Layers that are part of another now.
    pub absorbed: Vec<AbsorbedRecord>,
    pub files: Vec<FileRecord>,
}

/// A layer whose pages and ranges count as another's. What is logged of them bears the old id, and
/// lower sequence numbers than anything of the other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AbsorbedRecord {
    pub layer: LayerId,
    pub into: LayerId,
    /// No file from here on holds anything with the old id; without an older file the record goes.
    pub files_below: FileNo,
}

/// A volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VolumeRecord {
    pub name: Name,
    pub uuid: String,
    /// Nanoseconds since the epoch.
    pub created: i64,
    pub parent: Option<ParentRecord>,
    pub quota_bytes: Option<u64>,
    pub remote_durable: bool,
    /// The layer that takes changes.
    pub mutable: LayerId,
    /// The layer that takes changes after the next freeze. Named ahead, so that what is logged in it
    /// is never of an unknown layer, whatever becomes of the command that froze.
    pub next_mutable: LayerId,
    /// Frozen layers beneath, newest first.
    pub frozen: Vec<LayerId>,
    pub snapshots: Vec<SnapshotRecord>,
}

/// Where a fork came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ParentRecord {
    pub volume: Name,
    pub snapshot: Option<Name>,
}

/// A named instant of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotRecord {
    pub name: Name,
    /// Nanoseconds since the epoch.
    pub created: i64,
    /// Its frozen layers, newest first.
    pub layers: Vec<LayerId>,
}

/// Which sequence of batches a heap file belongs to; each has LSNs of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    /// What writers changed, in groups that are cuts of volumes.
    Log,
    /// What compaction moved, carrying its old sequence numbers.
    Moves,
}

/// A heap file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileRecord {
    pub number: FileNo,
    /// Part of every header of this life of the file.
    pub nonce: u64,
    pub stream: StreamKind,
    /// Set once it takes no more batches: what lies behind is not part of the log.
    pub end: Option<FileEnd>,
}

/// The valid end of a heap file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileEnd {
    /// Of its last batch; none has a higher one.
    pub last_lsn: Lsn,
    /// The first slot behind its last batch.
    pub slot: SlotNo,
}

/// Why bytes are no manifest.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("it is damaged ({0})")]
    Damaged(String),
    #[error("it was written by a newer firn (version {0}; this one knows {VERSION}); use that version")]
    Newer(u32),
}

/// The bytes of a manifest.
pub fn encode(manifest: &Manifest) -> Vec<u8> {
    let body = serde_json::to_vec(manifest).expect("a manifest has no map with keys that are no text");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&body);
    let crc = crc32c::crc32c(&bytes[16..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Decodes a manifest.
///
/// # Errors
/// Damage, with what is wrong, or a newer version.
pub fn decode(bytes: &[u8]) -> Result<Manifest, DecodeError> {
    let damaged = |what: &str| DecodeError::Damaged(what.to_owned());
    let (header, body) =
        bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| damaged("it is too short"))?;
    if header[..8] != MAGIC {
        return Err(damaged("its magic number is wrong"));
    }
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    if word(8) > VERSION {
        return Err(DecodeError::Newer(word(8)));
    }
    if word(8) != VERSION {
        return Err(damaged("its version is unknown"));
    }
    if word(12) != crc32c::crc32c(&bytes[16..]) {
        return Err(damaged("its checksum does not match"));
    }
    if header[16..24] != (body.len() as u64).to_le_bytes() {
        return Err(damaged("its length is wrong"));
    }
    serde_json::from_slice(body).map_err(|error| DecodeError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Manifest {
        Manifest {
            next_layer: LayerId(4),
            next_file: FileNo(2),
            volumes: vec![VolumeRecord {
                name: "db".parse().expect("a name"),
                uuid: "00000000-0000-4000-8000-000000000001".into(),
                created: 5,
                parent: None,
                quota_bytes: Some(1 << 30),
                remote_durable: false,
                mutable: LayerId(2),
                next_mutable: LayerId(3),
                frozen: vec![LayerId(1)],
                snapshots: vec![SnapshotRecord {
                    name: "s".parse().expect("a name"),
                    created: 6,
                    layers: vec![LayerId(1)],
                }],
            }],
            absorbed: vec![AbsorbedRecord { layer: LayerId(0), into: LayerId(2), files_below: FileNo(1) }],
            files: vec![FileRecord {
                number: FileNo(1),
                nonce: 9,
                stream: StreamKind::Log,
                end: Some(FileEnd { last_lsn: Lsn(3), slot: SlotNo(6) }),
            }],
        }
    }

    #[test]
    fn golden_bytes_of_a_manifest_stay_the_same_or_the_version_is_bumped() {
        let bytes = encode(&sample());
        assert_eq!(decode(&bytes), Ok(sample()));
        assert_eq!(&blake3::hash(&bytes).to_hex().as_str()[..16], "d93f4b3d7ca03c63");
    }

    #[test]
    fn every_flipped_bit_of_a_manifest_is_noticed() {
        let mut bytes = encode(&sample());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn every_truncation_of_a_manifest_is_noticed() {
        let bytes = encode(&sample());
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_newer_manifest_is_refused_by_its_version() {
        let mut bytes = encode(&sample());
        bytes[8] = 2;
        assert_eq!(decode(&bytes), Err(DecodeError::Newer(2)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
