//! Staying with a mount that a daemon serves, until it is unmounted.

use std::path::Path;

use tokio::task::spawn_blocking;

use super::client::Client;
use super::data_dir::DataDir;
use super::error::Error;
use super::protocol::UnmountTarget;
use super::server::{Signals, joined};
use super::start::connect;

/// Returns when nothing is mounted at `directory` any more. SIGTERM and SIGINT unmount it.
///
/// # Errors
/// When the daemon goes away first, or the unmount is refused.
pub fn attend(mut client: Client, dir: &DataDir, directory: &Path) -> Result<(), Error> {
    let failed = |error| Error::io("cannot wait for the unmount of", directory, error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let watched = directory.to_owned();
    let signalled = runtime.block_on(async {
        let mut signals = Signals::new().map_err(failed)?;
        let gone = spawn_blocking(move || {
            while !client.await_unmount(&watched)? {}
            Ok(())
        });
        tokio::select! {
            outcome = gone => joined(outcome).map(|()| false),
            () = signals.end() => Ok(true),
        }
    });
    runtime.shutdown_background();
    if signalled? {
        let text = directory.display().to_string();
        let target = UnmountTarget { text, source: None, directory: Some(directory.to_owned()) };
        connect(dir)?.unmount(target, false, &mut |_| {})?;
    }
    Ok(())
}
