//! What openraft is told about our entries.

use std::fmt;

use bytes::Bytes;
#[cfg(not(test))]
use openraft::impls::TokioRuntime as Runtime;
use openraft::impls::{InlineBatch, OneshotResponder};
use openraft::vote::leader_id_std;
use openraft::{AnyError, BasicNode, EntryPayload, OptionalSend, RaftTypeConfig};

use super::apply::StateMachine;
#[cfg(test)]
use super::simulation::Runtime;

/// openraft's associated types.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Config;

pub(crate) type CommittedLeaderId = leader_id_std::CommittedLeaderId<u64>;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::Vote<leader_id_std::LeaderId<u64, u64>>;
pub(crate) type Payload = EntryPayload<Batch, u64, BasicNode>;
pub(crate) type Entry = openraft::Entry<CommittedLeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<u64, BasicNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, BasicNode>;
pub(crate) type Raft = openraft::Raft<Config, StateMachine>;

impl RaftTypeConfig for Config {
    type D = Batch;
    type R = Answers;
    type NodeId = u64;
    type Node = BasicNode;
    type Term = u64;
    // One leader per term, as in the Raft paper: a log id is a term and an index.
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = AnyError;
}

/// The commands that were proposed together, in one entry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) time_ms: u64,
    pub(crate) commands: Vec<Command>,
}

/// One command and its body.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) command: Bytes,
    pub(crate) body: Body,
}

/// A command's body, or where to find it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// The command has none.
    None,
    /// Here it is: proposed, or on its way to a replica.
    Inline(Bytes),
    /// It lies beside the log and has this length, in bytes.
    Stored(u64),
    /// It had this length, in bytes; a state ahead of this entry let go of it, and
    /// a replica that receives the entry now will too before it is up to date.
    Gone(u64),
}

impl Body {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Inline(body) => body.len() as u64,
            Self::Stored(len) | Self::Gone(len) => *len,
        }
    }
}

/// The answers to a batch's commands, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers(pub(crate) Vec<Bytes>);

// openraft prints entries in its debug lines: sizes only, never mail.
impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands", self.commands.len())
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("time_ms", &self.time_ms)
            .field("commands", &self.commands.len())
            .finish()
    }
}
