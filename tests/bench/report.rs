//! The table: medians, and how many times better or worse Postern is.

use std::fmt::Write;

use serde::Serialize;

use crate::alone::{Idle, Swap};
use crate::measure::Run;

/// All that one call showed.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// What kind of disk both queues were on.
    pub(crate) disk: String,
    pub(crate) rounds: u32,
    pub(crate) comparisons: Vec<Comparison>,
    /// smtp-source straight into smtp-sink: sessions, and messages a second.
    pub(crate) peers: Vec<(u32, f64)>,
    pub(crate) idle: Option<Idle>,
    pub(crate) swap: Option<Swap>,
}

/// All rounds of one scenario.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Comparison {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) messages: u32,
    pub(crate) postern: Vec<Run>,
    pub(crate) postfix: Vec<Run>,
}

impl Comparison {
    /// The medians of Postern and of Postfix.
    pub(crate) fn medians(&self) -> (Run, Run) {
        (medians(&self.postern), medians(&self.postfix))
    }
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

/// Two rows and their ratio for each scenario, then what was measured without a peer.
pub(crate) fn table(report: &Report) -> String {
    let mut table = String::new();
    if !report.comparisons.is_empty() {
        table = format!(
            "{:<8} {:>12} {:>12} {:>12} {:>16}\n",
            "", "accepted/s", "delivered/s", "memory MiB", "CPU µs/message"
        );
    }
    for comparison in &report.comparisons {
        let (postern, postfix) = comparison.medians();
        // Writing to a String cannot fail.
        let _ = writeln!(table, "\n{}: {}", comparison.name, comparison.title);
        for (name, run) in [("Postern", postern), ("Postfix", postfix)] {
            let _ = writeln!(
                table,
                "{name:<8} {:>12.0} {:>12.0} {:>12.1} {:>16.0}",
                run.accepted_per_second,
                run.delivered_per_second,
                run.memory_mebibytes,
                run.cpu_microseconds_per_message
            );
        }
        let _ = writeln!(
            table,
            "{:<8} {:>12} {:>12} {:>12} {:>16}",
            "ratio",
            ratio(postern.accepted_per_second, postfix.accepted_per_second),
            ratio(postern.delivered_per_second, postfix.delivered_per_second),
            ratio(postern.memory_mebibytes, postfix.memory_mebibytes),
            ratio(postern.cpu_microseconds_per_message, postfix.cpu_microseconds_per_message)
        );
    }
    for (sessions, rate) in &report.peers {
        let _ = writeln!(table, "\nsmtp-source straight into smtp-sink, {sessions} sessions: {rate:.0} messages/s");
    }
    for text in [report.idle.as_ref().map(ToString::to_string), report.swap.as_ref().map(ToString::to_string)] {
        table.extend(text.map(|text| format!("\n{text}\n")));
    }
    table
}

fn ratio(postern: f64, postfix: f64) -> String {
    format!("{:.2}×", postern / postfix)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn run(value: f64) -> Run {
        Run {
            accepted_per_second: value,
            delivered_per_second: value / 2.0,
            memory_mebibytes: 10.0,
            cpu_microseconds_per_message: 100.0,
        }
    }

    pub(crate) fn comparison() -> Comparison {
        Comparison {
            name: "small-20".to_owned(),
            title: "4 KiB, 20 sessions".to_owned(),
            messages: 10,
            postern: vec![run(100.0), run(3000.0), run(200.0)],
            postfix: vec![run(10.0), run(70.0)],
        }
    }

    #[test]
    fn the_table_shows_medians_and_ratios() {
        let report = Report { comparisons: vec![comparison()], peers: vec![(20, 11_000.0)], ..Report::default() };
        let table = table(&report);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[2].join(" "), "small-20: 4 KiB, 20 sessions");
        assert_eq!(rows[3][..3], ["Postern", "200", "100"]);
        assert_eq!(rows[4][..3], ["Postfix", "40", "20"]);
        assert!(table.contains("5.00×") && table.contains("1.00×") && table.contains("11000 messages/s"), "{table}");
    }
}
