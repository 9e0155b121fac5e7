//! `DATA`: the letter on its way into the store.

use bytes::{Bytes, BytesMut};
use postino_client::{AcceptUpload, UploadError};
use postino_message::{Limits as ScanLimits, Scanner};
use postino_net::Connection;
use postino_proto::mail::v1::Origin;
use postino_smtp::DataSummary;
use postino_smtp::server::{Event, HandOver, Verdict};
use postino_types::{Reply, ShardId};
use tokio::time::Instant;
use tracing::Instrument;

use super::hand_over::refusal;
use super::mail::Transaction;
use super::{Session, unavailable};
use crate::received::{Client, Login};

/// A letter that comes in.
pub(super) struct Letter {
    pub(super) upload: AcceptUpload,
    pub(super) scanner: Scanner,
    /// Octets that wait to become a chunk.
    pending: BytesMut,
    received: u64,
    /// The whole letter while it is small, to hand it over once more; then nothing.
    pub(super) kept: Option<Vec<Bytes>>,
    deadline: Instant,
    pub(super) origin: Origin,
    /// The trace field, once the id is known.
    pub(super) trace: Trace,
}

/// What the trace field is made from.
pub(super) struct Trace {
    hello: postino_smtp::server::Hello,
    tls: Option<postino_net::TlsInfo>,
    login: Login,
}

impl Letter {
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Sends what is pending as one chunk.
    pub(super) async fn flush(&mut self, replay_limit: u64) -> Result<(), UploadError> {
        let chunk = self.pending.split().freeze();
        if chunk.is_empty() {
            return Ok(());
        }
        match &mut self.kept {
            Some(kept) if self.received <= replay_limit => kept.push(chunk.clone()),
            _ => self.kept = None,
        }
        self.upload.chunk(chunk).await
    }
}

impl Session {
    pub(super) async fn open_body(&mut self, connection: &Connection) {
        let span = self.span();
        let verdict = match self.begin_letter(connection).instrument(span).await {
            Ok(letter) => {
                self.letter = Some(letter);
                Verdict::Accept
            }
            Err(reply) => Verdict::Refuse(reply),
        };
        self.machine.handle(Event::Open(verdict));
    }

    async fn begin_letter(&self, connection: &Connection) -> Result<Letter, Reply> {
        let (Some(transaction), Some(hello)) = (&self.transaction, self.machine.hello()) else {
            return Err(unavailable());
        };
        let store = &self.server.clients.store;
        let id = match store.mint_queue_id(transaction.only_shard()).await {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(%error, "the store takes no letters");
                return Err(unavailable());
            }
        };
        let trace = Trace {
            hello: hello.clone(),
            tls: connection.tls().cloned(),
            login: match self.user {
                Some(_) => Login::User,
                None => Login::None,
            },
        };
        let user = self.user.as_ref();
        let origin = Origin {
            client_address: self.peer.to_string(),
            helo: hello.name().as_str().to_owned(),
            protocol: trace.client(self.peer).protocol().to_owned(),
            authenticated_account: user.map_or(0, |user| user.account.get()),
            authenticated_address: user.map(|u| u.address.to_string()).unwrap_or_default(),
            ingress: self.server.surroundings.hostname.to_string(),
        };
        Ok(Letter {
            upload: store.accept(id, transaction.announced),
            scanner: Scanner::new(ScanLimits::default()),
            pending: BytesMut::new(),
            received: 0,
            kept: Some(Vec::new()),
            deadline: Instant::now() + self.server.config.letter_timeout.get(),
            origin,
            trace,
        })
    }

    pub(super) async fn body_chunk(&mut self, chunk: Bytes) {
        let span = self.span();
        let Some(letter) = &mut self.letter else {
            return;
        };
        letter.scanner.feed(&chunk);
        letter.received += chunk.len() as u64;
        letter.pending.extend_from_slice(&chunk);
        if (letter.pending.len() as u64) < self.server.config.chunk.get() {
            return;
        }
        let limit = self.server.clients.store.config().replay_limit.get();
        if let Err(error) = letter.flush(limit).instrument(span).await {
            tracing::warn!(%error, "the store does not take a letter");
            let reply = refusal(&error);
            self.server.metrics.letter_refused(&reply);
            self.letter = None;
            self.machine.handle(Event::RefuseBody(reply));
        }
    }

    pub(super) async fn body_end(&mut self, summary: DataSummary) {
        let span = self.span();
        let outcome = match (self.letter.take(), self.transaction.take()) {
            (Some(letter), Some(transaction)) => {
                let handing = self.hand_over(letter, transaction, summary);
                handing.instrument(span.clone()).await
            }
            _ => HandOver::Refused(unavailable()),
        };
        match &outcome {
            HandOver::Accepted(_) => {
                span.record("mail.outcome", "accepted");
                span.record("smtp.reply_code", 250);
                self.server.metrics.letter_accepted(summary.size);
            }
            HandOver::Refused(reply) => {
                span.record("mail.outcome", "refused");
                span.record("smtp.reply_code", reply.code());
                self.server.metrics.letter_refused(reply);
            }
        }
        self.machine.handle(Event::HandOver(outcome));
    }
}

impl Trace {
    pub(super) fn client(&self, address: std::net::SocketAddr) -> Client<'_> {
        Client {
            address,
            hello: &self.hello,
            tls: self.tls.as_ref(),
            login: self.login,
        }
    }
}

impl Transaction {
    /// The shard of all recipients, if all are local and live on one: there, accepting the letter
    /// is delivering it.
    fn only_shard(&self) -> Option<ShardId> {
        let mut shards = self
            .targets
            .iter()
            .map(|t| t.local.as_ref().map(|local| local.shard));
        let first = shards.next()??;
        shards
            .all(|shard| shard == Some(first))
            .then(|| ShardId::new(first))
    }
}
