//! The shards as the services use them: propose, read, on this node or on the one that leads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postino_client::{Channel, Channels};
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::shards_client::ShardsClient;
use postino_proto::store::v1::{ProposeRequest, ReadIndexRequest, RefusalKind, Refused};
use postino_proto::{Fault, FaultKind};
use postino_types::ShardId;
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::cluster::Cluster;
use crate::command;
use crate::db::{Db, DbError, Snapshot, Space};
use crate::levels;
use crate::raft::{Group, Proposal, RaftNode};

/// A command that is committed and applied.
#[derive(Debug)]
pub(crate) struct Committed {
    /// What apply answered.
    pub(crate) answer: Answer,
}

/// How long one try of a command that may be repeated waits for its answer.
const ONE_TRY: Duration = Duration::from_secs(3);

/// Access to the shards. Clones share it.
#[derive(Clone)]
pub(crate) struct Shards {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    cluster: Cluster,
    channels: Channels,
    patience: Duration,
}

impl Shards {
    pub(crate) fn new(db: Db, cluster: Cluster, channels: Channels, patience: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                db,
                cluster,
                channels,
                patience,
            }),
        }
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    /// This node's part in the cluster.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }

    pub(crate) fn node(&self) -> Result<RaftNode, Status> {
        self.inner.cluster.running()
    }

    /// The group of a shard, led by whoever.
    pub(crate) fn group(&self, shard: ShardId) -> Result<Group, Status> {
        let node = self.node()?;
        let group = node.group(shard);
        group.ok_or_else(|| Status::not_found(format!("the cluster has no shard {shard}")))
    }

    /// The group of a mail shard that this node leads.
    pub(crate) fn mail(&self, shard: u32) -> Result<Group, Status> {
        let shard = ShardId::new(shard);
        if shard.is_control() {
            return Err(Status::invalid_argument("shard 0 holds no mail"));
        }
        self.led(shard)
    }

    /// The group of a shard that this node holds a replica of.
    pub(crate) fn replica(&self, shard: ShardId) -> Result<Group, Status> {
        let group = self.group(shard)?;
        match group.is_leader() || group.is_member() {
            true => Ok(group),
            false => Err(elsewhere(&group)),
        }
    }

    /// The group of a shard that this node leads.
    pub(crate) fn led(&self, shard: ShardId) -> Result<Group, Status> {
        let group = self.group(shard)?;
        match group.is_leader() {
            true => Ok(group),
            false => Err(elsewhere(&group)),
        }
    }

    /// Refuses a command that not all replicas of the shard are known to understand: they would
    /// halt at it.
    pub(crate) fn check_level(&self, shard: ShardId, kind: &Kind) -> Result<(), Status> {
        let known = self.inner.cluster.levels();
        let (needed, allowed) = match kind {
            // The first level goes without a look.
            kind if levels::needed(kind) <= known.lowest => return Ok(()),
            Kind::RaiseLevel(raise) => (raise.level.max(levels::needed(kind)), known.highest),
            kind => (levels::needed(kind), self.inner.cluster.level(shard)),
        };
        match needed <= allowed.min(known.highest) {
            true => Ok(()),
            false => Err(Status::failed_precondition(format!(
                "that needs feature level {needed} of shard {shard}, which is at {allowed}; it \
                 rises by itself once every node supports it (postino cluster status)"
            ))),
        }
    }

    /// Has a command done by a group that this node leads. A refusal is a status.
    pub(crate) async fn propose(
        &self,
        group: &Group,
        kind: Kind,
        body: Option<Bytes>,
    ) -> Result<Committed, Status> {
        self.check_level(group.shard(), &kind)?;
        let answer = propose_to(group, proposal(kind, body)).await?;
        let answer = command::decode_answer(answer).map_err(internal)?;
        match answer {
            Answer::Refused(refused) => Err(refusal(refused)),
            answer => Ok(Committed { answer }),
        }
    }

    /// Has a command done by a group that this node led when the call came in; if another node has
    /// come to lead it meanwhile, by that one, since the octets are here. Only for commands that
    /// may be repeated.
    pub(crate) async fn propose_following(
        &self,
        group: &Group,
        kind: Kind,
        body: Option<Bytes>,
    ) -> Result<Committed, Status> {
        let tried = self.propose(group, kind.clone(), body.clone()).await;
        match tried {
            Err(status) if is_elsewhere(&status) => {
                // Shorter than the caller waits, who can ask elsewhere, too.
                self.propose_until_done(group.shard(), kind, body, ONE_TRY)
                    .await
            }
            outcome => outcome,
        }
    }

    /// Has a command without a body done by a shard, whoever leads it. Only for commands that may
    /// be repeated: the outcome of a try can get lost.
    pub(crate) async fn propose_anywhere(
        &self,
        shard: ShardId,
        kind: Kind,
    ) -> Result<Committed, Status> {
        self.propose_until_done(shard, kind, None, self.inner.patience)
            .await
    }

    pub(crate) async fn propose_until_done(
        &self,
        shard: ShardId,
        kind: Kind,
        body: Option<Bytes>,
        patience: Duration,
    ) -> Result<Committed, Status> {
        let unknown = |before: &str| {
            let why = format!("no answer from shard {shard}{before}");
            Status::from(Fault::new(FaultKind::Unknown, why))
        };
        let deadline = Instant::now() + patience;
        let mut submitted = false;
        let mut before = String::new();
        loop {
            // A node that hangs must not use up the time in which another one may lead.
            let one = deadline.min(Instant::now() + ONE_TRY);
            let tried = self.propose_once(shard, kind.clone(), body.clone());
            let outcome = tokio::time::timeout_at(one, tried).await;
            match outcome.unwrap_or_else(|_| Err(unknown(&before))) {
                Err(status) if is_passing(&status) => {
                    // What was perhaps done once stays so, whatever later tries prove of themselves.
                    submitted |= !is_unsubmitted(&status);
                    if Instant::now() >= deadline {
                        return Err(if submitted { unknown(&before) } else { status });
                    }
                    if is_unsubmitted(&status) {
                        before = format!("; before: {}", status.message());
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn propose_once(
        &self,
        shard: ShardId,
        kind: Kind,
        body: Option<Bytes>,
    ) -> Result<Committed, Status> {
        let group = self.group(shard)?;
        if group.is_leader() {
            return self.propose(&group, kind, body).await;
        }
        let max = self.max_message();
        let mut leader = ShardsClient::new(self.leader_channel(&group)?)
            .max_decoding_message_size(max)
            .max_encoding_message_size(max);
        let mut request = Request::new(ProposeRequest {
            shard: shard.get(),
            command: command::encode(kind),
            body: body.unwrap_or_default(),
        });
        request.set_timeout(ONE_TRY);
        let response = leader.propose(request).await?;
        let answer = command::decode_answer(response.into_inner().answer).map_err(internal)?;
        match answer {
            Answer::Refused(refused) => Err(refusal(refused)),
            answer => Ok(Committed { answer }),
        }
    }

    /// A channel to the node that leads a group. Calls on it want [`Shards::onward`] and
    /// [`Shards::max_message`].
    pub(crate) fn leader_channel(&self, group: &Group) -> Result<Channel, Status> {
        self.channel_to(&self.leader_endpoint(group)?)
    }

    /// A channel to the node at `endpoint`.
    pub(crate) fn channel_to(&self, endpoint: &str) -> Result<Channel, Status> {
        let channel = self.inner.channels.get(endpoint);
        channel.map_err(|error| Status::unavailable(error.to_string()))
    }

    /// Where the node is that leads a group.
    pub(crate) fn leader_endpoint(&self, group: &Group) -> Result<String, Status> {
        let leader = group.leader().ok_or_else(|| elsewhere(group))?;
        Ok(leader.endpoint)
    }

    /// The largest message to another node, each way.
    pub(crate) fn max_message(&self) -> usize {
        self.inner.channels.max_message()
    }

    /// A call to another node, which is not waited for without end.
    pub(crate) fn onward<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.inner.patience);
        request
    }

    /// Reads a shard that this node holds a replica of; sees every write that was acknowledged
    /// before.
    pub(crate) async fn read<T, F>(&self, group: &Group, read: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>, Space) -> Result<T, Status> + Send + 'static,
    {
        match group.is_leader() {
            true => group.read_barrier().await.map_err(Fault::from)?,
            false => self.follow_up(group).await?,
        }
        self.look(group.shard(), read).await
    }

    /// Returns once this replica has what its leader has.
    async fn follow_up(&self, group: &Group) -> Result<(), Status> {
        let mut leader = ShardsClient::new(self.leader_channel(group)?);
        let mut request = Request::new(ReadIndexRequest {
            shard: group.shard().get(),
        });
        request.set_timeout(ONE_TRY);
        let index = leader.read_index(request).await.map_err(|status| {
            // An older node, which only reads what it leads.
            match status.code() {
                tonic::Code::Unimplemented => elsewhere(group),
                _ => status,
            }
        });
        let index = index?.into_inner().index;
        let applied = tokio::time::timeout(ONE_TRY, group.applied(index)).await;
        // A replica that is behind, or was left behind: the leader can tell.
        let applied = applied.map_err(|_| elsewhere(group))?;
        Ok(applied.map_err(Fault::from)?)
    }

    /// Reads what this node has of a shard, however old that is.
    pub(crate) async fn look<T, F>(&self, shard: ShardId, read: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>, Space) -> Result<T, Status> + Send + 'static,
    {
        let db = self.inner.db.clone();
        // A read may wait for the disk.
        let read = tokio::task::spawn_blocking(move || {
            let (snapshot, space) = db.view(shard).map_err(broken)?;
            read(&snapshot, space)
        });
        read.await.map_err(internal)?
    }
}

/// A command as it is proposed.
fn proposal(kind: Kind, body: Option<Bytes>) -> Proposal {
    let urgent = command::is_urgent(&kind);
    let proposal = Proposal::new(command::encode(kind)).urgently(urgent);
    match body {
        Some(body) => proposal.with_body(body),
        None => proposal,
    }
}

/// Proposes a command.
pub(crate) async fn propose_to(group: &Group, proposal: Proposal) -> Result<Bytes, Status> {
    use tracing::Instrument;
    use tracing::field::Empty;
    let span = tracing::info_span!(
        "raft.commit",
        raft.group = group.shard().get(),
        raft.term = Empty,
        raft.index = Empty,
        raft.fsync_us = Empty,
    );
    let applied = group.propose(proposal).instrument(span.clone()).await;
    let applied = applied.map_err(Fault::from)?;
    span.record("raft.term", applied.term);
    span.record("raft.index", applied.index);
    if let Some(fsync) = applied.fsync {
        let micros = u64::try_from(fsync.as_micros()).unwrap_or(u64::MAX);
        span.record("raft.fsync_us", micros);
    }
    Ok(applied.answer)
}

/// The fault of a call that came to the wrong node.
pub(crate) fn elsewhere(group: &Group) -> Status {
    Fault::not_leader(group.leader().map(|leader| leader.endpoint)).into()
}

/// Another node leads, or none does; certainly nothing was submitted.
fn is_elsewhere(status: &Status) -> bool {
    Fault::of(status).is_some_and(|fault| fault.kind == FaultKind::NotLeader)
}

/// Certainly nothing was submitted.
fn is_unsubmitted(status: &Status) -> bool {
    let kinds = [
        FaultKind::NotLeader,
        FaultKind::Overloaded,
        FaultKind::Moving,
    ];
    Fault::of(status).is_some_and(|fault| kinds.contains(&fault.kind))
}

/// No leader at the moment, or another one, or a connection that broke: trying again may work.
fn is_passing(status: &Status) -> bool {
    use std::error::Error as _;
    use tonic::Code;
    let kind = Fault::of(status).map(|fault| fault.kind);
    match kind {
        Some(
            FaultKind::NotLeader | FaultKind::Unknown | FaultKind::Overloaded | FaultKind::Moving,
        ) => true,
        Some(_) => false,
        // Not from our services but from the transport: the node at the other end is going down.
        None => {
            let codes = [Code::Unavailable, Code::Unknown, Code::Cancelled];
            codes.contains(&status.code()) || status.source().is_some()
        }
    }
}

/// The status of a refused command.
pub(crate) fn refusal(refused: Refused) -> Status {
    let kind = match refused.kind() {
        RefusalKind::LeaseLost => FaultKind::LeaseLost,
        RefusalKind::OverQuota => FaultKind::OverQuota,
        RefusalKind::TooBig => FaultKind::TooBig,
        RefusalKind::UploadLost => FaultKind::UploadLost,
        RefusalKind::Held => FaultKind::Overloaded,
        RefusalKind::Moving => FaultKind::Moving,
        RefusalKind::Moved => return Fault::moved(ShardId::new(refused.shard)).into(),
        RefusalKind::NotFound => return Status::not_found(refused.message),
        RefusalKind::AlreadyExists => return Status::already_exists(refused.message),
        RefusalKind::FailedPrecondition => return Status::failed_precondition(refused.message),
        RefusalKind::Invalid => return Status::invalid_argument(refused.message),
        RefusalKind::Unspecified => return Status::internal(refused.message),
    };
    Fault::new(kind, refused.message).into()
}

/// An error of the database or of a row in it. The caller learns only that.
pub(crate) fn broken(error: DbError) -> Status {
    tracing::error!(%error, "a read failed");
    Status::internal("the store cannot read its data")
}

/// Something that cannot be.
pub(crate) fn internal(error: impl std::fmt::Display) -> Status {
    tracing::error!(%error, "internal error");
    Status::internal("internal error of the store")
}

/// The answer of a kind that the command cannot have.
pub(crate) fn unexpected<T>(answer: &Answer) -> Result<T, Status> {
    tracing::error!(?answer, "unexpected answer");
    Err(Status::internal("internal error of the store"))
}
