//! Why a proposal, a read or a change of members fails, and what a caller may do about it.

use postino_proto::{Fault, FaultKind};
use postino_types::ShardId;

use super::NodeAddress;

/// Why a proposal has no answer. [`ProposeError::may_have_been_submitted`] tells
/// whether it can still come to be committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads the shard, or none does. Nothing was submitted.
    #[error("this node does not lead the shard")]
    NotLeader {
        /// The leader, if one is known.
        leader: Option<NodeAddress>,
    },
    /// Too many proposals wait. Nothing was submitted; later may be better.
    #[error("too many proposals are waiting")]
    Overloaded,
    /// The disk of this node is full. Nothing was submitted; later may be better.
    #[error("the disk of this node is full")]
    DiskFull,
    /// The proposal is larger than any may be. Nothing was submitted.
    #[error("a proposal of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The group has stopped on this node. Nothing was submitted.
    #[error("the shard has stopped on this node")]
    Stopped,
    /// The proposal was submitted and then lost sight of: it may be committed, now
    /// or later, or never. Whoever asks again must do so idempotently.
    #[error("the outcome of the proposal is unknown")]
    Unknown,
}

impl ProposeError {
    /// Whether the command can have taken effect, or still take effect.
    pub const fn may_have_been_submitted(&self) -> bool {
        matches!(self, Self::Unknown)
    }

    /// Whether the same proposal can succeed later or elsewhere.
    pub const fn is_temporary(&self) -> bool {
        !matches!(self, Self::TooLarge { .. })
    }
}

/// Why a read would not be sure to see the latest writes. All of it is temporary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another node leads the shard, or none does.
    #[error("this node does not lead the shard")]
    NotLeader {
        /// The leader, if one is known.
        leader: Option<NodeAddress>,
    },
    /// Too few replicas answered in time to know that this node still leads.
    #[error("no majority of the replicas answered")]
    NoQuorum,
    /// The group has stopped on this node.
    #[error("the shard has stopped on this node")]
    Stopped,
}

/// Why the members of a group could not be changed. Trying again is safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Another node leads the shard, or none does.
    #[error("this node does not lead the shard")]
    NotLeader {
        /// The leader, if one is known.
        leader: Option<NodeAddress>,
    },
    /// The change was refused or did not come to an end.
    #[error("the members could not be changed: {0}")]
    Refused(String),
    /// It makes no sense for the members that there are.
    #[error("{0}")]
    Senseless(&'static str),
    /// It takes longer than it may.
    #[error("the change was not done in time")]
    Timeout,
    /// The group has stopped on this node.
    #[error("the shard has stopped on this node")]
    Stopped,
}

/// Why this node's groups could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    /// The settings contradict each other.
    #[error("the raft settings are not valid: {0}")]
    Settings(String),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] crate::db::DbError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A group could not start or could not be initialised.
    #[error("shard {shard}: {reason}")]
    Group {
        /// The shard.
        shard: ShardId,
        /// Why.
        reason: String,
    },
}

fn elsewhere(leader: Option<NodeAddress>) -> Fault {
    Fault::not_leader(leader.map(|leader| leader.endpoint))
}

impl From<ProposeError> for Fault {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { leader } => elsewhere(leader),
            ProposeError::Overloaded | ProposeError::DiskFull => {
                Self::new(FaultKind::Overloaded, error.to_string())
            }
            ProposeError::TooLarge { .. } => Self::new(FaultKind::TooBig, error.to_string()),
            // A replica that has stopped leads nothing; another one will.
            ProposeError::Stopped => elsewhere(None),
            ProposeError::Unknown => Self::new(FaultKind::Unknown, error.to_string()),
        }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotLeader { leader } => elsewhere(leader),
            ReadError::NoQuorum | ReadError::Stopped => elsewhere(None),
        }
    }
}
