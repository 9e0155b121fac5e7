//! `DATA`: the letter on its way into the store, and the moment of responsibility.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use postino_client::{AcceptUpload, CallError, UploadError};
use postino_message::{
    AddressItem, Limits as ScanLimits, Scanner, Structure, addresses, date_field, deliver,
    message_id_field, missing_fields, return_path_field,
};
use postino_net::Connection;
use postino_proto::FaultKind;
use postino_proto::mail::v1::{EmailContent, Envelope, Origin, TraceContext};
use postino_proto::store::v1::AcceptFinish;
use postino_smtp::server::{Event, HandOver, Verdict};
use postino_smtp::{BodyKind, Content, DataSummary};
use postino_telemetry::propagate::span_to_record;
use postino_types::{EnhancedStatus, QueueId, Reply, ShardId};
use tokio::time::Instant;
use tracing::Instrument;

use super::mail::Transaction;
use super::{Session, unavailable};
use crate::config::FromCheck;
use crate::received::{Client, Login, received_field};
use crate::server::Port;

/// A letter that comes in.
pub(super) struct Letter {
    upload: AcceptUpload,
    scanner: Scanner,
    /// Octets that wait to become a chunk.
    pending: BytesMut,
    received: u64,
    /// The whole letter while it is small, to hand it over once more; then nothing.
    kept: Option<Vec<Bytes>>,
    deadline: Instant,
    origin: Origin,
    /// The trace field, once the id is known.
    trace: Trace,
}

/// What the trace field is made from.
struct Trace {
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
    async fn flush(&mut self, replay_limit: u64) -> Result<(), UploadError> {
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

    /// Hands a whole letter over. Only when this says "accepted" is it ours (RFC 5321 section 6.1).
    async fn hand_over(
        &self,
        mut letter: Letter,
        transaction: Transaction,
        summary: DataSummary,
    ) -> HandOver {
        let store = &self.server.clients.store;
        let replay_limit = store.config().replay_limit.get();
        if let Err(error) = letter.flush(replay_limit).await {
            return HandOver::Refused(refusal(&error));
        }
        let Letter {
            mut upload,
            scanner,
            kept,
            origin,
            trace,
            ..
        } = letter;
        let structure = scanner.finish();
        if let Err(reply) = self.check_from(&structure).await {
            return HandOver::Refused(reply);
        }
        let kept = kept.unwrap_or_default();
        let whole = kept.iter().map(|c| c.len() as u64).sum::<u64>() == summary.size;
        let deadline = Instant::now() + self.server.config.hand_over_timeout.get();
        // Once an outcome is unknown, the letter may lie on that shard: no other may get it.
        let mut bound_to_shard = false;
        loop {
            let id = upload.queue_id();
            let finish = Finish {
                session: self,
                transaction: &transaction,
                structure: &structure,
                summary,
                origin: &origin,
                trace: &trace,
            };
            let error = match send(upload, finish, id).await {
                Ok(()) => return HandOver::Accepted(id),
                Err(error) => error,
            };
            tracing::warn!(%error, mail.queue_id = %id, "a letter was not handed over");
            if !whole || Instant::now() >= deadline {
                return HandOver::Refused(refusal(&error));
            }
            let next = match &error {
                UploadError::Unknown(_) => {
                    bound_to_shard = true;
                    id
                }
                UploadError::NotAccepted(CallError::Unavailable(_)) if bound_to_shard => id,
                UploadError::NotAccepted(CallError::Unavailable(_)) => {
                    match store.mint_queue_id(None).await {
                        Ok(next) => next,
                        Err(_) => return HandOver::Refused(unavailable()),
                    }
                }
                UploadError::NotAccepted(_) => return HandOver::Refused(refusal(&error)),
            };
            upload = store.accept(next, summary.size);
            for chunk in &kept {
                if let Err(error) = upload.chunk(chunk.clone()).await {
                    return HandOver::Refused(refusal(&error));
                }
            }
        }
    }

    /// Whether the `From:` of a submitted letter is the user's, if that is asked for.
    async fn check_from(&self, structure: &Structure) -> Result<(), Reply> {
        let (Some(user), FromCheck::Owned) = (&self.user, self.server.config.from_check) else {
            return Ok(());
        };
        for field in structure.fields().filter(|field| field.is("From")) {
            for address in from_addresses(&field.unfolded()) {
                let verdict = match address.parse() {
                    Ok(address) => self.check_owner(user.account, &address).await,
                    Err(_) => continue,
                };
                if let Verdict::Refuse(reply) = verdict {
                    return Err(reply);
                }
            }
        }
        Ok(())
    }
}

/// The addresses of a `From:` field as text.
fn from_addresses(value: &[u8]) -> Vec<String> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let address = |item| match item {
        AddressItem::Mailbox(mailbox) => {
            let domain = mailbox.domain.as_deref()?;
            Some(format!("{}@{}", text(&mailbox.local), text(domain)))
        }
        _ => None,
    };
    addresses(value).into_iter().filter_map(address).collect()
}

/// Sends the end of a letter, and waits until the store has it.
async fn send(upload: AcceptUpload, finish: Finish<'_>, id: QueueId) -> Result<(), UploadError> {
    let span = tracing::info_span!("send mail.queue", otel.kind = "producer", mail.queue_id = %id);
    let transaction = &finish.transaction.span;
    transaction.record("mail.queue_id", tracing::field::display(id));
    transaction.record("mail.size", finish.summary.size);
    transaction.record("mail.recipients", finish.transaction.targets.len());
    transaction.record("smtp.protocol", finish.origin.protocol.as_str());
    let step = finish.step(id, &span);
    let recipients = finish.transaction.targets.len();
    let accepted = upload.finish(step).instrument(span).await?;
    tracing::info!(
        mail.queue_id = %id,
        mail.size = finish.summary.size,
        mail.recipients = recipients,
        filed = accepted.filed,
        "letter accepted"
    );
    Ok(())
}

/// What the last step of handing over is made from.
#[derive(Clone, Copy)]
struct Finish<'a> {
    session: &'a Session,
    transaction: &'a Transaction,
    structure: &'a Structure,
    summary: DataSummary,
    origin: &'a Origin,
    trace: &'a Trace,
}

impl Finish<'_> {
    fn step(&self, id: QueueId, span: &tracing::Span) -> AcceptFinish {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let prefix = self.prefix(id, seconds);
        let (traceparent, tracestate) = span_to_record(span);
        AcceptFinish {
            email: self.email(&prefix),
            envelope: Some(self.envelope(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))),
            prefix: prefix.into(),
            chunk_octets: self.summary.size,
            trace: (!traceparent.is_empty()).then_some(TraceContext {
                traceparent,
                tracestate,
            }),
        }
    }

    fn envelope(&self, accepted_ms: u64) -> Envelope {
        let eight_bit = self.transaction.body == BodyKind::EightBitMime
            || self.summary.content == Content::EightBit;
        Envelope {
            reverse_path: self.transaction.reverse_path.to_string(),
            recipients: self.transaction.targets.clone(),
            eight_bit,
            accepted_ms,
            origin: Some(self.origin.clone()),
            ..Envelope::default()
        }
    }

    /// What is put in front of the letter: the trace field and, for a letter of a user, what its
    /// program left out (RFC 6409 section 8).
    fn prefix(&self, id: QueueId, seconds: i64) -> String {
        let hostname = &self.session.server.surroundings.hostname;
        let only = match self.transaction.accepted.as_slice() {
            // `for` takes a path or mailbox, which a bare postmaster is not.
            [only] if only.contains('@') => Some(only.as_str()),
            _ => None,
        };
        let client = self.trace.client(self.session.peer);
        let mut prefix = received_field(&client, hostname, id, only, seconds);
        if self.session.port != Port::Exchange {
            let missing = missing_fields(self.structure);
            if missing.date {
                prefix.push_str(&date_field(seconds));
            }
            if missing.message_id {
                prefix.push_str(&message_id_field(&id.to_string(), hostname));
            }
        }
        prefix
    }

    /// What is stored beside the letter in mailboxes; nothing if no recipient is local.
    fn email(&self, prefix: &str) -> Option<EmailContent> {
        let is_local = self
            .transaction
            .targets
            .iter()
            .any(|target| target.local.is_some());
        let return_path = return_path_field(&self.transaction.reverse_path);
        is_local.then(|| {
            EmailContent::from(deliver(
                self.structure,
                prefix.as_bytes(),
                return_path.as_bytes(),
            ))
        })
    }
}

impl Trace {
    fn client(&self, address: std::net::SocketAddr) -> Client<'_> {
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

/// What a client is told of a letter that the store did not take.
fn refusal(error: &UploadError) -> Reply {
    let UploadError::NotAccepted(error) = error else {
        return unavailable();
    };
    match error.fault() {
        Some(FaultKind::TooBig) => {
            let text = "The letter is larger than the store takes";
            Reply::new(552, EnhancedStatus::permanent(3, 4), text)
        }
        Some(FaultKind::OverQuota) => {
            Reply::new(452, EnhancedStatus::temporary(2, 2), "The mailbox is full")
        }
        Some(FaultKind::Overloaded) => Reply::new(
            452,
            EnhancedStatus::temporary(3, 1),
            "Too much to do, try again later",
        ),
        _ => unavailable(),
    }
}
