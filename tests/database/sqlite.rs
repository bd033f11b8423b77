//! SQLite through its shell, in both journal modes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::ledger::{Clients, Found, Ledger};
use crate::support::chance::Chance;
use crate::support::daemon::Daemon;
use crate::support::knob;
use crate::support::process::{Helper, run};

const WRITERS: usize = 2;

#[test]
fn sqlite_in_wal_mode_keeps_every_acknowledged_commit_when_the_daemon_is_killed() {
    survives_kills("sqlite-wal", "wal");
}

#[test]
fn sqlite_in_delete_mode_keeps_every_acknowledged_commit_when_the_daemon_is_killed() {
    survives_kills("sqlite-delete", "delete");
}

fn survives_kills(test: &str, journal: &'static str) {
    let mut chance = Chance::announced(test);
    let mut daemon = Daemon::new(test);
    let mount = daemon.volume("db");
    let database = mount.path("ledger.db");
    let mut ledger = Ledger::new(WRITERS);
    query(
        &database,
        &format!(
            "PRAGMA journal_mode={journal}; CREATE TABLE ledger(client, n, content, PRIMARY KEY(client, n));"
        ),
    );

    for round in 1..=knob("FIRN_KILLS", 2) {
        let before = ledger.total();
        let clients = Clients::start(
            &ledger,
            |_| shell(&database),
            |client, n| {
                format!(
                    "BEGIN IMMEDIATE; INSERT INTO ledger VALUES({client}, {n}, {}); COMMIT;\n.print ack {n}\n",
                    content(&client.to_string(), &n.to_string())
                )
            },
        );
        std::thread::sleep(Duration::from_millis(chance.between(300, 3_000)));
        daemon.kill();
        clients.stop(&mut ledger);
        daemon.crash(&[&mount]);

        assert_eq!(query(&database, "PRAGMA integrity_check;"), "ok\n");
        ledger.compare(&found(&database));
        let acknowledged = ledger.total() - before;
        eprintln!("{test}: kill {round}: {acknowledged} commits acknowledged, all there");
        assert!(acknowledged > 0, "no commit was acknowledged before the kill: nothing was tested");
    }
}

/// An expression for the content of a row, the same in the insert and in the check: from a few bytes to
/// several pages, so that rows overflow.
fn content(client: &str, n: &str) -> String {
    format!("replace(hex(zeroblob(({n} * 37) % 5000 + 1)), '00', printf('%x-%x.', {client}, {n}))")
}

fn found(database: &Path) -> Vec<Found> {
    (0..WRITERS)
        .map(|client| {
            let answer = query(
                database,
                &format!(
                    "SELECT count(*), ifnull(max(n), 0), ifnull(sum(content = {}), 0) \
                     FROM ledger WHERE client = {client};",
                    content("client", "n")
                ),
            );
            let numbers: Vec<u64> =
                answer.trim().split('|').map(|number| number.parse().expect("counts are numbers")).collect();
            Found { rows: numbers[0], last: numbers[1], intact: numbers[2] }
        })
        .collect()
}

fn query(database: &Path, sql: &str) -> String {
    run("sqlite3", ["-batch".as_ref(), "-bail".as_ref(), database.as_os_str(), sql.as_ref()])
}

/// A shell of its own process: a killed daemon can kill it by SIGBUS, through the mapped WAL index.
fn shell(database: &Path) -> Helper {
    Helper::start("stdbuf", |command| {
        command.args(["--output=L", "sqlite3", "-batch", "-bail"]);
        command.args(["-cmd", ".timeout 60000", "-cmd", "PRAGMA synchronous=FULL"]);
        command.arg(database).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    })
}
