//! `firn check`.

use clap::Args;

use super::output::ProgressLine;
use super::{Context, Failure, Outcome, Tried};
use crate::base::{Name, Size};
use crate::control::CheckReport;

/// Verify everything on the local disk, and the filesystems of the volumes.
#[derive(Args)]
#[command(
    long_about = "Reads every page on the local disk and verifies its checksum, then examines the filesystem of each volume \
(or of the one that is named), as it is at this moment: directories, links, counters. Everything stays in \
use meanwhile. Lists what is damaged, and ends with status 1 when anything is."
)]
pub(super) struct Check {
    /// Only this volume's filesystem
    #[arg(value_name = "VOL")]
    volume: Option<Name>,
}

impl Check {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let line = ProgressLine::new();
        let report = context
            .client()
            .and_then(|mut client| client.check(self.volume.as_ref(), &mut |progress| line.show(progress)))
            .tried(|| match &self.volume {
                Some(volume) => format!("check {volume}"),
                None => "check the data directory".to_owned(),
            })?;
        drop(line);
        context.output.print(&report, text)?;
        match report.damage.len() {
            0 => Ok(()),
            count => Err(Failure::Found(format!(
                "{count} damaged: reads of it fail with EIO, everything else is readable; overwrite or restore it \
                 from a snapshot or backup"
            ))),
        }
    }
}

fn text(report: &CheckReport) -> String {
    let CheckReport { heap_files, pages, bytes, damage } = report;
    let mut text: String = damage.iter().map(|line| format!("{line}\n")).collect();
    let found = if damage.is_empty() { "no damage".to_owned() } else { format!("{} damaged", damage.len()) };
    text.push_str(&format!(
        "verified {pages} pages ({}) in {heap_files} heap files: {found}\n",
        Size { bytes: *bytes }
    ));
    text
}
