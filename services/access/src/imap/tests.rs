//! Conversations: each file below `tests/` is played against a server with a store behind it.
//!
//! `C:` lines are sent, `S:` lines have to come; `C2:` and `S2:` are a second connection. `…` in
//! an expected line stands for any text, and `<closed>` for the end of the connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postino_config::{Duration as Setting, PlaintextPolicy};
use postino_net::{NetConfig, Shutdown, TlsAcceptor};
use postino_telemetry::Registry;
use postino_types::{AccountId, Secret, ShardId};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::session::Session;
use super::{ImapConfig, Server};
use crate::account::MailAccount;
use crate::fake_store::FakeStore;
use crate::login::{LoginError, Logins};

/// Every wait of a conversation ends after this time.
const DEADLINE: Duration = Duration::from_secs(10);

struct OneUser(MailAccount);

#[tonic::async_trait]
impl Logins for OneUser {
    async fn log_in(&self, user: &str, password: &Secret) -> Result<MailAccount, LoginError> {
        match (user, password.expose()) {
            ("alice@example.org", "secret") => Ok(self.0.clone()),
            ("down@example.org", _) => Err(LoginError::Unavailable("down".to_owned())),
            _ => Err(LoginError::Wrong),
        }
    }
}

/// A server of its own for each conversation.
struct Stage {
    address: std::net::SocketAddr,
    shutdown: Shutdown,
}

async fn server(
    plaintext: PlaintextPolicy,
    tls: Option<TlsAcceptor>,
    shutdown: Shutdown,
) -> Arc<Server> {
    let store = FakeStore::new().start().await;
    let account = MailAccount::new(store, AccountId::new(7), ShardId::new(1));
    let config = ImapConfig {
        login_failure_delay: Setting::millis(0),
        max_bad_commands: 3,
        max_append: postino_config::ByteSize::kib(64),
        batch: 2,
        ..ImapConfig::default()
    };
    Server::new(
        config,
        plaintext,
        tls,
        Arc::new(OneUser(account)),
        shutdown,
        &Registry::new(),
    )
}

/// A session that has not been run, and its client.
pub(super) async fn session() -> (Session, TcpStream) {
    let server = server(
        PlaintextPolicy::Loopback,
        None,
        Shutdown::new(Duration::from_secs(5)),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let client = TcpStream::connect(address).await.expect("connected");
    let (accepted, _) = listener.accept().await.expect("accepted");
    let connection = postino_net::Connection::plain(accepted).expect("addresses");
    (Session::new(server.await, connection), client)
}

impl Stage {
    async fn start(plaintext: PlaintextPolicy, tls: Option<TlsAcceptor>) -> Self {
        let shutdown = Shutdown::new(Duration::from_secs(5));
        let server = server(plaintext, tls, shutdown.clone()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(server.serve(listener, NetConfig::default(), None));
        Self { address, shutdown }
    }

    async fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(self.address).await.expect("connected"))
    }
}

fn agrees(expected: &str, line: &str) -> bool {
    let mut pieces = expected.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else {
        return rest.is_empty();
    };
    for piece in middle {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

async fn read_line(connection: &mut BufReader<TcpStream>) -> String {
    let mut line = Vec::new();
    let read = timeout(DEADLINE, connection.read_until(b'\n', &mut line)).await;
    match read.expect("the server said nothing") {
        // A connection that is cut off may also end in an error.
        Ok(0) | Err(_) => "<closed>".to_owned(),
        Ok(_) => {
            assert!(line.ends_with(b"\r\n"), "a line without its end: {line:?}");
            String::from_utf8_lossy(&line[..line.len() - 2]).into_owned()
        }
    }
}

async fn play(script: &str, stage: &Stage) {
    let mut connections = HashMap::new();
    for (number, step) in (1..).zip(script.lines()) {
        if step.trim().is_empty() || step.starts_with('#') {
            continue;
        }
        if step == "X: shutdown" {
            stage.shutdown.begin();
            continue;
        }
        let (who, text) = step.split_once(':').expect("who: what");
        let text = text.strip_prefix(' ').unwrap_or(text);
        let (side, name) = who.split_at(1);
        if !connections.contains_key(name) {
            connections.insert(name.to_owned(), stage.connect().await);
        }
        let connection = connections.get_mut(name).expect("just made");
        match side {
            "C" => {
                let line = format!("{text}\r\n");
                connection.write_all(line.as_bytes()).await.expect("sent");
            }
            "S" => {
                let line = read_line(connection).await;
                assert!(
                    agrees(text, &line),
                    "line {number}: expected {text:?}, got {line:?}"
                );
            }
            _ => panic!("line {number}: {step}"),
        }
    }
}

macro_rules! conversations {
    ($($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let stage = Stage::start(PlaintextPolicy::Loopback, None).await;
                play(include_str!(concat!("tests/", stringify!($name), ".txt")), &stage).await;
            }
        )*
    };
}

conversations! {
    logging_in
    mailboxes
    appending_and_fetching
    flags_and_expunges
    copying_and_moving
    searching
    two_sessions
    idling
    broken_commands
    shutting_down
}

#[tokio::test]
async fn no_password_in_plain_text() {
    let stage = Stage::start(PlaintextPolicy::Never, None).await;
    play(include_str!("tests/no_password_in_plain_text.txt"), &stage).await;
}

#[tokio::test]
async fn starttls_throws_away_what_was_injected() {
    use postino_net::{ClientTls, Connection, Verification, Wire};
    let folder = tempfile::tempdir().expect("a folder");
    let tls = TlsAcceptor::load(
        &postino_config::TlsConfig::default(),
        folder.path(),
        "localhost",
        DEADLINE,
    );
    let tls = tls.expect("a certificate");
    let stage = Stage::start(PlaintextPolicy::Never, Some(tls)).await;
    let mut connection = stage.connect().await;
    assert!(
        read_line(&mut connection)
            .await
            .contains("STARTTLS LOGINDISABLED")
    );
    let injected = b"a STARTTLS\r\nb LOGOUT\r\n";
    connection.write_all(injected).await.expect("sent");
    assert!(read_line(&mut connection).await.starts_with("a OK"));
    let plain = Connection::plain(connection.into_inner()).expect("addresses");
    let client = ClientTls::new(DEADLINE).expect("a client");
    let mut wire = Wire::new(plain)
        .connect_tls(
            &client,
            &Verification::Opportunistic("localhost".to_owned()),
        )
        .await
        .expect("TLS");
    wire.output().extend_from_slice(b"c CAPABILITY\r\n");
    wire.flush().await.expect("sent");
    while !wire.input().ends_with(b"done\r\n") {
        assert_ne!(
            timeout(DEADLINE, wire.fill())
                .await
                .expect("in time")
                .expect("read"),
            0
        );
    }
    let said = String::from_utf8_lossy(wire.input()).into_owned();
    assert!(said.contains("AUTH=PLAIN"), "{said}");
    assert!(
        said.ends_with("c OK done\r\n") && !said.contains("BYE"),
        "{said}"
    );
}
