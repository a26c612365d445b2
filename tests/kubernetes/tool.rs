//! `kubectl postern` against a real API server: called by kubectl, with a kubeconfig, by the rights of its user. There is no
//! kubelet here: what goes through exec is tested on a cluster with nodes.

use std::env;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Patch, PatchParams};
use postern_crds::{FilterPolicy, RelayDomain};
use postern_tests::program::own;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api_server::ApiServer;
use crate::cluster::eventually;
use crate::dmz::Dmz;
use crate::operator;

/// kubectl with our plugin on its path.
struct Tool {
    folder: TempDir,
    namespace: String,
}

impl Tool {
    fn new(namespace: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in ["kubectl-postern", "kubectl_complete-postern"] {
            symlink(own("postern")?, folder.path().join(name))?;
        }
        Ok(Self { folder, namespace: namespace.to_owned() })
    }

    fn run(&self, user: &str, group: Option<&str>, arguments: &[&str]) -> Result<Output> {
        let server = ApiServer::shared();
        let path = format!("{}:{}", self.folder.path().display(), env::var("PATH")?);
        let mut command = Command::new(server.program("kubectl"));
        command.env("PATH", path).env("KUBECONFIG", server.kubeconfig(user, user, group)?);
        command.current_dir(self.folder.path()).arg("postern").args(arguments);
        Ok(command.output()?)
    }

    /// As an administrator, in the namespace: exit code, standard output and standard error.
    fn admin(&self, arguments: &[&str]) -> Result<(i32, String, String)> {
        let output = self.run("admin", Some("system:masters"), &[arguments, &["-n", &self.namespace]].concat())?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
    }

    fn explain(&self, arguments: &[&str]) -> Result<(i32, Value)> {
        let question = ["explain", "--client", "192.0.2.7", "--from", "a@b.example", "-o", "json"];
        let (code, out, err) = self.admin(&[&question, arguments].concat())?;
        Ok((code, serde_json::from_str(&out).with_context(|| err)?))
    }
}

fn nowhere() -> SocketAddr {
    ([198, 51, 100, 7], 25).into()
}

async fn published_any(dmz: &Dmz) {
    eventually("settings are published", async || Ok(dmz.api::<ConfigMap>().get("postern-settings").await?)).await;
}

async fn published(dmz: &Dmz) {
    eventually("all is published", async || {
        let map = dmz.api::<ConfigMap>().get("postern-settings").await?;
        let text = map.data.unwrap_or_default().remove("settings.json").unwrap_or_default();
        ensure!(text.contains("dora@example.com") && text.contains("mailbox-server"), "not yet");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_explanation_is_that_of_the_settings_that_the_relays_obey() {
    let dmz = Dmz::new("explain").await.unwrap();
    dmz.quickstart(nowhere()).await.unwrap();
    let recipients = json!({"metadata": {"name": "example-recipients"}, "data": {"addresses": "dora@example.com\n"}});
    dmz.put::<ConfigMap>(recipients).await.unwrap();
    published(&dmz).await;
    let tool = Tool::new(&dmz.namespace).unwrap();

    let (code, answer) = tool.explain(&["--to", "dora@example.com"]).unwrap();
    assert_eq!((code, &answer["verdict"]), (0, &json!("accepted")), "{answer:#}");
    // No relay is there yet that says it is in force.
    let notes = answer["settings"]["notes"].to_string();
    assert!(notes.contains("\"RelayHost/mailbox-server: ") && !notes.contains("newer"), "{answer:#}");
    assert!(!notes.contains("smarthost"), "not on the way: {answer:#}");
    assert!(answer.to_string().contains("mailbox-server (198.51.100.7:25)"), "{answer:#}");
    assert_eq!(tool.explain(&["--to", "bob@example.com"]).unwrap().0, 3);

    // What is not applied yet, laid over what is there: the recipients stay those of the cluster's ConfigMap.
    let blocked = "apiVersion: postern.io/v1alpha1\nkind: FilterPolicy\nmetadata: {name: default}\nspec: {senders: {blocked: ['*@b.example']}}\n";
    std::fs::write(tool.folder.path().join("policy.yaml"), blocked).unwrap();
    let (code, answer) = tool.explain(&["--to", "dora@example.com", "--what-if", "policy.yaml"]).unwrap();
    assert_eq!((code, &answer["before"]["verdict"]), (3, &json!("accepted")), "{answer:#}");
    assert!(answer["recipients"][0]["reply"].as_str().unwrap().starts_with("550 5.7.1"), "{answer:#}");

    // A Service is looked up; what is not there is said, and nothing else.
    dmz.put::<Service>(
        json!({"metadata": {"name": "mail"}, "spec": {"selector": {"app": "mail"}, "ports": [{"port": 25}]}}),
    )
    .await
    .unwrap();
    let host = |service: &str| {
        let host = format!(
            "apiVersion: postern.io/v1alpha1\nkind: RelayHost\nmetadata: {{name: mailbox-server}}\nspec: {{endpoints: [{{service: {{name: {service}, port: 25}}}}]}}\n"
        );
        std::fs::write(tool.folder.path().join("host.yaml"), host).unwrap();
        tool.explain(&["--to", "dora@example.com", "--what-if", "host.yaml"]).unwrap().1.to_string()
    };
    assert!(host("nobody").contains("there is no Service"));
    let answer = host("mail");
    assert!(!answer.contains("there is no Service") && !answer.contains("was not read"), "{answer}");

    // A pause freezes the settings: what is newer is named.
    let before = operator::reconciles(&dmz.namespace);
    let paused = json!({"metadata": {"annotations": {"postern.io/paused": "true"}}});
    dmz.api::<k8s_openapi::api::apps::v1::StatefulSet>()
        .patch("postern-relay", &PatchParams::default(), &Patch::Merge(&paused))
        .await
        .unwrap();
    eventually("the operator has seen the pause", async || {
        ensure!(operator::reconciles(&dmz.namespace) > before, "it has not looked since");
        Ok(())
    })
    .await;
    dmz.put::<FilterPolicy>(json!({"metadata": {"name": "default"}, "spec": {"limits": {"hops": 20}}})).await.unwrap();
    let (_, answer) = tool.explain(&["--to", "dora@example.com"]).unwrap();
    let notes = answer["settings"]["notes"].to_string();
    assert!(notes.contains("FilterPolicy/default is newer than these settings"), "{answer:#}");
    let (code, out, err) = tool.admin(&["status"]).unwrap();
    assert_eq!(code, 3, "{err}");
    assert!(out.contains("! settings: paused") && out.contains("postern.io/paused-"), "{out}");
}

#[tokio::test]
async fn a_status_tells_what_is_wrong_first_and_what_to_do() {
    let dmz = Dmz::new("status").await.unwrap();
    dmz.put::<FilterPolicy>(json!({"metadata": {"name": "default"}, "spec": {}})).await.unwrap();
    let spec =
        json!({"domains": ["example.com"], "deliverTo": [{"name": "nobody"}], "recipients": {"mode": "AcceptAll"}});
    dmz.put::<RelayDomain>(json!({"metadata": {"name": "broken"}, "spec": spec})).await.unwrap();
    dmz.told::<RelayDomain>("broken", "ResolvedRefs", "False", "HostNotFound").await;
    let tool = Tool::new(&dmz.namespace).unwrap();
    let (code, out, err) = tool.admin(&["status"]).unwrap();
    assert_eq!(code, 3, "{err}");
    for said in [
        "! relays: 0 of 1 pods are there: no mail is taken\n    kubectl",
        "! RelayDomain/broken: ResolvedRefs=False, HostNotFound",
        &format!("    kubectl -n {} describe relaydomain broken", dmz.namespace),
        "Isolation  closed but for",
        "Objects    1 RelayDomain, 0 RelayHost, 1 FilterPolicy",
    ] {
        assert!(out.contains(said), "{said:?} is missing in:\n{out}");
    }

    // Scaled to none.
    dmz.scale(0).await.unwrap();
    let zero = "the StatefulSet postern-relay has 0 replicas";
    let scale = format!("kubectl -n {} scale statefulset/postern-relay --replicas=N", dmz.namespace);
    let (_, out, _) = tool.admin(&["status"]).unwrap();
    assert!(out.contains(&format!("! relays: {zero}: no mail is taken\n    raise `replicas`: {scale}\n")), "{out}");
    for command in [&["trace", "a@b.example"][..], &["queue", "list"]] {
        let (code, _, err) = tool.admin(command).unwrap();
        assert!(code == 1 && err.contains(zero) && err.contains(&scale), "{err}");
    }
    let everywhere = tool.run("admin", Some("system:masters"), &["status", "-A"]).unwrap();
    let everywhere = String::from_utf8_lossy(&everywhere.stdout).into_owned();
    assert!(everywhere.contains(&format!("{}: ", dmz.namespace)), "{everywhere}");
    dmz.scale(1).await.unwrap();

    // Pods that nobody runs: each is named, with what the API server says.
    dmz.relay_pod("postern-relay-0", nowhere()).await.unwrap();
    let (code, out, _) = tool.admin(&["status"]).unwrap();
    assert!(code == 3 && out.contains("! postern-relay-0: it cannot be asked: "), "{out}");
    let (code, _, err) = tool.admin(&["queue", "list"]).unwrap();
    assert!(code == 1 && err.contains("postern-relay-0"), "{err}");
    for command in [&["queue", "list"][..], &["status"], &["trace", "a@b.example"]] {
        let (code, _, err) = tool.admin(&[command, &["--pod", "other"]].concat()).unwrap();
        assert!(
            code == 1 && err.contains("no relay pod other in namespace") && err.contains("postern-relay-0"),
            "{command:?}: {err}"
        );
    }
    dmz.relay_pod("postern-relay-1", nowhere()).await.unwrap();
    let (_, out, _) = tool.admin(&["status", "--pod", "postern-relay-1"]).unwrap();
    assert!(out.contains("! postern-relay-1") && !out.contains("! postern-relay-0"), "{out}");
    let (code, _, err) = tool.admin(&["trace", "bob@example.com"]).unwrap();
    assert!(code == 1 && err.contains("postern-relay-0: its log cannot be read"), "{err}");
}

#[tokio::test]
async fn what_a_relay_has_left_is_named_where_its_mail_cannot_be_listed() {
    let dmz = Dmz::new("left").await.unwrap();
    dmz.put::<FilterPolicy>(json!({"metadata": {"name": "default"}, "spec": {}})).await.unwrap();
    let tool = Tool::new(&dmz.namespace).unwrap();
    let (code, _, err) = tool.admin(&["queue", "list"]).unwrap();
    assert!(code == 1 && err.contains("no relay pod in namespace"), "{err}");

    dmz.claim("postern-relay-1").await.unwrap();
    dmz.told::<FilterPolicy>("default", "MailKept", "True", "ScaledIn").await;
    let left = "an unknown number of messages of postern-relay-1 on the claim spool-postern-relay-1";
    for command in [["queue", "list"], ["queue", "summary"]] {
        let (code, out, err) = tool.admin(&command).unwrap();
        assert!(code == 4 && out.contains(&format!("  {left}\n")), "{code} {out}{err}");
        assert!(out.contains("raise the replicas of the StatefulSet postern-relay to 2 (helm upgrade"), "{out}");
        let (code, out, err) = tool.admin(&[&command[..], &["-o", "json"]].concat()).unwrap();
        let json: Value = serde_json::from_str(&out).with_context(|| format!("{out}{err}")).unwrap();
        let volume = json!({"claim": "spool-postern-relay-1", "relay": "postern-relay-1"});
        assert_eq!((code, json), (4, json!([{"keptVolume": volume}])));
    }
    let (code, _, err) = tool.admin(&["queue", "list", "--pod", "postern-relay-1"]).unwrap();
    assert!(code == 1 && err.contains("postern-relay-1 was scaled in, and left") && err.contains(left), "{err}");
    let (_, out, _) = tool.admin(&["status"]).unwrap();
    for said in [
        &format!("! queue: left behind when it was scaled in: {left}\n"),
        &format!("kubectl -n {} scale statefulset/postern-relay --replicas=2", dmz.namespace),
        &format!("Left       {left}\n"),
    ] {
        assert!(out.contains(said), "{said:?} is missing in:\n{out}");
    }

    // It is empty, as if an operator had seen it go: named, and no trouble.
    let empty = json!({"claim": "spool-postern-relay-1", "relay": "postern-relay-1", "messages": 0});
    let patch = Patch::Merge(json!({"status": {"keptVolumes": [empty]}}));
    dmz.api::<FilterPolicy>().patch_status("default", &PatchParams::default(), &patch).await.unwrap();
    let (code, out, err) = tool.admin(&["queue", "list"]).unwrap();
    assert!(code == 0 && out == "There is no relay pod, and no mail was left behind.\n", "{code} {out}{err}");
    let (_, out, _) = tool.admin(&["status"]).unwrap();
    assert!(out.contains("Left       0 messages of postern-relay-1") && !out.contains("! queue"), "{out}");
}

#[tokio::test]
async fn who_may_do_nothing_is_told_so() {
    let dmz = Dmz::new("rightless").await.unwrap();
    let tool = Tool::new(&dmz.namespace).unwrap();
    for arguments in [
        &["status"][..],
        &["queue", "list"],
        &["trace", "a@b.example"],
        &["explain", "--client", "192.0.2.7", "--from", "<>", "--to", "a@b.example"],
    ] {
        let output = tool.run("stranger", None, &[arguments, &["-n", &dmz.namespace]].concat()).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(!said.contains("ApiError"), "{said}");
        assert!(said.contains("User \"stranger\" cannot") && said.contains(&dmz.namespace), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn what_somebody_may_not_read_is_named_with_the_right_that_is_missing() {
    let dmz = Dmz::new("few-rights").await.unwrap();
    dmz.quickstart(nowhere()).await.unwrap();
    published_any(&dmz).await;
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list"]},
        {"apiGroups": ["postern.io"], "resources": ["relaydomains", "relayhosts"], "verbs": ["get", "list"]},
        {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get", "list"]},
    ]);
    dmz.put::<Role>(json!({"metadata": {"name": "few"}, "rules": rules})).await.unwrap();
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "few"});
    let user = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "novice"});
    dmz.put::<RoleBinding>(json!({"metadata": {"name": "few"}, "roleRef": role, "subjects": [user]})).await.unwrap();
    let tool = Tool::new(&dmz.namespace).unwrap();
    let out = eventually("the role is in force", async || {
        let output = tool.run("novice", None, &["status", "-n", &dmz.namespace])?;
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.code() == Some(3), "{out}{}", String::from_utf8_lossy(&output.stderr));
        Ok(out)
    })
    .await;
    assert!(
        out.contains("! not known: FilterPolicy: filterpolicies.postern.io is forbidden: User \"novice\""),
        "{out}"
    );
    assert!(out.contains("    ask for the right: list on filterpolicies.postern.io\n"), "{out}");
    assert!(out.contains("RelayHost, ? FilterPolicy: "), "{out}");
    assert!(!out.contains("ApiError") && !out.contains("Status {"), "{out}");

    let (code, _, err) = Tool::new("nowhere-at-all").unwrap().admin(&["status"]).unwrap();
    assert!(code == 1 && err.contains("there is no namespace nowhere-at-all"), "{err}");
}

#[tokio::test]
async fn kubectl_knows_its_plugin() {
    let tool = Tool::new("default").unwrap();
    let output = tool.run("admin", Some("system:masters"), &["queue", "--help"]).unwrap();
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(help.contains("Usage: kubectl postern queue"), "{help}");
    let server = ApiServer::shared();
    let path = format!("{}:{}", tool.folder.path().display(), env::var("PATH").unwrap());
    let mut command = Command::new(server.program("kubectl"));
    let asked = command.env("PATH", path).args(["__complete", "postern", "queue", "re"]).output().unwrap();
    let completed = String::from_utf8_lossy(&asked.stdout);
    assert!(completed.starts_with("retry\nrelease\n"), "{completed}");
}
