//! `firn fork`.

use clap::Args;

use super::{Context, Outcome, Tried, output};
use crate::base::Name;
use crate::control::{self, Client, Source, parse_source, write_out_mapped_stores};

/// Make a volume of another as it is now, or of a snapshot.
#[derive(Args)]
#[command(
    long_about = "Makes a new volume that starts as another one is at this moment, or as a snapshot is. It takes \
milliseconds and no space, whatever the size, also while the volume is being written; neither side ever sees \
the other's later writes.\n\nThe fork has every write that returned before the command began, fsynced or not. \
What a program stored through a shared memory mapping is in it after msync, munmap or close; when root \
forks, files that are open for writing are included as they are.",
    after_long_help = "Examples:\n  firn fork db test && firn mount test /mnt/test\n  firn fork db@monday rescue"
)]
pub(super) struct Fork {
    /// What to start from
    #[arg(value_name = "VOL[@SNAP]", value_parser = parse_source)]
    source: Source,
    /// Name of the new volume
    #[arg(value_name = "NEW")]
    new: Name,
}

impl Fork {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let fork = |mut client: Client| {
            if self.source.snapshot.is_none() {
                write_out(&mut client, &self.source.volume, context)?;
            }
            client.fork(&self.source, &self.new)
        };
        let report =
            context.client().and_then(fork).tried(|| format!("fork {} to {}", self.source, self.new))?;
        context.output.print(&report, |report| {
            let held_us = report.writers_held_ns / 1000;
            format!("forked {} to {}; writers were held for {held_us} µs", self.source, report.volume.name)
        })
    }
}

/// Brings mapped stores to the daemon before a fork or snapshot of a volume's head.
pub(super) fn write_out(client: &mut Client, volume: &Name, context: &Context) -> Result<(), control::Error> {
    let missed = write_out_mapped_stores(&client.open_files(volume)?);
    if missed > 0 && context.global.verbose {
        output::complain(&format!(
            "{missed} open files of {volume} could not be written out first; stores through mappings count \
             after msync, munmap or close"
        ));
    }
    Ok(())
}
