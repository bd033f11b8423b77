//! pjdfstest 0.2.2: POSIX, call by call, as root.

use std::process::{Command, Stdio};

use crate::support::daemon::Daemon;
use crate::{fixture, tool};

const TESTS: usize = 398;

#[test]
fn pjdfstest_finds_nothing_to_object_to() {
    let daemon = Daemon::new("pjdfstest");
    let mount = daemon.volume("posix");
    let path = std::env::var("PATH").expect("a shell sets PATH");
    let output = Command::new(tool("pjdfstest"))
        .arg("--configuration-file")
        .arg(fixture("pjdfstest.toml"))
        .arg("--path")
        .arg(mount.dir())
        // A directory of another filesystem, for links and renames that must not cross over.
        .arg("--secondary-fs")
        .arg(daemon.scratch().dir("elsewhere"))
        .env("PATH", format!("{}:{path}", fixture("bin").display()))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .expect("pjdfstest is installed");
    let report = String::from_utf8_lossy(&output.stdout);
    let summary = Summary::parse(&report).unwrap_or_else(|| panic!("no summary in:\n{report}"));
    let objections = || {
        let mut relevant =
            report.lines().filter(|line| !line.trim_end().ends_with(" ok")).collect::<Vec<_>>();
        relevant.retain(|line| !line.is_empty());
        relevant.join("\n")
    };
    let none = Summary { failed: 0, skipped: 0, passed: TESTS, total: TESTS };
    assert_eq!(summary, none, "{}", objections());
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
