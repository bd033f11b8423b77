//! `firn check`.

use clap::Args;

use super::output::ProgressLine;
use super::{Context, Failure, Outcome, Tried};
use crate::base::Size;
use crate::control::CheckReport;

/// Read and verify everything on the local disk.
#[derive(Args)]
#[command(
    long_about = "Reads every page on the local disk and verifies its checksum, while everything stays in use. \
Lists what is damaged, and ends with status 1 when anything is."
)]
pub(super) struct Check {}

impl Check {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let line = ProgressLine::new();
        let report = context
            .client()
            .and_then(|mut client| client.check(None, &mut |progress| line.show(progress)))
            .tried(|| "check the data directory".to_owned())?;
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
