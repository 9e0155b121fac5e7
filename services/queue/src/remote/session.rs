//! One SMTP connection to another server: the machine of `postino-smtp`, driven on a socket under
//! the time limits of RFC 5321 section 4.5.3.2.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use postino_net::{ClientTls, Connection, Verification, Wire};
use postino_smtp::ClientName;
use postino_smtp::client::{Action, Client, Letter, Report, SessionFailure, Settings, Wait};
use postino_types::{Domain, EnhancedStatus, Permanence, Reply};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::attempt::Target;
use super::course::Failure;
use crate::config::{RemoteConfig, Starttls};
use crate::run::QueueError;

/// Settings of connections; clones share them.
#[derive(Clone)]
pub(crate) struct SessionSettings {
    hello: ClientName,
    tls: ClientTls,
    pub(crate) starttls: Starttls,
    config: Arc<RemoteConfig>,
}

impl SessionSettings {
    /// From the settings of remote delivery and our host name.
    pub(crate) fn new(
        config: &RemoteConfig,
        hostname: &Domain,
        tls: ClientTls,
    ) -> Result<Self, QueueError> {
        let hello = ClientName::new(hostname.as_str()).map_err(|_| QueueError::Hostname)?;
        Ok(Self {
            hello,
            tls,
            starttls: config.starttls,
            config: Arc::new(config.clone()),
        })
    }

    /// How long the answer may take that is awaited.
    fn limit(&self, wait: Wait) -> Duration {
        let config = &self.config;
        let limit = match wait {
            Wait::Greeting => config.greeting_timeout,
            Wait::Mail => config.mail_timeout,
            Wait::Recipient => config.rcpt_timeout,
            Wait::DataStart => config.data_timeout,
            Wait::DataBlock => config.block_timeout,
            Wait::DataEnd => config.final_timeout,
            Wait::Hello | Wait::Driver => config.command_timeout,
        };
        limit.get()
    }
}

/// How a connection uses TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsUse {
    /// Not at all.
    Never,
    /// If the server offers it; no certificate is checked (RFC 7435).
    IfOffered,
    /// Always, with a certificate that is valid for the host.
    Verified,
}

/// Why a connection does not become a session.
#[derive(Debug)]
pub(super) enum SessionError {
    /// No TCP connection.
    Connect(String),
    /// TLS failed after the server had agreed to it.
    Tls(String),
    /// Anything else.
    Failed(SessionFailure),
}

impl SessionError {
    /// What is said of the letter's recipients, and by whom.
    pub(super) fn failure(self, target: &Target) -> Failure {
        let temporary = |subject, detail, why: String| {
            let text = format!("{target}: {why}");
            let status = EnhancedStatus::temporary(subject, detail);
            Failure::ours(Reply::new(451, status, text))
        };
        match self {
            Self::Connect(why) => temporary(4, 1, format!("cannot connect: {why}")),
            Self::Tls(why) => temporary(7, 5, why),
            Self::Failed(SessionFailure::Refused { reply, .. }) => match reply.failure() {
                Some(Permanence::Permanent | Permanence::Temporary) => Failure {
                    reply,
                    remote: target.host.clone(),
                },
                None => temporary(5, 0, format!("unexpected reply: {reply}")),
            },
            Self::Failed(failure @ SessionFailure::Lost(_)) => temporary(4, 2, failure.to_string()),
            Self::Failed(
                failure @ (SessionFailure::TlsNotOffered | SessionFailure::TlsFailed(_)),
            ) => temporary(7, 5, failure.to_string()),
            Self::Failed(failure) => temporary(5, 0, failure.to_string()),
        }
    }
}

/// What the session's machine wants its user to know or do.
#[derive(Debug)]
pub(super) enum Step {
    /// A letter may be sent.
    Ready,
    /// The body is to be sent.
    Body,
    /// The letter is settled.
    Done(Report),
    /// The session ended before there was a letter.
    Failed(SessionFailure),
    /// The session is over.
    Closed,
}

/// A connection with another server.
pub(crate) struct Session {
    /// Taken out for the TLS handshake only.
    wire: Option<Wire>,
    machine: Client,
    target: Target,
    tls: TlsUse,
    settings: SessionSettings,
    opened: Instant,
    used: Instant,
    letters: u32,
}

impl Session {
    /// Connects, and goes as far as a letter may be sent.
    pub(super) async fn open(
        target: &Target,
        tls: TlsUse,
        settings: &SessionSettings,
    ) -> Result<Self, SessionError> {
        let connecting = TcpStream::connect(target.address);
        let stream = match timeout(settings.config.connect_timeout.get(), connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(SessionError::Connect(error.to_string())),
            Err(_) => return Err(SessionError::Connect("no answer in time".to_owned())),
        };
        // Commands are written whole; waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let connection = Connection::plain(stream);
        let connection = connection.map_err(|error| SessionError::Connect(error.to_string()))?;
        let machine = Client::new(
            machine_settings(tls, settings),
            postino_smtp::client::Channel::Plain,
        );
        let now = Instant::now();
        let mut session = Self {
            wire: Some(Wire::new(connection)),
            machine,
            target: target.clone(),
            tls,
            settings: settings.clone(),
            opened: now,
            used: now,
            letters: 0,
        };
        match session.step().await {
            Step::Ready => Ok(session),
            Step::Failed(SessionFailure::TlsFailed(why)) => Err(SessionError::Tls(why)),
            Step::Failed(failure) => Err(SessionError::Failed(failure)),
            Step::Body | Step::Done(_) | Step::Closed => Err(SessionError::Failed(
                SessionFailure::Lost("the session ended at once".to_owned()),
            )),
        }
    }

    /// Where the connection leads.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The TLS version in use.
    pub(super) fn tls_version(&self) -> Option<&'static str> {
        self.wire
            .as_ref()?
            .connection()
            .tls()
            .map(|tls| tls.version)
    }

    /// Whether it has not been unused for too long: servers close such connections.
    pub(super) fn is_fresh(&self) -> bool {
        self.used.elapsed() < self.settings.config.idle.get()
    }

    /// Whether another letter may go over it later.
    pub(super) fn may_be_kept(&self) -> bool {
        let config = &self.settings.config;
        self.letters < config.connection_letters
            && self.opened.elapsed() < config.connection_age.get()
    }

    /// Whether the server takes eight-bit data (RFC 6152).
    pub(super) fn takes_eight_bit(&self) -> bool {
        self.machine.capabilities().eight_bit_mime
    }

    /// Begins a letter; to be followed by [`step`](Self::step)s.
    pub(super) fn begin(&mut self, letter: Letter) {
        self.letters += 1;
        self.used = Instant::now();
        self.machine.send(letter);
    }

    /// Goes on until something has to be decided.
    pub(super) async fn step(&mut self) -> Step {
        loop {
            match self.machine.next_action() {
                Some(Action::Send(octets)) => self.send(&octets).await,
                Some(Action::StartTls) => self.start_tls().await,
                Some(Action::Ready) => {
                    self.used = Instant::now();
                    return Step::Ready;
                }
                Some(Action::SendBody) => return Step::Body,
                Some(Action::Done(report)) => return Step::Done(report),
                Some(Action::Failed(failure)) => return Step::Failed(failure),
                Some(Action::Close) => {
                    self.close().await;
                    return Step::Closed;
                }
                None if self.wire.is_none() => return Step::Closed,
                None => self.read().await,
            }
        }
    }

    /// Sends a piece of the body; false if the session ended, which the next step tells.
    pub(super) async fn body(&mut self, piece: &[u8]) -> bool {
        self.machine.body(piece);
        while let Some(Action::Send(octets)) = self.next_send() {
            self.send(&octets).await;
        }
        // A server may refuse in the middle; its reply is lost once it has closed.
        if let Some(wire) = &mut self.wire
            && let Some(filled) = wire.fill().now_or_never()
        {
            self.filled(filled);
        }
        self.machine.waiting_for() == Wait::DataBlock
    }

    /// The body is whole: asks for the final dot.
    pub(super) fn finish_body(&mut self) {
        self.machine.finish_body();
    }

    /// Breaks the connection off: the server has not got the final dot.
    pub(super) fn abandon(mut self) {
        self.wire = None;
    }

    /// Says goodbye, and waits a moment for the answer.
    pub(crate) async fn quit(mut self) {
        self.machine.quit();
        let limit = self.settings.config.quit_timeout.get();
        let _ = timeout(limit, async {
            while !matches!(self.step().await, Step::Closed) {}
        })
        .await;
    }

    /// Only what is to be sent; anything else is left for [`step`](Self::step).
    fn next_send(&mut self) -> Option<Action> {
        (self.machine.waiting_for() == Wait::DataBlock)
            .then(|| self.machine.next_action())
            .flatten()
    }

    async fn send(&mut self, octets: &Bytes) {
        let limit = self.settings.limit(Wait::DataBlock);
        let Some(wire) = &mut self.wire else { return };
        match timeout(limit, wire.send(octets)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.write_failed(&error.to_string()),
            Err(_) => self
                .machine
                .connection_lost("the server takes no more data"),
        }
    }

    /// The server closed while we wrote; it may have said why.
    fn write_failed(&mut self, why: &str) {
        if let Some(wire) = &mut self.wire
            && let Some(Ok(read @ 1..)) = wire.fill().now_or_never()
        {
            self.filled(Ok(read));
        }
        self.machine.connection_lost(why);
    }

    async fn read(&mut self) {
        let limit = self.settings.limit(self.machine.waiting_for());
        let Some(wire) = &mut self.wire else { return };
        match timeout(limit, wire.fill()).await {
            Ok(filled) => self.filled(filled),
            Err(_) => self.machine.connection_lost("no reply in time"),
        }
    }

    fn filled(&mut self, filled: std::io::Result<usize>) {
        match filled {
            Ok(0) => self
                .machine
                .connection_lost("the server closed the connection"),
            Ok(_) => {
                if let Some(wire) = &mut self.wire {
                    let octets = wire.input().split();
                    self.machine.receive(&octets);
                }
            }
            Err(error) => self.machine.connection_lost(&error.to_string()),
        }
    }

    async fn start_tls(&mut self) {
        let Some(wire) = self.wire.take() else { return };
        let host = self.target.host.clone();
        let verification = match self.tls {
            TlsUse::Verified => Verification::Name(host),
            TlsUse::IfOffered | TlsUse::Never => Verification::Opportunistic(host),
        };
        match wire.connect_tls(&self.settings.tls, &verification).await {
            Ok(wire) => {
                self.wire = Some(wire);
                self.machine.tls_established();
            }
            Err(error) => self.machine.tls_failed(&error.to_string()),
        }
    }

    async fn close(&mut self) {
        if let Some(wire) = self.wire.take() {
            let _ = timeout(self.settings.config.quit_timeout.get(), wire.close()).await;
        }
    }
}

fn machine_settings(tls: TlsUse, settings: &SessionSettings) -> Settings {
    use postino_smtp::client::TlsUse as MachineTls;
    let tls = match tls {
        TlsUse::Never => MachineTls::Never,
        TlsUse::IfOffered => MachineTls::Opportunistic,
        TlsUse::Verified => MachineTls::Required,
    };
    Settings {
        tls,
        ..Settings::new(settings.hello.clone())
    }
}
