//! What a fork of a large volume costs while it is being written: the time of the whole command, and the
//! longest time that any write waited while one ran.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use std::os::unix::fs::FileExt;

use serde::Serialize;

use crate::alternate::quantile;
use crate::error::{Outcome, Tried, message};
use crate::firn::Firn;
use crate::workloads::{MIB, Noise, filled, open};

const WRITERS: usize = 4;

#[derive(Serialize)]
struct Report {
    volume_mib: u64,
    forks: u32,
    writers: usize,
    fork_ms: Spread,
    /// The slowest write that overlapped a fork, one value per fork.
    write_during_fork_ms: Spread,
    /// The slowest write in as long a time just before each fork: what the disk does by itself.
    write_before_fork_ms: Spread,
    /// For how long the daemon says that it held the writers.
    held_ms: Spread,
}

/// Milliseconds.
#[derive(Serialize)]
struct Spread {
    median: f64,
    p90: f64,
    max: f64,
}

impl Spread {
    fn of(times: &[Duration]) -> Self {
        let mut ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        if ms.is_empty() {
            return Self { median: 0.0, p90: 0.0, max: 0.0 };
        }
        Self { median: quantile(&ms, 1, 2), p90: quantile(&ms, 9, 10), max: ms[ms.len() - 1] }
    }
}

/// A write: when it began, and how long it took.
type Write = (Instant, Duration);

pub fn measure(binary: &Path, place: &Path, mib: u64, forks: u32, json: bool) -> Outcome<()> {
    let firn = Firn::start(binary, place)?;
    firn.run(&["create", "parent"])?;
    let dir = firn.mount("parent")?;
    eprintln!("[1/2] filling {mib} MiB");
    let mib_each = usize::try_from(mib).tried("--mib")? / WRITERS;
    for writer in 0..WRITERS {
        filled(&dir.join(format!("data-{writer}")), mib_each)?;
    }
    eprintln!("[2/2] {forks} forks while {WRITERS} threads write 8 KiB at random places");
    let stop = AtomicBool::new(false);
    let (forked, writes) = thread::scope(|scope| {
        let work = |writer| write_until(&stop, &dir, writer, mib_each);
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || work(writer))).collect();
        let forked = fork_repeatedly(&firn, forks);
        // Relaxed: it carries nothing but itself.
        stop.store(true, Ordering::Relaxed);
        let mut writes = Vec::new();
        for writer in writers {
            writes.extend(writer.join().map_err(|_| message("a writer panicked"))??);
        }
        Outcome::Ok((forked?, writes))
    })?;
    report(&forked, &writes, mib, json)
}

/// One fork: when it began, how long it took, and for how long the daemon held the writers.
type Fork = (Instant, Duration, Duration);

fn fork_repeatedly(firn: &Firn, forks: u32) -> Outcome<Vec<Fork>> {
    let mut forked = Vec::new();
    for fork in 0..forks {
        thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        let answer = firn.run(&["--json", "fork", "parent", &format!("fork-{fork}")])?;
        let took = start.elapsed();
        let answer: serde_json::Value =
            serde_json::from_str(&answer).tried("read the answer of firn fork")?;
        let held = answer.get("writers_held_ns").and_then(serde_json::Value::as_u64).unwrap_or(0);
        forked.push((start, took, Duration::from_nanos(held)));
    }
    Ok(forked)
}

/// Writes 8 KiB at random places, with an fdatasync after every 64th, and takes the time of each write.
fn write_until(stop: &AtomicBool, dir: &Path, writer: usize, mib: usize) -> Outcome<Vec<Write>> {
    let file = open(&dir.join(format!("data-{writer}")))?;
    let mut noise = Noise::new(writer as u64);
    let content = noise.bytes(8192);
    let places = (mib * MIB / content.len()) as u64;
    let mut writes = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let at = noise.below(places) * content.len() as u64;
        let start = Instant::now();
        file.write_all_at(&content, at).tried("write")?;
        writes.push((start, start.elapsed()));
        if writes.len() % 64 == 0 {
            file.sync_data().tried("fdatasync")?;
        }
    }
    Ok(writes)
}

fn report(forked: &[Fork], writes: &[Write], mib: u64, json: bool) -> Outcome<()> {
    let slowest = |from: Instant, to: Instant| {
        let overlapping = writes.iter().filter(|(start, took)| *start < to && *start + *took > from);
        overlapping.map(|(_, took)| *took).max().unwrap_or_default()
    };
    let during = forked.iter().map(|(start, took, _)| slowest(*start, *start + *took));
    let before = forked.iter().map(|(start, took, _)| slowest(*start - *took, *start));
    let report = Report {
        volume_mib: mib,
        forks: u32::try_from(forked.len()).tried("count the forks")?,
        writers: WRITERS,
        fork_ms: Spread::of(&forked.iter().map(|(_, took, _)| *took).collect::<Vec<_>>()),
        write_during_fork_ms: Spread::of(&during.collect::<Vec<_>>()),
        write_before_fork_ms: Spread::of(&before.collect::<Vec<_>>()),
        held_ms: Spread::of(&forked.iter().map(|(_, _, held)| *held).collect::<Vec<_>>()),
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&report).tried("write JSON")?);
        return Ok(());
    }
    println!("\n| {mib} MiB, {WRITERS} writers, {} forks | median | 90 % | max |", report.forks);
    println!("|---|---:|---:|---:|");
    let line = |what: &str, Spread { median, p90, max }: &Spread| {
        println!("| {what} | {median:.3} ms | {p90:.3} ms | {max:.3} ms |");
    };
    line("the command `firn fork`", &report.fork_ms);
    line("writers held by it", &report.held_ms);
    line("slowest write while it ran", &report.write_during_fork_ms);
    line("slowest write in as long a time before", &report.write_before_fork_ms);
    Ok(())
}
