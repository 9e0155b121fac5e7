//! `Backup`: what a backup asks of the nodes, and what a restore puts into one.

use std::time::Duration;

use futures::{StreamExt, stream};
use postino_proto::Fault;
use postino_proto::admin::v1::backup_server::Backup;
use postino_proto::admin::v1::read_step::Step as ReadingStep;
use postino_proto::admin::v1::restore_step::Step as RestoringStep;
use postino_proto::admin::v1::shard_part::Part;
use postino_proto::admin::v1::*;
use postino_proto::raft::v1 as raft_proto;
use postino_proto::raft::v1::snapshot_part::Part as SnapshotPart;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::{EndHoldCommand, HoldCommand};
use postino_types::ShardId;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::pages::{self, End, Pages, Sender};
use super::{Context, now_ms};
use crate::cluster::RestoreError;
use crate::raft::{self, Cut};
use crate::shards::internal;

/// Shards that are asked at once.
const AT_ONCE: usize = 64;
/// Parts of a restore that wait to be written.
const WAITING: usize = 2;
/// How long no step of a restore may come.
const SILENCE: Duration = Duration::from_secs(120);

#[tonic::async_trait]
impl Backup for Context {
    async fn hold(&self, request: Request<HoldRequest>) -> Result<Response<HoldResponse>, Status> {
        let cut = request.into_inner().cut;
        if cut.is_empty() {
            return Err(Status::invalid_argument("a cut needs a name"));
        }
        let for_ms = self.config.backup.hold.as_millis();
        let hold = || {
            Kind::Hold(HoldCommand {
                cut: cut.clone(),
                for_ms,
            })
        };
        self.on_mail_shards(hold).await?;
        Ok(Response::new(HoldResponse {}))
    }

    async fn end_hold(
        &self,
        request: Request<EndHoldRequest>,
    ) -> Result<Response<EndHoldResponse>, Status> {
        let cut = request.into_inner().cut;
        let end = || Kind::EndHold(EndHoldCommand { cut: cut.clone() });
        // Also on the others if one says that the cut is no good.
        self.on_mail_shards(end).await?;
        Ok(Response::new(EndHoldResponse {}))
    }

    type ReadStream = Pages<ShardPart>;

    async fn read(
        &self,
        request: Request<Streaming<ReadStep>>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let mut steps = request.into_inner();
        let Some(ReadingStep::Open(open)) = steps.message().await?.and_then(|step| step.step)
        else {
            return Err(Status::invalid_argument("a read starts with open"));
        };
        let shard = ShardId::new(open.shard);
        let group = self.shards.led(shard)?;
        // What was acknowledged anywhere before this call is in the cut.
        group.read_barrier().await.map_err(Fault::from)?;
        let cut = raft::cut(self.shards.db().clone(), shard, open.bodies_after).await;
        let cut = cut.map_err(internal)?;
        let cut = cut.ok_or_else(|| Status::unavailable("the shard has not begun yet"))?;
        if cut.index < open.bodies_after {
            let ahead = format!("shard {shard} has not come as far as the earlier backup says");
            return Err(Status::failed_precondition(ahead));
        }
        let identity = *self.shards.node()?.identity();
        let head = ShardHead {
            cluster_id: identity.cluster.to_bytes(),
            shard_count: identity.shard_count,
            shard: shard.get(),
            term: cut.term,
            index: cut.index,
            bodies_after: open.bodies_after,
        };
        let context = self.clone();
        Ok(Response::new(pages::stream(move |pages| async move {
            let lifetime = context.config.backup.lifetime.get();
            tokio::select! {
                ended = context.send(head, cut, steps, &pages) => ended,
                () = pages.closed() => Err(End::Gone),
                () = tokio::time::sleep(lifetime) => {
                    let late = "reading the shard took too long; see store.backup.lifetime";
                    Err(Status::deadline_exceeded(late).into())
                }
            }
        })))
    }

    async fn restore(
        &self,
        request: Request<Streaming<RestoreStep>>,
    ) -> Result<Response<RestoreResponse>, Status> {
        let mut steps = Steps(request.into_inner());
        let RestoringStep::Begin(begin) = steps.next().await? else {
            return Err(Status::invalid_argument("a restore starts with begin"));
        };
        let restoring = self.shards.cluster().begin_restore(begin.shard_count);
        let restoring = restoring.await.map_err(refused)?;
        for shard in 0..=begin.shard_count {
            let RestoringStep::Part(ShardPart {
                part: Some(Part::Head(head)),
            }) = steps.next().await?
            else {
                return Err(Status::invalid_argument("a shard starts with its head"));
            };
            if (head.shard, head.shard_count) != (shard, begin.shard_count) {
                return Err(Status::invalid_argument("a shard is missing"));
            }
            let (parts, taken) = mpsc::channel(WAITING);
            let place = (head.term, head.index);
            let writing = restoring.shard(ShardId::new(shard), place, now_ms(), taken);
            let sent = steps.pass_shard(parts).await;
            // What the writer says is the reason, if it went first.
            writing.await.map_err(internal)?.map_err(refused)?;
            sent?;
        }
        let RestoringStep::Finish(_) = steps.next().await? else {
            return Err(Status::invalid_argument("there are more shards than said"));
        };
        let identity = restoring.finish().await.map_err(refused)?;
        Ok(Response::new(RestoreResponse {
            cluster_id: identity.cluster.to_bytes(),
        }))
    }
}

impl Context {
    /// Has a command done by every mail shard.
    async fn on_mail_shards(&self, command: impl Fn() -> Kind) -> Result<(), Status> {
        let shards = self.shards.node()?.identity().mail_shards();
        let done: Vec<Result<_, Status>> = stream::iter(shards)
            .map(|shard| self.shards.propose_anywhere(shard, command()))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        done.into_iter().try_for_each(|one| one.map(drop))
    }

    /// The head; then, once it is asked for, the rows.
    async fn send(
        &self,
        head: ShardHead,
        cut: Cut,
        mut steps: Streaming<ReadStep>,
        pages: &Sender<ShardPart>,
    ) -> Result<(), End> {
        let part = |part| ShardPart { part: Some(part) };
        pages.send(part(Part::Head(head))).await?;
        let Some(ReadingStep::Go(_)) = steps.message().await?.and_then(|step| step.step) else {
            return Ok(());
        };
        let mut rows = cut.read();
        while let Some(raft_proto::SnapshotPart { part: Some(read) }) = rows.recv().await {
            let (read, bytes) = match read {
                SnapshotPart::Rows(rows) => {
                    let bytes = rows.rows.iter().map(|row| row.key.len() + row.value.len());
                    let bytes = bytes.sum();
                    (Part::Rows(rows), bytes)
                }
                SnapshotPart::End(end) => (Part::End(end), 0),
                SnapshotPart::Head(_) => continue,
            };
            self.backups.pass(bytes).await;
            pages.send(part(read)).await?;
        }
        Ok(())
    }
}

/// The steps of a restore.
struct Steps(Streaming<RestoreStep>);

impl Steps {
    async fn next(&mut self) -> Result<RestoringStep, Status> {
        let step = tokio::time::timeout(SILENCE, self.0.message()).await;
        let step = step.map_err(|_| Status::deadline_exceeded("the backup stopped coming"))??;
        step.and_then(|step| step.step)
            .ok_or_else(|| Status::cancelled("the backup ended before its end"))
    }

    /// Hands the parts of one shard on, up to its end.
    async fn pass_shard(
        &mut self,
        parts: mpsc::Sender<raft_proto::SnapshotPart>,
    ) -> Result<(), Status> {
        loop {
            let RestoringStep::Part(ShardPart { part: Some(part) }) = self.next().await? else {
                return Err(Status::invalid_argument("a shard has no end"));
            };
            let (part, last) = match part {
                Part::Rows(rows) => (SnapshotPart::Rows(rows), false),
                Part::End(end) => (SnapshotPart::End(end), true),
                Part::Head(_) => return Err(Status::invalid_argument("a shard has no end")),
            };
            let part = raft_proto::SnapshotPart { part: Some(part) };
            let taken = parts.send(part).await;
            taken.map_err(|_| Status::aborted("the rows are not taken"))?;
            if last {
                return Ok(());
            }
        }
    }
}

fn refused(error: RestoreError) -> Status {
    match error {
        RestoreError::Cluster(error) => error.into(),
        RestoreError::Rows(_) => {
            tracing::error!(%error, "a restore failed");
            Status::data_loss(format!(
                "{error}: repeat the restore; if that fails too, check the backup (postino backup verify) and \
                 this node's disk"
            ))
        }
    }
}
