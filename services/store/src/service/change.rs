//! Messages: changing, filing and removing them. A request for many messages becomes several
//! commands, so that no command holds a shard up for long.

use bytes::Bytes;
use postino_proto::mail::v1::TraceContext;
use postino_proto::store::v1::append_request::Step as AppendStep;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::deliver_request::Step as DeliverStep;
use postino_proto::store::v1::*;
use postino_proto::{Fault, FaultKind};
use postino_telemetry::propagate;
use postino_types::QueueId;
use prost::Message;
use tonic::{Status, Streaming};

use super::intake::Intake;
use super::mailboxes::no_mailbox;
use super::mailstore::standing;
use super::{Context, convert, required};
use crate::db::Family;
use crate::model::spool::{self, LetterRow};
use crate::model::{Rows, mailbox};
use crate::raft::Group;
use crate::shards::{broken, unexpected};

impl Context {
    pub(super) async fn flags(
        &self,
        request: StoreFlagsRequest,
    ) -> Result<StoreFlagsResponse, Status> {
        let (group, account) = self.of(request.account)?;
        let mut command = StoreFlagsCommand {
            account,
            mailbox: request.mailbox,
            uids: convert::uid_ranges(request.uids),
            operation: request.operation,
            system_flags: request.system_flags,
            keywords: convert::keywords(&request.keywords)?,
            unchanged_since: request.unchanged_since,
            limit: self.config.messages_page,
        };
        let mut response = StoreFlagsResponse::default();
        loop {
            let kind = Kind::StoreFlags(command.clone());
            let answer = match self.shards.propose(&group, kind, None).await?.answer {
                Answer::Flags(answer) => answer,
                answer => return unexpected(&answer),
            };
            response.messages.extend(answer.messages);
            response.modified.extend(answer.modified);
            response.highest_mod_seq = answer.highest_mod_seq;
            if answer.next_uid == 0 {
                return Ok(response);
            }
            command.uids = convert::from_uid(&command.uids, answer.next_uid);
        }
    }

    pub(super) async fn copy(
        &self,
        request: CopyMessagesRequest,
    ) -> Result<CopyMessagesResponse, Status> {
        let (group, account) = self.of(request.account)?;
        let command = TransferCommand {
            account,
            mailbox: request.mailbox,
            uids: convert::uid_ranges(request.uids),
            target: convert::mailbox_name(&request.target)?,
            mode: TransferMode::Copy.into(),
            limit: self.config.messages_page,
        };
        let answer = self.transfer(&group, command).await?;
        Ok(CopyMessagesResponse {
            target_uid_validity: answer.target_uid_validity,
            copied: answer.pairs,
        })
    }

    pub(super) async fn shift(
        &self,
        request: MoveMessagesRequest,
    ) -> Result<MoveMessagesResponse, Status> {
        let (group, account) = self.of(request.account)?;
        let command = TransferCommand {
            account,
            mailbox: request.mailbox,
            uids: convert::uid_ranges(request.uids),
            target: convert::mailbox_name(&request.target)?,
            mode: TransferMode::Move.into(),
            limit: self.config.messages_page,
        };
        let answer = self.transfer(&group, command).await?;
        Ok(MoveMessagesResponse {
            target_uid_validity: answer.target_uid_validity,
            moved: answer.pairs,
            highest_mod_seq: answer.highest_mod_seq,
        })
    }

    /// Copies or moves, a page at a time. A COPY that fails midway takes back what it did
    /// (RFC 3501 section 6.4.7); a MOVE need not (RFC 6851 section 3.3).
    async fn transfer(
        &self,
        group: &Group,
        mut command: TransferCommand,
    ) -> Result<TransferAnswer, Status> {
        // Messages that are put into the same mailbox must not be copied again.
        if let Some(last) = command.uids.last()
            && last.last == u32::MAX
        {
            self.bound_uids(group, &mut command).await?;
        }
        let mut whole = TransferAnswer::default();
        loop {
            let kind = Kind::Transfer(command.clone());
            let answer = match self.shards.propose(group, kind, None).await {
                Ok(committed) => committed.answer,
                Err(status) => {
                    if command.mode() == TransferMode::Copy && !whole.pairs.is_empty() {
                        // What it could not take back, nobody may do once more.
                        let unknown = |why: Status| Fault::new(FaultKind::Unknown, why.message());
                        let taken_back = self.take_back(group, &command, &whole).await;
                        taken_back.map_err(unknown)?;
                    }
                    return Err(status);
                }
            };
            let Answer::Transferred(answer) = answer else {
                return unexpected(&answer);
            };
            whole.target_uid_validity = answer.target_uid_validity;
            whole.highest_mod_seq = answer.highest_mod_seq;
            whole.pairs.extend(answer.pairs);
            if answer.next_uid == 0 {
                return Ok(whole);
            }
            command.uids = convert::from_uid(&command.uids, answer.next_uid);
        }
    }

    /// Ends an open range at the last UID that there is.
    async fn bound_uids(&self, group: &Group, command: &mut TransferCommand) -> Result<(), Status> {
        let (account, id) = (command.account, command.mailbox);
        let row = self.read_account(group, account, move |snapshot, space| {
            mailbox::find(snapshot, space, account, id).map_err(broken)
        });
        let row = row.await?.ok_or_else(no_mailbox)?;
        for range in &mut command.uids {
            range.last = range.last.min(row.uid_next.saturating_sub(1));
        }
        command.uids.retain(|range| range.first <= range.last);
        Ok(())
    }

    async fn take_back(
        &self,
        group: &Group,
        command: &TransferCommand,
        done: &TransferAnswer,
    ) -> Result<(), Status> {
        let (account, target) = (command.account, command.target.clone());
        let id = self.shards.read(group, move |snapshot, space| {
            mailbox::find_named(snapshot, space, account, &target).map_err(broken)
        });
        let Some(mailbox) = id.await? else {
            return Ok(());
        };
        let uid = |pair: &UidPair| UidRange {
            first: pair.target,
            last: pair.target,
        };
        let command = ExpungeCommand {
            account,
            mailbox,
            uids: convert::uid_ranges(done.pairs.iter().map(uid).collect()),
            ignore_deleted_flag: true,
            limit: self.config.messages_page,
        };
        self.expunge_all(group, command).await.map(|_| ())
    }

    pub(super) async fn remove(&self, request: ExpungeRequest) -> Result<ExpungeResponse, Status> {
        let (group, account) = self.of(request.account)?;
        // Without UIDs, all \Deleted messages are meant; with UIDs that are none, no message is.
        let none = !request.uids.is_empty();
        let command = ExpungeCommand {
            account,
            mailbox: request.mailbox,
            uids: convert::uid_ranges(request.uids),
            ignore_deleted_flag: request.ignore_deleted_flag,
            limit: self.config.messages_page,
        };
        if none && command.uids.is_empty() {
            return Err(Status::invalid_argument("those are no UIDs"));
        }
        self.expunge_all(&group, command).await
    }

    async fn expunge_all(
        &self,
        group: &Group,
        command: ExpungeCommand,
    ) -> Result<ExpungeResponse, Status> {
        let mut response = ExpungeResponse::default();
        loop {
            let kind = Kind::Expunge(command.clone());
            let answer = match self.shards.propose(group, kind, None).await?.answer {
                Answer::Expunged(answer) => answer,
                answer => return unexpected(&answer),
            };
            response.expunged.extend(answer.expunged);
            response.highest_mod_seq = answer.highest_mod_seq;
            if answer.next_uid == 0 {
                return Ok(response);
            }
        }
    }

    pub(super) async fn append_message(
        &self,
        mut steps: Streaming<AppendRequest>,
    ) -> Result<AppendResponse, Status> {
        let Some(AppendStep::Begin(begin)) = steps.message().await?.and_then(|step| step.step)
        else {
            return Err(Status::invalid_argument("an append starts with begin"));
        };
        let (group, account) = self.of(begin.account)?;
        let mailbox = convert::mailbox_name(&begin.mailbox)?;
        convert::upload_id(&begin.upload_id)?;
        self.check_append(&group, account, mailbox.clone(), begin.size)
            .await?;
        let mut intake = Intake::new(
            self,
            group.clone(),
            &format!("p{account}.{}", begin.upload_id),
        );
        let finish = loop {
            match steps.message().await?.and_then(|request| request.step) {
                Some(AppendStep::Chunk(chunk)) => intake.push(chunk).await?,
                Some(AppendStep::Finish(finish)) => break finish,
                Some(AppendStep::Begin(_)) => {
                    return Err(Status::invalid_argument("a second begin"));
                }
                None => return Err(Status::cancelled("the message ended without finish")),
            }
        };
        if intake.octets() != begin.size {
            return Err(Status::invalid_argument(
                "the message has another size than announced",
            ));
        }
        let email = required(finish.email, "the email")?;
        let taken = intake.finish(Bytes::new()).await?;
        let command = AppendCommand {
            account,
            mailbox,
            upload_id: begin.upload_id,
            system_flags: finish.system_flags,
            keywords: convert::keywords(&finish.keywords)?,
            internal_date_ms: finish.internal_date_ms,
            internal_date_offset: finish.internal_date_offset,
            email_size: email.size,
            email: email.encode_to_vec().into(),
            body: Some(taken.source),
        };
        let committed = self
            .shards
            .propose_following(&group, Kind::Append(command), taken.body);
        match committed.await?.answer {
            Answer::Appended(appended) => Ok(appended),
            answer => unexpected(&answer),
        }
    }

    /// Refuses what apply would refuse, before the octets come.
    async fn check_append(
        &self,
        group: &Group,
        id: u64,
        name: String,
        size: u64,
    ) -> Result<(), Status> {
        if size > self.config.message_limit.get() {
            return Err(Fault::new(FaultKind::TooBig, "the message is over the size limit").into());
        }
        let check = self.shards.read(group, move |snapshot, space| {
            let account = standing(snapshot, space, id)?;
            let mailbox = mailbox::find_named(snapshot, space, id, &name).map_err(broken)?;
            mailbox.ok_or_else(no_mailbox)?;
            match account.has_room(size, 1) {
                true => Ok(()),
                false => {
                    let message = "the account's quota is used up";
                    Err(Fault::new(FaultKind::OverQuota, message).into())
                }
            }
        });
        check.await
    }

    pub(super) async fn deliver_letter(
        &self,
        mut steps: Streaming<DeliverRequest>,
    ) -> Result<DeliverResponse, Status> {
        let Some(DeliverStep::Begin(begin)) = steps.message().await?.and_then(|step| step.step)
        else {
            return Err(Status::invalid_argument("a delivery starts with begin"));
        };
        let group = self.shards.mail(begin.shard)?;
        let id = convert::queue_id(&begin.queue_id)?;
        let email = required(begin.email, "the email")?;
        let span = tracing::Span::current();
        span.record("mail.queue_id", tracing::field::display(id));
        span.record("email.message_id", email.message_id.as_str());
        // A letter of this very shard is here already.
        let spooled = id.shard() == group.shard() && self.is_spooled(&group, id).await?;
        let mut intake = Intake::new(self, group.clone(), &format!("d{id}"));
        loop {
            match steps.message().await?.and_then(|request| request.step) {
                Some(DeliverStep::Chunk(_)) if spooled => {}
                Some(DeliverStep::Chunk(chunk)) => intake.push(chunk).await?,
                Some(DeliverStep::Finish(_)) => break,
                Some(DeliverStep::Begin(_)) => {
                    return Err(Status::invalid_argument("a second begin"));
                }
                None => return Err(Status::cancelled("the letter ended without finish")),
            }
        }
        let (source, body) = match spooled {
            true => {
                let source = BodySource {
                    spooled_queue_id: id.to_string(),
                    ..BodySource::default()
                };
                (source, None)
            }
            false if intake.octets() != begin.size => {
                return Err(Status::invalid_argument(
                    "the letter lost some of its octets",
                ));
            }
            false => {
                let taken = intake.finish(Bytes::new()).await?;
                (taken.source, taken.body)
            }
        };
        let command = DeliverCommand {
            queue_id: id.to_string(),
            targets: begin.targets,
            email_size: email.size,
            email: email.encode_to_vec().into(),
            body: Some(source),
            trace: current_trace(),
        };
        let committed = self.shards.propose(&group, Kind::Deliver(command), body);
        match committed.await?.answer {
            Answer::Delivered(delivered) => Ok(delivered),
            answer => unexpected(&answer),
        }
    }

    async fn is_spooled(&self, group: &Group, id: QueueId) -> Result<bool, Status> {
        let row = self.shards.read(group, move |snapshot, space| {
            let key = spool::letter(space, &id);
            snapshot
                .row::<LetterRow>(Family::Spool, key)
                .map_err(broken)
        });
        Ok(row.await?.is_some())
    }
}

/// The trace of the call that is being served, encoded; empty if it is not traced.
fn current_trace() -> Bytes {
    let (traceparent, tracestate) = propagate::to_record();
    let trace = TraceContext {
        traceparent,
        tracestate,
    };
    trace.encode_to_vec().into()
}
