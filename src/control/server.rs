//! The daemon's side of the socket, and its life: from the lock to the last flush.
//!
//! One thread runs the sockets and the signals; what a verb does runs on a blocking thread of its own,
//! of which there are no more than clients. Clients are heard from the first moment on, and told to
//! wait while the data directory is still being opened.

use std::cell::Cell;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use super::data_dir::{DataDir, Lock};
use super::error::Error;
use super::options::MountOptions;
use super::protocol::{
    self, DaemonInfo, DaemonStatus, HEADER_BYTES, ListedVolume, MountInfo, OpenFilesOf, Progress, Reply,
    Request, UnmountTarget,
};
use crate::base::Name;
use crate::io::{Clock, SystemClock};
use crate::volume::{CheckReport, CreateOptions, ForkReport, SnapshotInfo, Source, VolumeInfo};

/// Clients served at a time; more wait until one goes.
const CLIENTS_MAX: usize = 128;
/// Progress is told no more often than this.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How often a daemon that may end by itself looks whether it is idle.
const IDLE_CHECK_EVERY: Duration = Duration::from_secs(1);

/// Where a verb tells how far it is.
pub type Report<'a> = &'a dyn Fn(Progress);

type Result<T, E = Error> = std::result::Result<T, E>;

/// What the verbs do. Each call may take long, and comes on a thread of its own.
#[expect(clippy::missing_errors_doc, reason = "each fails with what its verb's operator should read")]
pub trait Service: Send + Sync + 'static {
    fn create(&self, name: &Name, options: &CreateOptions) -> Result<VolumeInfo>;
    fn mount(&self, source: &Source, directory: &Path, options: &MountOptions) -> Result<MountInfo>;
    /// Flushes and unmounts; returns what was unmounted, nothing when it is not mounted. Lazily: also while files are open there.
    fn unmount(&self, target: &UnmountTarget, lazy: bool, report: Report<'_>) -> Result<Vec<MountInfo>>;
    /// Whether nothing is mounted at `directory`; waits at most `wait` for it.
    fn await_unmount(&self, directory: &Path, wait: Duration) -> bool;
    fn fork(&self, source: &Source, new: &Name) -> Result<ForkReport>;
    fn snapshot(&self, volume: &Name, snapshot: &Name) -> Result<SnapshotInfo>;
    fn rollback(&self, volume: &Name, snapshot: &Name) -> Result<()>;
    fn remove(&self, source: &Source) -> Result<()>;
    fn list(&self) -> Result<Vec<ListedVolume>>;
    fn status(&self, volume: Option<&Name>) -> Result<DaemonStatus>;
    fn check(&self, volume: Option<&Name>, report: Report<'_>) -> Result<CheckReport>;
    fn sync(&self, volume: &Name, report: Report<'_>) -> Result<()>;
    fn open_files(&self, volume: &Name) -> Result<Vec<OpenFilesOf>>;

    /// Whether ending now would take nothing from anybody: no mounts.
    fn idle(&self) -> bool;
    /// Flushes and unmounts everything, and closes the data directory. Bounded.
    fn shut_down(&self) -> Result<()>;
}

/// A locked data directory with a socket that clients can connect to already.
#[derive(Debug)]
pub struct Server {
    dir: DataDir,
    listener: StdListener,
    idle_exit: Option<Duration>,
    /// Last, so that it outlives everything else.
    _lock: Lock,
}

impl Server {
    /// Locks the directory and listens.
    ///
    /// # Errors
    /// [`Error::Locked`] when another daemon has it.
    pub fn bind(dir: DataDir, idle_exit: Option<Duration>) -> Result<Self> {
        let lock = dir.lock()?;
        let listener = dir.listen(&lock)?;
        Ok(Server { dir, listener, idle_exit, _lock: lock })
    }

    /// The directory that is served.
    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// Opens the service, says `ready`, serves until a signal (or until idle), and shuts down. A
    /// second signal cuts the shutdown short.
    ///
    /// # Errors
    /// When the service cannot be opened or does not shut down cleanly.
    pub fn run<S: Service>(
        self,
        open: impl FnOnce() -> Result<Arc<S>> + Send + 'static,
        ready: impl FnOnce(),
    ) -> Result<()> {
        let failed = |error| Error::io("cannot set up the daemon of", self.dir.path(), error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(CLIENTS_MAX + 2)
            .build()
            .map_err(failed)?;
        let outcome = runtime.block_on(async {
            let listener = UnixListener::from_std(self.listener).map_err(failed)?;
            let signals = Signals::new().map_err(failed)?;
            Life { listener, signals, clients: Clients::default(), idle_exit: self.idle_exit, dir: &self.dir }
                .live(open, ready)
                .await
        });
        // What still runs is of no use to anybody.
        runtime.shutdown_background();
        outcome
    }
}

/// SIGTERM and SIGINT end the daemon; SIGHUP, the terminal's farewell, does not.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {}
            }
        }
    }
}

struct Life<'a> {
    listener: UnixListener,
    signals: Signals,
    clients: Clients,
    idle_exit: Option<Duration>,
    dir: &'a DataDir,
}

impl Life<'_> {
    async fn live<S: Service>(
        mut self,
        open: impl FnOnce() -> Result<Arc<S>> + Send + 'static,
        ready: impl FnOnce(),
    ) -> Result<()> {
        let (opened, service) = watch::channel(None::<Arc<S>>);
        let mut opening = spawn_blocking(open);
        tokio::select! {
            () = self.signals.end() => {
                self.dir.remove_socket();
                return Err(Error::Start("ended by a signal while opening the data directory".to_owned()));
            }
            result = &mut opening => {
                opened.send_replace(Some(joined(result)?));
            }
            () = self.clients.accept(&self.listener, &service) => {}
        }
        ready();
        tokio::select! {
            () = self.signals.end() => tracing::info!("asked to end"),
            () = self.clients.idle(self.idle_exit, &service) => tracing::info!("idle for long enough"),
            () = self.clients.accept(&self.listener, &service) => {}
        }
        // From here on a new client finds no socket, and starts the next daemon.
        drop(self.listener);
        self.dir.remove_socket();
        let Some(service) = service.borrow().clone() else { return Ok(()) };
        let shut_down = spawn_blocking(move || service.shut_down());
        tokio::select! {
            result = shut_down => joined(result),
            () = self.signals.end() => Err(Error::Refused("the shutdown was cut short by a second signal".to_owned())),
        }
    }
}

/// A service that may still be opening.
type Opened<S> = watch::Receiver<Option<Arc<S>>>;

/// The connections: as many permits are out as there are clients.
struct Clients {
    permits: Arc<Semaphore>,
}

impl Default for Clients {
    fn default() -> Self {
        Clients { permits: Arc::new(Semaphore::new(CLIENTS_MAX)) }
    }
}

impl Clients {
    /// Takes connections for ever, each into a task of its own.
    async fn accept<S: Service>(&self, listener: &UnixListener, service: &Opened<S>) {
        let mut pause = interval(PROGRESS_EVERY);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely; they come back.
                    tracing::warn!("cannot accept a client: {error}");
                    pause.tick().await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
            let service = service.clone();
            tokio::spawn(async move {
                if let Err(error) = serve_client(stream, service).await {
                    tracing::debug!("a client went away: {error}");
                }
                drop(permit);
            });
        }
    }

    /// Returns when for `time` there was neither client nor mount; without `time`, never.
    async fn idle<S: Service>(&self, time: Option<Duration>, service: &Opened<S>) {
        let Some(time) = time else { return std::future::pending().await };
        let mut tick = interval(IDLE_CHECK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let clock = SystemClock::new();
        let mut idle_since = None;
        // The first tick is at once, and those who came during the opening are not all accepted yet.
        tick.tick().await;
        loop {
            tick.tick().await;
            let mounts = service.borrow().as_ref().is_some_and(|service| !service.idle());
            if mounts || self.permits.available_permits() < CLIENTS_MAX {
                idle_since = None;
                continue;
            }
            let since = *idle_since.get_or_insert_with(|| clock.monotonic());
            if clock.monotonic().saturating_sub(since) >= time {
                return;
            }
        }
    }
}

/// Answers one client's requests, one after the other, until it closes the connection.
async fn serve_client<S: Service>(mut stream: UnixStream, service: Opened<S>) -> Result<()> {
    let peer = stream.peer_cred().map_err(lost)?;
    if peer.uid() != rustix::process::geteuid().as_raw() && peer.uid() != 0 {
        let message = "this daemon belongs to another user".to_owned();
        return send(&mut stream, &Reply::Failed { message }).await;
    }
    while let Some(request) = receive(&mut stream).await? {
        let reply = answer(&mut stream, request, service.clone()).await?;
        if let Err(error) = send(&mut stream, &reply).await {
            send(&mut stream, &Reply::Failed { message: error.to_string() }).await?;
        }
    }
    Ok(())
}

/// Works on a request, telling the client how far it is, or at least that it is being worked on.
async fn answer<S: Service>(
    stream: &mut UnixStream,
    request: Request,
    mut service: Opened<S>,
) -> Result<Reply> {
    let (reports, mut reported) = mpsc::channel(4);
    let work = async {
        let service = match service.wait_for(Option::is_some).await.map(|service| service.clone()) {
            Ok(Some(service)) => service,
            _ => return Err(Error::Refused("the daemon could not open its data directory".to_owned())),
        };
        let verb = verb_of(&request);
        let outcome = joined(spawn_blocking(move || dispatch(&*service, request, &throttled(reports))).await);
        match &outcome {
            Ok(_) => tracing::debug!("{verb}: done"),
            Err(error) => tracing::info!("{verb}: {error}"),
        }
        outcome
    };
    let mut work = pin!(work);
    let mut heartbeat = interval(protocol::HEARTBEAT);
    heartbeat.reset();
    let mut latest = Progress::default();
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut work => break outcome,
            Some(progress) = reported.recv() => latest = progress,
            _ = heartbeat.tick() => {}
        }
        heartbeat.reset();
        send(stream, &Reply::Progress(latest.clone())).await?;
    };
    Ok(match outcome {
        Ok(answer) => Reply::Done(answer),
        Err(error) => Reply::Failed { message: error.to_string() },
    })
}

/// Hands progress on, at most every [`PROGRESS_EVERY`]; what the client is too slow for is dropped.
fn throttled(reports: mpsc::Sender<Progress>) -> impl Fn(Progress) {
    let clock = SystemClock::new();
    let last = Cell::new(None);
    move |progress| {
        let now = clock.monotonic();
        if last.get().is_none_or(|last| now.saturating_sub(last) >= PROGRESS_EVERY) {
            last.set(Some(now));
            let _ = reports.try_send(progress);
        }
    }
}

/// Calls the verb that was asked for.
fn dispatch(service: &impl Service, request: Request, report: Report<'_>) -> Result<serde_json::Value> {
    match request {
        Request::Hello => json(&DaemonInfo::own()),
        Request::Create { name, options } => json(&service.create(&name, &options)?),
        Request::Mount { source, directory, options } => json(&service.mount(&source, &directory, &options)?),
        Request::Unmount { target, lazy } => json(&service.unmount(&target, lazy, report)?),
        Request::AwaitUnmount { directory } => json(&service.await_unmount(&directory, protocol::HEARTBEAT)),
        Request::Fork { source, new } => json(&service.fork(&source, &new)?),
        Request::Snapshot { volume, snapshot } => json(&service.snapshot(&volume, &snapshot)?),
        Request::Rollback { volume, snapshot } => json(&service.rollback(&volume, &snapshot)?),
        Request::Remove { source } => json(&service.remove(&source)?),
        Request::List => json(&service.list()?),
        Request::Status { volume } => json(&service.status(volume.as_ref())?),
        Request::Check { volume } => json(&service.check(volume.as_ref(), report)?),
        Request::Sync { volume } => json(&service.sync(&volume, report)?),
        Request::OpenFiles { volume } => json(&service.open_files(&volume)?),
    }
}

/// For the log: the verb, without what it is about.
fn verb_of(request: &Request) -> &'static str {
    match request {
        Request::Hello => "hello",
        Request::Create { .. } => "create",
        Request::Mount { .. } => "mount",
        Request::Unmount { .. } => "umount",
        Request::AwaitUnmount { .. } => "await-unmount",
        Request::Fork { .. } => "fork",
        Request::Snapshot { .. } => "snapshot",
        Request::Rollback { .. } => "rollback",
        Request::Remove { .. } => "rm",
        Request::List => "ls",
        Request::Status { .. } => "status",
        Request::Check { .. } => "check",
        Request::Sync { .. } => "sync",
        Request::OpenFiles { .. } => "open-files",
    }
}

fn json<T: Serialize>(answer: &T) -> Result<serde_json::Value> {
    serde_json::to_value(answer).map_err(|error| Error::Protocol(error.to_string()))
}

/// The outcome of a blocking thread; a panic there is that request's failure alone.
pub(super) fn joined<T>(outcome: Result<Result<T>, JoinError>) -> Result<T> {
    outcome.unwrap_or_else(|error| Err(Error::Refused(format!("the daemon failed at this request: {error}"))))
}

fn lost(error: std::io::Error) -> Error {
    Error::io("lost the client of", "the control socket", error)
}

/// The next request; `None` when the client has closed the connection.
async fn receive(stream: &mut UnixStream) -> Result<Option<Request>> {
    let mut header = [0; HEADER_BYTES];
    match stream.read_exact(&mut header).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(lost(error)),
    }
    let request = async {
        let mut body = vec![0; protocol::decode_header(header, protocol::REQUEST_BYTES_MAX)?];
        stream.read_exact(&mut body).await.map_err(lost)?;
        protocol::decode_body(&body)
    };
    match request.await {
        Ok(request) => Ok(Some(request)),
        Err(error) => {
            // What follows cannot be made sense of; say so, in our version of the protocol.
            send(stream, &Reply::Failed { message: error.to_string() }).await?;
            Err(error)
        }
    }
}

async fn send(stream: &mut UnixStream, reply: &Reply) -> Result<()> {
    let bytes = protocol::encode(reply, protocol::REPLY_BYTES_MAX)?;
    stream.write_all(&bytes).await.map_err(lost)
}
