//! How long it takes from SIGKILL to a mounted volume, by the size of what has to be recovered.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::alternate::Quartiles;
use crate::error::{Outcome, Tried};
use crate::firn::Firn;
use crate::workloads::filled;

pub fn measure(binary: &Path, place: &Path, mib: u64, times: u32, json: bool) -> Outcome<()> {
    let mut firn = Firn::start(binary, place)?;
    firn.run(&["create", "large"])?;
    let dir = firn.mount("large")?;
    eprintln!("[1/2] filling {mib} MiB");
    filled(&dir.join("data"), usize::try_from(mib).tried("--mib")?)?;
    eprintln!("[2/2] {times} times SIGKILL and mount");
    let mut seconds = Vec::new();
    for _ in 0..times {
        firn.kill_daemon()?;
        let drop_caches = Path::new("/proc/sys/vm/drop_caches");
        std::fs::write(drop_caches, "3").tried_on("write to", drop_caches)?;
        let start = Instant::now();
        firn.start_daemon()?;
        firn.mount("large")?;
        // Mounted means that it answers.
        std::fs::metadata(dir.join("data")).tried("stat")?;
        seconds.push(start.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(200));
    }
    let Quartiles { low, median, high } = Quartiles::of(&seconds);
    if json {
        println!("{}", serde_json::json!({ "volume_mib": mib, "seconds": seconds, "median": median }));
    } else {
        println!("{mib} MiB: mounted {median:.2} s after the start (quartiles {low:.2}–{high:.2} s)");
    }
    Ok(())
}
