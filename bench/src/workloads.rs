//! The workloads, in the order of the report.

mod data;
mod files;
mod metadata;
mod sqlite;

pub use files::{MIB, Noise, filled, open};

use crate::postgres;
use crate::workload::Workload;

pub fn all() -> Vec<Workload> {
    vec![
        Workload {
            name: "sqlite-wal",
            what: "SQLite, WAL, synchronous=FULL, commits",
            unit: "commits",
            prepare: sqlite::wal,
            cold: false,
        },
        Workload {
            name: "sqlite-delete",
            what: "SQLite, DELETE journal, synchronous=FULL, commits",
            unit: "commits",
            prepare: sqlite::delete,
            cold: false,
        },
        Workload {
            name: "pgbench-1",
            what: "PostgreSQL, pgbench scale 10, 1 client",
            unit: "transactions",
            prepare: postgres::one_client,
            cold: false,
        },
        Workload {
            name: "pgbench-8",
            what: "PostgreSQL, pgbench scale 10, 8 clients",
            unit: "transactions",
            prepare: postgres::eight_clients,
            cold: false,
        },
        Workload {
            name: "append",
            what: "append 4 KiB + fdatasync",
            unit: "writes",
            prepare: data::append,
            cold: false,
        },
        Workload {
            name: "random-write",
            what: "random 8 KiB write + fdatasync, file of 256 MiB",
            unit: "writes",
            prepare: data::random_write,
            cold: false,
        },
        Workload {
            name: "seq-write",
            what: "sequential write, 1 MiB at a time, fsync at 256 MiB",
            unit: "MiB",
            prepare: data::sequential_write,
            cold: false,
        },
        Workload {
            name: "seq-read",
            what: "sequential read, 1 MiB at a time, file of 512 MiB, caches dropped",
            unit: "MiB",
            prepare: data::sequential_read,
            cold: true,
        },
        Workload {
            name: "random-read",
            what: "random 4 KiB read, file of 512 MiB, caches dropped",
            unit: "reads",
            prepare: data::random_read,
            cold: true,
        },
        Workload {
            name: "metadata",
            what: "create, stat, rename and unlink a file",
            unit: "files",
            prepare: metadata::files,
            cold: false,
        },
    ]
}
