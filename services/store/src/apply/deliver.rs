//! Filing letters into INBOX, exactly once per (queue-id, recipient).

use bytes::Bytes;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    DeliverCommand, DeliverResponse, DeliverResult, DeliverStatus, DeliverTarget, RefusalKind,
};
use postino_types::QueueId;

use super::commit::{Commit, Outcome, Rejection, refuse};
use super::spool::queue_id;
use crate::db::Family;
use crate::levels;
use crate::model::email::BodyPart;
use crate::model::mailbox::INBOX;
use crate::model::message::MessageRow;
use crate::model::{Rows, fixed, spool};

/// What becomes of a letter for one recipient.
pub(super) enum Fate {
    /// As the store's API says it.
    Settled(DeliverStatus),
    /// The account is closed for the moment, since it moves to another shard.
    Moving,
    /// The account lives on another shard.
    Moved(u32),
}

/// One letter on its way into the mailboxes of a shard: all of them share one email.
pub(super) struct Filing<'a> {
    content: Bytes,
    size: u64,
    body: &'a [BodyPart],
    trace: Bytes,
    email: Option<u64>,
    filed: Vec<u32>,
}

impl<'a> Filing<'a> {
    /// `trace` is the encoded trace context of the letter, for those who watch its mailboxes.
    pub(super) fn new(content: Bytes, size: u64, body: &'a [BodyPart], trace: Bytes) -> Self {
        Self {
            content,
            size,
            body,
            trace,
            email: None,
            filed: Vec::new(),
        }
    }

    /// Files the letter for one recipient, unless that was done before or the account is gone.
    /// Quota does not matter: whoever accepted the letter has promised to keep it.
    pub(super) fn file(
        &mut self,
        commit: &mut Commit<'_>,
        id: &QueueId,
        target: &DeliverTarget,
    ) -> Outcome<Fate> {
        let key = spool::filed(commit.space(), id, target.recipient);
        if commit.rows.get(Family::Dedupe, key)?.is_some() {
            return Ok(Fate::Settled(DeliverStatus::Duplicate));
        }
        let mut inbox = match commit.open(target.account, INBOX) {
            Ok(inbox) => inbox,
            Err(Rejection::Refused(refused)) => {
                return Ok(match refused.kind() {
                    RefusalKind::Moving => Fate::Moving,
                    RefusalKind::Moved => Fate::Moved(refused.shard),
                    _ => Fate::Settled(DeliverStatus::NoAccount),
                });
            }
            Err(halt) => return Err(halt),
        };
        let email = match self.email {
            Some(email) => email,
            None => commit.put_email(self.content.clone(), self.size, self.body.to_vec()),
        };
        self.email = Some(email);
        let message = MessageRow {
            email,
            mod_seq: inbox.next_mod_seq(),
            size: self.size,
            date_ms: i64::try_from(commit.stamp_ms()).unwrap_or(i64::MAX),
            ..MessageRow::default()
        };
        commit.insert(&mut inbox, &message)?;
        commit.close(&inbox);
        let key = spool::filed(commit.space(), id, target.recipient);
        let account = target.account.to_be_bytes();
        let mark = match commit.shard.level() >= levels::ACCOUNT_MOVES {
            true => fixed(&[&account]),
            false => fixed(&[]),
        };
        commit.rows.put(Family::Dedupe, key, mark);
        commit.tell_filed(target.account, &self.trace);
        self.filed.push(target.recipient);
        Ok(Fate::Settled(DeliverStatus::Filed))
    }

    /// Counts who shares the email; returns the recipients that it was filed for.
    pub(super) fn finish(self, commit: &mut Commit<'_>) -> Vec<u32> {
        if let Some(email) = self.email
            && self.filed.len() > 1
        {
            commit.put_email_refs(email, self.filed.len() as u64);
        }
        self.filed
    }
}

/// Files a letter from some shard's spool for accounts of this one.
pub(super) fn deliver(commit: &mut Commit<'_>, command: DeliverCommand) -> Outcome {
    let id = queue_id(&command.queue_id)?;
    let body = match take(commit, &id, &command)? {
        Some(body) => body,
        None => return Ok(all_duplicates(&command)),
    };
    let mut letter = Filing::new(command.email, command.email_size, &body, command.trace);
    let mut results = Vec::with_capacity(command.targets.len());
    for target in &command.targets {
        let (status, shard) = match letter.file(commit, &id, target)? {
            Fate::Settled(status) => (status, 0),
            Fate::Moved(shard) => (DeliverStatus::Moved, shard),
            // Whoever delivers asks again in a moment, for all.
            Fate::Moving => {
                let why = "an account is moving to another shard; ask again";
                return Err(refuse(RefusalKind::Moving, why));
            }
        };
        results.push(DeliverResult {
            recipient: target.recipient,
            status: status.into(),
            shard,
        });
    }
    if letter.finish(commit).is_empty() {
        commit.drop_body(&body)?;
    }
    Ok(Answer::Delivered(DeliverResponse { results }))
}

/// The letter's octets; `None` if it was filed before for every target, which does not need them.
fn take(
    commit: &mut Commit<'_>,
    id: &QueueId,
    command: &DeliverCommand,
) -> Outcome<Option<Vec<BodyPart>>> {
    for target in &command.targets {
        let key = spool::filed(commit.space(), id, target.recipient);
        if commit.rows.get(Family::Dedupe, key)?.is_none() {
            check_remembered(commit, id)?;
            return commit.take_source(command.body.clone()).map(Some);
        }
    }
    commit.drop_source(command.body.as_ref())?;
    Ok(None)
}

/// Refuses a letter so old that the mark of its filing may be forgotten: rather returned to its
/// sender than filed twice. Where the store and the queue are set as they should be, there is none:
/// `store.filed_ttl` exceeds `queue.lifetime`.
fn check_remembered(commit: &Commit<'_>, id: &QueueId) -> Outcome<()> {
    match id.unix_millis() < commit.shard.filed_forgotten_ms {
        true => Err(refuse(
            RefusalKind::FailedPrecondition,
            "the letter is older than the store remembers whether it was filed: \
             store.filed_ttl must exceed queue.lifetime",
        )),
        false => Ok(()),
    }
}

fn all_duplicates(command: &DeliverCommand) -> Answer {
    let result = |target: &DeliverTarget| DeliverResult {
        recipient: target.recipient,
        status: DeliverStatus::Duplicate.into(),
        shard: 0,
    };
    Answer::Delivered(DeliverResponse {
        results: command.targets.iter().map(result).collect(),
    })
}
