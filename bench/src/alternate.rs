//! Slices in turn, and the statistics of their ratios.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::error::{Outcome, Tried, failed};
use crate::sides::Sides;
use crate::workload::{Running, Workload};

/// The result of one workload.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    /// Rate on side a divided by that on side b, pair by pair.
    pub ratio: Quartiles,
    /// Units per second on side a.
    pub rate_a: Quartiles,
    /// Units per second on side b.
    pub rate_b: Quartiles,
    /// How many pairs of slices there were.
    pub pairs: usize,
}

/// Median and quartiles.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Quartiles {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Quartiles {
    /// Of at least one value, by linear interpolation.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self { low: quantile(&sorted, 1, 4), median: quantile(&sorted, 2, 4), high: quantile(&sorted, 3, 4) }
    }
}

/// The `part`/`parts` quantile of sorted values, of which there is at least one.
pub fn quantile(sorted: &[f64], part: usize, parts: usize) -> f64 {
    let last = sorted.len() - 1;
    let (below, rest) = (last * part / parts, last * part % parts);
    let above = (below + 1).min(last);
    #[expect(clippy::cast_precision_loss, reason = "a handful of parts")]
    let fraction = rest as f64 / parts as f64;
    sorted[below] + (sorted[above] - sorted[below]) * fraction
}

/// Prepares the workload on both sides and lets them work in turn. The first pair, in which caches fill and
/// files take their shape, does not count.
pub fn compare(workload: &Workload, sides: &Sides, slice: Duration, pairs: usize) -> Outcome<Row> {
    let place = |side: &Path| side.join(workload.name);
    let (dir_a, dir_b) = (place(sides.a()), place(sides.b()));
    let mut a = prepare(workload, &dir_a)?;
    let mut b = prepare(workload, &dir_b)?;
    let (mut rates_a, mut rates_b, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..=pairs {
        let measure = |running: &mut Box<dyn Running>| -> Outcome<f64> {
            settle(workload.cold)?;
            Ok(running.slice(slice)?.rate())
        };
        let (rate_a, rate_b) = if pair % 2 == 0 {
            let rate_a = measure(&mut a)?;
            (rate_a, measure(&mut b)?)
        } else {
            let rate_b = measure(&mut b)?;
            (measure(&mut a)?, rate_b)
        };
        if pair > 0 {
            rates_a.push(rate_a);
            rates_b.push(rate_b);
            ratios.push(rate_a / rate_b);
        }
    }
    drop((a, b));
    for dir in [dir_a, dir_b] {
        std::fs::remove_dir_all(&dir).tried_on("remove", &dir)?;
    }
    Ok(Row {
        name: workload.name,
        what: workload.what,
        unit: workload.unit,
        ratio: Quartiles::of(&ratios),
        rate_a: Quartiles::of(&rates_a),
        rate_b: Quartiles::of(&rates_b),
        pairs,
    })
}

fn prepare(workload: &Workload, dir: &Path) -> Outcome<Box<dyn Running>> {
    std::fs::create_dir(dir).tried_on("create", dir)?;
    (workload.prepare)(dir).map_err(|error| failed(format!("prepare {}", workload.name), error))
}

/// Nothing that an earlier slice left to be written may be written during the next one.
fn settle(cold: bool) -> Outcome<()> {
    rustix::fs::sync();
    if cold {
        let file = Path::new("/proc/sys/vm/drop_caches");
        std::fs::write(file, "3").tried_on("write to", file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_neighbours() {
        let Quartiles { low, median, high } = Quartiles::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!((low, median, high), (1.75, 2.5, 3.25));
        let one = Quartiles::of(&[7.0]);
        assert_eq!((one.low, one.median, one.high), (7.0, 7.0, 7.0));
    }
}
