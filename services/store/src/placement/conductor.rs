//! What the leader of the control group does about placement, round by round: it records what
//! nodes report, has planned steps done, and sees to it that moves go on.

use std::time::Duration;

use futures::future::join_all;
use postino_proto::cluster::v1::GiveLeadRequest;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::{BeginMoveCommand, MoveCause, NodeState, RaiseLevelCommand};
use postino_types::NodeId;
use tokio::time::Instant;
use tonic::{Request, Status};

use super::driver::Drivers;
use super::facts::Facts;
use super::levels;
use super::picture::{Lead, Move, Picture};
use super::plan::{Limits, Plan, plan};
use super::reports::Heard;
use crate::raft::Group;
use crate::service::Context;

/// How long a lead may take to go to another node.
pub(super) const GIVE_LEAD: Duration = Duration::from_secs(4);
/// Intervals after which a node that does not report is taken for dead.
const SILENT: u32 = 5;
/// And never sooner than this.
const SILENT_LEAST: Duration = Duration::from_secs(3);
/// The pause after a round that did something.
const SOON: Duration = Duration::from_millis(100);

/// Works for as long as this node leads the control group; the future is dropped then.
pub(crate) async fn conduct(context: &Context, control: &Group) {
    // The rows of earlier terms must be there: a move that has ended must not be driven again.
    while control.read_barrier().await.is_err() {
        tokio::time::sleep(SOON).await;
    }
    let now = Instant::now();
    let mut conductor = Conductor {
        context,
        control,
        began: now,
        acted: now,
        drivers: Drivers::default(),
    };
    loop {
        let pause = match conductor.round().await {
            Ok(0) => context.config.placement.interval.get(),
            Ok(_) => SOON,
            Err(status) => {
                tracing::debug!(%status, "placement goes on later");
                context.config.placement.interval.get()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = context.placement.plan_now.notified() => {}
        }
    }
}

struct Conductor<'a> {
    context: &'a Context,
    control: &'a Group,
    /// When this node came to lead.
    began: Instant,
    /// When leads were last given away, or levels raised: older reports tell of what was.
    acted: Instant,
    drivers: Drivers,
}

impl Conductor<'_> {
    /// Returns how much was done.
    async fn round(&mut self) -> Result<usize, Status> {
        let facts = Facts::look(self.context).await?;
        let heard = self.context.heard();
        self.context.placement.remember(facts.clone());
        self.drivers.keep_up(self.context, self.control, &facts);
        self.drivers.settle(self.context, &facts, &heard);
        let mut news = facts.news(&heard);
        // Before everybody has had the time to report, those that live look like dead ones.
        if self.began.elapsed() > self.context.silence() {
            news.extend(facts.superseded(&heard));
        }
        // At once, so that they share an entry.
        let news = news.into_iter();
        let records = news.map(|kind| self.context.shards.propose(self.control, kind, None));
        let mut done = 0;
        for recorded in join_all(records).await {
            match recorded {
                Ok(_) => done += 1,
                Err(status) => tracing::debug!(%status, "not recorded"),
            }
        }
        if heard.all_since(self.acted)
            && let Some(raise) = levels::next(&facts, &heard)
        {
            done += self.raise(&raise).await;
            self.acted = Instant::now();
        }
        if done > 0 || !self.sees_all(&facts, &heard) {
            return Ok(done);
        }
        let next = self.context.next_steps(&facts, &heard, facts.moves.len());
        for planned in &next.moves {
            match self.begin(planned).await {
                Ok(()) => done += 1,
                Err(status) => tracing::debug!(%status, ?planned, "not begun"),
            }
        }
        done += next.leads.len();
        if !next.leads.is_empty() {
            self.give(&next.leads, &heard).await;
            self.acted = Instant::now();
        }
        if next.len() == 0 && facts.moves.is_empty() {
            self.context.placement.rebalanced();
        }
        Ok(done)
    }

    /// Raises the feature level of shards. Returns of how many.
    async fn raise(&self, raise: &levels::Raise) -> usize {
        let level = raise.level;
        let raises = raise.shards.iter().map(|shard| async move {
            let kind = Kind::RaiseLevel(RaiseLevelCommand { level });
            match self.context.shards.propose_anywhere(*shard, kind).await {
                Ok(_) => {
                    tracing::info!(%shard, level, "the feature level is raised");
                    1
                }
                Err(status) => {
                    tracing::debug!(%status, %shard, "the feature level stays");
                    0
                }
            }
        });
        join_all(raises).await.into_iter().sum()
    }

    /// Whether what is known is new and complete enough to plan: right after an election, nodes
    /// that have not reported yet look like dead ones.
    fn sees_all(&self, facts: &Facts, heard: &Heard) -> bool {
        let expected = |node: &NodeId| {
            let state = facts.state(*node);
            state == NodeState::Active || state == NodeState::Draining
        };
        let mut expected = facts.nodes.keys().filter(|node| expected(node));
        let patience = self.context.silence();
        !self.context.shards.cluster().is_admitting()
            && heard.all_since(self.acted)
            && (self.began.elapsed() > patience || expected.all(|node| heard.is_alive(*node)))
    }

    async fn begin(&self, planned: &Move) -> Result<(), Status> {
        let number = |node: Option<NodeId>| node.map_or(0, NodeId::get);
        let command = BeginMoveCommand {
            shard: planned.shard.get(),
            from: number(planned.from),
            to: number(planned.to),
            cause: planned.cause.into(),
            limit: self.context.config.placement.moves_at_once,
        };
        let kind = Kind::BeginMove(command);
        self.context
            .shards
            .propose(self.control, kind, None)
            .await?;
        tracing::info!(?planned, "a replica moves");
        Ok(())
    }

    async fn give(&self, leads: &[Lead], heard: &Heard) {
        let gifts = leads.iter().map(|lead| async move {
            if let Err(status) = self.give_one(*lead, heard).await {
                tracing::debug!(%status, ?lead, "the lead stays");
            }
        });
        join_all(gifts).await;
    }

    async fn give_one(&self, lead: Lead, heard: &Heard) -> Result<(), Status> {
        let report = heard.nodes.get(&lead.from);
        let endpoint = report.and_then(|report| report.node.as_ref());
        let Some(endpoint) = endpoint.map(|node| &node.endpoint) else {
            return Ok(());
        };
        let mut request = Request::new(GiveLeadRequest {
            cluster_id: self.context.cluster_id()?,
            shard: lead.shard.get(),
            to: lead.to.get(),
            control_term: self.context.control_term()?,
        });
        request.set_timeout(GIVE_LEAD);
        let mut leader = self.context.placement_at(endpoint)?;
        leader.give_lead(request).await.map(drop)
    }
}

impl Context {
    /// The reports of now.
    pub(super) fn heard(&self) -> Heard {
        let now = Instant::now();
        self.placement.reports.heard(now, self.silence())
    }

    /// After how long without a report a node is taken for dead.
    pub(super) fn silence(&self) -> Duration {
        (self.config.placement.interval.get() * SILENT).max(SILENT_LEAST)
    }

    /// What the planner would do next while so many moves are under way, of what it may do.
    pub(super) fn next_steps(&self, facts: &Facts, heard: &Heard, under_way: usize) -> Plan {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let settings = &self.config.placement;
        let limits = Limits {
            replicas: count(settings.replicas),
            moves: count(settings.moves_at_once).saturating_sub(under_way),
            leads: count(settings.leads_at_once),
        };
        let picture = facts.picture(heard);
        let planned = plan(&picture, &limits);
        match settings.automatic || self.placement.is_rebalancing() {
            true => planned,
            false => asked_for(planned, &picture),
        }
    }
}

/// Of what is planned, what needs no asking: a node that is drained or stops gives away what it
/// has.
fn asked_for(planned: Plan, picture: &Picture) -> Plan {
    let drains = |planned: &Move| planned.cause == MoveCause::Drain;
    Plan {
        moves: planned.moves.into_iter().filter(drains).collect(),
        leads: planned
            .leads
            .into_iter()
            .filter(|lead| !picture.takes(lead.from))
            .collect(),
    }
}
