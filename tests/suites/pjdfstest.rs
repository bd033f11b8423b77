//! pjdfstest 0.2.2: POSIX, call by call, as root.
//!
//! It runs twice. The cases that remount the volume read-only run on their own, because earlier cases of the
//! same run leave files open, which makes a remount fail on any filesystem.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::daemon::{Daemon, Mount};
use crate::{fixture, tool};

const CASES: usize = 398;
const READ_ONLY_CASES: usize = 13;
/// `link::link_count_max`: the C library has no link limit to tell for a FUSE filesystem.
const NOT_APPLICABLE: usize = 1;

#[test]
fn pjdfstest_finds_nothing_to_object_to() {
    let daemon = Daemon::new("pjdfstest");
    let mount = daemon.volume("posix");

    let (summary, report) = examine(&daemon, &mount, false, &[]);
    let skipped = READ_ONLY_CASES + NOT_APPLICABLE;
    let expected = Summary { failed: 0, skipped, passed: CASES - skipped, total: CASES };
    assert_eq!(summary, expected, "\n{}", objections(&report));

    let (summary, report) = examine(&daemon, &mount, true, &["erofs"]);
    let expected = Summary { failed: 0, skipped: 0, passed: READ_ONLY_CASES, total: READ_ONLY_CASES };
    assert_eq!(summary, expected, "\n{}", objections(&report));
}

/// Runs the cases whose names contain a pattern, or all.
fn examine(daemon: &Daemon, mount: &Mount, remount: bool, patterns: &[&str]) -> (Summary, String) {
    let path = std::env::var("PATH").expect("a shell sets PATH");
    let output = Command::new(tool("pjdfstest"))
        .arg("--configuration-file")
        .arg(configuration(daemon, remount))
        .arg("--path")
        .arg(mount.dir())
        // A directory of another filesystem, for links and renames that must not cross over.
        .arg("--secondary-fs")
        .arg(daemon.scratch().dir("elsewhere"))
        .args(patterns)
        .env("PATH", format!("{}:{path}", fixture("bin").display()))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .expect("pjdfstest is installed");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = Summary::parse(&report).unwrap_or_else(|| {
        panic!("no summary in:\n{report}{}", String::from_utf8_lossy(&output.stderr));
    });
    (summary, report)
}

fn configuration(daemon: &Daemon, remount: bool) -> PathBuf {
    let mut text = std::fs::read_to_string(fixture("pjdfstest.toml")).expect("it is beside this file");
    text = text.replace("allow_remount = false", &format!("allow_remount = {remount}"));
    let path = daemon.scratch().path().join("pjdfstest.toml");
    std::fs::write(&path, text).expect("the scratch directory is writable");
    path
}

/// What a report says beyond the cases that passed.
fn objections(report: &str) -> String {
    let passed = |line: &&str| !line.is_empty() && !line.trim_end().ends_with(" ok");
    report.lines().filter(passed).collect::<Vec<_>>().join("\n")
}

/// The last line of a report: `Summary: 0 failed, 0 skipped, 398 passed, 0 expected failures, 398 total`.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    failed: usize,
    skipped: usize,
    passed: usize,
    total: usize,
}

impl Summary {
    fn parse(report: &str) -> Option<Self> {
        let line = report.lines().rev().find_map(|line| line.strip_prefix("Summary: "))?;
        let count = |what: &str| {
            line.split(", ").find_map(|part| part.strip_suffix(what)).and_then(|n| n.trim().parse().ok())
        };
        Some(Self {
            failed: count(" failed")?,
            skipped: count(" skipped")?,
            passed: count(" passed")?,
            total: count(" total")?,
        })
    }
}
