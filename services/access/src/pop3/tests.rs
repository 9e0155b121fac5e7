//! Sessions over real sockets, against the crate's test store.

use std::sync::Arc;

use postino_config::{Duration, PlaintextPolicy};
use postino_net::{Connection, Shutdown};
use postino_proto::store::v1::{AppendBegin, AppendFinish};
use postino_telemetry::Registry;
use postino_types::{AccountId, Secret, ShardId};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Pop3Config, Server};
use crate::account::MailAccount;
use crate::fake_store::FakeStore;
use crate::login::{LoginError, Logins};

/// One user, whose password is "secret".
struct OneUser(MailAccount);

#[tonic::async_trait]
impl Logins for OneUser {
    async fn log_in(&self, user: &str, password: &Secret) -> Result<MailAccount, LoginError> {
        match (user, password.expose()) {
            ("alice", "secret") => Ok(self.0.clone()),
            ("alice", "slow") => Err(LoginError::Unavailable("later".to_owned())),
            _ => Err(LoginError::Wrong),
        }
    }
}

struct House {
    account: MailAccount,
    server: Arc<Server>,
    shutdown: Shutdown,
    listener: TcpListener,
}

impl House {
    async fn new() -> Self {
        let store = FakeStore::new().start().await;
        let account = MailAccount::new(store, AccountId::new(1), ShardId::new(1));
        let config = Pop3Config {
            login_failure_delay: Duration::millis(1),
            ..Pop3Config::default()
        };
        let shutdown = Shutdown::new(std::time::Duration::from_secs(5));
        let server = Server::new(
            config,
            "mx.example.org".to_owned(),
            PlaintextPolicy::Loopback,
            None,
            Arc::new(OneUser(account.clone())),
            shutdown.clone(),
            &Registry::new(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        Self {
            account,
            server,
            shutdown,
            listener,
        }
    }

    async fn append(&self, message: &[u8]) {
        let begin = AppendBegin {
            account: Some(self.account.account()),
            mailbox: "INBOX".to_owned(),
            size: message.len() as u64,
            upload_id: "u".to_owned(),
        };
        let mut upload = self.account.append(begin);
        upload.send(message.to_vec().into()).await;
        upload.finish(AppendFinish::default()).await.expect("filed");
    }

    async fn client(&self) -> Client {
        let address = self.listener.local_addr().expect("an address");
        let stream = TcpStream::connect(address).await.expect("connected");
        let (accepted, _) = self.listener.accept().await.expect("accepted");
        let connection = Connection::plain(accepted).expect("addresses");
        tokio::spawn(super::session::Session::new(Arc::clone(&self.server), connection).run());
        let mut client = Client(BufReader::new(stream));
        assert_eq!(client.line().await, "+OK mx.example.org POP3 server ready");
        client
    }

    /// A client that is logged in, and what it was told.
    async fn logged_in(&self) -> (Client, String) {
        let mut client = self.client().await;
        let answer = client.log_in().await;
        (client, answer)
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.expect("read");
        line.trim_end_matches("\r\n").to_owned()
    }

    async fn send(&mut self, lines: &str) {
        self.0.write_all(lines.as_bytes()).await.expect("written");
    }

    async fn ask(&mut self, command: &str) -> String {
        self.send(&format!("{command}\r\n")).await;
        self.line().await
    }

    /// The lines of a multi-line response, without its first and last one.
    async fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.line().await.as_str() {
                "." => return lines,
                line => lines.push(line.to_owned()),
            }
        }
    }

    async fn log_in(&mut self) -> String {
        assert_eq!(self.ask("USER alice").await, "+OK send the password");
        self.ask("PASS secret").await
    }

    /// Waits until the server has closed the connection.
    async fn closed(mut self) {
        let mut rest = Vec::new();
        self.0
            .read_to_end(&mut rest)
            .await
            .expect("closed in order");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

#[tokio::test]
async fn messages_come_as_they_are_and_go_at_quit() {
    let house = House::new().await;
    let long = format!(
        "Subject: long\r\n\r\n{}.\r\n",
        ".dotted line\r\n".repeat(5000)
    );
    for message in [
        "A: b\r\n\r\none\r\n",
        long.as_str(),
        "C: d\r\n\r\nthree\r\n",
    ] {
        house.append(message.as_bytes()).await;
    }
    let (mut client, answer) = house.logged_in().await;
    let size = 13 + long.len() + 15;
    assert_eq!(answer, format!("+OK 3 messages, {size} octets"));
    assert_eq!(client.ask("UIDL 2").await, "+OK 2 1001.2");
    assert_eq!(
        client.ask("RETR 2").await,
        format!("+OK {} octets", long.len())
    );
    let received: String = client
        .lines()
        .await
        .iter()
        .map(|l| format!("{}\r\n", l.strip_prefix('.').unwrap_or(l)))
        .collect();
    assert_eq!(received, long);
    assert_eq!(client.ask("TOP 2 1").await, "+OK top of message follows");
    assert_eq!(client.lines().await, ["Subject: long", "", "..dotted line"]);
    assert_eq!(client.ask("DELE 2").await, "+OK message 2 deleted");
    assert_eq!(client.ask("QUIT").await, "+OK goodbye");
    client.closed().await;
    let (mut client, _) = house.logged_in().await;
    assert_eq!(client.ask("UIDL").await, "+OK 2 messages");
    assert_eq!(client.lines().await, ["1 1001.1", "2 1001.3"]);
}

#[tokio::test]
async fn a_lost_connection_deletes_nothing() {
    let house = House::new().await;
    house.append(b"A: b\r\n\r\none\r\n").await;
    let (mut client, _) = house.logged_in().await;
    assert_eq!(client.ask("DELE 1").await, "+OK message 1 deleted");
    drop(client);
    // The maildrop is free only once the session has noticed.
    let (mut client, answer) = wait_for_maildrop(&house).await;
    assert_eq!(answer, "+OK 1 messages, 13 octets");
    assert_eq!(client.ask("STAT").await, "+OK 1 13");
}

#[tokio::test]
async fn a_maildrop_has_one_session() {
    let house = House::new().await;
    let (mut first, answer) = house.logged_in().await;
    assert_eq!(answer, "+OK 0 messages, 0 octets");
    let (mut second, answer) = house.logged_in().await;
    assert_eq!(
        answer,
        "-ERR [IN-USE] the maildrop is in use by another session"
    );
    assert_eq!(first.ask("QUIT").await, "+OK goodbye");
    first.closed().await;
    let (_third, answer) = wait_for_maildrop(&house).await;
    assert!(answer.starts_with("+OK"), "{answer}");
    assert!(second.log_in().await.starts_with("-ERR [IN-USE]"));
}

#[tokio::test]
async fn a_password_has_three_tries() {
    let house = House::new().await;
    let mut client = house.client().await;
    assert_eq!(client.ask("USER alice").await, "+OK send the password");
    let later = "-ERR [SYS/TEMP] authentication is not possible now, try again later";
    assert_eq!(client.ask("PASS slow").await, later);
    for _ in 0..3 {
        assert_eq!(client.ask("USER mallory").await, "+OK send the password");
        assert_eq!(
            client.ask("PASS secret").await,
            "-ERR [AUTH] authentication failed"
        );
    }
    client.closed().await;
}

#[tokio::test]
async fn a_shutdown_is_told_and_deletes_nothing() {
    let house = House::new().await;
    house.append(b"A: b\r\n\r\none\r\n").await;
    let (mut client, _) = house.logged_in().await;
    assert_eq!(client.ask("DELE 1").await, "+OK message 1 deleted");
    house.shutdown.begin();
    let told = "-ERR [SYS/TEMP] server is shutting down, try again later";
    assert_eq!(client.line().await, told);
    client.closed().await;
    assert_eq!(
        house.account.list_uids(1).await.expect("listed").uids.len(),
        1
    );
}

/// Logs in again and again until nobody else has the maildrop.
async fn wait_for_maildrop(house: &House) -> (Client, String) {
    let granted = async {
        loop {
            let (client, answer) = house.logged_in().await;
            if !answer.starts_with("-ERR [IN-USE]") {
                return (client, answer);
            }
            tokio::task::yield_now().await;
        }
    };
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, granted)
        .await
        .expect("granted in time")
}
