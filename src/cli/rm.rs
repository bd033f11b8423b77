//! `firn rm`.

use clap::Args;
use serde_json::json;

use super::{Context, Outcome, Tried};
use crate::control::{Source, parse_source};

/// Remove a volume with its snapshots, or one snapshot.
#[derive(Args)]
#[command(
    long_about = "Removes a volume together with its snapshots, or a single snapshot. Neither may be mounted. \
Forks of it stay whole.",
    after_long_help = "Examples:\n  firn rm test\n  firn rm db@before-upgrade"
)]
pub(super) struct Rm {
    #[arg(value_name = "VOL[@SNAP]", value_parser = parse_source)]
    source: Source,
}

impl Rm {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        context
            .client()
            .and_then(|mut client| client.remove(&self.source))
            .tried(|| format!("remove {}", self.source))?;
        context.output.print(&json!({ "removed": self.source }), |_| format!("removed {}", self.source))
    }
}
