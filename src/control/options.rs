//! Mount options, as `-o` and `/etc/fstab` carry them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::fuse::{self, MountFlags};

/// What may be asked of a mount.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountOptions {
    pub read_only: bool,
    /// Others than the mounting user may enter; a mount by root always allows it.
    pub allow_other: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    /// Change the flags of what is mounted there. The kernel's business alone: not sent to the daemon.
    #[serde(skip)]
    pub remount: bool,
    /// `data-dir=PATH`: for `mount(8)`, which has no other way to say it. Not sent to the daemon.
    #[serde(skip)]
    pub data_dir: Option<PathBuf>,
}

/// An option that means nothing here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "unknown mount option {option:?}; known are ro, rw, allow_other, [no]suid, [no]dev, [no]exec and data-dir=PATH"
)]
pub struct InvalidMountOption {
    option: String,
}

/// For `mount(8)`, systemd or the kernel rather than for us, or true of every firn mount.
const IGNORED: [&str; 22] = [
    "",
    "defaults",
    "async",
    "atime",
    "auto",
    "group",
    "noatime",
    "noauto",
    "nodiratime",
    "nofail",
    "nogroup",
    "noowner",
    "nouser",
    "nousers",
    "owner",
    "relatime",
    "norelatime",
    "user",
    "users",
    "_netdev",
    "default_permissions",
    "lazytime",
];

impl MountOptions {
    /// Takes over a comma-separated list; later options win. With `sloppy`, unknown ones are ignored.
    ///
    /// # Errors
    /// The first unknown option.
    pub fn add(&mut self, list: &str, sloppy: bool) -> Result<(), InvalidMountOption> {
        list.split(',').try_for_each(|option| self.add_one(option.trim(), sloppy))
    }

    fn add_one(&mut self, option: &str, sloppy: bool) -> Result<(), InvalidMountOption> {
        match option {
            "remount" => self.remount = true,
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "allow_other" => self.allow_other = true,
            "nosuid" => self.nosuid = true,
            "suid" => self.nosuid = false,
            "nodev" => self.nodev = true,
            "dev" => self.nodev = false,
            "noexec" => self.noexec = true,
            "exec" => self.noexec = false,
            _ => {
                let data_dir = option.strip_prefix("x-firn.").unwrap_or(option).strip_prefix("data-dir=");
                if let Some(path) = data_dir.filter(|path| !path.is_empty()) {
                    self.data_dir = Some(PathBuf::from(path));
                } else if !sloppy && !is_ignored(option) {
                    return Err(InvalidMountOption { option: option.chars().take(64).collect() });
                }
            }
        }
        Ok(())
    }
}

/// Gives a mount of ours other flags, as `mount -o remount` asks: those that are not named go.
///
/// # Errors
/// No firn mount is there, or the kernel refuses.
pub fn remount(target: &Path, options: &MountOptions) -> Result<(), Error> {
    let flags = MountFlags {
        nosuid: options.nosuid,
        nodev: options.nodev,
        noexec: options.noexec,
        allow_other: options.allow_other,
    };
    fuse::remount(target, options.read_only, flags).map_err(|error| Error::Refused(error.to_string()))
}

fn is_ignored(option: &str) -> bool {
    let foreign_x = option.starts_with("x-") && !option.starts_with("x-firn.");
    IGNORED.contains(&option) || foreign_x || option.starts_with("comment=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<MountOptions, InvalidMountOption> {
        let mut options = MountOptions::default();
        options.add(list, false).map(|()| options)
    }

    #[test]
    fn a_line_of_fstab_is_understood() {
        let options =
            parse("defaults,noauto,_netdev,nofail,x-systemd.requires=firn.service,ro,nosuid,data-dir=/d")
                .expect("all known");
        assert!(options.read_only && options.nosuid && !options.noexec);
        assert_eq!(options.data_dir, Some(PathBuf::from("/d")));
        assert_eq!(parse("x-firn.data-dir=/e").expect("known").data_dir, Some(PathBuf::from("/e")));
    }

    #[test]
    fn the_later_option_wins() {
        assert!(!parse("ro,rw").expect("known").read_only);
        assert!(parse("suid,nosuid").expect("known").nosuid);
    }

    #[test]
    fn an_unknown_option_is_named_unless_sloppy() {
        let error = parse("ro,frobnicate=1").expect_err("unknown").to_string();
        assert!(error.contains("frobnicate"), "{error}");
        for option in ["data-dir=", "x-firn.other"] {
            assert!(parse(option).is_err(), "{option}");
        }
        assert!(MountOptions::default().add("frobnicate", true).is_ok());
    }
}
