//! The accept loop, TLS and the servers, over real sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use postino_config::TlsConfig;
use postino_net::{
    Acceptor, ClientTls, ClientTlsError, Connection, HttpService, Listeners, NetConfig, Readiness,
    Shutdown, TlsAcceptor, Verification, Wire, serve_http, serve_sessions,
};
use postino_telemetry::{Registry, Role, metric};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(20);

fn bind(listeners: &mut Listeners) -> SocketAddr {
    listeners
        .bind("test", "127.0.0.1:0".parse().expect("an address"))
        .expect("bound")
}

/// Greets, echoes lines, and starts TLS at `STARTTLS`.
async fn echo(connection: Connection, tls: Option<TlsAcceptor>, shutdown: Shutdown) {
    let mut wire = Wire::new(connection);
    wire.output().extend_from_slice(b"hello\n");
    loop {
        wire.flush().await.expect("sent");
        match shutdown.until_begun(wire.fill()).await {
            Some(Ok(0)) | Some(Err(_)) => return,
            Some(Ok(_)) => {}
            None => {
                wire.output().extend_from_slice(b"bye\n");
                let _ = wire.close().await;
                return;
            }
        }
        if wire.input().starts_with(b"STARTTLS\n") {
            let _ = wire.input().split_to(9);
            wire.output().extend_from_slice(b"go\n");
            let Ok(upgraded) = wire.accept_tls(tls.as_ref().expect("TLS")).await else {
                return;
            };
            wire = upgraded;
            assert!(wire.input().is_empty());
        } else {
            let (input, output) = wire.buffers();
            output.extend_from_slice(&input.split());
        }
    }
}

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

fn serve(config: NetConfig, tls: Option<TlsAcceptor>, implicit: bool, drain: Duration) -> Server {
    let mut listeners = Listeners::new();
    let address = bind(&mut listeners);
    let listener = listeners.take("test").expect("bound");
    let shutdown = Shutdown::new(drain);
    let acceptor = Acceptor {
        config,
        implicit_tls: tls.clone().filter(|_| implicit),
        busy: "421 too many\r\n".into(),
    };
    let (until, inner) = (shutdown.clone(), shutdown.clone());
    let session = move |connection| echo(connection, tls.clone(), inner.clone());
    let task = tokio::spawn(serve_sessions(listener, acceptor, until, session));
    Server {
        address,
        shutdown,
        task,
    }
}

fn acceptor(folder: &Path) -> TlsAcceptor {
    TlsAcceptor::load(&TlsConfig::default(), folder, "mail.example.org", LIMIT).expect("made")
}

fn client_tls(folder: &Path) -> ClientTls {
    let root = CertificateDer::from_pem_file(folder.join("tls/cert.pem")).expect("readable");
    ClientTls::with_roots([root], LIMIT).expect("made")
}

async fn connect(server: &Server) -> Wire {
    let stream = TcpStream::connect(server.address).await.expect("connected");
    Wire::new(Connection::plain(stream).expect("addresses"))
}

/// Reads until the input ends with `end`.
async fn until(wire: &mut Wire, end: &[u8]) -> Vec<u8> {
    let read = async {
        while !wire.input().ends_with(end) {
            assert_ne!(
                wire.fill().await.expect("read"),
                0,
                "ended at {:?}",
                wire.input()
            );
        }
        wire.input().split().to_vec()
    };
    tokio::time::timeout(LIMIT, read).await.expect("in time")
}

async fn say(wire: &mut Wire, text: &[u8]) {
    wire.output().extend_from_slice(text);
    wire.flush().await.expect("sent");
}

#[tokio::test]
async fn starttls_discards_what_was_sent_in_plain_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = acceptor(folder.path());
    let server = serve(NetConfig::default(), Some(tls), false, LIMIT);
    let mut wire = connect(&server).await;
    assert_eq!(until(&mut wire, b"hello\n").await, b"hello\n");
    // An attacker's command behind STARTTLS must not be executed under TLS (CVE-2011-0411).
    say(&mut wire, b"STARTTLS\ninjected\n").await;
    assert_eq!(until(&mut wire, b"go\n").await, b"go\n");
    let name = Verification::Name("mail.example.org".to_owned());
    let mut wire = wire
        .connect_tls(&client_tls(folder.path()), &name)
        .await
        .expect("TLS");
    let tls = wire.connection().tls().expect("TLS");
    assert_eq!(tls.version, "TLSv1.3");
    assert!(tls.cipher.starts_with("TLS_"), "{}", tls.cipher);
    say(&mut wire, b"secret\n").await;
    assert_eq!(until(&mut wire, b"secret\n").await, b"secret\n");
}

#[tokio::test]
async fn names_are_verified_unless_anybody_will_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = serve(
        NetConfig::default(),
        Some(acceptor(folder.path())),
        true,
        LIMIT,
    );
    let (trusting, strange) = (
        client_tls(folder.path()),
        ClientTls::with_roots([], LIMIT).expect("made"),
    );
    let named = |name: &str| Verification::Name(name.to_owned());
    let anybody = Verification::Opportunistic("192.0.2.1".to_owned());
    for (tls, verification, works) in [
        (&trusting, named("mail.example.org"), true),
        (&trusting, named("localhost"), true),
        (&trusting, named("127.0.0.1"), true),
        (&trusting, named("other.example.org"), false),
        (&strange, named("mail.example.org"), false),
        (&strange, anybody, true),
        (&trusting, named("not a name"), false),
    ] {
        let connected = connect(&server).await.connect_tls(tls, &verification).await;
        assert_eq!(connected.is_ok(), works, "{verification:?}");
        if let Ok(mut wire) = connected {
            assert_eq!(until(&mut wire, b"hello\n").await, b"hello\n");
        }
    }
}

#[tokio::test]
async fn a_server_that_sends_ahead_of_the_handshake_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = serve(
        NetConfig::default(),
        Some(acceptor(folder.path())),
        false,
        LIMIT,
    );
    let mut wire = connect(&server).await;
    wire.fill().await.expect("the greeting");
    let anybody = Verification::Opportunistic("localhost".to_owned());
    let refused = wire.connect_tls(&client_tls(folder.path()), &anybody).await;
    assert!(matches!(refused, Err(ClientTlsError::InjectedInput)));
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let config = NetConfig {
        per_address: 1,
        ..NetConfig::default()
    };
    let server = serve(config, None, false, LIMIT);
    let mut first = connect(&server).await;
    until(&mut first, b"hello\n").await;
    let mut second = connect(&server).await;
    assert_eq!(until(&mut second, b"many\r\n").await, b"421 too many\r\n");
    assert_eq!(second.fill().await.expect("closed in order"), 0);
    drop(first);
    // The place is free as soon as the server has noticed.
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let mut third = connect(&server).await;
        third.fill().await.expect("a greeting");
        if third.input().as_ref() == b"hello\n" {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the place stays taken"
        );
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_its_client_and_others_cannot() {
    let mut listeners = Listeners::new();
    let address = bind(&mut listeners);
    let peers = |from: &str, mut listeners: Listeners| {
        let config = NetConfig {
            proxy_protocol_from: vec![from.parse().expect("a network")],
            ..NetConfig::default()
        };
        let acceptor = Acceptor {
            config,
            implicit_tls: None,
            busy: "".into(),
        };
        let listener = listeners.take("test").expect("bound");
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let session = move |connection: Connection| {
            let sender = sender.clone();
            async move {
                let _ = sender.send(connection.peer_address().to_string());
            }
        };
        tokio::spawn(serve_sessions(
            listener,
            acceptor,
            Shutdown::new(LIMIT),
            session,
        ));
        receiver
    };
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n";
    let mut told = peers("127.0.0.0/8", listeners);
    let mut proxy = TcpStream::connect(address).await.expect("connected");
    proxy.write_all(header).await.expect("sent");
    assert_eq!(told.recv().await.as_deref(), Some("192.0.2.7:4711"));

    let mut listeners = Listeners::new();
    let address = bind(&mut listeners);
    let mut told = peers("198.51.100.0/24", listeners);
    let mut stranger = TcpStream::connect(address).await.expect("connected");
    stranger.write_all(header).await.expect("sent");
    let local = stranger.local_addr().expect("an address").to_string();
    assert_eq!(told.recv().await, Some(local));
}

#[tokio::test]
async fn sessions_end_in_order_and_stubborn_ones_are_aborted() {
    let server = serve(NetConfig::default(), None, false, LIMIT);
    let mut wire = connect(&server).await;
    until(&mut wire, b"hello\n").await;
    server.shutdown.begin();
    assert_eq!(until(&mut wire, b"bye\n").await, b"bye\n");
    tokio::time::timeout(LIMIT, server.task)
        .await
        .expect("drained")
        .expect("no panic");
    assert!(TcpStream::connect(server.address).await.is_err());

    let mut listeners = Listeners::new();
    let address = bind(&mut listeners);
    let shutdown = Shutdown::new(Duration::from_millis(50));
    let acceptor = Acceptor {
        config: NetConfig::default(),
        implicit_tls: None,
        busy: "".into(),
    };
    let stubborn = |connection: Connection| async move {
        let _connection = connection;
        std::future::pending::<()>().await;
    };
    let listener = listeners.take("test").expect("bound");
    let task = tokio::spawn(serve_sessions(
        listener,
        acceptor,
        shutdown.clone(),
        stubborn,
    ));
    let mut client = TcpStream::connect(address).await.expect("connected");
    shutdown.begin();
    tokio::time::timeout(LIMIT, task)
        .await
        .expect("aborted")
        .expect("no panic");
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer
}

#[tokio::test]
async fn probes_and_metrics_answer() {
    let mut listeners = Listeners::new();
    let address = bind(&mut listeners);
    let (readiness, metrics) = (Readiness::new(), Registry::new());
    let counter: metric::Counter = metrics.register(
        Role::Access,
        "logins",
        "Log-ins",
        metric::Counter::default(),
    );
    counter.inc();
    readiness.wait_for("store");
    let service = HttpService {
        readiness: readiness.clone(),
        metrics,
    };
    let listener = listeners.take("test").expect("bound");
    tokio::spawn(serve_http(listener, service, Shutdown::new(LIMIT)));
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let waiting = get(address, "/readyz").await;
    assert!(
        waiting.starts_with("HTTP/1.1 503") && waiting.contains("store"),
        "{waiting}"
    );
    readiness.ready("store");
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(
        get(address, "/metrics")
            .await
            .contains("postino_access_logins_total 1")
    );
}
