//! `Transfer`: the leader of an account's old shard sends what it has of the account to the new
//! one, as commands in that shard's log.
//!
//! Emails with their octets go first, many at once, while the account is in use. Once it is closed,
//! the few that came meanwhile follow, then its rows, then the end of the import. Whoever asks again
//! goes on where the last one stopped: the new shard says which emails it lacks, and rows that come
//! twice are the same.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::transfer_client::TransferClient;
use postino_proto::store::v1::transfer_server::Transfer;
use postino_proto::store::v1::{
    BodySource, FinishImportCommand, ImportEmailCommand, ImportRowsCommand, ImportedRow,
    ListMissingRequest, ListMissingResponse, SendProgress, SendRequest, UploadChunkCommand,
};
use postino_types::ShardId;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use super::pages::{self, End, Pages, Sender};
use super::{Context, body};
use crate::db::{DbError, Family, Space};
use crate::model::email::{self, EmailRow};
use crate::model::message::{self, MessageRow};
use crate::model::{Flow, Range, Rows, account, encode, mailbox, spool};
use crate::raft::Group;
use crate::shards::{broken, internal, unexpected};

/// Emails that the new shard is asked about at once.
const ASKED: usize = 1_000;
/// Emails that are on their way at once: enough to share entries and syncs, as letters do that
/// come in at the same time. Of a large one, a chunk is in memory.
const EMAILS_UNDER_WAY: usize = 32;
/// Pages of rows that are on their way at once.
const ROWS_UNDER_WAY: usize = 4;
/// Rows that are looked at for one page, and octets after which it is full.
const LOOKED_AT: usize = 20_000;
const PAGE: usize = 64 << 10;
/// Emails that one command lets go at most.
pub(super) const LET_GO: u32 = 500;
/// The ranges before this one come first: all mailboxes are among them.
const FIRST: usize = 4;
/// How often progress is told.
const TELL: Duration = Duration::from_millis(200);

#[tonic::async_trait]
impl Transfer for Context {
    type SendStream = Pages<SendProgress>;

    async fn send(
        &self,
        request: Request<SendRequest>,
    ) -> Result<Response<Self::SendStream>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster_id)?;
        let group = self.shards.mail(request.from)?;
        let context = self.clone();
        Ok(Response::new(pages::stream(move |pages| {
            let sending = Sending {
                context,
                group,
                request,
                progress: SendProgress::default(),
                told: Instant::now(),
                pages,
            };
            sending.run()
        })))
    }

    async fn list_missing(
        &self,
        request: Request<ListMissingRequest>,
    ) -> Result<Response<ListMissingResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster_id)?;
        let group = self.shards.mail(request.shard)?;
        let account = request.account;
        let missing = self.shards.read(&group, move |snapshot, space| {
            let mut missing = Vec::new();
            for id in request.emails {
                let ahead = email::ahead(space, account, id);
                if snapshot
                    .get(Family::Email, ahead)
                    .map_err(broken)?
                    .is_none()
                {
                    missing.push(id);
                }
            }
            Ok(missing)
        });
        let emails = missing.await?;
        Ok(Response::new(ListMissingResponse { emails }))
    }
}

/// An account on its way.
struct Sending {
    context: Context,
    group: Group,
    request: SendRequest,
    progress: SendProgress,
    told: Instant,
    pages: Sender<SendProgress>,
}

impl Sending {
    async fn run(mut self) -> Result<(), End> {
        self.emails().await?;
        if !self.request.emails_only {
            self.rows().await?;
            self.finish().await?;
        }
        self.progress.done = true;
        Ok(self.pages.send(self.progress).await?)
    }

    /// Tells how far it is, now and then. Fails once nobody listens, so that it does not go on.
    async fn tell(&mut self) -> Result<(), End> {
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            self.pages.send(self.progress).await?;
        }
        Ok(())
    }

    fn target(&self) -> ShardId {
        ShardId::new(self.request.to)
    }

    /// Sends every email that the new shard lacks.
    async fn emails(&mut self) -> Result<(), End> {
        let account = self.request.account;
        let ids = self
            .context
            .shards
            .read(&self.group, move |snapshot, space| {
                emails_of(snapshot, space, account).map_err(broken)
            });
        let ids = ids.await?;
        self.progress.emails = ids.len() as u64;
        for asked in ids.chunks(ASKED) {
            let missing = self.missing(asked).await?;
            self.progress.emails_sent += asked.len().saturating_sub(missing.len()) as u64;
            let mut under_way = JoinSet::new();
            for id in missing {
                if under_way.len() >= EMAILS_UNDER_WAY {
                    self.sent(&mut under_way).await?;
                }
                let (context, from) = (self.context.clone(), self.group.shard());
                under_way.spawn(send_email(context, from, self.request.clone(), id));
            }
            while !under_way.is_empty() {
                self.sent(&mut under_way).await?;
            }
        }
        Ok(())
    }

    /// Waits for one email that is under way.
    async fn sent(&mut self, under_way: &mut JoinSet<Result<u64, Status>>) -> Result<(), End> {
        let sent = tokio::select! {
            sent = under_way.join_next() => sent,
            () = self.pages.closed() => return Err(End::Gone),
        };
        if let Some(octets) = sent {
            self.progress.octets_sent += octets.map_err(internal)??;
            self.progress.emails_sent += 1;
        }
        self.tell().await
    }

    /// Which of these emails the new shard lacks.
    async fn missing(&self, emails: &[u64]) -> Result<Vec<u64>, Status> {
        let shards = &self.context.shards;
        let group = shards.group(self.target())?;
        let request = ListMissingRequest {
            cluster_id: self.request.cluster_id.clone(),
            shard: self.request.to,
            account: self.request.account,
            emails: emails.to_vec(),
        };
        if group.is_leader() {
            let answer = self.context.list_missing(Request::new(request)).await?;
            return Ok(answer.into_inner().emails);
        }
        let max = shards.max_message();
        let mut leader = TransferClient::new(shards.leader_channel(&group)?)
            .max_decoding_message_size(max)
            .max_encoding_message_size(max);
        let request = shards.onward(request);
        Ok(leader.list_missing(request).await?.into_inner().emails)
    }

    /// Sends the rows of the account, which must be closed.
    async fn rows(&mut self) -> Result<(), End> {
        let (id, by) = (self.request.account, self.request.r#move);
        let ranges = self
            .context
            .shards
            .read(&self.group, move |snapshot, space| {
                let row = account::row(snapshot, space, id).map_err(broken)?;
                match row.filter(|row| row.leaving == by) {
                    Some(_) => ranges_of(snapshot, space, id).map_err(broken),
                    None => Err(Status::failed_precondition("the account is not closed")),
                }
            });
        let mut under_way = JoinSet::new();
        for (place, (family, range)) in ranges.await?.into_iter().enumerate() {
            // Before any message, its mailbox: so an import that is abandoned finds what to clear.
            while place == FIRST && !under_way.is_empty() {
                self.rows_sent(&mut under_way).await?;
            }
            let mut next = Some(range);
            while let Some(range) = next {
                let page = self
                    .context
                    .shards
                    .look(self.group.shard(), move |snapshot, space| {
                        read_page(snapshot, space, id, family, range).map_err(broken)
                    });
                let page = page.await?;
                next = page.next;
                if page.rows.is_empty() {
                    continue;
                }
                if under_way.len() >= ROWS_UNDER_WAY {
                    self.rows_sent(&mut under_way).await?;
                }
                let (context, to) = (self.context.clone(), self.target());
                let command = ImportRowsCommand {
                    account: id,
                    r#move: by,
                    family: family.name().to_owned(),
                    rows: page.rows,
                };
                under_way.spawn(async move {
                    let rows = command.rows.len() as u64;
                    let kind = Kind::ImportRows(command);
                    context.shards.propose_anywhere(to, kind).await?;
                    Ok(rows)
                });
            }
        }
        while !under_way.is_empty() {
            self.rows_sent(&mut under_way).await?;
        }
        Ok(())
    }

    async fn rows_sent(&mut self, under_way: &mut JoinSet<Result<u64, Status>>) -> Result<(), End> {
        if let Some(rows) = under_way.join_next().await {
            self.progress.rows_sent += rows.map_err(internal)??;
        }
        self.tell().await
    }

    /// Ends the import: the account is on its new shard.
    async fn finish(&mut self) -> Result<(), End> {
        let (id, by) = (self.request.account, self.request.r#move);
        let row = self
            .context
            .shards
            .look(self.group.shard(), move |snapshot, space| {
                account::row(snapshot, space, id).map_err(broken)
            });
        let closed = row.await?.filter(|row| row.leaving == by);
        let row = closed.ok_or_else(|| Status::failed_precondition("the account is not closed"))?;
        let command = FinishImportCommand {
            account: id,
            r#move: by,
            row: encode(&row),
            limit: LET_GO,
        };
        let finished = self
            .context
            .shards
            .propose_anywhere(self.target(), Kind::FinishImport(command));
        match finished.await?.answer {
            Answer::Imported(_) => Ok(()),
            answer => Ok(unexpected(&answer)?),
        }
    }
}

/// The emails that the messages of an account show.
fn emails_of(rows: &impl Rows, space: Space, id: u64) -> Result<Vec<u64>, DbError> {
    let mut emails = Vec::new();
    for (mailbox, _) in mailbox::all(rows, space, id)? {
        let messages = message::all(space, id, mailbox);
        rows.visit(Family::Mailbox, &messages, &mut |_, value| {
            emails.push(MessageRow::decode(value)?.email);
            Ok(Flow::Continue(()))
        })?;
    }
    emails.sort_unstable();
    emails.dedup();
    Ok(emails)
}

/// All ranges in which rows of an account lie, but for its own row. Mailboxes that were removed and
/// are not yet empty are left out.
fn ranges_of(rows: &impl Rows, space: Space, id: u64) -> Result<Vec<(Family, Range)>, DbError> {
    let mut ranges = vec![
        (
            Family::Mailbox,
            Range::prefix(account::credential(space, id)),
        ),
        (Family::Mailbox, mailbox::names(space, id)),
        (Family::Mailbox, mailbox::subscriptions(space, id)),
        (Family::Mailbox, mailbox::mailboxes(space, id)),
        (Family::Dedupe, spool::filed_all(space)),
        (Family::Dedupe, spool::appended_of(space, id)),
        (Family::Dedupe, spool::appended_at_all(space)),
    ];
    for (mailbox, _) in mailbox::all(rows, space, id)? {
        ranges.extend([
            (Family::Mailbox, message::all(space, id, mailbox)),
            (Family::Mailbox, mailbox::deleted_all(space, id, mailbox)),
            (Family::Mailbox, mailbox::runs(space, id, mailbox)),
            (Family::Change, mailbox::changed_all(space, id, mailbox)),
            (Family::Change, mailbox::expunged_all(space, id, mailbox)),
        ]);
    }
    Ok(ranges)
}

/// Some rows, and where to go on.
struct Page {
    rows: Vec<ImportedRow>,
    next: Option<Range>,
}

/// The next rows of a range that belong to the account.
fn read_page(
    rows: &impl Rows,
    space: Space,
    id: u64,
    family: Family,
    range: Range,
) -> Result<Page, DbError> {
    let skip = space.key().as_slice().len();
    let (mut found, mut octets, mut looked) = (Vec::new(), 0, 0);
    let mut last = None;
    rows.visit(family, &range, &mut |key, value| {
        looked += 1;
        let tail = &key[skip..];
        if family != Family::Dedupe || spool::may_be_of(space, key, value, id)? {
            octets += key.len() + value.len();
            found.push(ImportedRow {
                key: Bytes::copy_from_slice(tail),
                value: Bytes::copy_from_slice(value),
            });
        }
        if octets < PAGE && looked < LOOKED_AT {
            return Ok(Flow::Continue(()));
        }
        last = Some(space.key().bytes(tail));
        Ok(Flow::Break(()))
    })?;
    Ok(Page {
        rows: found,
        next: last.map(|last| range.after(last)),
    })
}

/// Sends one email; returns the octets that it took. One that was removed meanwhile is left out.
async fn send_email(
    context: Context,
    from: ShardId,
    request: SendRequest,
    id: u64,
) -> Result<u64, Status> {
    let row = context.shards.look(from, move |snapshot, space| {
        email::find(snapshot, space, id).map_err(broken)
    });
    let Some(row) = row.await? else { return Ok(0) };
    let octets = row.body.iter().map(|part| part.length).sum::<u64>();
    let to = ShardId::new(request.to);
    let (body, source) = match send_body(&context, from, to, &request, id, &row, octets).await {
        // Expunged for good since its row was read.
        Err(status) if status.code() == Code::NotFound => return Ok(0),
        sent => sent?,
    };
    let command = ImportEmailCommand {
        account: request.account,
        r#move: request.r#move,
        email: id,
        content: row.content,
        size: row.size,
        body: Some(source),
    };
    let patience = context.config.forward_patience.get();
    let kind = Kind::ImportEmail(command);
    context
        .shards
        .propose_until_done(to, kind, body, patience)
        .await?;
    Ok(octets)
}

/// Sends the octets of an email: a small body goes with the command, a large one ahead in chunks.
async fn send_body(
    context: &Context,
    from: ShardId,
    to: ShardId,
    request: &SendRequest,
    id: u64,
    row: &EmailRow,
    octets: u64,
) -> Result<(Option<Bytes>, BodySource), Status> {
    if octets <= context.config.inline_limit.get() {
        let body = read_body(context, from, request, row, 0, octets).await?;
        let source = BodySource {
            length: octets,
            ..BodySource::default()
        };
        return Ok(((octets > 0).then_some(body), source));
    }
    let upload_id = format!("m{}.{id:x}.{:016x}", request.account, fastrand::u64(..));
    let chunk = context.config.chunk_size.get();
    let (mut sent, mut chunks) = (0, 0);
    while sent < octets {
        let length = chunk.min(octets - sent);
        let body = read_body(context, from, request, row, sent, length).await?;
        let kind = Kind::UploadChunk(UploadChunkCommand {
            upload_id: upload_id.clone(),
            number: chunks,
        });
        let patience = context.config.upload_patience.get();
        context
            .shards
            .propose_until_done(to, kind, Some(body), patience)
            .await?;
        sent += length;
        chunks += 1;
    }
    let source = BodySource {
        upload_id,
        chunks,
        upload_octets: octets,
        ..BodySource::default()
    };
    Ok((None, source))
}

/// Octets of an email's body. They leave at a bounded rate as long as nobody waits for the end.
async fn read_body(
    context: &Context,
    from: ShardId,
    request: &SendRequest,
    row: &EmailRow,
    offset: u64,
    length: u64,
) -> Result<Bytes, Status> {
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    if request.emails_only {
        context.mover.pacer.pass(size).await;
    }
    let mut octets = BytesMut::with_capacity(size);
    for part in body::slice(&row.body, offset, length) {
        octets.extend_from_slice(&body::read_part(context, from, part).await?);
    }
    Ok(octets.freeze())
}
