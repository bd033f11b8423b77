//! What the verbs do: calls of the engine, and mounts of what it opens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firnfs::base::Name;
use firnfs::control::protocol::{
    DaemonInfo, DaemonStatus, ListedVolume, MountInfo, OpenFilesOf, Progress, UnmountTarget,
};
use firnfs::control::{
    CheckReport, CreateOptions, Error, ForkReport, MountOptions, Report, Service, SnapshotInfo, Source,
    VolumeInfo,
};
use firnfs::fs::{Caller, Fs};
use firnfs::fuse::{self, End, MountFlags, MountSpec};
use firnfs::io::{Clock, Rng};
use firnfs::volume::Engine;

use super::machine;
use super::mounts::{ActiveMount, Mounts};
use super::steps::Steps;

/// At the end of the daemon, how long a busy mount may keep it before it is detached.
const BUSY_MAX: Duration = Duration::from_secs(3);
/// How long the last flush of a mount may take at the end of the daemon.
const LAST_FLUSH_MAX: Duration = Duration::from_secs(60);

/// The daemon's state.
pub(super) struct DaemonService {
    engine: Arc<Engine>,
    steps: Steps,
    mounts: Arc<Mounts>,
    data_dir: PathBuf,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    started: Duration,
}

impl DaemonService {
    /// Puts an open engine to work.
    pub(super) fn start(
        engine: Arc<Engine>,
        data_dir: PathBuf,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Arc<Self>, Error> {
        let steps = Steps::start(&engine)?;
        let started = clock.monotonic();
        let mounts = Arc::default();
        Ok(Arc::new(DaemonService { engine, steps, mounts, data_dir, clock, rng, started }))
    }

    /// Opens a volume and its filesystem.
    fn open(&self, source: &Source, read_only: bool) -> Result<Arc<Fs>, Error> {
        let mounted = self.engine.mount(source, read_only)?;
        let owner = Caller {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            pid: std::process::id(),
        };
        let fs = Fs::open(mounted, Arc::clone(&self.clock), &*self.rng, owner)
            .map_err(|error| Error::Refused(format!("cannot open the filesystem of {source}: {error}")))?;
        Ok(Arc::new(fs))
    }

    /// Flushes, unmounts, and waits until nothing of it is left.
    fn end_mount(&self, entry: &ActiveMount, lazy: bool, report: Report<'_>) -> Result<(), Error> {
        let step = |step: String| report(Progress { step, done: 0, total: 0 });
        step(format!("flushing {}", entry.info.source));
        flush(&self.engine, entry)?;
        let Some(mount) = entry.mount.get() else {
            return Err(Error::Refused(format!("{} is just being mounted; try again", entry.info.source)));
        };
        mount.unmount(lazy).map_err(refusal)?;
        if lazy {
            // It ends with the last open file, and is flushed then.
            return Ok(());
        }
        step(format!("waiting for the last requests to {}", entry.info.source));
        mount.wait();
        Ok(())
    }

    /// At the daemon's end: unmounts, detaching what stays busy.
    fn force_mount(&self, entry: &ActiveMount) {
        let directory = entry.info.directory.display();
        if let Err(error) = flush(&self.engine, entry) {
            tracing::error!("cannot flush {}: {error}", entry.info.source);
        }
        let Some(mount) = entry.mount.get() else { return };
        let gone = |wait| self.mounts.await_end(|info| *info == entry.info, wait);
        let deadline = self.clock.monotonic() + BUSY_MAX;
        while mount.unmount(false).is_err() && self.clock.monotonic() < deadline {
            gone(Duration::from_millis(100));
        }
        if mount.ended().is_none() && mount.unmount(false).is_err() {
            tracing::warn!("{directory} stays busy; detaching it, its users get errors from now on");
            // In this order: where the kernel offers no other way, only what is in place can be aborted.
            for error in [mount.abort(), mount.unmount(true)].into_iter().filter_map(Result::err) {
                tracing::error!("{error}");
            }
        }
        if !gone(LAST_FLUSH_MAX) {
            tracing::error!("{directory} did not end in {} s", LAST_FLUSH_MAX.as_secs());
        }
    }

    fn mount_infos(&self) -> Vec<MountInfo> {
        self.mounts.all().iter().map(|entry| entry.info.clone()).collect()
    }
}

/// Why a mount or unmount failed; that it did, the command says itself.
fn refusal(error: fuse::Error) -> Error {
    Error::Refused(match error {
        fuse::Error::Mount { detail, .. } | fuse::Error::Unmount { detail, .. } => detail,
        other => other.to_string(),
    })
}

/// Makes everything that was written through a mount so far durable.
fn flush(engine: &Engine, entry: &ActiveMount) -> Result<(), Error> {
    if entry.info.read_only {
        return Ok(());
    }
    Ok(engine.sync(&entry.info.source.volume)?)
}

/// When a mount has ended, by whom ever: what was written last becomes durable, and the volume is free.
fn on_end(engine: &Engine, mounts: &Mounts, entry: &ActiveMount, end: &End) {
    let directory = entry.info.directory.display();
    let source = &entry.info.source;
    match end {
        End::Unmounted => tracing::info!("{source} is unmounted from {directory}"),
        End::Aborted => tracing::warn!("the mount of {source} on {directory} was aborted"),
        End::Failed(why) => tracing::error!("the mount of {source} on {directory} failed: {why}"),
    }
    if let Err(error) = flush(engine, entry) {
        tracing::error!("cannot flush {source} after its unmount: {error}");
    }
    mounts.remove(entry);
}

impl Service for DaemonService {
    fn create(&self, name: &Name, options: &CreateOptions) -> Result<VolumeInfo, Error> {
        let info = self.engine.create(name, options)?;
        tracing::info!("created {name}");
        Ok(info)
    }

    fn mount(&self, source: &Source, directory: &Path, options: &MountOptions) -> Result<MountInfo, Error> {
        let read_only = options.read_only || source.snapshot.is_some();
        let info = MountInfo { source: source.clone(), directory: directory.to_owned(), read_only };
        let entry = self.mounts.reserve(info.clone(), self.open(source, read_only)?)?;
        let spec = MountSpec {
            source: source.to_string(),
            target: directory.to_owned(),
            read_only,
            flags: MountFlags {
                nosuid: options.nosuid,
                nodev: options.nodev,
                noexec: options.noexec,
                allow_other: options.allow_other,
            },
            observer: None,
        };
        let fs = entry.fs().expect("it is taken when the mount ends, which has not begun");
        let (engine, mounts, ending) =
            (Arc::clone(&self.engine), Arc::clone(&self.mounts), Arc::clone(&entry));
        let mounted = fuse::mount(fs, spec, move |end| on_end(&engine, &mounts, &ending, &end));
        match mounted {
            Ok(mount) => {
                // Only this thread sets it.
                let _ = entry.mount.set(mount);
                tracing::info!("{source} is mounted on {}", directory.display());
                Ok(info)
            }
            Err(error) => {
                self.mounts.remove(&entry);
                Err(refusal(error))
            }
        }
    }

    fn unmount(
        &self,
        target: &UnmountTarget,
        lazy: bool,
        report: Report<'_>,
    ) -> Result<Vec<MountInfo>, Error> {
        let found = self.mounts.find(target);
        found.iter().try_for_each(|entry| self.end_mount(entry, lazy, report))?;
        Ok(found.iter().map(|entry| entry.info.clone()).collect())
    }

    fn await_unmount(&self, directory: &Path, wait: Duration) -> bool {
        self.mounts.await_free(directory, wait)
    }

    fn fork(&self, source: &Source, new: &Name) -> Result<ForkReport, Error> {
        let report = self.engine.fork(source, new)?;
        tracing::info!("forked {source} to {new}, writers held for {} us", report.writers_held_ns / 1000);
        Ok(report)
    }

    fn snapshot(&self, volume: &Name, snapshot: &Name) -> Result<SnapshotInfo, Error> {
        let info = self.engine.snapshot(volume, snapshot)?;
        tracing::info!("made the snapshot {volume}@{snapshot}");
        Ok(info)
    }

    fn rollback(&self, volume: &Name, snapshot: &Name) -> Result<(), Error> {
        self.engine.rollback(volume, snapshot)?;
        tracing::info!("rolled {volume} back to {snapshot}");
        Ok(())
    }

    fn remove(&self, source: &Source) -> Result<(), Error> {
        self.engine.remove(source)?;
        tracing::info!("removed {source}");
        Ok(())
    }

    fn list(&self) -> Result<Vec<ListedVolume>, Error> {
        let mounts = self.mount_infos();
        let listed = |status: firnfs::control::VolumeStatus| ListedVolume {
            mounts: mounts.iter().filter(|mount| mount.source.volume == status.info.name).cloned().collect(),
            local_bytes: status.local_bytes,
            info: status.info,
        };
        Ok(self.engine.status().volumes.into_iter().map(listed).collect())
    }

    fn status(&self, volume: Option<&Name>) -> Result<DaemonStatus, Error> {
        let mut engine = self.engine.status();
        let mut mounts = self.mount_infos();
        if let Some(name) = volume {
            self.engine.info(name)?;
            engine.volumes.retain(|status| status.info.name == *name);
            mounts.retain(|mount| mount.source.volume == *name);
        }
        Ok(DaemonStatus {
            daemon: DaemonInfo::own(),
            data_dir: self.data_dir.clone(),
            uptime_seconds: self.clock.monotonic().saturating_sub(self.started).as_secs(),
            resident_bytes: machine::resident_bytes(),
            mounts,
            engine,
        })
    }

    fn check(&self, volume: Option<&Name>, report: Report<'_>) -> Result<CheckReport, Error> {
        let volumes = match volume {
            Some(name) => vec![self.engine.info(name)?],
            None => self.engine.list(),
        };
        let step = "verifying pages";
        let mut checked =
            self.engine.check(&mut |done, total| report(Progress { step: step.to_owned(), done, total }))?;
        for VolumeInfo { name, .. } in volumes {
            report(Progress { step: format!("examining {name}"), done: 0, total: 0 });
            let source = Source { volume: name, snapshot: None };
            // Pins the volume as it is now, whoever goes on writing.
            match self.engine.mount(&source, true) {
                Ok(pinned) => {
                    let found = firnfs::fs::check(&*pinned);
                    checked.damage.extend(found.into_iter().map(|line| format!("{source}: {line}")));
                }
                // Removed meanwhile.
                Err(firnfs::volume::Error::NoVolume(_)) => {}
                Err(error) => checked.damage.push(format!("{source}: {error}")),
            }
        }
        for line in &checked.damage {
            tracing::error!("check: {line}");
        }
        Ok(checked)
    }

    fn sync(&self, volume: &Name, report: Report<'_>) -> Result<(), Error> {
        report(Progress { step: format!("flushing {volume}"), done: 0, total: 0 });
        Ok(self.engine.sync(volume)?)
    }

    fn open_files(&self, volume: &Name) -> Result<Vec<OpenFilesOf>, Error> {
        self.engine.info(volume)?;
        let head = Source { volume: volume.clone(), snapshot: None };
        let inodes = |entry: &Arc<ActiveMount>| OpenFilesOf {
            directory: entry.info.directory.clone(),
            inodes: entry.fs().map_or_else(Vec::new, |fs| fs.open_files()).iter().map(|ino| ino.0).collect(),
        };
        Ok(self.mounts.of(&head).iter().map(inodes).collect())
    }

    fn idle(&self) -> bool {
        self.mounts.all().is_empty()
    }

    fn shut_down(&self) -> Result<(), Error> {
        for entry in self.mounts.close() {
            self.force_mount(&entry);
        }
        self.steps.close(&self.engine)
    }
}
