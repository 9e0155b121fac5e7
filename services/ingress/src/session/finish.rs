//! The last step of a letter's way into the store: its envelope, and what is put in front of it.

use std::time::{SystemTime, UNIX_EPOCH};

use postino_message::{
    Structure, date_field, deliver, message_id_field, message_ids, missing_fields,
    return_path_field,
};
use postino_proto::mail::v1::{EmailContent, Envelope, Origin, TraceContext};
use postino_proto::store::v1::AcceptFinish;
use postino_smtp::{BodyKind, Content, DataSummary};
use postino_telemetry::propagate::span_to_record;
use postino_types::QueueId;

use super::Session;
use super::data::Trace;
use super::mail::Transaction;
use crate::received::received_field;
use crate::server::Port;

/// What the last step of handing over is made from.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    pub(super) session: &'a Session,
    pub(super) transaction: &'a Transaction,
    pub(super) structure: &'a Structure,
    pub(super) summary: DataSummary,
    pub(super) origin: &'a Origin,
    pub(super) trace: &'a Trace,
}

impl Finish<'_> {
    /// The step, under this id; the store's work belongs to `span`.
    pub(super) fn step(&self, id: QueueId, span: &tracing::Span) -> AcceptFinish {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let prefix = self.prefix(id, seconds);
        let (traceparent, tracestate) = span_to_record(span);
        AcceptFinish {
            email: self.email(&prefix),
            envelope: Some(Envelope {
                message_id: self.message_id(id).unwrap_or_default(),
                ..self.envelope(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
            }),
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
        if self.session.port != Port::Exchange && missing_fields(self.structure).date {
            prefix.push_str(&date_field(seconds));
        }
        prefix.push_str(&self.added_message_id(id).unwrap_or_default());
        prefix
    }

    /// The `Message-ID` field that a user's letter gets if it has none.
    fn added_message_id(&self, id: QueueId) -> Option<String> {
        let added =
            self.session.port != Port::Exchange && missing_fields(self.structure).message_id;
        let hostname = &self.session.server.surroundings.hostname;
        added.then(|| message_id_field(&id.to_string(), hostname))
    }

    /// The letter's id, its own or the one it gets.
    fn message_id(&self, id: QueueId) -> Option<String> {
        let added = || message_ids(self.added_message_id(id)?.as_bytes(), 1).pop();
        self.structure.message_id().or_else(added)
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
