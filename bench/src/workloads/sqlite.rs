//! SQLite in this process: one row per commit.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::files::Noise;
use crate::error::{Outcome, Tried};
use crate::workload::{Done, Running, repeat};

struct Sqlite {
    connection: Connection,
    noise: Noise,
}

pub fn wal(dir: &Path) -> Outcome<Box<dyn Running>> {
    prepare(dir, "WAL")
}

pub fn delete(dir: &Path) -> Outcome<Box<dyn Running>> {
    prepare(dir, "DELETE")
}

/// A table of 20,000 rows of about 100 bytes.
fn prepare(dir: &Path, journal: &str) -> Outcome<Box<dyn Running>> {
    let connection = Connection::open(dir.join("bench.db")).tried("open a database")?;
    connection
        .query_row(&format!("PRAGMA journal_mode={journal}"), [], |_| Ok(()))
        .tried("set the journal mode")?;
    connection
        .execute_batch(
            "PRAGMA synchronous=FULL; CREATE TABLE rows (id INTEGER PRIMARY KEY, content BLOB);
             WITH RECURSIVE ids(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < 20000)
             INSERT INTO rows SELECT id, randomblob(100) FROM ids;",
        )
        .tried("fill a database")?;
    Ok(Box::new(Sqlite { connection, noise: Noise::new(6) }))
}

impl Running for Sqlite {
    /// Each commit changes one random row and inserts one.
    fn slice(&mut self, length: Duration) -> Outcome<Done> {
        let mut update = self
            .connection
            .prepare_cached("UPDATE rows SET content = randomblob(100) WHERE id = ?")
            .tried("prepare")?;
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO rows (content) VALUES (randomblob(100))")
            .tried("prepare")?;
        repeat(length, || {
            let id = 1 + self.noise.below(20_000);
            self.connection.execute_batch("BEGIN IMMEDIATE").tried("begin")?;
            update.execute([i64::try_from(id).unwrap_or(1)]).tried("update")?;
            insert.execute([]).tried("insert")?;
            self.connection.execute_batch("COMMIT").tried("commit")?;
            Ok(1.0)
        })
    }
}
