//! `firn create`.

use clap::Args;

use super::{Context, Outcome, Tried};
use crate::base::{Name, Size};
use crate::control::CreateOptions;

/// Make an empty volume.
#[derive(Args)]
#[command(
    long_about = "Makes an empty volume. The data directory is made as well when it is missing and its parent \
exists.\n\nA name has 1 to 255 bytes, no '/', '@' or '..', and does not begin with '-'.",
    after_long_help = "Examples:\n  firn create db\n  firn create scratch --quota 10G"
)]
pub(super) struct Create {
    /// Name of the new volume
    #[arg(value_name = "VOL")]
    name: Name,
    /// The most that its files may take together, such as 512M or 10G (binary units)
    #[arg(long, value_name = "SIZE")]
    quota: Option<Size>,
}

impl Create {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let options =
            CreateOptions { quota_bytes: self.quota.map(|size| size.bytes), ..CreateOptions::default() };
        let created = context
            .data_dir_or_create()
            .and_then(|dir| context.client_of(&dir))
            .and_then(|mut client| client.create(&self.name, &options))
            .tried(|| format!("create {}", self.name))?;
        context.output.print(&created, |info| format!("created {}", info.name))
    }
}
