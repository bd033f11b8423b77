//! `firn umount`.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::output::ProgressLine;
use super::{Context, Outcome, Tried};
use crate::control::protocol::{MountInfo, UnmountTarget};
use crate::control::{self, Error, parse_source};

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
        let served = match context.data_dir().and_then(|dir| control::connect(&dir)) {
            Ok(mut client) => client.unmount(target.clone(), self.lazy, &mut |progress| line.show(progress)),
            Err(Error::NoDaemon(_) | Error::NoDataDir(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let unmounted = served.and_then(|mounts| {
            // A daemon does not know of mounts that died with a former one.
            if mounts.is_empty() { detach_dead(&target) } else { Ok(mounts.into_iter().map(alive).collect()) }
        });
        let unmounted: Vec<Unmounted> = unmounted.tried(|| format!("unmount {}", self.target))?;
        drop(line);
        context.output.print(&unmounted, |unmounted| unmounted.iter().map(|one| self.text(one)).collect())
    }

    fn text(&self, unmounted: &Unmounted) -> String {
        let MountInfo { source, directory, .. } = &unmounted.mount;
        let directory = directory.display();
        if unmounted.dead {
            format!(
                "detached the dead mount of {source} from {directory}; everything fsynced is in {source}\n"
            )
        } else if self.lazy {
            format!("detached {source} from {directory}; it ends when its last file is closed\n")
        } else {
            format!("unmounted {source} from {directory}; everything written is durable\n")
        }
    }
}

#[derive(Serialize)]
struct Unmounted {
    #[serde(flatten)]
    mount: MountInfo,
    /// Its daemon was gone: there was nothing left to flush.
    dead: bool,
}

fn alive(mount: MountInfo) -> Unmounted {
    Unmounted { mount, dead: false }
}

/// Detaches a dead mount of ours at the directory.
///
/// # Errors
/// When there is none.
fn detach_dead(target: &UnmountTarget) -> Result<Vec<Unmounted>, Error> {
    if let Some(directory) = &target.directory {
        if let Some(source) = control::detach_dead_mount(directory)? {
            let source = parse_source(&source).map_err(|error| Error::Refused(error.to_string()))?;
            let mount = MountInfo { source, directory: directory.clone(), read_only: false };
            return Ok(vec![Unmounted { mount, dead: true }]);
        }
        if let Some(source) = control::mounted_at(directory)? {
            return Err(Error::Refused(format!(
                "{source} there belongs to the daemon of another data directory; name that with --data-dir"
            )));
        }
    }
    Err(Error::Refused(format!("{} is not mounted; `firn ls` shows what is", target.text)))
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
