//! `firn rollback`.

use clap::Args;
use serde_json::json;

use super::{Context, Failure, Outcome, Tried};
use crate::control::{Error, Source, parse_source};

/// Put a volume back to one of its snapshots.
#[derive(Args)]
#[command(
    long_about = "Puts a volume back to what it was at a snapshot. What was changed since is gone, unless another \
snapshot or fork has it; all snapshots stay. Only while the volume is not mounted for writing.",
    after_long_help = "Example:\n  firn umount db && firn rollback db@before-upgrade"
)]
pub(super) struct Rollback {
    #[arg(value_name = "VOL@SNAP", value_parser = parse_source)]
    source: Source,
}

impl Rollback {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let Source { volume, snapshot } = &self.source;
        let tried = || format!("roll back {}", self.source);
        let Some(snapshot) = snapshot else {
            let cause = Error::Refused(format!("name a snapshot, as in {volume}@SNAP; `firn ls` lists them"));
            return Err(Failure::Tried { tried: tried(), cause });
        };
        context.client().and_then(|mut client| client.rollback(volume, snapshot)).tried(tried)?;
        let answer = json!({ "volume": volume, "snapshot": snapshot });
        context.output.print(&answer, |_| format!("{volume} is back at {snapshot}"))
    }
}
