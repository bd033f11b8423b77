//! The daemon's life: started by need, one at a time, ended in order.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{World, text, wait_for};

#[test]
fn a_second_daemon_is_refused_with_the_pid_of_the_first() {
    let world = World::new();
    world.done(&["create", "db"]);
    let first = world.daemon().expect("create started it").as_raw_pid().to_string();
    let error = world.refused(&["daemon"]).to_string();
    assert!(error.contains(&format!("pid {first}")) && error.contains(text(&world.data)), "{error}");
    assert_eq!(world.json(&["status"])["daemon"]["pid"].to_string(), first, "the first one goes on");
}

#[test]
fn commands_at_the_same_time_start_one_daemon() {
    let world = World::new();
    fs::create_dir(&world.data).expect("it is new");
    let children: Vec<_> = (0..8)
        .map(|number| world.command(&["create", &format!("v{number}")]).spawn().expect("firn runs"))
        .collect();
    for child in children {
        let said = wait_for(child);
        assert!(said.ok, "{}", said.stderr);
    }
    assert_eq!(world.json(&["ls"]).as_array().expect("a list").len(), 8);
    let log = fs::read_to_string(world.data.join("daemon.log")).expect("it logs there");
    assert_eq!(log.matches("firn::daemon: ready").count(), 1, "{log}");
}

#[test]
fn sigterm_ends_the_daemon_in_order_and_everything_is_there_afterwards() {
    let world = World::new();
    let mount = world.mounted("db");
    fs::write(mount.join("file"), "not synced").expect("mounted");
    world.end_daemon(Signal::TERM);
    assert_eq!(world.mounts(), Vec::<std::path::PathBuf>::new(), "unmounted");
    assert!(!world.data.join("control.sock").exists());
    world.done(&["mount", "db", text(&mount)]);
    assert_eq!(fs::read_to_string(mount.join("file")).expect("there"), "not synced");
}

#[test]
fn a_busy_mount_does_not_keep_the_daemon_from_ending() {
    let world = World::new();
    let mount = world.mounted("db");
    let open = fs::File::create(mount.join("file")).expect("mounted");
    world.end_daemon(Signal::TERM);
    assert!(world.mounts().is_empty());
    drop(open);
}

#[test]
fn an_idle_daemon_that_may_end_does_and_one_with_a_mount_does_not() {
    let world = World::new();
    fs::create_dir(&world.data).expect("it is new");
    let child = world.command(&["daemon", "--idle-exit", "0"]).spawn().expect("firn runs");
    let said = wait_for(child);
    assert!(said.ok, "{}", said.stderr);

    let child = world.command(&["daemon", "--idle-exit", "1"]).spawn().expect("firn runs");
    let pid = Pid::from_child(&child);
    let mount = world.mounted("db");
    assert_eq!(world.daemon(), Some(pid), "the commands used it");
    world.done(&["umount", text(&mount)]);
    assert!(wait_for(child).ok);
}

#[test]
fn a_data_directory_with_a_long_path_works() {
    let long = ["d".repeat(100), "e".repeat(100), "f".repeat(100)].join("/");
    let world = World::with_data(&format!("{long}/data"));
    fs::create_dir_all(world.data.parent().expect("it has one")).expect("space for directories");
    world.done(&["create", "db"]);
    assert!(world.done(&["ls"]).contains("db"));
}

#[test]
fn a_missing_directory_is_an_error_and_nothing_lands_elsewhere() {
    let world = World::with_data("no/where/data");
    for verb in ["create", "fork"] {
        let arguments = if verb == "create" { vec![verb, "db"] } else { vec![verb, "db", "copy"] };
        assert!(world.refused(&arguments).contains("no/where"), "{verb}");
    }
    let error = world.refused(&["daemon"]);
    assert!(error.contains("parent") && error.contains("does not exist"), "{error}");
    let here = world.dir(".");
    assert_eq!(fs::read_dir(here).expect("there").count(), 0, "nothing was made");
}

#[test]
fn reading_commands_make_no_data_directory() {
    let world = World::new();
    let error = world.refused(&["ls"]);
    assert!(error.contains("does not exist") && error.contains("firn create"), "{error}");
    assert!(!world.data.exists());
}

#[test]
fn a_data_directory_inside_a_mount_is_refused() {
    let world = World::new();
    let inside = world.mounted("db").join("data");
    let error = world.refused(&["create", "x", "--data-dir", text(&inside)]);
    assert!(error.contains("inside a firn mount"), "{error}");
}

#[test]
fn the_socket_is_for_its_owner_alone_and_survives_garbage() {
    let world = World::new();
    world.done(&["create", "db"]);
    let socket = world.data.join("control.sock");
    assert_eq!(fs::metadata(&socket).expect("there").permissions().mode() & 0o777, 0o600);
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"frn\x01\xff\xff\xff\xff",
        b"frn\x01\x02\0\0\0{}",
        b"frn\x09\0\0\0\0",
    ] {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        std::io::Write::write_all(&mut stream, garbage).expect("it reads");
        let mut answer = Vec::new();
        // It may also close at once.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || String::from_utf8_lossy(&answer).contains("failed"), "{answer:?}");
    }
    assert!(world.done(&["ls"]).contains("db"));
}

#[test]
fn a_damaged_manifest_stops_the_start_with_one_line() {
    let world = World::new();
    world.done(&["create", "db"]);
    world.end_daemon(Signal::TERM);
    let manifest = world.data.join("MANIFEST");
    let mut bytes = fs::read(&manifest).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&manifest, &bytes).expect("ours");
    let error = world.refused(&["ls"]);
    assert!(error.to_lowercase().contains("manifest"), "{error}");
    assert_eq!(fs::read(&manifest).expect("there"), bytes, "it is left as it was");
}

#[test]
fn too_few_descriptors_are_a_clear_error() {
    let world = World::new();
    fs::create_dir(&world.data).expect("it is new");
    let script = format!("ulimit -n 100 && exec {} daemon", env!("CARGO_BIN_EXE_firn"));
    let output = Command::new("sh")
        .args(["-c", &script])
        .env("FIRN_DATA_DIR", &world.data)
        .output()
        .expect("there is a shell");
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success());
    assert!(error.contains("only 100 open files are allowed"), "{error}");
}

#[test]
fn the_service_manager_is_told_when_it_is_ready() {
    let world = World::new();
    fs::create_dir(&world.data).expect("it is new");
    let path = world.dir("run").join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    let mut command = world.command(&["daemon"]);
    let child = command.env("NOTIFY_SOCKET", &path).spawn().expect("firn runs");
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).expect("it tells");
    assert_eq!(&buffer[..length], b"READY=1");
    assert!(world.done(&["ls"]).is_empty(), "and it is");
    kill_process(Pid::from_child(&child), Signal::INT).expect("ours");
    assert!(wait_for(child).ok, "an interrupt ends it in order");
}

#[test]
fn the_start_line_says_how_much_memory_and_why() {
    let world = World::new();
    fs::create_dir(&world.data).expect("it is new");
    let mut child = world.command(&["daemon", "--memory", "123M"]).spawn().expect("firn runs");
    let stderr = child.stderr.take().expect("piped");
    let line = BufReader::new(stderr).lines().next().expect("it logs").expect("text");
    assert!(line.contains("memory budget 123 MiB, as asked for"), "{line}");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("ours");
    wait_for(child);
}
