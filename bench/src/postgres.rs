//! PostgreSQL 15 under pgbench: a server of its own on each side, reached by a socket in a directory that is
//! on neither.

use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::{Outcome, Tried, failed, message};
use crate::workload::{Done, Running};

const BINARIES: &str = "/usr/lib/postgresql/15/bin";
const SCALE: &str = "10";

pub fn one_client(dir: &Path) -> Outcome<Box<dyn Running>> {
    Ok(Box::new(Server::prepare(dir, 1)?))
}

pub fn eight_clients(dir: &Path) -> Outcome<Box<dyn Running>> {
    Ok(Box::new(Server::prepare(dir, 8)?))
}

struct Server {
    postmaster: Child,
    socket: TempDir,
    clients: u32,
}

impl Server {
    fn prepare(dir: &Path, clients: u32) -> Outcome<Self> {
        let (uid, gid) = (id("-u")?, id("-g")?);
        let socket = tempfile::Builder::new()
            .prefix("firn-bench-socket-")
            .tempdir_in("/tmp")
            .tried("make a directory for the socket")?;
        let cluster = dir.join("cluster");
        std::fs::create_dir(&cluster).tried_on("create", &cluster)?;
        for owned in [cluster.as_path(), socket.path()] {
            chown(owned, Some(uid), Some(gid)).tried_on("chown", owned)?;
        }
        run(as_postgres("initdb").args(["-A", "trust", "-E", "UTF8", "--locale=C", "-D"]).arg(&cluster))?;
        let postmaster = start(&cluster, socket.path())?;
        let server = Self { postmaster, socket, clients };
        server.wait()?;
        run(server.client("pgbench").args(["-i", "-q", "-s", SCALE, "postgres"]))?;
        Ok(server)
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(format!("{BINARIES}/{program}"));
        command.arg("-h").arg(self.socket.path()).args(["-U", "postgres"]);
        command
    }

    fn wait(&self) -> Outcome<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while run(self.client("pg_isready").arg("-q")).is_err() {
            if Instant::now() > deadline {
                return Err(message("PostgreSQL does not start"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Running for Server {
    /// pgbench counts whole seconds.
    fn slice(&mut self, length: Duration) -> Outcome<Done> {
        let seconds = length.as_secs().max(1);
        let (clients, threads) = (self.clients.to_string(), self.clients.min(4).to_string());
        let mut pgbench = self.client("pgbench");
        pgbench.args(["-n", "-c", &clients, "-j", &threads, "-T", &seconds.to_string(), "postgres"]);
        let report = run(&mut pgbench)?;
        let rate: f64 = report
            .lines()
            .find_map(|line| line.strip_prefix("tps = "))
            .and_then(|rest| rest.split(' ').next())
            .and_then(|rate| rate.parse().ok())
            .ok_or_else(|| message("pgbench reports no rate"))?;
        let took = Duration::from_secs(seconds);
        Ok(Done { amount: rate * took.as_secs_f64(), took })
    }
}

impl Drop for Server {
    /// An immediate shutdown: the cluster is thrown away.
    fn drop(&mut self) {
        let _ = run(Command::new("kill").arg("-QUIT").arg(self.postmaster.id().to_string()));
        let _ = self.postmaster.wait();
    }
}

fn start(cluster: &Path, socket: &Path) -> Outcome<Child> {
    let log = std::fs::File::create(socket.join("log")).tried("make the server's log")?;
    as_postgres("postgres")
        .arg("-D")
        .arg(cluster)
        .arg("-k")
        .arg(socket)
        .args(["-c", "listen_addresses=", "-c", "shared_buffers=128MB", "-c", "max_wal_size=1GB"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .tried("start PostgreSQL")
}

fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.arg(PathBuf::from(BINARIES).join(program)).current_dir("/");
    command
}

fn id(which: &str) -> Outcome<u32> {
    run(Command::new("id").args([which, "postgres"]))?.trim().parse().tried("read an id")
}

fn run(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output().tried("start a program")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let program = command.get_program().to_owned();
    let args: Vec<&OsStr> = command.get_args().collect();
    Err(failed(format!("{program:?} {args:?}"), String::from_utf8_lossy(&output.stderr)))
}
