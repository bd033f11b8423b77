//! `firn status`.

use std::fmt::Write;

use clap::Args;

use super::output::table;
use super::{Context, Outcome, Tried};
use crate::base::{Name, Size};
use crate::control::VolumeStatus;
use crate::control::protocol::DaemonStatus;

/// Show what the daemon and its volumes are doing.
#[derive(Args)]
#[command(
    long_about = "Shows the daemon, its memory and disk, its mounts, and for each volume how much is only in RAM \
so far (unlogged), how many layers a lookup may pass, and whether it still takes changes."
)]
pub(super) struct Status {
    /// Only this volume
    #[arg(value_name = "VOL")]
    volume: Option<Name>,
}

impl Status {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let status = context.client().and_then(|mut client| client.status(self.volume.as_ref())).tried(
            || match &self.volume {
                Some(volume) => format!("show the status of {volume}"),
                None => "show the status".to_owned(),
            },
        )?;
        context.output.print(&status, text)
    }
}

fn text(status: &DaemonStatus) -> String {
    let size = |bytes| Size { bytes };
    let engine = &status.engine;
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{label:<12}{value}");
    };
    line(
        "daemon",
        format!(
            "pid {}, version {}, up {} s",
            status.daemon.pid, status.daemon.version, status.uptime_seconds
        ),
    );
    line("data", status.data_dir.display().to_string());
    line(
        "memory",
        format!(
            "{} of {} used, {} resident",
            size(engine.memory_used_bytes),
            size(engine.memory_budget_bytes),
            size(status.resident_bytes)
        ),
    );
    line(
        "disk",
        format!(
            "{} heap files with {}, {} of it live; {} free",
            engine.heap_files,
            size(engine.heap_bytes),
            size(engine.live_bytes),
            size(engine.disk_free_bytes)
        ),
    );
    line("log", format!("{} in {} syncs", size(engine.log_bytes), engine.log_syncs));
    for mount in &status.mounts {
        let read_only = if mount.read_only { " (read-only)" } else { "" };
        line("mount", format!("{} on {}{read_only}", mount.source, mount.directory.display()));
    }
    let rows: Vec<_> = engine.volumes.iter().map(row).collect();
    let volumes =
        table(&["VOLUME", "LOCAL", "UNLOGGED", "LAYERS", "STATE"], &["LOCAL", "UNLOGGED", "LAYERS"], &rows);
    if !volumes.is_empty() {
        text.push('\n');
        text.push_str(&volumes);
    }
    text
}

fn row(volume: &VolumeStatus) -> Vec<String> {
    vec![
        volume.info.name.to_string(),
        Size { bytes: volume.local_bytes }.to_string(),
        Size { bytes: volume.unlogged_bytes }.to_string(),
        volume.layers.to_string(),
        volume.failed.as_ref().map_or_else(|| "ok".to_owned(), |why| format!("takes no changes: {why}")),
    ]
}
