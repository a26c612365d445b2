//! Values that are mistakes are refused by name, and the charts are as Helm wants them.

use postern_tests::chart::{folder, helm, rendered};
use serde_json::{Value, json};

use crate::{everything, namespace};

#[test]
fn helm_finds_nothing_wrong() {
    for chart in ["operator", "relay"] {
        for values in [json!({}), everything(chart)] {
            let output = helm(&["lint", "--strict", &folder(chart).display().to_string()], &values).unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}

#[test]
fn a_value_that_is_a_mistake_is_refused_by_its_name() {
    let mistakes: &[(&str, Value, &[&str])] = &[
        ("operator", json!({"replicaCount": 2}), &["replicaCount"]),
        ("operator", json!({"clusterRanges": ["10.0.0.0"]}), &["clusterRanges"]),
        ("operator", json!({"image": {"digest": "sha256:12"}}), &["/image/digest"]),
        ("operator", json!({"namespaces": "dmz"}), &["/namespaces"]),
        ("operator", json!({"crds": {"kept": true}}), &["/crds", "kept"]),
        ("operator", json!({"log": {"format": "logfmt"}}), &["/log/format"]),
        ("relay", json!({"limits": {"spool_size": "20Gi"}}), &["/limits", "spool_size"]),
        ("relay", json!({"limits": {"spool-size": "20GB"}}), &["/limits/spool-size"]),
        ("relay", json!({"limits": {"connections": 100_001}}), &["/limits/connections"]),
        ("relay", json!({"limits": {"drain-time": "20s"}}), &["/limits", "drain-time"]),
        ("relay", json!({"drain": {"finishSeconds": 3601}}), &["/drain/finishSeconds"]),
        ("relay", json!({"hostname": "mail.example.com\n"}), &["/hostname"]),
        ("relay", json!({"service": {"externalTrafficPolicy": "local"}}), &["/service/externalTrafficPolicy"]),
        ("relay", json!({"certificates": {"../etc": "x"}}), &["/certificates"]),
        ("relay", json!({"user": 0}), &["/user"]),
        ("relay", json!({"submissions": {"enabled": true}}), &["submissions.enabled needs a certificate"]),
    ];
    for (chart, values, said) in mistakes {
        let refused = rendered(chart, namespace(chart), values).expect_err(&values.to_string()).to_string();
        for part in *said {
            assert!(refused.contains(part), "{values}: {part} is not in: {refused}");
        }
    }
}

/// What one of the charts once called the log for people goes on meaning it, in both.
#[test]
fn the_log_for_people_has_one_name_and_the_old_one() {
    for (chart, format) in [("operator", "text"), ("relay", "text"), ("operator", "plain"), ("relay", "plain")] {
        let rendered = rendered(chart, namespace(chart), &json!({"log": {"format": format}})).unwrap();
        assert!(rendered.contains(&format!("{{name: POSTERN_LOG_FORMAT, value: {format}}}")), "charts/{chart}");
    }
}

#[test]
fn a_chart_around_ours_may_have_values_for_all() {
    rendered("relay", "dmz", &json!({"global": {"anything": 1}})).unwrap();
}
