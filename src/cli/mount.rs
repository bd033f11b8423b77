//! `firn mount`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{Context, Outcome, Tried};
use crate::control::protocol::MountInfo;
use crate::control::{self, DaemonOptions, DataDir, Error, FirstMount, MountOptions, Source, parse_source};

/// Mount a volume or snapshot.
#[derive(Args)]
#[command(
    long_about = "Mounts a volume on a directory, as an ordinary local filesystem. A volume is mounted for writing \
once at a time; a snapshot is read-only. A dead mount of firn on the directory, as a killed daemon leaves \
it, is detached first.\n\nReturns when it is mounted. With --foreground, returns when it is unmounted: by \
`firn umount`, by umount(8), or by SIGTERM or SIGINT to this command.",
    after_long_help = "\
Mount options (-o, also in /etc/fstab):
  ro, rw            read-only or not
  nosuid, nodev, noexec
  allow_other       others than you may enter; always so when root mounts
  data-dir=PATH     as --data-dir
  remount           change ro, nosuid, nodev and noexec of what is mounted there

Examples:
  firn mount db /mnt/db
  firn mount db@monday /mnt/monday
  mount -t fuse.firn db /mnt/db
  db  /mnt/db  fuse.firn  defaults,nofail  0 0     (a line of /etc/fstab)"
)]
pub(super) struct Mount {
    #[arg(value_name = "VOL[@SNAP]", value_parser = parse_source)]
    pub(super) source: Source,
    /// An existing directory
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
    /// Refuse changes
    #[arg(long)]
    pub(super) read_only: bool,
    /// Stay until it is unmounted
    #[arg(long)]
    pub(super) foreground: bool,
    /// Mount options, separated by commas
    #[arg(short = 'o', long = "options", value_name = "OPTS")]
    pub(super) options: Vec<String>,
    /// Ignore unknown options, as `mount -s` asks.
    #[arg(skip)]
    pub(super) sloppy: bool,
    /// Check everything and mount nothing, as `mount -f` asks.
    #[arg(skip)]
    pub(super) fake: bool,
}

impl Mount {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        let tried = || format!("mount {} on {}", self.source, self.directory.display());
        let directory = resolve(&self.directory);
        let mut options = MountOptions { read_only: self.read_only, ..MountOptions::default() };
        let options = self
            .options
            .iter()
            .try_for_each(|list| options.add(list, self.sloppy))
            .map(|()| MountOptions { read_only: options.read_only || self.read_only, ..options })
            .map_err(|error| Error::Refused(error.to_string()))
            .tried(tried)?;
        if options.remount && !self.fake {
            return control::remount(&directory, &options).tried(tried);
        }
        let dir = match &options.data_dir {
            Some(path) => DataDir::open(path),
            None => context.data_dir(),
        };
        let dir = dir.tried(tried)?;
        if self.fake {
            return Ok(());
        }
        if self.foreground {
            return self.stay(context, dir, directory, options).tried(tried);
        }
        let mounted = context
            .client_of(&dir)
            .and_then(|mut client| client.mount(&self.source, &directory, &options))
            .tried(tried)?;
        context.output.print(&mounted, text)
    }

    /// Mounts through the daemon that runs, or as the daemon, and returns after the unmount.
    fn stay(
        &self,
        context: &Context,
        dir: DataDir,
        directory: PathBuf,
        options: MountOptions,
    ) -> Result<(), Error> {
        match control::connect(&dir) {
            Ok(mut client) => {
                client.mount(&self.source, &directory, &options)?;
                control::attend(client, &dir, &directory)
            }
            Err(Error::NoDaemon(_)) => {
                let first_mount = Some(FirstMount { source: self.source.clone(), directory, options });
                let idle_exit = Some(Duration::ZERO);
                let verbose = context.global.verbose;
                let options = DaemonOptions { idle_exit, verbose, first_mount, ..DaemonOptions::default() };
                (context.run_daemon)(dir, &options)
            }
            Err(error) => Err(error),
        }
    }
}

/// The directory as the kernel's table of mounts has it. One that cannot be resolved is left to the
/// daemon to complain about.
fn resolve(directory: &Path) -> PathBuf {
    std::fs::canonicalize(directory)
        .or_else(|_| std::path::absolute(directory))
        .unwrap_or_else(|_| directory.to_owned())
}

fn text(mounted: &MountInfo) -> String {
    let read_only = if mounted.read_only { ", read-only" } else { "" };
    format!("mounted {} on {}{read_only}", mounted.source, mounted.directory.display())
}
