//! The system calls and files by which a mount is made, tuned and ended. As root directly; otherwise
//! through the set-id helper `fusermount3`, which only root's mounts can do without.

use std::ffi::CString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::mount::{MountFlags as Flags, UnmountFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};

use super::Error;
use super::mount::{MountFlags, MountSpec};
use super::mountinfo::FS_TYPE;

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";
/// Readahead of a mount, in KiB. The kernel begins with 128.
const READAHEAD_KIB: u32 = 1024;

/// Mounts `spec` on `target`, which is absolute. Returns the connection to the kernel.
pub(super) fn mount(spec: &MountSpec, target: &Path) -> Result<OwnedFd, Error> {
    if is_root() { mount_directly(spec, target) } else { mount_by_helper(spec, target) }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mount_directly(spec: &MountSpec, target: &Path) -> Result<OwnedFd, Error> {
    use std::os::fd::AsRawFd;

    let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::NoDevice(errno.into()))?;
    let mut flags = Flags::NOATIME;
    for (wanted, flag) in [
        (spec.read_only, Flags::RDONLY),
        (spec.flags.nosuid, Flags::NOSUID),
        (spec.flags.nodev, Flags::NODEV),
        (spec.flags.noexec, Flags::NOEXEC),
    ] {
        flags.set(flag, wanted);
    }
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
        device.as_raw_fd()
    );
    let data = CString::new(data).expect("no zero byte");
    rustix::mount::mount(spec.source.as_str(), target, FS_TYPE, flags, data.as_c_str()).map_err(|errno| {
        let advice = if errno == rustix::io::Errno::PERM { " (a container needs CAP_SYS_ADMIN)" } else { "" };
        refused(spec, target, format!("{}{advice}", io::Error::from(errno)))
    })?;
    Ok(device)
}

/// Gives a mount other flags.
pub(super) fn remount(target: &Path, read_only: bool, flags: MountFlags) -> io::Result<()> {
    let mut wanted = Flags::NOATIME;
    for (is_wanted, flag) in [
        (read_only, Flags::RDONLY),
        (flags.nosuid, Flags::NOSUID),
        (flags.nodev, Flags::NODEV),
        (flags.noexec, Flags::NOEXEC),
    ] {
        wanted.set(flag, is_wanted);
    }
    Ok(rustix::mount::mount_remount(target, wanted, c"")?)
}

/// Whether each thread can have a device handle of its own, by opening the device once more. Where only
/// the helper may open it, the threads share one.
pub(super) fn may_open_device() -> bool {
    rustix::fs::accessat(rustix::fs::CWD, DEVICE, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS)
        .is_ok()
}

fn refused(spec: &MountSpec, target: &Path, detail: String) -> Error {
    Error::Mount { volume: spec.source.clone(), target: target.to_owned(), detail }
}

/// The helper mounts and sends the open device back through a socket, which it gets as its standard
/// input so that no other child can inherit it.
fn mount_by_helper(spec: &MountSpec, target: &Path) -> Result<OwnedFd, Error> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| refused(spec, target, errno.to_string()))?;
    let output = Command::new(HELPER)
        .arg("-o")
        .arg(helper_options(spec))
        .arg("--")
        .arg(target)
        .env("_FUSE_COMMFD", "0")
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .map_err(Error::NoHelper)?;
    if !output.status.success() {
        return Err(refused(spec, target, first_line(&output.stderr)));
    }
    receive_device(&ours).map_err(|error| refused(spec, target, format!("{HELPER} sent no device: {error}")))
}

fn helper_options(spec: &MountSpec) -> String {
    let name = spec.source.replace('\\', "\\\\").replace(',', "\\,");
    let mut options = format!("fsname={name},subtype=firn,default_permissions,noatime");
    for (wanted, option) in
        [(spec.read_only, ",ro"), (spec.flags.noexec, ",noexec"), (spec.flags.allow_other, ",allow_other")]
    {
        options.push_str(if wanted { option } else { "" });
    }
    options
}

fn receive_device(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8; 1];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        })
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn first_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().next().unwrap_or("it gave no reason").trim_start_matches("fusermount3: ").to_owned()
}

/// Takes away what is mounted on top at `target`; lazily, even while it is in use.
pub(super) fn unmount(target: &Path, lazy: bool) -> Result<(), Error> {
    if is_root() { unmount_directly(target, lazy) } else { unmount_by_helper(target, lazy) }
}

fn unmount_directly(target: &Path, lazy: bool) -> Result<(), Error> {
    let flags = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(target, flags | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::BUSY) => Err(Error::Busy(target.to_owned())),
        Err(errno) => {
            Err(Error::Unmount { target: target.to_owned(), detail: io::Error::from(errno).to_string() })
        }
    }
}

fn unmount_by_helper(target: &Path, lazy: bool) -> Result<(), Error> {
    let output = Command::new(HELPER)
        .arg(if lazy { "-uz" } else { "-u" })
        .arg("--")
        .arg(target)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::NoHelper)?;
    let detail = first_line(&output.stderr);
    if output.status.success() {
        Ok(())
    } else if detail.contains("busy") {
        Err(Error::Busy(target.to_owned()))
    } else {
        Err(Error::Unmount { target: target.to_owned(), detail })
    }
}

/// Cuts the connection of the mount with this device number, through the control filesystem. Where that
/// is not mounted: by a forced unmount, if the mount is on top at `target`, and with the directory held
/// open so that it stays in place.
pub(super) fn abort(target: &Path, device: (u32, u32), on_top: bool) -> io::Result<()> {
    let cut = write_to(&format!("/sys/fs/fuse/connections/{}/abort", device.1), "1");
    if cut.is_ok() || !on_top {
        return cut;
    }
    let _held = rustix::fs::open(target, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::mount::unmount(target, UnmountFlags::FORCE | UnmountFlags::NOFOLLOW) {
        Err(rustix::io::Errno::BUSY) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Lets the kernel read further ahead, where it allows that.
pub(super) fn widen_readahead(device: (u32, u32)) {
    let path = format!("/sys/class/bdi/{}:{}/read_ahead_kb", device.0, device.1);
    if let Err(error) = write_to(&path, &READAHEAD_KIB.to_string()) {
        tracing::debug!(path, %error, "readahead stays as it is");
    }
}

fn write_to(path: &str, text: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

/// Whether the daemon of the firn mount at `target` is gone. Asks by statfs(2), whose answer is never
/// cached.
pub(super) fn is_dead(target: &Path) -> bool {
    matches!(
        rustix::fs::statfs(target),
        Err(rustix::io::Errno::NOTCONN | rustix::io::Errno::CONNABORTED | rustix::io::Errno::CONNREFUSED)
    )
}
