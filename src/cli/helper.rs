//! The command line of `mount(8)`'s helpers: this program under the name `mount.fuse.firn` or
//! `mount.firn`, called as `mount.fuse.firn VOL DIR -o OPTIONS [-sfnvrw] [-t TYPE] [-N NAMESPACE]`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::mount::Mount;
use super::{Cli, Global, Verb};
use crate::control::{Source, parse_source};

const NAMES: [&str; 2] = ["mount.fuse.firn", "mount.firn"];

/// Mount a volume on behalf of mount(8).
#[derive(Parser)]
#[command(name = "mount.fuse.firn", version, disable_help_flag = true)]
struct Helper {
    #[arg(value_name = "VOL[@SNAP]", value_parser = parse_source)]
    source: Source,
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<String>,
    /// Ignore unknown options
    #[arg(short)]
    sloppy: bool,
    /// Mount nothing
    #[arg(short)]
    fake: bool,
    /// Keep no table: there is none
    #[arg(short)]
    no_table: bool,
    #[arg(short)]
    verbose: bool,
    #[arg(short)]
    read_only: bool,
    #[arg(short = 'w')]
    writable: bool,
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<String>,
    #[arg(short = 'N', value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// Whether the program was called by a helper's name.
pub(super) fn is_helper(program: Option<&OsString>) -> bool {
    let name = program.and_then(|program| Path::new(program).file_name());
    name.is_some_and(|name| NAMES.iter().any(|helper| name == *helper))
}

/// The equivalent `firn mount`.
pub(super) fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let helper = Helper::try_parse_from(arguments)?;
    let verb = Verb::Mount(Mount {
        source: helper.source,
        directory: helper.directory,
        read_only: helper.read_only,
        foreground: false,
        options: helper.options,
        sloppy: helper.sloppy,
        fake: helper.fake,
    });
    let data_dir = std::env::var_os("FIRN_DATA_DIR").map(PathBuf::from);
    Ok(Cli { global: Global { data_dir, json: false, verbose: helper.verbose }, verb })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(arguments: &[&str]) -> Mount {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        match parse(&arguments).expect("well-formed").verb {
            Verb::Mount(mount) => mount,
            _ => unreachable!("a helper only mounts"),
        }
    }

    #[test]
    fn the_helper_is_known_by_its_name() {
        for (program, expected) in [
            ("/sbin/mount.fuse.firn", true),
            ("mount.firn", true),
            ("/usr/bin/firn", false),
            ("mount.fuse", false),
        ] {
            assert_eq!(is_helper(Some(&program.into())), expected, "{program}");
        }
        assert!(!is_helper(None));
    }

    #[test]
    fn what_mount_passes_is_understood() {
        let mount = mount(&[
            "mount.fuse.firn",
            "db@s",
            "/mnt",
            "-s",
            "-n",
            "-o",
            "ro,data-dir=/d",
            "-t",
            "fuse.firn",
        ]);
        assert_eq!(mount.source.to_string(), "db@s");
        assert_eq!(mount.directory, Path::new("/mnt"));
        assert_eq!(mount.options, ["ro,data-dir=/d"]);
        assert!(mount.sloppy && !mount.fake && !mount.read_only);
    }

    #[test]
    fn flags_may_come_together() {
        let mount = mount(&["mount.firn", "db", "/mnt", "-fnvr", "-o", "nosuid", "-o", "nodev"]);
        assert!(mount.fake && mount.read_only);
        assert_eq!(mount.options, ["nosuid", "nodev"]);
    }
}
