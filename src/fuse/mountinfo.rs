//! What is mounted where, as `/proc/self/mountinfo` tells it. Never touches a mount, so that a dead
//! or hung one cannot hold up the reader.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The filesystem type of our mounts.
pub const FS_TYPE: &str = "fuse.firn";

/// A line of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountEntry {
    /// Major and minor number of the mounted filesystem.
    pub device: (u32, u32),
    pub directory: PathBuf,
    pub fs_type: String,
    /// What was mounted; for ours, `VOL` or `VOL@SNAP`.
    pub source: String,
}

impl MountEntry {
    /// Whether firn made it.
    pub fn is_firn(&self) -> bool {
        self.fs_type == FS_TYPE
    }
}

/// The mounts that this process sees, in the order in which they were made.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn read() -> io::Result<Vec<MountEntry>> {
    Ok(std::fs::read_to_string("/proc/self/mountinfo")?.lines().filter_map(parse_line).collect())
}

/// What is on top at `directory`, which is an absolute path without symbolic links.
pub fn top_at<'a>(mounts: &'a [MountEntry], directory: &Path) -> Option<&'a MountEntry> {
    mounts.iter().rev().find(|mount| mount.directory == directory)
}

/// `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw`: optional fields end at the dash.
fn parse_line(line: &str) -> Option<MountEntry> {
    let mut fields = line.split(' ');
    let (major, minor) = fields.nth(2)?.split_once(':')?;
    let directory = fields.nth(1)?;
    let mut rest = fields.skip_while(|field| *field != "-").skip(1);
    Some(MountEntry {
        device: (major.parse().ok()?, minor.parse().ok()?),
        directory: PathBuf::from(OsString::from_vec(unescape(directory))),
        fs_type: rest.next()?.to_owned(),
        source: String::from_utf8_lossy(&unescape(rest.next()?)).into_owned(),
    })
}

/// Blanks and backslashes come as `\040` and the like.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\').and_then(octal);
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    out
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_of_ours_is_recognised() {
        let line =
            r"531 29 0:88 / /srv/my\040data rw,nosuid shared:280 master:3 - fuse.firn db@\134x rw,user_id=0";
        let entry = parse_line(line).expect("well-formed");
        assert!(entry.is_firn());
        assert_eq!(entry.directory, Path::new("/srv/my data"));
        assert_eq!(entry.source, r"db@\x");
        assert_eq!(entry.device, (0, 88));
    }

    #[test]
    fn the_last_mount_on_a_directory_is_on_top() {
        let mounts: Vec<_> = [
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
            "2 1 0:5 / /m rw - tmpfs none rw",
            "3 2 0:6 / /m rw - fuse.firn db rw",
        ]
        .iter()
        .filter_map(|line| parse_line(line))
        .collect();
        assert_eq!(top_at(&mounts, Path::new("/m")).map(|mount| mount.source.as_str()), Some("db"));
        assert_eq!(top_at(&mounts, Path::new("/n")), None);
    }

    #[test]
    fn malformed_lines_are_skipped() {
        for line in ["", "1 2", "1 2 x:y / /m rw - ext4 a rw", "1 2 8:1 / /m rw ext4"] {
            assert_eq!(parse_line(line), None, "{line}");
        }
    }
}
