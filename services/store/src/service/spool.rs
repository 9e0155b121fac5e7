//! `Spool`: accepting letters, settling them, and what the queue and operators see of them.

use bytes::{Bytes, BytesMut};
use postino_proto::store::v1::accept_request::Step;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::spool_server::Spool;
use postino_proto::store::v1::*;
use postino_proto::{Fault, FaultKind};
use postino_types::{QueueId, ShardId};
use prost::Message;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::intake::Intake;
use super::pages::{self, End, Pages};
use super::{Context, body, convert, required, watch};
use crate::db::{Family, Space};
use crate::model::spool::{self as rows, LeaseRow, LetterRow};
use crate::model::{Flow, Rows};
use crate::raft::Group;
use crate::shards::{broken, unexpected};

/// Letters in one page of due ones, and of those for operators.
const DUE_PAGE: u32 = 10_000;
const LETTERS_PAGE: u32 = 500;
/// Letters that one command makes due.
const RETRY_PAGE: u32 = 1_000;

#[tonic::async_trait]
impl Spool for Context {
    async fn accept(
        &self,
        request: Request<Streaming<AcceptRequest>>,
    ) -> Result<Response<AcceptResponse>, Status> {
        let mut steps = request.into_inner();
        let Some(AcceptRequest {
            step: Some(Step::Begin(begin)),
        }) = steps.message().await?
        else {
            return Err(Status::invalid_argument("an accept starts with begin"));
        };
        let id = convert::queue_id(&begin.queue_id)?;
        tracing::Span::current().record("mail.queue_id", tracing::field::display(id));
        let group = self.shards.mail(id.shard().get())?;
        self.check_hint(begin.size_hint)?;
        self.check_minted(&id)?;
        let mut intake = Intake::new(self, group.clone(), &format!("a{id}"));
        let finish = loop {
            match steps.message().await?.and_then(|request| request.step) {
                Some(Step::Chunk(chunk)) => intake.push(chunk).await?,
                Some(Step::Finish(finish)) => break finish,
                Some(Step::Begin(_)) => return Err(Status::invalid_argument("a second begin")),
                None => return Err(Status::cancelled("the letter ended without finish")),
            }
        };
        if finish.chunk_octets != intake.octets() {
            return Err(Status::invalid_argument(
                "the letter lost some of its octets",
            ));
        }
        let taken = intake.finish(finish.prefix).await?;
        let command = letter_command(
            self,
            &id,
            finish.envelope,
            finish.email,
            finish.trace,
            taken.source,
            taken.octets,
        )?;
        let committed = self
            .shards
            .propose_following(&group, Kind::Accept(command), taken.body);
        match committed.await?.answer {
            Answer::Accepted(accepted) => Ok(Response::new(accept_response(accepted))),
            answer => unexpected(&answer),
        }
    }

    async fn resolve_accept(
        &self,
        request: Request<ResolveAcceptRequest>,
    ) -> Result<Response<ResolveAcceptResponse>, Status> {
        let command = ResolveAcceptCommand {
            queue_id: request.into_inner().queue_id,
        };
        let id = convert::queue_id(&command.queue_id)?;
        let group = self.shards.mail(id.shard().get())?;
        // An older letter's mark may be gone, and would seem not to have been accepted.
        self.check_minted(&id)?;
        let committed = self
            .shards
            .propose(&group, Kind::ResolveAccept(command), None);
        let accepted = match committed.await?.answer {
            Answer::Accepted(accepted) => Some(accept_response(accepted)),
            Answer::Done(_) => None,
            answer => return unexpected(&answer),
        };
        Ok(Response::new(ResolveAcceptResponse { accepted }))
    }

    async fn settle(
        &self,
        request: Request<SettleRequest>,
    ) -> Result<Response<SettleResponse>, Status> {
        let request = request.into_inner();
        let group = self.shards.mail(request.shard)?;
        let mut bodies = BytesMut::new();
        let mut letters = Vec::with_capacity(request.letters.len());
        for letter in request.letters {
            letters.push(self.settled(group.shard(), letter, &mut bodies)?);
        }
        let command = SettleCommand {
            holder: request.holder,
            lease_epoch: request.lease_epoch,
            letters,
        };
        let bodies = (!bodies.is_empty()).then(|| bodies.freeze());
        self.shards
            .propose(&group, Kind::Settle(command), bodies)
            .await?;
        Ok(Response::new(SettleResponse {}))
    }

    async fn list_due(
        &self,
        request: Request<ListDueRequest>,
    ) -> Result<Response<ListDueResponse>, Status> {
        let request = request.into_inner();
        let group = self.shards.mail(request.shard)?;
        let response = self.shards.read(&group, move |snapshot, space| {
            check_epoch(snapshot, space, request.lease_epoch)?;
            due_page(snapshot, space, &request)
        });
        Ok(Response::new(response.await?))
    }

    type FollowStream = Pages<FollowEvent>;

    async fn follow(
        &self,
        request: Request<FollowRequest>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let request = request.into_inner();
        let group = self.shards.mail(request.shard)?;
        let epoch = request.lease_epoch;
        let check =
            move |snapshot: &crate::db::Snapshot<'_>, space| check_epoch(snapshot, space, epoch);
        self.shards.read(&group, check).await?;
        Ok(Response::new(watch::follow(self, group, epoch)))
    }

    async fn get_letter(
        &self,
        request: Request<GetLetterRequest>,
    ) -> Result<Response<Letter>, Status> {
        let id = convert::queue_id(&request.into_inner().queue_id)?;
        let group = self.shards.mail(id.shard().get())?;
        let letter = self.shards.read(&group, move |snapshot, space| {
            convert::letter(snapshot, space, &id).map_err(broken)
        });
        Ok(Response::new(letter.await?.ok_or_else(no_letter)?))
    }

    type ReadBodyStream = Pages<BodyChunk>;

    async fn read_body(
        &self,
        request: Request<ReadLetterBodyRequest>,
    ) -> Result<Response<Self::ReadBodyStream>, Status> {
        let request = request.into_inner();
        let id = convert::queue_id(&request.queue_id)?;
        let group = self.shards.mail(id.shard().get())?;
        let row = self.shards.read(&group, move |snapshot, space| {
            let key = rows::letter(space, &id);
            snapshot
                .row::<LetterRow>(Family::Spool, key)
                .map_err(broken)
        });
        let row = row.await?.ok_or_else(no_letter)?;
        let length = match request.length {
            0 => u64::MAX,
            length => length,
        };
        let parts = body::slice(&row.body, request.offset, length);
        let octets = parts.into_iter().map(body::Octets::Stored).collect();
        Ok(Response::new(body::read(self, group.shard(), octets)))
    }

    async fn acquire_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        self.acquire(request.into_inner()).await.map(Response::new)
    }

    async fn renew_lease(
        &self,
        request: Request<RenewLeaseRequest>,
    ) -> Result<Response<RenewLeaseResponse>, Status> {
        let request = request.into_inner();
        let group = self.shards.mail(request.shard)?;
        let row = self.lease_row(&group).await?;
        let term = group.leadership().borrow().term;
        let now = Instant::now();
        let ttl = self.lease_ttl(request.ttl_ms);
        let held = row.epoch == request.lease_epoch
            && row.holder == request.holder
            && !self
                .leases
                .remaining(group.shard(), term, &row, now)
                .is_zero();
        if held {
            self.leases.renew(group.shard(), term, row.epoch, ttl, now);
        }
        Ok(Response::new(RenewLeaseResponse { held }))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        let request = request.into_inner();
        let group = self.shards.mail(request.shard)?;
        let command = ReleaseLeaseCommand {
            holder: request.holder,
            lease_epoch: request.lease_epoch,
        };
        self.shards
            .propose(&group, Kind::ReleaseLease(command), None)
            .await?;
        Ok(Response::new(ReleaseLeaseResponse {}))
    }

    async fn list_letters(
        &self,
        request: Request<ListLettersRequest>,
    ) -> Result<Response<ListLettersResponse>, Status> {
        let request = request.into_inner();
        let group = self.shards.mail(request.shard)?;
        let after = match request.after_queue_id.as_str() {
            "" => None,
            id => Some(convert::queue_id(id)?),
        };
        let limit = match request.limit {
            0 => LETTERS_PAGE,
            limit => limit.min(LETTERS_PAGE),
        };
        let response = self.shards.read(&group, move |snapshot, space| {
            letters_page(snapshot, space, after, limit)
        });
        Ok(Response::new(response.await?))
    }

    async fn retry_now(
        &self,
        request: Request<RetryNowRequest>,
    ) -> Result<Response<RetryNowResponse>, Status> {
        let request = request.into_inner();
        let group = self.shards.mail(request.shard)?;
        let mut command = RetryCommand {
            queue_id: request.queue_id,
            limit: RETRY_PAGE,
            after_queue_id: String::new(),
        };
        let mut letters = 0;
        loop {
            let committed = self
                .shards
                .propose(&group, Kind::Retry(command.clone()), None);
            let Answer::Retried(answer) = committed.await?.answer else {
                return Err(Status::internal("internal error of the store"));
            };
            letters += answer.letters;
            if answer.next_after.is_empty() {
                return Ok(Response::new(RetryNowResponse { letters }));
            }
            command.after_queue_id = answer.next_after;
        }
    }
}

fn accept_response(accepted: Accepted) -> AcceptResponse {
    AcceptResponse {
        filed: accepted.filed,
        log_index: accepted.log_index,
        term: accepted.term,
    }
}

impl Context {
    fn check_hint(&self, size_hint: u64) -> Result<(), Status> {
        match size_hint <= self.config.message_limit.get() {
            true => Ok(()),
            false => {
                Err(Fault::new(FaultKind::TooBig, "the message is over the size limit").into())
            }
        }
    }

    /// Refuses ids whose marks would go too early, or never: their clock is far off.
    fn check_minted(&self, id: &QueueId) -> Result<(), Status> {
        let off = super::now_ms().abs_diff(id.unix_millis());
        match off <= self.config.accepted_ttl.as_millis() / 2 {
            true => Ok(()),
            false => Err(Status::invalid_argument(
                "the queue-id was minted at another time; check the clocks",
            )),
        }
    }

    /// One letter's outcomes as a command; the notifications' octets join `bodies`.
    fn settled(
        &self,
        shard: ShardId,
        letter: LetterOutcome,
        bodies: &mut BytesMut,
    ) -> Result<SettledLetter, Status> {
        let id = convert::queue_id(&letter.queue_id)?;
        if id.shard() != shard {
            return Err(Status::invalid_argument("a letter of another shard"));
        }
        let mut notifications = Vec::with_capacity(letter.notifications.len());
        for notification in letter.notifications {
            let id = convert::queue_id(&notification.queue_id)?;
            if id.shard() != shard {
                return Err(Status::invalid_argument("a notification for another shard"));
            }
            let octets = notification.message.len() as u64;
            let source = BodySource {
                offset: bodies.len() as u64,
                length: octets,
                ..BodySource::default()
            };
            bodies.extend_from_slice(&notification.message);
            let command = letter_command(
                self,
                &id,
                notification.envelope,
                notification.email,
                notification.trace,
                source,
                octets,
            )?;
            notifications.push(command);
        }
        Ok(SettledLetter {
            queue_id: letter.queue_id,
            recipients: letter.recipients,
            notifications,
        })
    }

    async fn lease_row(&self, group: &Group) -> Result<LeaseRow, Status> {
        let row = self.shards.read(group, |snapshot, space| {
            let row = snapshot
                .row(Family::Spool, rows::lease(space))
                .map_err(broken)?;
            Ok(row.unwrap_or_default())
        });
        row.await
    }

    fn lease_ttl(&self, ttl_ms: u64) -> std::time::Duration {
        std::time::Duration::from_millis(ttl_ms).min(self.config.lease_limit.get())
    }

    async fn acquire(&self, request: AcquireLeaseRequest) -> Result<AcquireLeaseResponse, Status> {
        if request.holder.is_empty() {
            return Err(Status::invalid_argument("a lease needs a holder"));
        }
        let group = self.shards.mail(request.shard)?;
        let shard = group.shard();
        let term = group.leadership().borrow().term;
        let row = self.lease_row(&group).await?;
        let remaining = self.leases.remaining(shard, term, &row, Instant::now());
        if !remaining.is_zero() && row.holder != request.holder {
            return Ok(AcquireLeaseResponse {
                granted: false,
                lease_epoch: row.epoch,
                holder: row.holder,
                remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
            });
        }
        let ttl = self.lease_ttl(request.ttl_ms);
        let command = AcquireLeaseCommand {
            holder: request.holder,
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            expected_epoch: row.epoch,
        };
        let committed = self
            .shards
            .propose(&group, Kind::AcquireLease(command), None);
        let answer = match committed.await?.answer {
            Answer::Lease(answer) => answer,
            answer => return unexpected(&answer),
        };
        if answer.granted {
            self.leases
                .renew(shard, term, answer.lease_epoch, ttl, Instant::now());
        }
        Ok(AcquireLeaseResponse {
            granted: answer.granted,
            lease_epoch: answer.lease_epoch,
            holder: answer.holder,
            remaining_ms: if answer.granted {
                0
            } else {
                self.lease_ttl(u64::MAX).as_millis() as u64
            },
        })
    }
}

/// A letter to accept, checked.
fn letter_command(
    context: &Context,
    id: &QueueId,
    envelope: Option<postino_proto::mail::v1::Envelope>,
    email: Option<postino_proto::mail::v1::EmailContent>,
    trace: Option<postino_proto::mail::v1::TraceContext>,
    source: BodySource,
    octets: u64,
) -> Result<AcceptCommand, Status> {
    let envelope = required(envelope, "the envelope")?;
    let recipients = u32::try_from(envelope.recipients.len()).unwrap_or(u32::MAX);
    if recipients == 0 || recipients > context.config.recipients_limit {
        return Err(Status::invalid_argument("too few or too many recipients"));
    }
    let mut local = Vec::new();
    let mut any_local = false;
    for (recipient, target) in (0..).zip(&envelope.recipients) {
        let Some(target) = &target.local else {
            continue;
        };
        any_local = true;
        if target.shard == id.shard().get() {
            let account = target.account;
            local.push(DeliverTarget { recipient, account });
        }
    }
    if any_local && email.is_none() {
        return Err(Status::invalid_argument(
            "a letter for local recipients needs its email",
        ));
    }
    Ok(AcceptCommand {
        queue_id: id.to_string(),
        recipients,
        local,
        email_size: email.as_ref().map_or(0, |email| email.size),
        email: email.map_or_else(Bytes::new, |email| email.encode_to_vec().into()),
        envelope: envelope.encode_to_vec().into(),
        size: octets,
        trace: trace.unwrap_or_default().encode_to_vec().into(),
        body: Some(source),
    })
}

fn no_letter() -> Status {
    Status::not_found("there is no such letter in the queue")
}

/// Fails unless this is the epoch of record.
pub(super) fn check_epoch(rows: &impl Rows, space: Space, epoch: u64) -> Result<(), Status> {
    let row: Option<LeaseRow> = rows
        .row(Family::Spool, rows::lease(space))
        .map_err(broken)?;
    let current = row.unwrap_or_default();
    match current.epoch == epoch && !current.holder.is_empty() {
        true => Ok(()),
        false => {
            let message = format!("the lease of the shard has epoch {}", current.epoch);
            Err(Fault::new(FaultKind::LeaseLost, message).into())
        }
    }
}

fn due_page(
    rows: &impl Rows,
    space: Space,
    request: &ListDueRequest,
) -> Result<ListDueResponse, Status> {
    let limit = match request.limit {
        0 => DUE_PAGE,
        limit => limit.min(DUE_PAGE),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut range = rows::dues(space);
    if !request.cursor.is_empty() {
        let (due_ms, id) = rows::parse_due(&request.cursor)
            .map_err(|_| Status::invalid_argument("that is no cursor"))?;
        range = range.after(rows::due(space, due_ms, &id));
    }
    let end = rows::due_at(space, request.until_ms.saturating_add(1));
    let mut letters = Vec::new();
    let mut cursor = Bytes::new();
    let range = range.below(end);
    let found = rows.visit(Family::Spool, &range, &mut |key, _| {
        let (due_ms, id) = rows::parse_due(key)?;
        letters.push(DueLetter {
            queue_id: id.to_string(),
            due_ms,
        });
        if letters.len() < limit {
            return Ok(Flow::Continue(()));
        }
        cursor = Bytes::copy_from_slice(key);
        Ok(Flow::Break(()))
    });
    found.map_err(broken)?;
    Ok(ListDueResponse {
        letters,
        next_cursor: cursor,
    })
}

fn letters_page(
    rows: &impl Rows,
    space: Space,
    after: Option<QueueId>,
    limit: u32,
) -> Result<ListLettersResponse, Status> {
    let mut range = rows::letters(space);
    if let Some(after) = after {
        range = range.after(rows::letter(space, &after));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut ids = Vec::new();
    let found = rows.visit(Family::Spool, &range, &mut |key, _| {
        ids.push(rows::parse_id(key)?);
        Ok(match ids.len() <= limit {
            true => Flow::Continue(()),
            false => Flow::Break(()),
        })
    });
    found.map_err(broken)?;
    let more = ids.len() > limit;
    ids.truncate(limit);
    let mut letters = Vec::with_capacity(ids.len());
    for id in ids {
        letters.extend(convert::letter(rows, space, &id).map_err(broken)?);
    }
    Ok(ListLettersResponse { letters, more })
}

/// All letters of a shard, a page at a time.
pub(super) fn all_letters(context: &Context, group: Group) -> Pages<Vec<Letter>> {
    let context = context.clone();
    pages::stream(move |pages| async move {
        let mut after = None;
        loop {
            let read = context.shards.read(&group, move |snapshot, space| {
                letters_page(snapshot, space, after, LETTERS_PAGE)
            });
            let page = read.await?;
            after = match page.letters.last() {
                Some(last) => Some(convert::queue_id(&last.queue_id)?),
                None => after,
            };
            pages.send(page.letters).await?;
            if !page.more {
                return Ok::<(), End>(());
            }
        }
    })
}
