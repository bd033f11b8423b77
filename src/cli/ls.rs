//! `firn ls`.

use clap::Args;

use super::output::table;
use super::{Context, Outcome, Tried};
use crate::base::Size;
use crate::control::protocol::{ListedVolume, MountInfo};

/// List volumes, their snapshots and mounts.
#[derive(Args)]
#[command(
    long_about = "Lists the volumes with their local size (of their own pages: what a fork shares with others is \
not counted again), quota, parent, snapshots and mounts."
)]
pub(super) struct Ls {}

impl Ls {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let listed =
            context.client().and_then(|mut client| client.list()).tried(|| "list the volumes".to_owned())?;
        context.output.print(&listed, |volumes| {
            let rows: Vec<_> = volumes.iter().map(row).collect();
            table(&["NAME", "LOCAL", "QUOTA", "PARENT", "SNAPSHOTS", "MOUNTED"], &["LOCAL", "QUOTA"], &rows)
        })
    }
}

fn row(volume: &ListedVolume) -> Vec<String> {
    let dash = || "-".to_owned();
    let snapshots: Vec<_> = volume.info.snapshots.iter().map(|snapshot| snapshot.name.to_string()).collect();
    let mounts: Vec<_> = volume.mounts.iter().map(mounted).collect();
    vec![
        volume.info.name.to_string(),
        Size { bytes: volume.local_bytes }.to_string(),
        volume.info.quota_bytes.map_or_else(dash, |bytes| Size { bytes }.to_string()),
        volume.info.parent.as_ref().map_or_else(dash, ToString::to_string),
        if snapshots.is_empty() { dash() } else { snapshots.join(",") },
        if mounts.is_empty() { dash() } else { mounts.join(",") },
    ]
}

/// Where, and if not the head for writing, what.
fn mounted(mount: &MountInfo) -> String {
    let directory = mount.directory.display();
    match &mount.source.snapshot {
        Some(snapshot) => format!("{directory} (@{snapshot})"),
        None if mount.read_only => format!("{directory} (read-only)"),
        None => directory.to_string(),
    }
}
