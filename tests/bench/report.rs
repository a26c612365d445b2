//! The table: medians, and how many times better or worse Postern is.

use std::fmt::Write;

use serde::Serialize;

use crate::measure::Run;

/// All rounds with one number of sessions.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) sessions: u32,
    pub(crate) messages: u32,
    pub(crate) postern: Vec<Run>,
    pub(crate) postfix: Vec<Run>,
}

fn median(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    match (values.get(values.len() / 2), values.len() % 2) {
        (None, _) => f64::NAN,
        (Some(upper), 0) => (upper + values[values.len() / 2 - 1]) / 2.0,
        (Some(middle), _) => *middle,
    }
}

fn medians(runs: &[Run]) -> Run {
    Run {
        accepted_per_second: median(runs, |run| run.accepted_per_second),
        delivered_per_second: median(runs, |run| run.delivered_per_second),
        memory_mebibytes: median(runs, |run| run.memory_mebibytes),
        cpu_microseconds_per_message: median(runs, |run| run.cpu_microseconds_per_message),
    }
}

/// Two rows and their ratio for each number of sessions.
pub(crate) fn table(comparisons: &[Comparison]) -> String {
    let mut table = format!(
        "{:>8}  {:<8} {:>12} {:>12} {:>12} {:>16}\n",
        "sessions", "", "accepted/s", "delivered/s", "memory MiB", "CPU µs/message"
    );
    for Comparison { sessions, messages: _, postern, postfix } in comparisons {
        let (postern, postfix) = (medians(postern), medians(postfix));
        for (name, run) in [("Postern", postern), ("Postfix", postfix)] {
            // Writing to a String cannot fail.
            let _ = writeln!(
                table,
                "{sessions:>8}  {name:<8} {:>12.0} {:>12.0} {:>12.1} {:>16.0}",
                run.accepted_per_second,
                run.delivered_per_second,
                run.memory_mebibytes,
                run.cpu_microseconds_per_message
            );
        }
        let _ = writeln!(
            table,
            "{:>8}  {:<8} {:>12} {:>12} {:>12} {:>16}\n",
            "",
            "ratio",
            ratio(postern.accepted_per_second, postfix.accepted_per_second),
            ratio(postern.delivered_per_second, postfix.delivered_per_second),
            ratio(postern.memory_mebibytes, postfix.memory_mebibytes),
            ratio(postern.cpu_microseconds_per_message, postfix.cpu_microseconds_per_message)
        );
    }
    table
}

fn ratio(postern: f64, postfix: f64) -> String {
    format!("{:.2}×", postern / postfix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(value: f64) -> Run {
        Run {
            accepted_per_second: value,
            delivered_per_second: value / 2.0,
            memory_mebibytes: 10.0,
            cpu_microseconds_per_message: 100.0,
        }
    }

    #[test]
    fn the_table_shows_medians_and_ratios() {
        let comparison = Comparison {
            sessions: 20,
            messages: 10,
            postern: vec![run(100.0), run(3000.0), run(200.0)],
            postfix: vec![run(10.0), run(70.0)],
        };
        let table = table(&[comparison]);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1][..4], ["20", "Postern", "200", "100"]);
        assert_eq!(rows[2][..4], ["20", "Postfix", "40", "20"]);
        assert!(table.contains("5.00×") && table.contains("1.00×"), "{table}");
    }
}
