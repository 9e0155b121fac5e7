//! What our own calls fail with, beyond the gRPC code: carried in metadata, so that a caller can
//! act on it without reading a text that is meant for people.

use postino_types::ShardId;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

const KIND: &str = "postino-fault";
const LEADER: &str = "postino-leader";
const SHARD: &str = "postino-shard";

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// This node does not lead the shard; nothing was submitted. The fault may name the leader.
    NotLeader,
    /// Submitted, and the outcome is not known: ask again with the same id.
    Unknown,
    /// Over a limit for the moment; nothing was submitted.
    Overloaded,
    /// The lease epoch is not the current one; nothing was recorded.
    LeaseLost,
    /// Another holder has it (maildrop lock).
    InUse,
    /// The account's quota is used up.
    OverQuota,
    /// A size or count is over a limit of the store.
    TooBig,
    /// The upload was reaped, or lost chunks; start it again.
    UploadLost,
    /// The store node belongs to no cluster yet.
    Uninitialised,
    /// The call carried another cluster's id.
    WrongCluster,
    /// The account is moving to another shard; nothing was submitted.
    Moving,
    /// The account lives on another shard, which the fault names; nothing was submitted.
    Moved,
}

impl FaultKind {
    /// The name in the metadata, and the gRPC code that goes with it.
    fn wire(self) -> (&'static str, Code) {
        match self {
            Self::NotLeader => ("not-leader", Code::Unavailable),
            Self::Unknown => ("outcome-unknown", Code::Unavailable),
            Self::Overloaded => ("overloaded", Code::ResourceExhausted),
            Self::LeaseLost => ("lease-lost", Code::FailedPrecondition),
            Self::InUse => ("in-use", Code::Aborted),
            Self::OverQuota => ("over-quota", Code::ResourceExhausted),
            Self::TooBig => ("too-big", Code::InvalidArgument),
            Self::UploadLost => ("upload-lost", Code::Aborted),
            Self::Uninitialised => ("uninitialised", Code::FailedPrecondition),
            Self::WrongCluster => ("wrong-cluster", Code::FailedPrecondition),
            Self::Moving => ("moving", Code::Unavailable),
            Self::Moved => ("moved", Code::Unavailable),
        }
    }

    /// The kind of this name; `None` for one that only a newer version knows.
    fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "not-leader" => Self::NotLeader,
            "outcome-unknown" => Self::Unknown,
            "overloaded" => Self::Overloaded,
            "lease-lost" => Self::LeaseLost,
            "in-use" => Self::InUse,
            "over-quota" => Self::OverQuota,
            "too-big" => Self::TooBig,
            "upload-lost" => Self::UploadLost,
            "uninitialised" => Self::Uninitialised,
            "wrong-cluster" => Self::WrongCluster,
            "moving" => Self::Moving,
            "moved" => Self::Moved,
            _ => return None,
        })
    }

    /// Whether the same call may work later, without a change by a person.
    pub fn is_temporary(self) -> bool {
        !matches!(self, Self::TooBig | Self::WrongCluster)
    }
}

/// A fault: its kind, a text for people, and where to go instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The kind.
    pub kind: FaultKind,
    /// A text for people.
    pub message: String,
    /// Of [`FaultKind::NotLeader`]: the leader's endpoint, if known.
    pub leader: Option<String>,
    /// Of [`FaultKind::Moved`]: the shard that the account lives on.
    pub shard: Option<ShardId>,
}

impl Fault {
    /// A fault that says nothing of where to go.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            leader: None,
            shard: None,
        }
    }

    /// "The account lives on another shard".
    pub fn moved(shard: ShardId) -> Self {
        let message = format!("the account lives on shard {shard} now");
        Self {
            shard: Some(shard),
            ..Self::new(FaultKind::Moved, message)
        }
    }

    /// "Not the leader", with where it is, if known.
    pub fn not_leader(leader: Option<String>) -> Self {
        Self {
            leader,
            ..Self::new(FaultKind::NotLeader, "this node does not lead the shard")
        }
    }

    /// Reads the fault out of a status; `None` if the status carries none.
    pub fn of(status: &Status) -> Option<Self> {
        let metadata = status.metadata();
        let name = metadata.get(KIND)?.to_str().ok()?;
        let kind = FaultKind::by_name(name)?;
        let leader = metadata
            .get(LEADER)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned);
        let shard = metadata.get(SHARD).and_then(|v| v.to_str().ok());
        Some(Self {
            kind,
            message: status.message().to_owned(),
            leader,
            shard: shard.and_then(|v| v.parse().ok()).map(ShardId::new),
        })
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let (name, code) = fault.kind.wire();
        let mut status = Status::new(code, fault.message);
        status
            .metadata_mut()
            .insert(KIND, MetadataValue::from_static(name));
        // An endpoint that is no header value is left out: it is only a hint.
        if let Some(value) = fault.leader.and_then(|leader| leader.parse().ok()) {
            status.metadata_mut().insert(LEADER, value);
        }
        if let Some(shard) = fault.shard {
            status
                .metadata_mut()
                .insert(SHARD, MetadataValue::from(shard.get()));
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind after this one, so that the test meets every kind: a new one does not compile until
    /// it stands here.
    fn next(kind: FaultKind) -> Option<FaultKind> {
        Some(match kind {
            FaultKind::NotLeader => FaultKind::Unknown,
            FaultKind::Unknown => FaultKind::Overloaded,
            FaultKind::Overloaded => FaultKind::LeaseLost,
            FaultKind::LeaseLost => FaultKind::InUse,
            FaultKind::InUse => FaultKind::OverQuota,
            FaultKind::OverQuota => FaultKind::TooBig,
            FaultKind::TooBig => FaultKind::UploadLost,
            FaultKind::UploadLost => FaultKind::Uninitialised,
            FaultKind::Uninitialised => FaultKind::WrongCluster,
            FaultKind::WrongCluster => FaultKind::Moving,
            FaultKind::Moving => FaultKind::Moved,
            FaultKind::Moved => return None,
        })
    }

    #[test]
    fn every_kind_survives_a_status() {
        let kinds = std::iter::successors(Some(FaultKind::NotLeader), |kind| next(*kind));
        let mut met = 0;
        for kind in kinds {
            let fault = Fault {
                leader: Some("http://a:1".into()),
                shard: Some(ShardId::new(7)),
                ..Fault::new(kind, "why")
            };
            let status = Status::from(fault.clone());
            assert_eq!(status.code(), kind.wire().1);
            assert_eq!(Fault::of(&status), Some(fault));
            met += 1;
        }
        assert_eq!(met, 12);
        assert_eq!(Fault::of(&Status::internal("x")), None);
    }
}
