//! Moves under way: each is driven to its end by a task on the leader of the control group. The
//! shard's own leader does the work, some seconds at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use postino_proto::cluster::v1::{AdvanceMoveRequest, AdvanceMoveResponse, Progress};
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::{EndMoveCommand, RecordReplicasCommand};
use postino_types::{NodeId, ShardId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Status};

use super::facts::Facts;
use super::overview::progress;
use super::reports::Heard;
use crate::cluster::node_out;
use crate::model::directory::MoveRow;
use crate::raft::{Group, NodeAddress};
use crate::service::Context;
use crate::shards::elsewhere;

/// How long one request to take a move further may take; longer than it works on it.
const REQUEST: Duration = Duration::from_secs(15);
/// How long a shard's leader works on a move before it answers.
pub(super) const WORK: Duration = Duration::from_secs(5);
/// How long a move that is to be called off, of a shard that nobody leads, is tried for.
const LAST_TRIES: Duration = Duration::from_secs(60);
/// How long members may be changing before it is taken for a change that broke off.
const UNSETTLED: Duration = Duration::from_secs(20);
/// The pause after a request that failed.
const PAUSE: Duration = Duration::from_millis(300);

/// The tasks. They end when this is dropped.
#[derive(Default)]
pub(super) struct Drivers {
    tasks: JoinSet<u64>,
    driven: BTreeSet<u64>,
    /// Shards whose members are changing though nothing moves, and since when.
    unsettled: BTreeMap<ShardId, Instant>,
    settling: JoinSet<()>,
}

impl Drivers {
    /// Starts a task for each move that has none.
    pub(super) fn keep_up(&mut self, context: &Context, control: &Group, facts: &Facts) {
        while let Some(ended) = self.tasks.try_join_next() {
            // One that panicked stays driven: its next leader tries again.
            if let Ok(id) = ended {
                self.driven.remove(&id);
            }
        }
        for (shard, row) in &facts.moves {
            if !self.driven.insert(row.id) {
                continue;
            }
            let to = facts.nodes.get(&NodeId::new(row.to));
            let driver = Driver {
                context: context.clone(),
                control: control.clone(),
                shard: *shard,
                row: row.clone(),
                to: to.map(|node| NodeAddress {
                    id: NodeId::new(row.to),
                    endpoint: node.endpoint.clone(),
                }),
            };
            self.tasks.spawn(driver.run());
        }
    }

    /// Completes joint changes that nobody completes: a node may have died in mid-move, or been
    /// given up.
    pub(super) fn settle(&mut self, context: &Context, facts: &Facts, heard: &Heard) {
        while self.settling.try_join_next().is_some() {}
        let now = Instant::now();
        let mut unsettled = BTreeMap::new();
        for shard in heard.shards() {
            let changing = heard.leader(shard).is_some_and(|(_, group)| group.changing);
            if !changing || facts.moves.contains_key(&shard) {
                continue;
            }
            let since = self.unsettled.get(&shard).copied().unwrap_or(now);
            if now.saturating_duration_since(since) < UNSETTLED {
                unsettled.insert(shard, since);
                continue;
            }
            let context = context.clone();
            self.settling.spawn(async move {
                match advance(&context, shard, AdvanceMoveRequest::default()).await {
                    Ok(_) => tracing::info!(%shard, "a change of members is complete"),
                    Err(status) => tracing::debug!(%shard, %status, "a change stays half done"),
                }
            });
        }
        self.unsettled = unsettled;
    }
}

/// Has the leader of a shard take an exchange further.
async fn advance(
    context: &Context,
    shard: ShardId,
    request: AdvanceMoveRequest,
) -> Result<AdvanceMoveResponse, Status> {
    let group = context.shards.group(shard)?;
    let leader = group.leader().ok_or_else(|| elsewhere(&group))?;
    let mut request = Request::new(AdvanceMoveRequest {
        cluster_id: context.cluster_id()?,
        shard: shard.get(),
        control_term: context.control_term()?,
        ..request
    });
    request.set_timeout(REQUEST);
    let mut leader = context.placement_at(&leader.endpoint)?;
    let answer = leader.advance_move(request).await;
    answer.map(tonic::Response::into_inner)
}

struct Driver {
    context: Context,
    control: Group,
    shard: ShardId,
    row: MoveRow,
    to: Option<NodeAddress>,
}

impl Driver {
    async fn run(self) -> u64 {
        let id = self.row.id;
        let replicas = self.finish().await;
        loop {
            match self.end(replicas.clone()).await {
                Ok(()) => break,
                Err(status) => tracing::debug!(%status, shard = %self.shard, "not ended yet"),
            }
            sleep(PAUSE).await;
        }
        tracing::info!(shard = %self.shard, from = self.row.from, to = self.row.to, "a move is over");
        self.context.placement.plan_now.notify_one();
        id
    }

    /// Has the move taken further until it is done, makes no sense, or gets nowhere.
    async fn finish(&self) -> Option<RecordReplicasCommand> {
        let patience = self.context.config.placement.move_patience.get();
        let (mut furthest, mut since) = (Progress::default(), Instant::now());
        loop {
            let give_up = since.elapsed() > patience;
            match self.advance(give_up).await {
                Ok(answer) if answer.done => return answer.replicas,
                Ok(_) => {}
                Err(status) if is_senseless(&status) => {
                    tracing::warn!(%status, shard = %self.shard, "a move is called off");
                    return None;
                }
                Err(status) if since.elapsed() > patience + LAST_TRIES => {
                    // Whatever it left half done is for the planner to see.
                    tracing::warn!(%status, shard = %self.shard, "a move is given up");
                    return None;
                }
                Err(status) => {
                    tracing::debug!(%status, shard = %self.shard, "a move goes on later");
                    sleep(PAUSE).await;
                }
            }
            let now = self.progress();
            if now.matched > furthest.matched || now.snapshot_bytes > furthest.snapshot_bytes {
                furthest.matched = furthest.matched.max(now.matched);
                furthest.snapshot_bytes = furthest.snapshot_bytes.max(now.snapshot_bytes);
                since = Instant::now();
            }
        }
    }

    async fn advance(&self, give_up: bool) -> Result<AdvanceMoveResponse, Status> {
        let request = AdvanceMoveRequest {
            from: self.row.from,
            to: self.to.clone().map(node_out),
            give_up,
            ..AdvanceMoveRequest::default()
        };
        advance(&self.context, self.shard, request).await
    }

    /// How far the replica is that comes, as the shard's leader last reported.
    fn progress(&self) -> Progress {
        let heard = self.context.heard();
        let group = heard.leader(self.shard).map(|(_, group)| group);
        group.map_or_else(Progress::default, |group| progress(group, self.row.to))
    }

    async fn end(&self, replicas: Option<RecordReplicasCommand>) -> Result<(), Status> {
        let command = EndMoveCommand {
            shard: self.shard.get(),
            r#move: self.row.id,
            replicas,
        };
        let kind = Kind::EndMove(command);
        self.context
            .shards
            .propose(&self.control, kind, None)
            .await
            .map(drop)
    }
}

/// Whether asking again can only get the same answer.
fn is_senseless(status: &Status) -> bool {
    let codes = [
        Code::FailedPrecondition,
        Code::InvalidArgument,
        Code::NotFound,
    ];
    codes.contains(&status.code()) && postino_proto::Fault::of(status).is_none()
}
