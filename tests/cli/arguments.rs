//! What the command line takes, and what it says to what it does not.

use crate::harness::World;

#[test]
fn a_bad_name_is_refused_with_the_reason_and_nothing_is_made() {
    let world = World::new();
    let long = "x".repeat(256);
    for (name, reason) in [("a/b", "'/'"), ("..", "'..'"), ("a@b", "'@'"), (&*long, "255"), ("", "empty")] {
        let said = world.firn(&["create", name]);
        assert_eq!(said.code, Some(2), "{name}");
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
        assert!(said.stderr.contains(reason), "{}", said.stderr);
    }
    assert!(!world.data.exists());
}

#[test]
fn a_name_of_255_bytes_is_a_name() {
    let world = World::new();
    world.done(&["create", &"x".repeat(255)]);
}

#[test]
fn wrong_usage_is_one_line_and_status_2() {
    let world = World::new();
    for arguments in [
        &["create"][..],
        &["mount", "db"],
        &["frobnicate"],
        &["ls", "--frob"],
        &["create", "db", "--quota", "1Z"],
    ] {
        let said = world.firn(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{:?}", said.stderr);
        assert!(said.stderr.starts_with("firn: ") && said.stderr.contains("--help"), "{}", said.stderr);
    }
}

#[test]
fn help_lists_every_verb_and_each_explains_itself() {
    let world = World::new();
    let help = world.done(&["--help"]);
    for verb in [
        "create",
        "mount",
        "umount",
        "fork",
        "snapshot",
        "rollback",
        "rm",
        "ls",
        "status",
        "sync",
        "check",
        "daemon",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} is listed");
        let own = world.done(&[verb, "--help"]);
        assert!(own.contains(&format!("Usage: firn {verb}")), "{own}");
        assert!(own.contains("--data-dir"), "{own}");
    }
    assert!(world.done(&["fork", "--help"]).contains("msync"), "the limit of the promise is told");
    assert!(world.done(&["daemon", "--help"]).contains("SIGTERM"), "how it ends is told");
}

#[test]
fn nothing_is_offered_that_does_not_work() {
    let world = World::new();
    let help =
        world.done(&["--help"]) + &world.done(&["create", "--help"]) + &world.done(&["mount", "--help"]);
    for later in ["gc", "--store", "--takeover", "--durability"] {
        assert!(!help.split_whitespace().any(|word| word == later), "{later}");
    }
}

#[test]
fn completions_of_every_shell_name_the_verbs() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.done(&["completions", shell]);
        assert!(script.contains("snapshot") && script.contains("umount"), "{shell}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(World::new().done(&["--version"]).trim(), concat!("firn ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unknown_mount_option_is_named() {
    let world = World::new();
    world.done(&["create", "db"]);
    let directory = world.dir("m");
    let error = world.refused(&["mount", "db", crate::harness::text(&directory), "-o", "ro,frobnicate"]);
    assert!(error.contains("\"frobnicate\""), "{error}");
}
