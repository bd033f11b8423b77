//! `firn snapshot`.

use clap::Args;

use super::{Context, Outcome, Tried, fork};
use crate::base::Name;
use crate::control::Client;

/// Name the present moment of a volume.
#[derive(Args)]
#[command(
    long_about = "Keeps a volume as it is at this moment, under a name, until `firn rm VOL@SNAP`. It takes \
milliseconds and no space. A snapshot can be mounted (read-only), forked and rolled back to. What it \
contains is as with `firn fork`.",
    after_long_help = "Examples:\n  firn snapshot db before-upgrade\n  firn mount db@before-upgrade /mnt/old"
)]
pub(super) struct Snapshot {
    #[arg(value_name = "VOL")]
    volume: Name,
    /// Name of the new snapshot
    #[arg(value_name = "SNAP")]
    snapshot: Name,
}

impl Snapshot {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let Snapshot { volume, snapshot } = self;
        let take = |mut client: Client| {
            fork::write_out(&mut client, volume, context)?;
            client.snapshot(volume, snapshot)
        };
        let taken = context.client().and_then(take).tried(|| format!("snapshot {volume} as {snapshot}"))?;
        context.output.print(&taken, |info| format!("made the snapshot {volume}@{}", info.name))
    }
}
