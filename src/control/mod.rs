//! How a command and a daemon speak: data directory, lock, socket, protocol.
//!
//! Owns the Unix socket in the data directory, what is said over it, and the rule that one daemon at a
//! time uses a data directory. Does not own what is behind it: the server calls a [`Service`], which the
//! composition root implements with an engine and its mounts. Of the layers below it knows only the
//! data that it carries ([`VolumeInfo`] and its like).
//!
//! Invariants: nothing is read from a peer that is neither root nor the daemon's own user; every
//! message has a bounded size; while a request is worked on, the daemon says so every
//! [`HEARTBEAT`](protocol::HEARTBEAT), so that a silent daemon is known to be hung.

mod attend;
mod client;
mod data_dir;
mod error;
mod kernel_mounts;
mod mapped_stores;
mod options;
pub mod protocol;
mod server;
mod source;
mod start;

pub use attend::attend;
pub use client::Client;
pub use data_dir::{DataDir, Lock, default_data_dir};
pub use error::Error;
pub use kernel_mounts::{detach_dead_mount, mounted_at};
pub use mapped_stores::write_out_mapped_stores;
pub use options::{InvalidMountOption, MountOptions, remount};
pub use server::{Report, Server, Service};
pub use source::parse_source;
pub use start::{DaemonOptions, FirstMount, IDLE_EXIT, StartReport, connect, connect_or_start};

pub use crate::volume::{
    CheckReport, CreateOptions, Durability, ForkReport, SnapshotInfo, Source, Status, VolumeInfo,
    VolumeStatus,
};
