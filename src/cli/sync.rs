//! `firn sync`.

use clap::Args;
use serde_json::json;

use super::output::ProgressLine;
use super::{Context, Outcome, Tried};
use crate::base::Name;

/// Wait until everything written to a volume so far is durable.
#[derive(Args)]
#[command(
    long_about = "Waits until everything that was written to a volume before this command is on the local disk, \
as if every file had been fsynced. (sync(1) and syncfs(2) do not reach a FUSE filesystem.)"
)]
pub(super) struct Sync {
    #[arg(value_name = "VOL")]
    volume: Name,
}

impl Sync {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let Sync { volume } = self;
        let line = ProgressLine::new();
        context
            .client()
            .and_then(|mut client| client.sync(volume, &mut |progress| line.show(progress)))
            .tried(|| format!("sync {volume}"))?;
        drop(line);
        context.output.print(&json!({ "synced": volume }), |_| format!("{volume} is durable"))
    }
}
