//! The GPU time of a run: one row per kernel, and per shape of a matmul.
use std::fmt::Write;

use compute::KernelTime;

use crate::peak::Peaks;

/// Time of the kernels of training steps so far.
#[derive(Default)]
pub(crate) struct Profile(Vec<KernelTime>);

impl Profile {
    pub(crate) fn add(&mut self, rows: Vec<KernelTime>) {
        for row in rows {
            let same = |sum: &&mut KernelTime| sum.kernel == row.kernel && sum.shape == row.shape;
            match self.0.iter_mut().find(same) {
                Some(sum) => {
                    sum.calls += row.calls;
                    sum.seconds += row.seconds;
                    sum.flop += row.flop;
                    sum.bytes += row.bytes;
                }
                None => self.0.push(row),
            }
        }
    }

    /// The longest first.
    pub(crate) fn into_rows(mut self) -> Vec<KernelTime> {
        self.0.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        self.0
    }
}

/// A table of kernels, the longest first: calls and milliseconds per step, share of the time, rates, and the share of peak
/// matmul throughput or of peak bandwidth, whichever is larger.
pub fn profile_table(rows: &[KernelTime], steps: u64, peaks: Peaks) -> String {
    let steps = steps.max(1) as f64;
    let total: f64 = rows.iter().map(|row| row.seconds).sum();
    let mut text = String::from(
        "| kernel | calls a step | us a call | ms a step | share | TFLOP/s | GB/s | of peak |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let rate = |amount: f64, unit: f64| match amount > 0.0 && row.seconds > 0.0 {
            true => format!("{:.2}", amount / row.seconds / unit),
            false => "-".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.3} | {:.1} % | {} | {} | {:.0} % |",
            row.shape
                .map_or(row.kernel.clone(), |[m, n, k]| format!("{} {m} x {n} x {k}", row.kernel)),
            row.calls as f64 / steps,
            row.seconds / row.calls.max(1) as f64 * 1e6,
            row.seconds / steps * 1e3,
            row.seconds / total.max(1e-12) * 100.0,
            rate(row.flop, 1e12),
            rate(row.bytes, 1e9),
            (row.flop / peaks.flop).max(row.bytes / peaks.bytes) / row.seconds.max(1e-12) * 100.0
        );
    }
    let flop: f64 = rows.iter().map(|r| r.flop).sum();
    let calls: u64 = rows.iter().map(|row| row.calls).sum();
    let _ = writeln!(
        text,
        "| all | {:.1} | | {:.3} | 100 % | {:.2} | | {:.0} % |\n\npeak, measured here: a large matmul {:.2} TFLOP/s, a large copy {:.1} GB/s",
        calls as f64 / steps,
        total / steps * 1e3,
        flop / total.max(1e-12) / 1e12,
        flop / total.max(1e-12) / peaks.flop * 100.0,
        peaks.flop / 1e12,
        peaks.bytes / 1e9
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEAKS: Peaks = Peaks { flop: 4e12, bytes: 5e11 };

    #[test]
    fn rates_and_shares_add_up() {
        let row = |kernel: &str, shape, calls, seconds, flop, bytes| KernelTime {
            kernel: kernel.into(),
            shape,
            calls,
            seconds,
            flop,
            bytes,
        };
        let table = profile_table(
            &[
                row("matmul_nt", Some([4, 3, 2]), 20, 0.03, 6e10, 3e9),
                row("fill", None, 10, 0.01, 0.0, 1e9),
            ],
            10,
            PEAKS,
        );
        assert!(
            table.contains(
                "| matmul_nt 4 x 3 x 2 | 2.0 | 1500.0 | 3.000 | 75.0 % | 2.00 | 100.00 | 50 % |"
            ),
            "{table}"
        );
        assert!(
            table.contains("| fill | 1.0 | 1000.0 | 1.000 | 25.0 % | - | 100.00 | 20 % |"),
            "{table}"
        );
        assert!(table.contains("| all | 3.0 | | 4.000 | 100 % | 1.50 | | 38 % |"), "{table}");
    }
}
