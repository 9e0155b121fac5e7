//! The shards as the services use them: propose, read, on this node or on the one that leads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::shards_client::ShardsClient;
use postino_proto::store::v1::{ProposeRequest, RefusalKind, Refused};
use postino_proto::{Fault, FaultKind};
use postino_types::ShardId;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::Cluster;
use crate::command;
use crate::db::{Db, DbError, Snapshot, Space};
use crate::raft::{Group, Proposal, RaftNode};

/// What apply answered, and where in the log the command is.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) answer: Answer,
}

/// Access to the shards. Clones share it.
#[derive(Clone)]
pub(crate) struct Shards {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    cluster: Cluster,
    channels: Mutex<HashMap<String, Channel>>,
    patience: Duration,
}

impl Shards {
    pub(crate) fn new(db: Db, cluster: Cluster, patience: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                db,
                cluster,
                channels: Mutex::default(),
                patience,
            }),
        }
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn node(&self) -> Result<RaftNode, Status> {
        let missing = || Fault::new(FaultKind::Uninitialised, "this node is in no cluster yet");
        Ok(self.inner.cluster.node().ok_or_else(missing)?)
    }

    /// The group of a shard, led by whoever.
    pub(crate) fn group(&self, shard: ShardId) -> Result<Group, Status> {
        let node = self.node()?;
        let group = node.group(shard).cloned();
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

    /// The group of a shard that this node leads.
    pub(crate) fn led(&self, shard: ShardId) -> Result<Group, Status> {
        let group = self.group(shard)?;
        match group.is_leader() {
            true => Ok(group),
            false => Err(elsewhere(&group)),
        }
    }

    /// Has a command done by a group that this node leads. A refusal is a status.
    pub(crate) async fn propose(
        &self,
        group: &Group,
        kind: Kind,
        body: Option<Bytes>,
    ) -> Result<Committed, Status> {
        let bytes = command::encode(kind);
        let answer = propose_bytes(group, bytes, body).await?;
        let answer = command::decode_answer(answer).map_err(internal)?;
        match answer {
            Answer::Refused(refused) => Err(refusal(refused)),
            answer => Ok(Committed { answer }),
        }
    }

    /// Has a command without a body done by a shard, whoever leads it. Only for commands that may
    /// be repeated: the outcome of a try can get lost.
    pub(crate) async fn propose_anywhere(
        &self,
        shard: ShardId,
        kind: Kind,
    ) -> Result<Committed, Status> {
        let deadline = Instant::now() + self.inner.patience;
        loop {
            match self.propose_once(shard, kind.clone()).await {
                Err(status) if is_passing(&status) && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn propose_once(&self, shard: ShardId, kind: Kind) -> Result<Committed, Status> {
        let group = self.group(shard)?;
        if group.is_leader() {
            return self.propose(&group, kind, None).await;
        }
        let channel = self.leader_channel(&group)?;
        let request = ProposeRequest {
            shard: shard.get(),
            command: command::encode(kind),
        };
        let response = ShardsClient::new(channel).propose(request).await?;
        let answer = command::decode_answer(response.into_inner().answer).map_err(internal)?;
        match answer {
            Answer::Refused(refused) => Err(refusal(refused)),
            answer => Ok(Committed { answer }),
        }
    }

    /// A channel to the node that leads a group.
    pub(crate) fn leader_channel(&self, group: &Group) -> Result<Channel, Status> {
        let leader = group.leader().ok_or_else(|| elsewhere(group))?;
        let mut channels = self
            .inner
            .channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&leader.endpoint) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(leader.endpoint.clone()).map_err(internal)?;
        let channel = endpoint
            .connect_timeout(Duration::from_secs(2))
            .connect_lazy();
        channels.insert(leader.endpoint, channel.clone());
        Ok(channel)
    }

    /// Reads a shard that this node leads; sees every write that was acknowledged before.
    pub(crate) async fn read<T, F>(&self, group: &Group, read: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>, Space) -> Result<T, Status> + Send + 'static,
    {
        group.read_barrier().await.map_err(Fault::from)?;
        self.look(group.shard(), read).await
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
            let space = db.space(shard).map_err(broken)?;
            read(&db.snapshot(), space)
        });
        read.await.map_err(internal)?
    }
}

/// Proposes a command that is encoded already.
pub(crate) async fn propose_bytes(
    group: &Group,
    command: Bytes,
    body: Option<Bytes>,
) -> Result<Bytes, Status> {
    use tracing::Instrument;
    use tracing::field::Empty;
    let span = tracing::info_span!(
        "raft.commit",
        raft.group = group.shard().get(),
        raft.term = Empty,
        raft.index = Empty,
        raft.fsync_us = Empty,
    );
    let proposal = Proposal { command, body };
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

/// No leader at the moment, or another one: trying again may work.
fn is_passing(status: &Status) -> bool {
    let kind = Fault::of(status).map(|fault| fault.kind);
    match kind {
        Some(FaultKind::NotLeader | FaultKind::Unknown | FaultKind::Overloaded) => true,
        Some(_) => false,
        None => status.code() == tonic::Code::Unavailable,
    }
}

/// The status of a refused command.
pub(crate) fn refusal(refused: Refused) -> Status {
    let kind = match refused.kind() {
        RefusalKind::LeaseLost => FaultKind::LeaseLost,
        RefusalKind::OverQuota => FaultKind::OverQuota,
        RefusalKind::TooBig => FaultKind::TooBig,
        RefusalKind::UploadLost => FaultKind::UploadLost,
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
