//! PostgreSQL under pgbench and numbered inserts.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::ledger::{Clients, Found, Ledger};
use crate::support::chance::Chance;
use crate::support::daemon::Daemon;
use crate::support::knob;
use crate::support::process::{Helper, finish, run, stop, try_run, wait_until};

const CLIENTS: usize = 4;
const BINARIES: &str = "/usr/lib/postgresql/15/bin";

#[test]
fn postgresql_keeps_every_acknowledged_commit_when_the_daemon_is_killed() {
    let mut chance = Chance::announced("postgres");
    let mut daemon = Daemon::new("postgres");
    let mount = daemon.volume("db");
    let cluster = Cluster::init(mount.path("cluster"), daemon.scratch().dir("socket"));
    let mut server = cluster.start();
    let mut ledger = Ledger::new(CLIENTS);
    cluster.query("CREATE TABLE ledger(client int, n int, content text, PRIMARY KEY(client, n))");
    cluster.run("pgbench", &["-i", "-q", "-s", "10", "postgres"]);

    for round in 1..=knob("FIRN_KILLS", 2) {
        let before = ledger.total();
        let clients = Clients::start(
            &ledger,
            |_| cluster.shell(),
            |client, n| {
                let content = content(&client.to_string(), &n.to_string());
                format!("INSERT INTO ledger VALUES({client}, {n}, {content});\n\\echo ack {n}\n")
            },
        );
        let load = cluster.load();
        std::thread::sleep(Duration::from_millis(chance.between(500, 6_000)));
        daemon.kill();
        clients.stop(&mut ledger);
        drop(load);
        server.kill();
        daemon.crash(&[&mount]);

        server = cluster.start();
        ledger.compare(&found(&cluster));
        cluster.check_balances();
        cluster.run("pg_amcheck", &["--install-missing", "--heapallindexed", "-d", "postgres"]);
        let acknowledged = ledger.total() - before;
        eprintln!("postgres: kill {round}: {acknowledged} commits acknowledged, all there");
        assert!(acknowledged > 0, "no commit was acknowledged before the kill: nothing was tested");
    }
    server.shut_down();
    daemon.umount(&mount);
}

/// An expression for the content of a row: from a few bytes to several pages, incompressible enough that
/// it also fills the TOAST table.
fn content(client: &str, n: &str) -> String {
    format!("repeat(md5({client} || ':' || {n}), 1 + {n} * 37 % 800)")
}

fn found(cluster: &Cluster) -> Vec<Found> {
    (0..CLIENTS)
        .map(|client| {
            let answer = cluster.query(&format!(
                "SELECT count(*), coalesce(max(n), 0), count(*) FILTER (WHERE content = {}) \
                 FROM ledger WHERE client = {client}",
                content("client", "n")
            ));
            let numbers: Vec<u64> =
                answer.trim().split('|').map(|number| number.parse().expect("counts are numbers")).collect();
            Found { rows: numbers[0], last: numbers[1], intact: numbers[2] }
        })
        .collect()
}

/// A database cluster: a directory on the volume, and a socket beside it, reached by no network.
#[derive(Debug)]
struct Cluster {
    dir: PathBuf,
    socket: PathBuf,
}

/// Its running server.
#[derive(Debug)]
struct Server {
    postmaster: Helper,
}

impl Cluster {
    fn init(dir: PathBuf, socket: PathBuf) -> Self {
        let uid = id("-u");
        let gid = id("-g");
        std::fs::create_dir(&dir).unwrap_or_else(|e| panic!("create {}: {e}", dir.display()));
        for owned in [&dir, &socket] {
            chown(owned, Some(uid), Some(gid)).unwrap_or_else(|e| panic!("chown {}: {e}", owned.display()));
        }
        let cluster = Self { dir, socket };
        let options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-k", "-D"];
        let mut initdb = as_postgres("initdb");
        initdb.args(options).arg(&cluster.dir);
        finish(&mut initdb).unwrap_or_else(|error| panic!("{error}"));
        cluster
    }

    /// Starts the server and waits until it has recovered and takes connections.
    fn start(&self) -> Server {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("the socket directory is writable");
        // The kernel forgets the wish to die with the parent when credentials change, so setpriv, which
        // voices it last, also does the change.
        let mut postmaster = Helper::start("--reuid=postgres", |command| {
            command.args(["--regid=postgres", "--clear-groups"]).arg(format!("{BINARIES}/postgres"));
            command.arg("-D").arg(&self.dir).arg("-k").arg(&self.socket).args(["-c", "listen_addresses="]);
            // Checkpoints and recycled segments within seconds, so that kills also meet those.
            command.args(["-c", "checkpoint_timeout=30s", "-c", "max_wal_size=128MB"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir("/");
        });
        wait_until("PostgreSQL to recover", || {
            assert!(postmaster.runs(), "PostgreSQL ended at its start:\n{}", self.log_tail());
            let socket = self.socket.as_os_str();
            try_run(format!("{BINARIES}/pg_isready"), ["-q".as_ref(), "-h".as_ref(), socket]).is_ok()
        });
        Server { postmaster }
    }

    fn log(&self) -> PathBuf {
        self.socket.join("log")
    }

    fn log_tail(&self) -> String {
        run("tail", ["-n".as_ref(), "30".as_ref(), self.log().as_os_str()])
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(format!("{BINARIES}/{program}"));
        command.arg("-h").arg(&self.socket).args(["-U", "postgres"]);
        command
    }

    /// Runs one of PostgreSQL's programs against the server; it must succeed.
    fn run(&self, program: &str, args: &[&str]) -> String {
        finish(self.client(program).args(args))
            .unwrap_or_else(|error| panic!("{error}\nThe server's log:\n{}", self.log_tail()))
    }

    fn query(&self, sql: &str) -> String {
        self.run("psql", &["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", sql])
    }

    /// A shell that ends at the first error.
    fn shell(&self) -> Helper {
        Helper::start(format!("{BINARIES}/psql"), |command| {
            command.arg("-h").arg(&self.socket).args(["-U", "postgres", "-d", "postgres"]);
            command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        })
    }

    /// pgbench with 8 clients until it is killed.
    fn load(&self) -> Helper {
        Helper::start(format!("{BINARIES}/pgbench"), |command| {
            command.arg("-h").arg(&self.socket).args(["-U", "postgres"]);
            command.args(["-n", "-c", "8", "-j", "2", "-T", "3600", "postgres"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        })
    }

    /// Every pgbench transaction moves the same amount in four tables.
    fn check_balances(&self) {
        let answer = self.query(
            "SELECT (SELECT coalesce(sum(abalance), 0) FROM pgbench_accounts), \
             (SELECT coalesce(sum(tbalance), 0) FROM pgbench_tellers), \
             (SELECT coalesce(sum(bbalance), 0) FROM pgbench_branches), \
             (SELECT coalesce(sum(delta), 0) FROM pgbench_history)",
        );
        let sums: Vec<&str> = answer.trim().split('|').collect();
        assert!(
            sums.len() == 4 && sums.iter().all(|sum| *sum == sums[0]),
            "half a transaction: accounts, tellers, branches and history add up to {sums:?}"
        );
    }
}

impl Server {
    /// SIGKILL for the server and each of its backends, by process id.
    fn kill(&mut self) {
        let backends = children(self.postmaster.pid());
        self.postmaster.kill();
        for backend in backends {
            stop(backend);
        }
    }

    /// Asks it to end, with a checkpoint.
    fn shut_down(mut self) {
        run("kill", ["-INT".to_owned(), self.postmaster.pid().to_string()]);
        assert!(self.postmaster.wait().success(), "PostgreSQL could not shut down in order");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let list = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

fn id(which: &str) -> u32 {
    run("id", [which, "postgres"]).trim().parse().expect("ids are numbers")
}

fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.arg(format!("{BINARIES}/{program}")).current_dir("/");
    command
}
