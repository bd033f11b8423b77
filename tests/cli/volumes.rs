//! Volumes, snapshots and forks without a mount.

use serde_json::Value;

use crate::harness::World;

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_missing_volume_or_snapshot_is_named_in_the_error() {
    let world = World::new();
    world.done(&["create", "db"]);
    let directory = world.dir("m");
    let directory = crate::harness::text(&directory);
    for arguments in [
        &["mount", "nope", directory][..],
        &["fork", "nope", "x"],
        &["snapshot", "nope", "s"],
        &["rollback", "nope@s"],
        &["rm", "nope"],
        &["status", "nope"],
        &["sync", "nope"],
        &["check", "nope"],
        &["umount", "nope"],
    ] {
        let error = world.refused(arguments);
        assert!(error.contains("nope"), "{arguments:?}: {error}");
    }
    for arguments in [
        &["mount", "db@nope", directory][..],
        &["fork", "db@nope", "x"],
        &["rollback", "db@nope"],
        &["rm", "db@nope"],
    ] {
        let error = world.refused(arguments);
        assert!(error.contains("db") && error.contains("no snapshot nope"), "{arguments:?}: {error}");
    }
    assert!(world.refused(&["rollback", "db"]).contains("db@SNAP"));
}

#[test]
fn a_taken_name_is_refused() {
    let world = World::new();
    world.done(&["create", "db"]);
    world.done(&["snapshot", "db", "s"]);
    for arguments in [&["create", "db"][..], &["fork", "db", "db"], &["snapshot", "db", "s"]] {
        assert!(world.refused(arguments).contains("already"), "{arguments:?}");
    }
}

#[test]
fn volumes_live_from_create_to_rm() {
    let world = World::new();
    world.done(&["create", "db", "--quota", "10G"]);
    world.done(&["snapshot", "db", "s"]);
    world.done(&["fork", "db@s", "copy"]);
    let listed = world.done(&["ls"]);
    let row = |name: &str| listed.lines().find(|line| line.starts_with(name)).expect("listed").to_owned();
    assert!(row("db").contains("10 GiB") && row("db").contains(" s "), "{listed}");
    assert!(row("copy").contains("db@s"), "{listed}");
    world.done(&["rollback", "db@s"]);
    world.done(&["rm", "db@s"]);
    world.done(&["rm", "db"]);
    assert!(world.done(&["check"]).contains("no damage"));
    assert_eq!(world.json(&["ls"]).as_array().expect("a list").len(), 1);
}

#[test]
fn json_has_stable_keys() {
    let world = World::new();
    let volume = ["created", "durability", "mounted", "name", "parent", "quota_bytes", "snapshots", "uuid"];
    assert_eq!(keys(&world.json(&["create", "db"])), volume);
    assert_eq!(keys(&world.json(&["snapshot", "db", "s"])), ["created", "name"]);
    assert_eq!(keys(&world.json(&["fork", "db", "copy"])), ["volume", "writers_held_ns"]);
    let listed = world.json(&["ls"]);
    assert_eq!(
        keys(&listed[0]),
        [
            "created",
            "durability",
            "local_bytes",
            "mounted",
            "mounts",
            "name",
            "parent",
            "quota_bytes",
            "snapshots",
            "uuid"
        ]
    );
    let status = world.json(&["status"]);
    for key in [
        "daemon",
        "data_dir",
        "disk_free_bytes",
        "heap_bytes",
        "heap_files",
        "live_bytes",
        "log_bytes",
        "log_syncs",
        "memory_budget_bytes",
        "memory_used_bytes",
        "mounts",
        "resident_bytes",
        "uptime_seconds",
        "volumes",
    ] {
        assert!(status.get(key).is_some(), "{key}");
    }
    assert_eq!(status["memory_budget_bytes"], 64 << 20);
    assert_eq!(keys(&world.json(&["check"])), ["bytes", "damage", "heap_files", "pages"]);
    assert_eq!(world.json(&["sync", "db"])["synced"], "db");
    assert_eq!(world.json(&["rollback", "db@s"])["snapshot"], "s");
    assert_eq!(world.json(&["rm", "db@s"])["removed"]["snapshot"], "s");
}

#[test]
fn status_of_one_volume_shows_that_one() {
    let world = World::new();
    world.done(&["create", "db"]);
    world.done(&["create", "other"]);
    let status = world.json(&["status", "db"]);
    let volumes = status["volumes"].as_array().expect("a list");
    assert_eq!(volumes.len(), 1);
    assert_eq!(volumes[0]["info"]["name"], "db");
    assert!(!world.done(&["status", "db"]).contains("other"));
}

#[test]
fn what_a_command_leaves_out_is_what_the_library_defaults_to() {
    let world = World::new();
    let created = world.json(&["create", "db"]);
    let defaults = serde_json::to_value(firnfs::volume::CreateOptions::default()).expect("plain data");
    for (key, value) in defaults.as_object().expect("an object") {
        assert_eq!(&created[key], value, "{key}");
    }
}
