//! Compares two directories, by default a firn volume with a plain directory on the same disk, and measures
//! what forks and restarts take.
//!
//! A machine's speed swings several-fold within minutes, so absolute figures mean little. Each workload
//! therefore runs in short slices that alternate between the two sides (a b, b a, a b, …); a pair of
//! neighbouring slices gives one ratio, and the median of the ratios is the result.

mod alternate;
mod error;
mod firn;
mod fork;
mod postgres;
mod report;
mod restart;
mod sides;
mod workload;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::error::Outcome;

/// Compare a firn volume with a plain directory on the same disk.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: Compare,
    /// The firn binary
    #[arg(long, global = true, default_value = "target/release/firn", value_name = "FILE")]
    firn: PathBuf,
    /// Where data is kept: the volume's data directory and the plain directory lie side by side in it
    #[arg(long, global = true, default_value = "/var/tmp", value_name = "DIR")]
    place: PathBuf,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// How long forks of a large volume take under write load, and how long writers wait for them
    Fork {
        /// Size of the volume, in MiB
        #[arg(long, default_value_t = 4096)]
        mib: u64,
        /// How many forks
        #[arg(long, default_value_t = 50)]
        forks: u32,
    },
    /// How long mounting takes after SIGKILL
    Restart {
        /// Size of the volume, in MiB
        #[arg(long, default_value_t = 4096)]
        mib: u64,
        /// How many times
        #[arg(long, default_value_t = 5)]
        times: u32,
    },
}

#[derive(Args)]
struct Compare {
    /// Fewer and shorter slices: for trying, not for publishing
    #[arg(long)]
    quick: bool,
    /// Only workloads whose name contains this; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Length of a slice [default: 2; 0.5 with --quick]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Pairs of slices of each workload [default: 9; 3 with --quick]
    #[arg(long, value_name = "COUNT")]
    pairs: Option<usize>,
    /// A directory to measure instead of a volume
    #[arg(long, value_name = "DIR")]
    dir_a: Option<PathBuf>,
    /// A directory to compare with instead of a new one below --place
    #[arg(long, value_name = "DIR")]
    dir_b: Option<PathBuf>,
    /// List the workloads
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("firn-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Outcome<()> {
    match cli.command {
        Some(Command::Fork { mib, forks }) => fork::measure(&cli.firn, &cli.place, mib, forks, cli.json),
        Some(Command::Restart { mib, times }) => {
            restart::measure(&cli.firn, &cli.place, mib, times, cli.json)
        }
        None if cli.compare.list => {
            workloads::all().iter().for_each(|workload| println!("{:<16}{}", workload.name, workload.what));
            Ok(())
        }
        None => compare(cli),
    }
}

fn compare(cli: &Cli) -> Outcome<()> {
    let chosen = &cli.compare;
    let (seconds, pairs) = if chosen.quick { (0.5, 3) } else { (2.0, 9) };
    let slice = Duration::try_from_secs_f64(chosen.seconds.unwrap_or(seconds))
        .map_err(|error| error::failed("--seconds", error))?;
    let pairs = chosen.pairs.unwrap_or(pairs).max(1);
    let mut workloads = workloads::all();
    if !chosen.only.is_empty() {
        workloads.retain(|workload| chosen.only.iter().any(|name| workload.name.contains(name.as_str())));
    }
    if workloads.is_empty() {
        return Err(error::message("no workload has such a name: see --list"));
    }
    let sides = sides::Sides::new(&cli.firn, &cli.place, chosen.dir_a.as_deref(), chosen.dir_b.as_deref())?;
    let mut rows = Vec::new();
    for (number, workload) in workloads.iter().enumerate() {
        eprintln!("[{}/{}] {}: {}", number + 1, workloads.len(), workload.name, workload.what);
        let row = alternate::compare(workload, &sides, slice, pairs);
        rows.push(row.inspect_err(|_| sides.complain())?);
    }
    report::print(&rows, &sides, slice, cli.json)
}
