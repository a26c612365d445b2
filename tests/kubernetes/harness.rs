//! What the other tests here stand on.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;

use crate::api_server::ApiServer;
use crate::cluster::{admin, eventually, namespace};
use crate::dmz::crds;
use crate::operator::{get, running};

#[tokio::test]
async fn an_api_server_answers_kubectl_and_writes_down_who_asked() {
    let client = admin().await.unwrap();
    let namespace = namespace(&client, "harness").await.unwrap();
    let mut map = ConfigMap::default();
    map.metadata.name = Some("written".to_owned());
    Api::<ConfigMap>::namespaced(client, &namespace).create(&PostParams::default(), &map).await.unwrap();

    let server = ApiServer::shared();
    let names = server.kubectl(&["get", "configmaps", "-n", &namespace, "-o", "name"]).unwrap();
    assert_eq!(names, "configmap/written\n");
    let requests = server.requests("admin", &namespace).unwrap();
    assert!(requests.contains(&"create configmaps/written 201".to_owned()), "{requests:?}");
}

#[tokio::test]
async fn a_user_without_a_role_is_refused() {
    let admin = admin().await.unwrap();
    let namespace = namespace(&admin, "stranger").await.unwrap();
    let client = ApiServer::shared().client("stranger", "stranger", None).await.unwrap();
    let refused = Api::<ConfigMap>::namespaced(client, &namespace).get("any").await.unwrap_err();
    assert!(refused.to_string().contains("User \"stranger\" cannot get resource \"configmaps\""), "{refused}");
}

#[tokio::test]
async fn the_operator_says_that_it_lives_and_what_it_counted() {
    let client = admin().await.unwrap();
    crds(&client).await.unwrap();
    let http = running(&client).await.unwrap().http;
    let health = eventually("/healthz answers", async || get(http, "/healthz").await).await;
    assert!(health.starts_with("HTTP/1.0 200 OK") && health.ends_with("ok\n"), "{health}");
    let metrics = get(http, "/metrics").await.unwrap();
    assert!(metrics.contains("# TYPE postern_operator_namespaces gauge"), "{metrics}");
}
