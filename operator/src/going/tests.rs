use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A relay's status port that always says the same.
async fn relay(draining: bool, queue: Option<u64>) -> SocketAddr {
    let queue = queue.map(|messages| json!({"messages": messages, "oldest": 1}));
    let body = json!({"version": "0.1.0", "schema": 1, "objects": [], "draining": draining, "queue": queue});
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let body = body.to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    address
}

fn pod(name: &str, uid: &str, status: Option<SocketAddr>) -> Pod {
    Pod { name: name.to_owned(), uid: uid.to_owned(), status }
}

/// What is known once so many pods have answered.
async fn heard(going: &Going, number: usize) -> BTreeMap<String, u64> {
    for _ in 0..100 {
        if going.left().len() >= number {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    going.left()
}

fn left(all: &[(&str, u64)]) -> BTreeMap<String, u64> {
    all.iter().map(|(name, messages)| ((*name).to_owned(), *messages)).collect()
}

#[tokio::test]
async fn only_what_a_relay_says_while_it_ends_counts() {
    let mut tasks = JoinSet::new();
    let going = Going::start(&mut tasks);
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = silent.local_addr().expect("an address");
    going.follow(vec![
        pod("relay-0", "a", Some(relay(false, Some(7)).await)),
        pod("relay-1", "a", Some(relay(true, None).await)),
        pod("relay-2", "a", Some(silent)),
        pod("relay-3", "a", Some(relay(true, Some(5)).await)),
        pod("relay-4", "a", Some(relay(true, Some(0)).await)),
    ]);
    assert_eq!(heard(&going, 2).await, left(&[("relay-3", 5), ("relay-4", 0)]));
    // It stays when they are gone.
    going.follow(vec![pod("relay-0", "a", None)]);
    tokio::time::sleep(AGAIN * 2).await;
    assert_eq!(going.left(), left(&[("relay-3", 5), ("relay-4", 0)]));
}

#[tokio::test]
async fn a_relay_that_is_back_has_left_nothing() {
    let mut tasks = JoinSet::new();
    let going = Going::start(&mut tasks);
    let address = relay(true, Some(5)).await;
    going.follow(vec![pod("relay-0", "a", Some(address))]);
    assert_eq!(heard(&going, 1).await, left(&[("relay-0", 5)]));
    going.follow(vec![pod("relay-0", "b", None)]);
    assert_eq!(going.left(), left(&[]));
}
