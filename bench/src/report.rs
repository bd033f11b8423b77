//! A table for people, JSON for programs.

use std::time::Duration;

use serde::Serialize;

use crate::alternate::{Quartiles, Row};
use crate::error::{Outcome, Tried};
use crate::sides::Sides;

#[derive(Serialize)]
struct Report<'a> {
    a: &'a str,
    b: &'a str,
    slice_seconds: f64,
    machine: Machine,
    workloads: &'a [Row],
}

/// Where it was measured.
#[derive(Serialize)]
struct Machine {
    cores: usize,
    memory_bytes: u64,
    kernel: String,
    load_average: String,
}

impl Machine {
    fn this() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let kib = read("/proc/meminfo")
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kib.unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: read("/proc/loadavg").trim().to_owned(),
        }
    }
}

pub fn print(rows: &[Row], sides: &Sides, slice: Duration, json: bool) -> Outcome<()> {
    let (a, b) = sides.titles();
    let machine = Machine::this();
    if json {
        let report = Report { a, b, slice_seconds: slice.as_secs_f64(), machine, workloads: rows };
        println!("{}", serde_json::to_string_pretty(&report).tried("write JSON")?);
        return Ok(());
    }
    println!("\n| workload | {a} / {b} | quartiles | {a} | {b} | per second |");
    println!("|---|---:|---:|---:|---:|---|");
    for row in rows {
        let Quartiles { low, median, high } = row.ratio;
        println!(
            "| {} | {median:.2} | {low:.2}–{high:.2} | {:.0} | {:.0} | {} |",
            row.what, row.rate_a.median, row.rate_b.median, row.unit
        );
    }
    println!(
        "\n{} pairs of slices of {} s each; {} cores, {} GiB of memory, Linux {}, load {}",
        rows.first().map_or(0, |row| row.pairs),
        slice.as_secs_f64(),
        machine.cores,
        machine.memory_bytes >> 30,
        machine.kernel,
        machine.load_average
    );
    Ok(())
}
