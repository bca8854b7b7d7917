//! Where the GPU's time went: one row per kernel, and per shape of a product.
use std::fmt::Write;

use compute::KernelTime;

/// A table of kernels, the longest first: calls and milliseconds per step, share, and what was reached.
pub fn profile_table(rows: &[KernelTime], steps: u64) -> String {
    let steps = steps.max(1) as f64;
    let total: f64 = rows.iter().map(|row| row.seconds).sum();
    let mut text =
        String::from("| kernel | calls a step | us a call | ms a step | share | TFLOP/s | GB/s |\n|---|---|---|---|---|---|---|\n");
    for row in rows {
        let rate = |amount: f64, unit: f64| match amount > 0.0 && row.seconds > 0.0 {
            true => format!("{:.2}", amount / row.seconds / unit),
            false => "-".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.3} | {:.1} % | {} | {} |",
            row.shape.map_or(row.kernel.clone(), |[m, n, k]| format!("{} {m} x {n} x {k}", row.kernel)),
            row.calls as f64 / steps,
            row.seconds / row.calls.max(1) as f64 * 1e6,
            row.seconds / steps * 1e3,
            row.seconds / total.max(1e-12) * 100.0,
            rate(row.flop, 1e12),
            rate(row.bytes, 1e9)
        );
    }
    let calls: u64 = rows.iter().map(|row| row.calls).sum();
    let _ = writeln!(
        text,
        "| all | {:.1} | | {:.3} | 100 % | {:.2} | |",
        calls as f64 / steps,
        total / steps * 1e3,
        rows.iter().map(|r| r.flop).sum::<f64>() / total.max(1e-12) / 1e12
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_shares_add_up() {
        let row = |kernel: &str, shape, calls, seconds, flop, bytes| KernelTime { kernel: kernel.into(), shape, calls, seconds, flop, bytes };
        let table = profile_table(&[row("matmul_nt", Some([4, 3, 2]), 20, 0.03, 6e10, 3e9), row("fill", None, 10, 0.01, 0.0, 1e9)], 10);
        assert!(table.contains("| matmul_nt 4 x 3 x 2 | 2.0 | 1500.0 | 3.000 | 75.0 % | 2.00 | 100.00 |"), "{table}");
        assert!(table.contains("| fill | 1.0 | 1000.0 | 1.000 | 25.0 % | - | 100.00 |"), "{table}");
        assert!(table.contains("| all | 3.0 | | 4.000 | 100 % | 1.50 | |"), "{table}");
    }
}
