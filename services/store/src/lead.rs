//! What a node does while it leads a shard: it forgets what is old, and completes what is half
//! done.

use std::time::Duration;

use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{EndHoldCommand, ReapAnswer, ReapCommand};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::db::{DbError, Family, Space};
use crate::model::spool::{self, ShardRow, UploadRow};
use crate::model::{Rows, decode};
use crate::placement;
use crate::raft::Group;
use crate::service::{Context, now_ms};
use crate::shards::broken;

/// How often accounts that are under way are looked for.
const SAGAS: Duration = Duration::from_secs(5);

/// Looks after one shard until the node stops.
pub(crate) async fn run(context: Context, group: Group, stop: CancellationToken) {
    let mut leadership = group.leadership();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            leads = leadership.wait_for(|now| now.is_leader) => if leads.is_err() { return },
        }
        context.placement.report_soon();
        let term = leadership.borrow().term;
        let over = leadership.wait_for(|now| !now.is_leader || now.term != term);
        tokio::select! {
            () = stop.cancelled() => return,
            ended = over => if ended.is_err() { return },
            () = lead(&context, &group, term) => {}
        }
        context.placement.report_soon();
    }
}

async fn lead(context: &Context, group: &Group, term: u64) {
    if group.shard().is_control() {
        tokio::join!(
            complete(context),
            context.move_accounts(),
            placement::conduct(context, group)
        );
        return;
    }
    start_lease(context, group, term).await;
    let reaping = async {
        loop {
            reap(context, group).await;
            tokio::select! {
                () = tokio::time::sleep(context.config.reap_interval.get()) => {}
                () = context.reaper.notified() => {}
            }
        }
    };
    tokio::join!(reaping, end_holds(context, group));
}

/// Ends holds that whoever takes a backup has left behind. They end by the shard's time, too; but
/// that can stand still for long, if the clock of an earlier leader was ahead.
async fn end_holds(context: &Context, group: &Group) {
    let mut seen = None;
    loop {
        tokio::time::sleep(context.config.backup.hold.get()).await;
        let row = context.shards.look(group.shard(), |snapshot, space| {
            let row: Option<ShardRow> = snapshot
                .row(Family::Spool, spool::shard(space))
                .map_err(broken)?;
            Ok(row.unwrap_or_default().hold)
        });
        let hold = row.await.ok().flatten().filter(|hold| !hold.ended);
        let cut = hold.map(|hold| hold.cut);
        if let (Some(cut), true) = (&cut, cut == seen) {
            let end = Kind::EndHold(EndHoldCommand { cut: cut.clone() });
            // Refused if its time is over.
            let _ = context.shards.propose(group, end, None).await;
        }
        seen = cut;
    }
}

/// Completes accounts that are half made or half removed.
async fn complete(context: &Context) {
    loop {
        context.advance_sagas().await;
        tokio::time::sleep(SAGAS).await;
    }
}

/// The holder of record has its full time from now.
async fn start_lease(context: &Context, group: &Group, term: u64) {
    let row = context.shards.read(group, |snapshot, space| {
        let row = snapshot
            .row(Family::Spool, spool::lease(space))
            .map_err(broken)?;
        Ok(row.unwrap_or_default())
    });
    if let Ok(row) = row.await {
        context
            .leases
            .remaining(group.shard(), term, &row, Instant::now());
    }
}

/// Forgets what is old, a page at a time. Nothing is written if there is nothing.
async fn reap(context: &Context, group: &Group) {
    loop {
        let config = &context.config;
        let now = now_ms();
        let command = ReapCommand {
            uploads_before_ms: now.saturating_sub(config.upload_ttl.as_millis()),
            accepted_before_ms: now.saturating_sub(config.accepted_ttl.as_millis()),
            filed_before_ms: now.saturating_sub(config.filed_ttl.as_millis()),
            appended_before_ms: now.saturating_sub(config.appended_ttl.as_millis()),
            limit: config.reap_page,
        };
        match reap_page(context, group, command).await {
            Ok(true) => tokio::task::yield_now().await,
            Ok(false) => return,
            Err(status) => {
                tracing::debug!(shard = %group.shard(), %status, "reaping goes on later");
                return;
            }
        }
    }
}

async fn reap_page(context: &Context, group: &Group, command: ReapCommand) -> Result<bool, Status> {
    let check = command;
    let due = context.shards.look(group.shard(), move |snapshot, space| {
        is_due(snapshot, space, &check).map_err(broken)
    });
    if !due.await? {
        return Ok(false);
    }
    let committed = context
        .shards
        .propose(group, Kind::Reap(command), None)
        .await?;
    Ok(matches!(
        committed.answer,
        Answer::Reaped(ReapAnswer { more: true })
    ))
}

/// Whether there is anything to reap.
fn is_due(rows: &impl Rows, space: Space, command: &ReapCommand) -> Result<bool, DbError> {
    let shard: Option<ShardRow> = rows.row(Family::Spool, spool::shard(space))?;
    let shard = shard.unwrap_or_default();
    let (accepted, filed) = (shard.accepted_floor_ms, shard.filed_floor_ms);
    let ranges = [
        (Family::Spool, spool::doomed_all(space)),
        (
            Family::Spool,
            spool::marks_between(space, accepted, command.accepted_before_ms),
        ),
        (
            Family::Dedupe,
            spool::filed_between(space, filed, command.filed_before_ms),
        ),
        (
            Family::Dedupe,
            spool::appended_before(space, command.appended_before_ms),
        ),
    ];
    for (family, range) in ranges {
        if rows.head(family, &range)?.is_some() {
            return Ok(true);
        }
    }
    for (_, row) in rows.page(Family::Spool, &spool::uploads(space), usize::MAX)? {
        if decode::<UploadRow>(row)?.last_ms < command.uploads_before_ms {
            return Ok(true);
        }
    }
    Ok(false)
}
