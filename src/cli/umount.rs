//! `firn umount`.

use std::path::Path;

use clap::Args;

use super::output::ProgressLine;
use super::{Context, Outcome, Tried};
use crate::control::protocol::{MountInfo, UnmountTarget};
use crate::control::{self, Client, Error, parse_source};

/// Unmount, when everything is durable.
#[derive(Args)]
#[command(
    long_about = "Flushes and unmounts. Everything that was written is durable when it returns (a plain umount(8) \
does not wait for that, although it follows). Refused while a file is open there, unless --lazy.\n\nA name \
without '/' is a volume, or VOL@SNAP, if such a one is mounted, and a directory otherwise. A dead mount, as a \
killed daemon leaves it, is detached.",
    after_long_help = "Examples:\n  firn umount /mnt/db\n  firn umount db"
)]
pub(super) struct Umount {
    #[arg(value_name = "DIR|VOL")]
    target: String,
    /// Detach at once also while files are open there; they stay usable until closed
    #[arg(long)]
    lazy: bool,
}

impl Umount {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let target = target(&self.target);
        let line = ProgressLine::new();
        let unmounted = match context.data_dir().and_then(|dir| control::connect(&dir)) {
            Ok(mut client) => self.through(&mut client, &target, &line),
            // Without a daemon there are only dead mounts.
            Err(error @ (Error::NoDaemon(_) | Error::NoDataDir(_))) => {
                detach_dead(&target).and_then(|dead| dead.ok_or(error))
            }
            Err(error) => Err(error),
        };
        let unmounted = unmounted.tried(|| format!("unmount {}", self.target))?;
        drop(line);
        context.output.print(&unmounted, |unmounted| unmounted.iter().map(|mount| self.text(mount)).collect())
    }

    fn through(
        &self,
        client: &mut Client,
        target: &UnmountTarget,
        line: &ProgressLine,
    ) -> Result<Vec<MountInfo>, Error> {
        match client.unmount(target.clone(), self.lazy, &mut |progress| line.show(progress)) {
            // The daemon does not know of mounts that died with a former one.
            Err(refused @ Error::Refused(_)) => detach_dead(target)?.ok_or(refused),
            other => other,
        }
    }

    fn text(&self, mount: &MountInfo) -> String {
        let MountInfo { source, directory, .. } = mount;
        let durable = if self.lazy { "" } else { "; everything written is durable" };
        format!("unmounted {source} from {}{durable}\n", directory.display())
    }
}

/// Detaches a dead mount of ours at the directory, if there is one; what it served had been recovered or
/// will be.
fn detach_dead(target: &UnmountTarget) -> Result<Option<Vec<MountInfo>>, Error> {
    let Some(directory) = &target.directory else { return Ok(None) };
    let Some(source) = control::detach_dead_mount(directory)? else { return Ok(None) };
    let source = parse_source(&source).map_err(|error| Error::Refused(error.to_string()))?;
    Ok(Some(vec![MountInfo { source, directory: directory.clone(), read_only: false }]))
}

fn target(text: &str) -> UnmountTarget {
    let path = Path::new(text);
    UnmountTarget {
        text: text.to_owned(),
        source: parse_source(text).ok(),
        // A dead mount cannot be resolved any more.
        directory: std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_never_taken_for_a_volume() {
        for text in ["/mnt/db", "./db", "a/b", "."] {
            assert_eq!(target(text).source, None, "{text}");
        }
        assert!(target("db").source.is_some());
        assert!(target("db@snap").source.is_some());
    }
}
