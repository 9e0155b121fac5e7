//! One connection: the machine of `postino-smtp`, driven on a socket.
//!
//! What the machine asks for is answered in the file of the command it asks for: [`auth`],
//! [`mail`], [`rcpt`], [`data`]; at the end of the data a letter is handed over ([`hand_over`]).

mod auth;
mod data;
mod finish;
mod from;
mod hand_over;
mod mail;
mod rcpt;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use postino_client::credential::Authenticated;
use postino_net::{Connection, Wire};
use postino_smtp::server::{self as machine, Action, Channel, Event};
use postino_types::{EnhancedStatus, Reply};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument, Span};

use crate::server::{Port, Server};

use data::Letter;
use mail::Transaction;
use rcpt::Resolved;

/// What one session knows beside its machine.
pub(crate) struct Session {
    server: Arc<Server>,
    peer: SocketAddr,
    port: Port,
    machine: machine::Session,
    user: Option<Authenticated>,
    transaction: Option<Transaction>,
    letter: Option<Letter>,
    resolving: JoinSet<Resolved>,
    input: Input,
}

/// Whether the client may say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// The client has said all; what it said before is still answered.
    Ended,
}

/// Why a session ended before it was closed in order.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("the connection was lost: {0}")]
    Io(#[from] io::Error),
    #[error("the client does not read")]
    WriteTimeout,
    #[error("{0}")]
    Tls(#[from] postino_net::TlsError),
    #[error("a task ended early: {0}")]
    Task(#[from] JoinError),
    #[error("the client closed the connection")]
    Closed,
}

/// What a step of the session asks of its connection.
enum Next {
    Read,
    StartTls,
    Close,
}

impl Session {
    /// Serves a connection until it ends.
    pub(crate) async fn run(server: Arc<Server>, connection: Connection, port: Port) {
        let peer = connection.peer_address();
        let channel = match connection.tls() {
            Some(_) => Channel::Tls,
            None => Channel::Plain,
        };
        let settings = Arc::new(server.settings(&connection, port));
        let span = tracing::info_span!(parent: None, "smtp.session", client.address = %peer.ip());
        let session = Self {
            server,
            peer,
            port,
            machine: machine::Session::new(settings, channel),
            user: None,
            transaction: None,
            letter: None,
            resolving: JoinSet::new(),
            input: Input::Open,
        };
        async {
            if let Err(error) = session.serve(Wire::new(connection)).await {
                tracing::debug!(%peer, %error, "session ended");
            }
        }
        .instrument(span)
        .await;
    }

    async fn serve(mut self, mut wire: Wire) -> Result<(), SessionError> {
        let mut deadline = self.idle_deadline();
        loop {
            let progress = self.letter.as_ref().map_or(0, Letter::received);
            match self.act(&mut wire).await? {
                (_, Next::Close) => return Ok(wire.close().await?),
                (_, Next::StartTls) => {
                    let Some(tls) = self.server.tls().cloned() else {
                        return Ok(());
                    };
                    wire = wire.accept_tls(&tls).await?;
                    self.user = None;
                    self.machine.handle(Event::TlsEstablished);
                    deadline = self.idle_deadline();
                    continue;
                }
                (Acted::Yes, Next::Read) => deadline = self.idle_deadline(),
                (Acted::No, Next::Read) => {
                    // A letter that grows is progress, too, though nothing was to be done.
                    if self.letter.as_ref().map_or(0, Letter::received) != progress {
                        deadline = self.idle_deadline();
                    }
                }
            }
            self.wait(&mut wire, deadline).await?;
        }
    }

    /// Does all that is to be done now.
    async fn act(&mut self, wire: &mut Wire) -> Result<(Acted, Next), SessionError> {
        let mut acted = Acted::No;
        while let Some(action) = self.machine.next_action() {
            acted = Acted::Yes;
            match action {
                Action::Send(bytes) => self.send(wire, &bytes).await?,
                Action::StartTls => return Ok((acted, Next::StartTls)),
                Action::Close => return Ok((acted, Next::Close)),
                Action::Authenticate(credentials) => self.authenticate(credentials).await,
                Action::CheckSender(mail) => self.check_sender(mail).await,
                Action::CheckRecipient(ticket, rcpt) => self.check_recipient(ticket, &rcpt),
                Action::Reset => self.forget_transaction(),
                Action::OpenBody => self.open_body(wire.connection()).await,
                Action::BodyChunk(chunk) => self.body_chunk(chunk).await,
                Action::BodyRefused(fault) => {
                    tracing::info!(%fault, "letter refused");
                    self.server.metrics.letter_faulty();
                    self.letter = None;
                }
                Action::BodyEnd(summary) => self.body_end(summary).await,
            }
        }
        Ok((acted, Next::Read))
    }

    /// Waits for the client, for a verdict on a recipient, or for the process to stop.
    async fn wait(&mut self, wire: &mut Wire, deadline: Instant) -> Result<(), SessionError> {
        let deadline = match &self.letter {
            Some(letter) => deadline.min(letter.deadline()),
            None => deadline,
        };
        if self.input == Input::Ended && self.resolving.is_empty() {
            return Err(SessionError::Closed);
        }
        // While the machine waits for a verdict it takes nothing in: one line is enough to know that
        // the client goes on, the rest stays where the client has to wait.
        let enough = self.server.config.max_command_line.as_usize();
        let takes_more = self.resolving.is_empty() || self.machine.input().len() < enough;
        let reads = self.input == Input::Open && takes_more;
        let waiting_for_stop = !self.server.shutdown.is_begun();
        let shutdown = self.server.shutdown.clone();
        tokio::select! {
            biased;
            Some(resolved) = self.resolving.join_next() => self.on_resolved(resolved?),
            () = shutdown.begun(), if waiting_for_stop => self.machine.handle(Event::Shutdown),
            read = timeout_at(deadline, wire.fill()), if reads => match read {
                Ok(read) => match read? {
                    0 => self.input = Input::Ended,
                    // The machine's buffer is empty as a rule; then this copies nothing.
                    _ => self.machine.input().unsplit(wire.input().split()),
                },
                Err(_) => self.machine.handle(Event::Timeout),
            },
        }
        if shutdown.is_begun() {
            self.machine.handle(Event::Shutdown);
        }
        Ok(())
    }

    async fn send(&self, wire: &mut Wire, bytes: &Bytes) -> Result<(), SessionError> {
        let limit = self.server.config.write_timeout.get();
        match timeout(limit, wire.send(bytes)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(SessionError::WriteTimeout),
        }
    }

    fn idle_deadline(&self) -> Instant {
        Instant::now() + self.server.config.idle_timeout.get()
    }

    /// The transaction's span, or the session's.
    fn span(&self) -> Span {
        match &self.transaction {
            Some(transaction) => transaction.span.clone(),
            None => Span::current(),
        }
    }

    fn forget_transaction(&mut self) {
        // Dropping the tasks ends them; their tickets are void.
        self.resolving = JoinSet::new();
        self.transaction = None;
        self.letter = None;
    }
}

/// Whether the machine wanted anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acted {
    Yes,
    No,
}

/// The reply while a service that is needed cannot be reached.
fn unavailable() -> Reply {
    let text = "Temporary failure, please try again later";
    Reply::new(451, EnhancedStatus::temporary(3, 0), text)
}
