//! Between openraft's values and our own messages, both ways.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{BasicNode, EntryPayload};
use postino_proto::raft::v1 as proto;

use super::types::{
    Batch, Body, Command, CommittedLeaderId, Entry, LogId, Membership, StoredMembership, Vote,
};

/// A message that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not valid")]
    Invalid(&'static str),
    #[error("a body is not at hand where it must be sent")]
    BodyNotJoined,
    #[error("unknown format version {0}")]
    Version(u8),
    #[error(transparent)]
    Prost(#[from] prost::DecodeError),
}

impl From<CodecError> for std::io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

pub(crate) fn log_id_out(id: &LogId) -> proto::LogId {
    proto::LogId {
        term: id.leader_id.term,
        index: id.index,
    }
}

pub(crate) fn log_id_in(id: &proto::LogId) -> LogId {
    LogId::new(CommittedLeaderId::new(id.term), id.index)
}

pub(crate) fn vote_out(vote: &Vote) -> proto::Vote {
    proto::Vote {
        term: vote.leader_id.term,
        node_id: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(crate) fn vote_in(vote: &proto::Vote) -> Vote {
    if vote.committed {
        Vote::new_committed(vote.term, vote.node_id)
    } else {
        Vote::new(vote.term, vote.node_id)
    }
}

pub(crate) fn required_vote(vote: Option<&proto::Vote>) -> Result<Vote, CodecError> {
    vote.map(vote_in).ok_or(CodecError::Missing("the vote"))
}

/// Where an entry is going: that decides what becomes of its bodies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// Into a log row, which keeps only the lengths of bodies.
    Disk,
    /// To a replica, which needs the bodies.
    Peer,
}

pub(crate) fn entry_out(entry: &Entry, to: To) -> Result<proto::Entry, CodecError> {
    use proto::entry::Payload as Out;
    let payload = match &entry.payload {
        EntryPayload::Blank => Out::Blank(proto::entry::Blank {}),
        EntryPayload::Membership(membership) => Out::Membership(membership_out(membership)),
        EntryPayload::Normal(batch) => {
            let commands = batch
                .commands
                .iter()
                .map(|command| command_out(command, to));
            Out::Batch(proto::Batch {
                time_ms: batch.time_ms,
                commands: commands.collect::<Result<_, _>>()?,
            })
        }
    };
    Ok(proto::Entry {
        term: entry.log_id.leader_id.term,
        index: entry.log_id.index,
        payload: Some(payload),
    })
}

fn command_out(command: &Command, to: To) -> Result<proto::Command, CodecError> {
    use proto::command::Body as Out;
    let body = match (&command.body, to) {
        (Body::None, _) => None,
        (Body::Gone(len), _) => Some(Out::Gone(*len)),
        (body, To::Disk) => Some(Out::Stored(body.len())),
        (Body::Inline(body), To::Peer) => Some(Out::Inline(body.clone())),
        (Body::Stored(_), To::Peer) => return Err(CodecError::BodyNotJoined),
    };
    Ok(proto::Command {
        command: command.command.clone(),
        body,
    })
}

pub(crate) fn entry_in(entry: proto::Entry) -> Result<Entry, CodecError> {
    use proto::entry::Payload as In;
    let payload = match entry.payload.ok_or(CodecError::Missing("the payload"))? {
        In::Blank(_) => EntryPayload::Blank,
        In::Membership(membership) => EntryPayload::Membership(membership_in(membership)?),
        In::Batch(batch) => EntryPayload::Normal(Batch {
            time_ms: batch.time_ms,
            commands: batch.commands.into_iter().map(command_in).collect(),
        }),
    };
    Ok(Entry {
        log_id: LogId::new(CommittedLeaderId::new(entry.term), entry.index),
        payload,
    })
}

fn command_in(command: proto::Command) -> Command {
    use proto::command::Body as In;
    Command {
        command: command.command,
        body: match command.body {
            None | Some(In::Stored(0)) => Body::None,
            Some(In::Stored(len)) => Body::Stored(len),
            Some(In::Gone(len)) => Body::Gone(len),
            Some(In::Inline(body)) if body.is_empty() => Body::None,
            Some(In::Inline(body)) => Body::Inline(body),
        },
    }
}

fn membership_out(membership: &Membership) -> proto::Membership {
    proto::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|config| proto::membership::Config {
                voters: config.iter().copied().collect(),
            })
            .collect(),
        nodes: membership
            .nodes()
            .map(|(id, node)| proto::membership::Node {
                id: *id,
                endpoint: node.addr.clone(),
            })
            .collect(),
    }
}

fn membership_in(membership: proto::Membership) -> Result<Membership, CodecError> {
    let configs: Vec<BTreeSet<u64>> = membership
        .configs
        .into_iter()
        .map(|config| config.voters.into_iter().collect())
        .collect();
    let nodes: BTreeMap<u64, BasicNode> = membership
        .nodes
        .into_iter()
        .map(|node| (node.id, BasicNode::new(node.endpoint)))
        .collect();
    Membership::new(configs, nodes).map_err(|_| CodecError::Invalid("the membership"))
}

pub(crate) fn applied_out(last: Option<&LogId>, membership: &StoredMembership) -> proto::Applied {
    proto::Applied {
        last: last.map(log_id_out),
        membership_at: membership.log_id().as_ref().map(log_id_out),
        membership: Some(membership_out(membership.membership())),
    }
}

pub(crate) fn applied_in(
    applied: proto::Applied,
) -> Result<(Option<LogId>, StoredMembership), CodecError> {
    let membership = match applied.membership {
        Some(membership) => membership_in(membership)?,
        None => Membership::default(),
    };
    let at = applied.membership_at.as_ref().map(log_id_in);
    Ok((
        applied.last.as_ref().map(log_id_in),
        StoredMembership::new(at, membership),
    ))
}

#[cfg(test)]
mod tests;
