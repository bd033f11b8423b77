//! A command's side of the socket: one typed call for each verb.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::data_dir::DataDir;
use super::error::Error;
use super::options::MountOptions;
use super::protocol::{
    self, DaemonInfo, DaemonStatus, HEADER_BYTES, ListedVolume, MountInfo, OpenFilesOf, Progress, Reply,
    Request, UnmountTarget,
};
use crate::base::Name;
use crate::io::{Clock, SystemClock};
use crate::volume::{CheckReport, CreateOptions, ForkReport, SnapshotInfo, Source, VolumeInfo};

/// The longest that a verb takes that has no long work to do, opening the data directory excluded.
const SHORT_VERB_MAX: Duration = Duration::from_secs(120);

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    daemon: DaemonInfo,
    log: PathBuf,
    clock: SystemClock,
}

/// What to do with progress: nothing.
fn ignore(_: &Progress) {}

impl Client {
    /// Greets the daemon behind a fresh connection; waits while it still opens the data directory.
    ///
    /// # Errors
    /// [`Error::Ended`] when it went away instead, [`Error::Silent`] when it hangs.
    pub(super) fn greet(
        stream: UnixStream,
        dir: &DataDir,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Self, Error> {
        let failed =
            |error: io::Error| Error::io("cannot set up the connection to the daemon of", dir.path(), error);
        stream.set_read_timeout(Some(protocol::SILENCE_MAX)).map_err(failed)?;
        stream.set_write_timeout(Some(protocol::SILENCE_MAX)).map_err(failed)?;
        let daemon = DaemonInfo { pid: dir.last_pid().unwrap_or(0), version: String::new() };
        let mut client = Client { stream, daemon, log: dir.log_path(), clock: SystemClock::new() };
        client.daemon = client.call(&Request::Hello, None, progress)?;
        Ok(client)
    }

    /// Who answered.
    pub fn daemon(&self) -> &DaemonInfo {
        &self.daemon
    }

    /// Makes an empty volume.
    ///
    /// # Errors
    /// As every verb: the daemon's refusal, or that it cannot be reached.
    pub fn create(&mut self, name: &Name, options: &CreateOptions) -> Result<VolumeInfo, Error> {
        self.short(&Request::Create { name: name.clone(), options: options.clone() })
    }

    /// Mounts a volume or snapshot at an absolute path.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn mount(
        &mut self,
        source: &Source,
        directory: &Path,
        options: &MountOptions,
    ) -> Result<MountInfo, Error> {
        let (source, directory, options) = (source.clone(), directory.to_owned(), options.clone());
        self.short(&Request::Mount { source, directory, options })
    }

    /// Flushes and unmounts; however long that takes. Returns what was unmounted: nothing when it is
    /// not mounted.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn unmount(
        &mut self,
        target: UnmountTarget,
        lazy: bool,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Vec<MountInfo>, Error> {
        self.call(&Request::Unmount { target, lazy }, None, progress)
    }

    /// Waits until a mount is gone, or a few seconds. Returns whether it is.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn await_unmount(&mut self, directory: &Path) -> Result<bool, Error> {
        self.short(&Request::AwaitUnmount { directory: directory.to_owned() })
    }

    /// Makes a new volume of another's head or snapshot.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn fork(&mut self, source: &Source, new: &Name) -> Result<ForkReport, Error> {
        self.short(&Request::Fork { source: source.clone(), new: new.clone() })
    }

    /// Names the present instant of a volume.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn snapshot(&mut self, volume: &Name, snapshot: &Name) -> Result<SnapshotInfo, Error> {
        self.short(&Request::Snapshot { volume: volume.clone(), snapshot: snapshot.clone() })
    }

    /// Puts a volume's head back to a snapshot.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn rollback(&mut self, volume: &Name, snapshot: &Name) -> Result<(), Error> {
        self.short(&Request::Rollback { volume: volume.clone(), snapshot: snapshot.clone() })
    }

    /// Removes a volume with its snapshots, or one snapshot.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn remove(&mut self, source: &Source) -> Result<(), Error> {
        self.short(&Request::Remove { source: source.clone() })
    }

    /// All volumes.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn list(&mut self) -> Result<Vec<ListedVolume>, Error> {
        self.short(&Request::List)
    }

    /// Figures of the daemon, and of one volume or all.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn status(&mut self, volume: Option<&Name>) -> Result<DaemonStatus, Error> {
        self.short(&Request::Status { volume: volume.cloned() })
    }

    /// Reads and verifies everything local; however long that takes.
    ///
    /// # Errors
    /// See [`Client::create`]. Damage is no error, it is in the report.
    pub fn check(
        &mut self,
        volume: Option<&Name>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<CheckReport, Error> {
        self.call(&Request::Check { volume: volume.cloned() }, None, progress)
    }

    /// Waits until everything so far is durable.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn sync(&mut self, volume: &Name, progress: &mut dyn FnMut(&Progress)) -> Result<(), Error> {
        self.call(&Request::Sync { volume: volume.clone() }, None, progress)
    }

    /// Which files of a volume's writable mounts are open.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn open_files(&mut self, volume: &Name) -> Result<Vec<OpenFilesOf>, Error> {
        self.short(&Request::OpenFiles { volume: volume.clone() })
    }

    fn short<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, Error> {
        self.call(request, Some(SHORT_VERB_MAX), &mut ignore)
    }

    /// Sends a request and waits for its answer: as long as the daemon says that it is at work, and
    /// not longer than `time_max`.
    fn call<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        time_max: Option<Duration>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<T, Error> {
        let bytes = protocol::encode(request, protocol::REQUEST_BYTES_MAX)?;
        self.stream.write_all(&bytes).map_err(|error| self.lost(&error))?;
        let started = self.clock.monotonic();
        loop {
            match self.receive()? {
                Reply::Done(answer) => {
                    return serde_json::from_value(answer)
                        .map_err(|error| Error::Protocol(error.to_string()));
                }
                Reply::Failed { message } => return Err(Error::Refused(message)),
                Reply::Progress(step) => progress(&step),
            }
            let waited = self.clock.monotonic().saturating_sub(started);
            if time_max.is_some_and(|max| waited > max) {
                return Err(Error::Silent { pid: self.daemon.pid, waited, log: self.log.clone() });
            }
        }
    }

    fn receive(&mut self) -> Result<Reply, Error> {
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header).map_err(|error| self.lost(&error))?;
        let length = protocol::decode_header(header, protocol::REPLY_BYTES_MAX)?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(|error| self.lost(&error))?;
        protocol::decode_body(&body)
    }

    fn lost(&self, error: &io::Error) -> Error {
        let (pid, log) = (self.daemon.pid, self.log.clone());
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Error::Silent { pid, waited: protocol::SILENCE_MAX, log }
            }
            _ => Error::Ended { pid, log },
        }
    }
}
