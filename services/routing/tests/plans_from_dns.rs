//! Plans made over a real socket: the resolver asks a small name server of this test.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, MX, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use postino_routing::RoutingConfig;
use postino_routing::dns::Resolver;
use postino_routing::plan::{Bounds, Ourselves};
use postino_routing::planner::{Planner, Ttls};
use postino_routing::transport::Transports;
use tokio::net::UdpSocket;

fn name(text: &str) -> Name {
    Name::from_str(text).expect("name")
}

/// The zone `example.` and how often each question was asked.
struct NameServer {
    records: HashMap<(String, RecordType), Vec<RData>>,
    questions: AtomicUsize,
}

impl NameServer {
    async fn start() -> (SocketAddr, Arc<Self>) {
        let mx = |preference, host: &str| RData::MX(MX::new(preference, name(host)));
        let a = |last| RData::from(std::net::IpAddr::from([192, 0, 2, last]));
        let records = HashMap::from([
            (
                ("two.example.".into(), RecordType::MX),
                vec![mx(20, "B.example."), mx(10, "a.example.")],
            ),
            (("a.example.".into(), RecordType::A), vec![a(1)]),
            (("b.example.".into(), RecordType::A), vec![a(2)]),
            (("bare.example.".into(), RecordType::A), vec![a(3)]),
            (("null.example.".into(), RecordType::MX), vec![mx(0, ".")]),
            (
                ("alias.example.".into(), RecordType::CNAME),
                vec![RData::CNAME(CNAME(name("two.example.")))],
            ),
        ]);
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let address = socket.local_addr().expect("address");
        let server = Arc::new(Self {
            records,
            questions: AtomicUsize::new(0),
        });
        tokio::spawn(Arc::clone(&server).serve(socket));
        (address, server)
    }

    async fn serve(self: Arc<Self>, socket: UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            self.questions.fetch_add(1, Ordering::SeqCst);
            let question = Message::from_vec(&buffer[..length]).expect("a question");
            let answer = self.answer(&question).to_vec().expect("an answer");
            socket.send_to(&answer, peer).await.expect("sent");
        }
    }

    fn answer(&self, question: &Message) -> Message {
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.recursion_available = true;
        let query = question.queries[0].clone();
        let asked = query.name().to_string().to_ascii_lowercase();
        answer.add_query(query.clone());
        if asked.starts_with("broken.") {
            answer.metadata.response_code = ResponseCode::ServFail;
            return answer;
        }
        let known = self.records.keys().any(|(owner, _)| *owner == asked);
        let mut owner = asked;
        if let Some(cname) = self.records.get(&(owner.clone(), RecordType::CNAME)) {
            answer.add_answer(Record::from_rdata(name(&owner), 60, cname[0].clone()));
            owner = "two.example.".into();
        }
        for data in self
            .records
            .get(&(owner.clone(), query.query_type()))
            .into_iter()
            .flatten()
        {
            answer.add_answer(Record::from_rdata(name(&owner), 60, data.clone()));
        }
        if answer.answers.is_empty() {
            if !known {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            let soa = SOA::new(name("ns.example."), name("x.example."), 1, 60, 60, 60, 60);
            answer.add_authority(Record::from_rdata(name("example."), 60, RData::SOA(soa)));
        }
        answer
    }
}

fn planner(config: &RoutingConfig) -> Planner<Resolver> {
    let ttls = Ttls {
        min: Duration::from_secs(5),
        max: Duration::from_secs(600),
        failure: Duration::from_secs(5),
    };
    let bounds = Bounds {
        hosts: 10,
        addresses: 5,
        port: 25,
    };
    Planner::new(
        Resolver::new(config).expect("resolver"),
        Transports::parse(&config.routes).expect("routes"),
        Ourselves::default(),
        bounds,
        ttls,
        100,
    )
}

/// Host names and addresses in order, or the reply.
async fn plan(planner: &Planner<Resolver>, domain: &str) -> String {
    let plan = planner.plan(&domain.parse().expect("domain")).await.plan;
    match plan {
        Ok(planned) => {
            let host = |host: &postino_routing::plan::PlannedHost| {
                format!("{}:{}={:?}", host.name, planned.port, host.addresses)
            };
            planned.hosts.iter().map(host).collect::<Vec<_>>().join(" ")
        }
        Err(reply) => reply.to_string(),
    }
}

#[tokio::test]
async fn a_domains_hosts_come_from_its_records() {
    let (dns, server) = NameServer::start().await;
    let config = RoutingConfig {
        dns: Some(dns),
        dns_attempts: 1,
        routes: vec!["routed.example=a.example:2525".into()],
        ..RoutingConfig::default()
    };
    let planner = planner(&config);
    for (domain, expected) in [
        (
            "two.example",
            "a.example:25=[192.0.2.1] b.example:25=[192.0.2.2]",
        ),
        (
            "Alias.Example",
            "a.example:25=[192.0.2.1] b.example:25=[192.0.2.2]",
        ),
        ("bare.example", "bare.example:25=[192.0.2.3]"),
        ("routed.example", "a.example:2525=[192.0.2.1]"),
        ("[192.0.2.77]", "192.0.2.77:25=[192.0.2.77]"),
    ] {
        assert_eq!(plan(&planner, domain).await, expected, "{domain}");
    }
    for (domain, code) in [
        ("null.example", "556 5.1.10 "),
        ("missing.example", "550 5.1.2 "),
        ("broken.example", "451 4.4.3 "),
        ("a.example", "a.example:25="),
    ] {
        let reply = plan(&planner, domain).await;
        assert!(reply.starts_with(code), "{domain}: {reply}");
    }
    // All of it is remembered, failures too.
    let asked = server.questions.load(Ordering::SeqCst);
    plan(&planner, "two.example").await;
    plan(&planner, "broken.example").await;
    plan(&planner, "missing.example").await;
    assert_eq!(server.questions.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn questions_that_come_together_share_one_look_up() {
    let (dns, server) = NameServer::start().await;
    let planner = planner(&RoutingConfig {
        dns: Some(dns),
        ..RoutingConfig::default()
    });
    let plans = (0..50).map(|_| plan(&planner, "two.example"));
    let plans = futures::future::join_all(plans).await;
    assert!(plans.iter().all(|plan| plan.contains("192.0.2.2")));
    // MX, then A and AAAA of two hosts.
    assert_eq!(server.questions.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_name_server_that_is_silent_is_a_temporary_failure() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let config = RoutingConfig {
        dns: Some(silent.local_addr().expect("address")),
        dns_timeout: postino_config::Duration::millis(100),
        dns_attempts: 1,
        lookup_timeout: postino_config::Duration::millis(300),
        ..RoutingConfig::default()
    };
    let reply = plan(&planner(&config), "two.example").await;
    assert!(reply.starts_with("451 4.4.3 "), "{reply}");
}
