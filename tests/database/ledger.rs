//! Clients that insert numbered rows one by one, and the notes of what was acknowledged to them.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::thread::{self, JoinHandle};

use crate::support::process::Helper;

/// Acknowledged commits: client *i* has had rows 1 to `acknowledged[i]` confirmed.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    acknowledged: Vec<u64>,
}

/// What one client's rows look like after recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// How many rows there are.
    pub(crate) rows: u64,
    /// The highest number among them.
    pub(crate) last: u64,
    /// How many have the content that belongs to their number.
    pub(crate) intact: u64,
}

impl Ledger {
    /// No client has inserted anything.
    pub(crate) fn new(clients: usize) -> Self {
        Self { acknowledged: vec![0; clients] }
    }

    /// How many commits were acknowledged in total.
    pub(crate) fn total(&self) -> u64 {
        self.acknowledged.iter().sum()
    }

    /// Client *i* must have exactly the rows 1 to *n*, intact, where *n* is what was acknowledged or one
    /// more: the commit that was under way may have become durable before its acknowledgement was lost.
    /// The clients go on from there.
    pub(crate) fn compare(&mut self, found: &[Found]) {
        assert_eq!(found.len(), self.acknowledged.len(), "clients");
        for (client, (noted, found)) in self.acknowledged.iter_mut().zip(found).enumerate() {
            assert!(
                found.last >= *noted,
                "client {client}: row {noted} was acknowledged, but the last row is {}",
                found.last
            );
            assert!(
                found.last <= *noted + 1,
                "client {client}: row {} was never sent, only {noted} were acknowledged",
                found.last
            );
            assert_eq!(found.rows, found.last, "client {client}: rows are missing in between");
            assert_eq!(found.intact, found.rows, "client {client}: rows have the wrong content");
            *noted = found.last;
        }
    }
}

/// Database shells at work: each takes SQL on its standard input, and echoes `ack N` once the commit
/// before it has succeeded.
#[derive(Debug)]
pub(crate) struct Clients {
    shells: Vec<Helper>,
    notes: Vec<JoinHandle<u64>>,
}

impl Clients {
    /// Starts a client per column of the ledger. `statement(client, n)` inserts row *n* and then echoes.
    pub(crate) fn start(
        ledger: &Ledger,
        mut shell: impl FnMut(usize) -> Helper,
        statement: impl Fn(usize, u64) -> String + Send + Clone + 'static,
    ) -> Self {
        let mut clients = Self { shells: Vec::new(), notes: Vec::new() };
        for (client, &from) in ledger.acknowledged.iter().enumerate() {
            let mut shell = shell(client);
            let input = shell.child().stdin.take().expect("the shell has a piped input");
            let output = shell.child().stdout.take().expect("the shell has a piped output");
            let statement = statement.clone();
            clients.shells.push(shell);
            clients.notes.push(thread::spawn(move || {
                insert_until_it_fails(from, input, output, |n| statement(client, n))
            }));
        }
        clients
    }

    /// Kills the shells, and writes into the ledger what they had acknowledged until then.
    pub(crate) fn stop(mut self, ledger: &mut Ledger) {
        for shell in &mut self.shells {
            shell.kill();
        }
        for (noted, notes) in ledger.acknowledged.iter_mut().zip(self.notes) {
            *noted = notes.join().expect("a client does not panic");
        }
    }
}

/// Inserts row after row until the shell is gone; returns the last row that was acknowledged.
fn insert_until_it_fails(
    from: u64,
    mut input: ChildStdin,
    output: ChildStdout,
    statement: impl Fn(u64) -> String,
) -> u64 {
    let mut lines = BufReader::new(output).lines();
    let mut acknowledged = from;
    loop {
        let next = acknowledged + 1;
        if input.write_all(statement(next).as_bytes()).is_err() {
            return acknowledged;
        }
        let acknowledgement = format!("ack {next}");
        // Other lines are answers to settings.
        if !lines.by_ref().map_while(Result::ok).any(|line| line == acknowledgement) {
            return acknowledged;
        }
        acknowledged = next;
    }
}
