//! A real name server in this process, over UDP and TCP, with the zone `test` that a test writes and rewrites.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::Name;
use hickory_server::proto::serialize::txt::Parser;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneHandler, ZoneType};
use postern_tests::loopback;
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Runtime;

/// A running name server. It says what the zone says, and fails where it is told to.
pub(crate) struct Zones {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

#[derive(Default)]
struct Shared {
    catalog: Mutex<Arc<Catalog>>,
    moods: Mutex<BTreeMap<String, Mood>>,
    asked: Mutex<BTreeMap<(String, String), usize>>,
}

/// How questions about a name are answered, whatever the zone says.
#[derive(Clone, Copy)]
pub(crate) enum Mood {
    /// SERVFAIL.
    Fails,
    /// Not at all.
    Silent,
}

impl Zones {
    /// `records` are lines of a zone file, relative to `test.`; its SOA is there already.
    pub(crate) fn start(records: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = loopback::address();
        let shared = Arc::new(Shared::default());
        let handler = Handler(Arc::clone(&shared));
        runtime.spawn(async move {
            let mut server = Server::new(handler);
            server.register_socket(UdpSocket::bind(address).await.unwrap());
            server.register_listener(TcpListener::bind(address).await.unwrap(), Duration::from_secs(5), 32);
            server.block_until_done().await.unwrap();
        });
        let zones = Self { address, shared, _runtime: runtime };
        zones.set(records);
        zones
    }

    /// From now on the zone holds these records and no others.
    pub(crate) fn set(&self, records: &str) {
        let origin = Name::from_ascii("test.").unwrap();
        let soa = "@ 60 IN SOA ns.test. root.test. 1 60 60 60 1\n@ 60 IN NS ns.test.\nns 60 IN A 127.0.0.1\n";
        let text = format!("$ORIGIN test.\n{soa}{records}\n");
        let (_, records) = Parser::new(text, None, Some(origin.clone())).parse().unwrap();
        let zone = InMemoryZoneHandler::<TokioRuntimeProvider>::new(
            origin.clone(),
            records,
            ZoneType::Primary,
            AxfrPolicy::Deny,
        );
        let mut catalog = Catalog::new();
        catalog.upsert(origin.into(), vec![Arc::new(zone.unwrap()) as Arc<dyn ZoneHandler>]);
        *self.shared.catalog.lock().unwrap() = Arc::new(catalog);
    }

    /// From now on answers questions about a name so; `None`: as the zone says.
    pub(crate) fn mood(&self, name: &str, mood: Option<Mood>) {
        let mut moods = self.shared.moods.lock().unwrap();
        match mood {
            Some(mood) => moods.insert(format!("{name}."), mood),
            None => moods.remove(&format!("{name}.")),
        };
    }

    /// How often it was asked for this kind of record of a name.
    pub(crate) fn asked(&self, name: &str, kind: &str) -> usize {
        let key = (format!("{name}."), kind.to_owned());
        self.shared.asked.lock().unwrap().get(&key).copied().unwrap_or(0)
    }
}

struct Handler(Arc<Shared>);

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let (name, kind) = {
            let query = request.request_info().unwrap().query;
            (query.name().to_string(), query.query_type().to_string())
        };
        *self.0.asked.lock().unwrap().entry((name.clone(), kind)).or_default() += 1;
        let mood = self.0.moods.lock().unwrap().get(&name).copied();
        match mood {
            Some(Mood::Silent) => std::future::pending().await,
            Some(Mood::Fails) => {
                let failed = MessageResponseBuilder::from_message_request(request);
                response.send_response(failed.error_msg(&request.metadata, ResponseCode::ServFail)).await.unwrap()
            }
            None => {
                let catalog = Arc::clone(&self.0.catalog.lock().unwrap());
                catalog.handle_request::<R, T>(request, response).await
            }
        }
    }
}
