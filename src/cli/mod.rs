//! The command line: one file for each verb. Parses, asks the daemon, prints. No logic of its own.
//!
//! Invariants: what succeeds ends with 0, what fails with 1 and one line on standard error that says
//! what was tried, on what, why it failed and what to do; wrong usage ends with 2. Standard output has
//! nothing but the answer, and with `--json` it is one JSON document.

mod check;
mod completions;
mod create;
mod daemon;
mod fork;
mod helper;
mod ls;
mod mount;
mod output;
mod rm;
mod rollback;
mod snapshot;
mod status;
mod sync;
mod umount;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use self::output::Output;
use crate::control::{self, Client, DaemonOptions, DataDir, IDLE_EXIT};

/// Becomes the daemon of a data directory; returns at its end. The composition root hands it in.
pub type RunDaemon = fn(DataDir, &DaemonOptions) -> Result<(), control::Error>;

/// Mount volumes for databases; snapshot and fork them at once.
#[derive(Parser)]
#[command(name = "firn", version, max_term_width = 100, propagate_version = true)]
#[command(
    long_about = "firn mounts volumes as local filesystems for databases to run on, and forks and snapshots \
them in milliseconds, whatever their size and while they are in use.\n\nA daemon serves all mounts of a data \
directory. Commands start it when none runs; see `firn daemon --help`.",
    after_long_help = "\
Examples:
  firn create db                   make a volume
  firn mount db /mnt/db            mount it
  firn fork db test                copy it as it is at this moment
  firn snapshot db before-upgrade  name this moment
  firn mount db@before-upgrade /mnt/old
  firn umount /mnt/db              unmount, with everything durable

Files:
  /var/lib/firn                    data directory of root
  $XDG_STATE_HOME/firn             data directory of others (~/.local/state/firn)
  daemon.log in it                 log of a daemon that a command started"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Args, Clone)]
struct Global {
    /// Where the volumes are kept [default: /var/lib/firn for root, else $XDG_STATE_HOME/firn]
    #[arg(long, global = true, env = "FIRN_DATA_DIR", value_name = "DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// Say more; a daemon that is started logs more
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Verb {
    Create(create::Create),
    Mount(mount::Mount),
    Umount(umount::Umount),
    Fork(fork::Fork),
    Snapshot(snapshot::Snapshot),
    Rollback(rollback::Rollback),
    Rm(rm::Rm),
    Ls(ls::Ls),
    Status(status::Status),
    Sync(sync::Sync),
    Check(check::Check),
    Daemon(daemon::Daemon),
    Completions(completions::Completions),
}

/// What a verb works with.
struct Context {
    global: Global,
    output: Output,
    run_daemon: RunDaemon,
}

/// A failed command: what was tried, and why it failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot {tried}: {cause}")]
    Tried { tried: String, cause: control::Error },
    /// It is all on standard output already.
    #[error("{0}")]
    Found(String),
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

type Outcome = Result<(), Failure>;

/// Turns an error into a [`Failure`], saying what was tried.
trait Tried<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Tried<T> for Result<T, control::Error> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|cause| Failure::Tried { tried: what(), cause })
    }
}

/// Runs a command line. As `mount.fuse.firn` or `mount.firn`, it is that of `mount(8)`.
pub fn run(arguments: impl IntoIterator<Item = OsString>, run_daemon: RunDaemon) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = if helper::is_helper(arguments.first()) {
        helper::parse(&arguments)
    } else {
        Cli::try_parse_from(&arguments)
    };
    let outcome = match parsed {
        Ok(cli) => execute(cli, run_daemon),
        Err(error)
            if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            output::complain(&usage(&error));
            return ExitCode::from(2);
        }
        Err(help) => {
            // Where nobody reads it, nothing is lost.
            let _ = help.print();
            return ExitCode::from(u8::try_from(help.exit_code()).unwrap_or(2));
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has had enough.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

/// What is wrong with a command line, in one line.
fn usage(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let wrong = paragraph.join(" ");
    format!("{}; --help tells more", wrong.strip_prefix("error: ").unwrap_or(&wrong))
}

fn execute(cli: Cli, run_daemon: RunDaemon) -> Outcome {
    let output = Output::new(cli.global.json);
    let context = Context { global: cli.global, output, run_daemon };
    match cli.verb {
        Verb::Create(verb) => verb.run(&context),
        Verb::Mount(verb) => verb.run(&context),
        Verb::Umount(verb) => verb.run(&context),
        Verb::Fork(verb) => verb.run(&context),
        Verb::Snapshot(verb) => verb.run(&context),
        Verb::Rollback(verb) => verb.run(&context),
        Verb::Rm(verb) => verb.run(&context),
        Verb::Ls(verb) => verb.run(&context),
        Verb::Status(verb) => verb.run(&context),
        Verb::Sync(verb) => verb.run(&context),
        Verb::Check(verb) => verb.run(&context),
        Verb::Daemon(verb) => verb.run(&context),
        Verb::Completions(verb) => verb.run(),
    }
}

impl Context {
    /// The data directory that was asked for, which must exist.
    fn data_dir(&self) -> Result<DataDir, control::Error> {
        match &self.global.data_dir {
            Some(path) => DataDir::open(path),
            None => DataDir::open(&control::default_data_dir()?),
        }
    }

    /// The data directory, made when it is missing: the default one with its parents.
    fn data_dir_or_create(&self) -> Result<DataDir, control::Error> {
        match &self.global.data_dir {
            Some(path) => DataDir::create(path, false),
            None => DataDir::create(&control::default_data_dir()?, true),
        }
    }

    /// The daemon of the data directory, started when none runs.
    fn client(&self) -> Result<Client, control::Error> {
        self.client_of(&self.data_dir()?)
    }

    fn client_of(&self, dir: &DataDir) -> Result<Client, control::Error> {
        control::connect_or_start(dir, &self.background())
    }

    fn background(&self) -> DaemonOptions {
        DaemonOptions {
            background: true,
            idle_exit: Some(IDLE_EXIT),
            verbose: self.global.verbose,
            ..DaemonOptions::default()
        }
    }
}
