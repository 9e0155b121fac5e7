//! The control group: the states of nodes, the members of shards, the moves of replicas.
//!
//! The states of a node, and what moves between them. What a shard's members are is decided in the
//! shard's own log; here stands what its leader reported, and what is intended.
//!
//! | from             | to       | by                                                   |
//! |------------------|----------|------------------------------------------------------|
//! | (none)           | JOINING  | AllocateNode                                         |
//! | (none)           | ACTIVE   | RecordNode: the node that made the cluster           |
//! | JOINING          | ACTIVE   | RecordNode, when it has reported                     |
//! | JOINING, ACTIVE  | DRAINING | RecordNode, by command, or when another is in its place |
//! | DRAINING         | ACTIVE   | RecordNode, by command                               |
//! | JOINING, DRAINING| REMOVED  | RecordNode, likewise, while it is in no shard        |

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    BeginMoveCommand, Done, EndMoveCommand, MoveAnswer, NodeState, RecordNodeCommand,
    RecordReplicasCommand, RefusalKind,
};

use super::commit::{Commit, Outcome, refuse};
use crate::db::Family;
use crate::model::Rows;
use crate::model::directory::{self, MoveRow, NodeRow, ReplicasRow};

impl Commit<'_> {
    fn node(&self, node: u64) -> Outcome<Option<NodeRow>> {
        let key = directory::node(self.space(), node);
        Ok(self.rows.row(Family::Directory, key)?)
    }

    fn moving(&self, shard: u32) -> Outcome<Option<MoveRow>> {
        let key = directory::moving(self.space(), shard);
        Ok(self.rows.row(Family::Directory, key)?)
    }

    /// A shard that the node is a member of, or moves to or from.
    fn shard_with(&self, node: u64) -> Outcome<Option<u32>> {
        for (shard, row) in directory::all_moves(&self.rows, self.space())? {
            if row.concerns(node) {
                return Ok(Some(shard));
            }
        }
        for (shard, row) in directory::all_replicas(&self.rows, self.space())? {
            if row.has(node) {
                return Ok(Some(shard));
            }
        }
        Ok(None)
    }
}

/// Whether a node may go from one state to another; see the table above.
fn may_become(from: NodeState, to: NodeState) -> bool {
    use NodeState::{Active, Draining, Joining, Removed};
    matches!(
        (from, to),
        (Joining | Draining, Active | Removed) | (Joining | Active, Draining)
    )
}

pub(super) fn record_node(commit: &mut Commit<'_>, command: RecordNodeCommand) -> Outcome {
    let asked = command.state();
    let mut row = match commit.node(command.node)? {
        Some(row) => row,
        None => NodeRow {
            state: NodeState::Active.into(),
            ..NodeRow::default()
        },
    };
    let known = row.standing();
    if known == NodeState::Removed {
        let message = "the node was removed from the cluster; its id is never used again";
        return Err(refuse(RefusalKind::FailedPrecondition, message));
    }
    if asked != NodeState::Unspecified && asked != known {
        if !may_become(known, asked) {
            let message = match asked {
                NodeState::Removed => "drain the node first",
                _ => {
                    "only a node that is joining or draining becomes active again (postino cluster status)"
                }
            };
            return Err(refuse(RefusalKind::FailedPrecondition, message));
        }
        if asked == NodeState::Removed
            && let Some(shard) = commit.shard_with(command.node)?
        {
            let message = format!("the node still holds a replica of shard {shard}");
            return Err(refuse(RefusalKind::FailedPrecondition, message));
        }
        row.state = asked.into();
    }
    if !command.endpoint.is_empty() {
        row.endpoint = command.endpoint;
    }
    if let Some(zone) = command.zone {
        row.zone = zone;
    }
    let key = directory::node(commit.space(), command.node);
    commit.put(Family::Directory, key, &row);
    Ok(Answer::Done(Done {}))
}

pub(super) fn record_replicas(commit: &mut Commit<'_>, command: RecordReplicasCommand) -> Outcome {
    let key = directory::replicas(commit.space(), command.shard);
    let known: Option<ReplicasRow> = commit.rows.row(Family::Directory, key)?;
    // Reports may come late; the shard's log says which membership is newer.
    if known.is_none_or(|known| known.membership_index < command.membership_index) {
        let row = ReplicasRow {
            membership_index: command.membership_index,
            voters: command.voters,
            learners: command.learners,
        };
        let key = directory::replicas(commit.space(), command.shard);
        commit.put(Family::Directory, key, &row);
    }
    Ok(Answer::Done(Done {}))
}

pub(super) fn begin_move(commit: &mut Commit<'_>, command: &BeginMoveCommand) -> Outcome {
    let precondition = |message: String| refuse(RefusalKind::FailedPrecondition, message);
    let BeginMoveCommand { from, to, .. } = *command;
    if from == to {
        return Err(refuse(RefusalKind::Invalid, "name two different nodes"));
    }
    if commit.moving(command.shard)?.is_some() {
        let message = format!(
            "a replica of shard {} is moving already: wait until that is over (postino cluster status)",
            command.shard
        );
        return Err(precondition(message));
    }
    if to != 0 {
        match commit.node(to)?.map(|row| row.standing()) {
            Some(NodeState::Active) => {}
            Some(_) => {
                return Err(precondition(format!(
                    "node {to} is not active, so it takes no replicas: see postino cluster status"
                )));
            }
            None => {
                let message = format!("there is no node {to}: see postino cluster status");
                return Err(refuse(RefusalKind::NotFound, message));
            }
        }
    }
    let members: Option<ReplicasRow> = commit.rows.row(
        Family::Directory,
        directory::replicas(commit.space(), command.shard),
    )?;
    if let Some(members) = members {
        if from != 0 && !members.has(from) {
            return Err(precondition(format!(
                "node {from} holds no replica of the shard: see postino cluster status"
            )));
        }
        if members.voters.contains(&to) {
            return Err(precondition(format!(
                "node {to} holds a replica already: see postino cluster status"
            )));
        }
        if to == 0 && members.voters == [from] {
            return Err(precondition(
                "that is the last replica: move it to another node instead".to_owned(),
            ));
        }
    }
    let under_way = directory::all_moves(&commit.rows, commit.space())?.len();
    if command.limit != 0 && under_way >= usize::try_from(command.limit).unwrap_or(usize::MAX) {
        return Err(precondition(format!(
            "{under_way} moves are under way: wait for one, or raise store.placement.moves_at_once"
        )));
    }
    let row = MoveRow {
        id: commit.index,
        from,
        to,
        started_ms: commit.now_ms(),
        cause: command.cause,
    };
    let key = directory::moving(commit.space(), command.shard);
    commit.put(Family::Directory, key, &row);
    Ok(Answer::Move(MoveAnswer { r#move: row.id }))
}

/// Ending a move that is over, or is another one by now, changes nothing.
pub(super) fn end_move(commit: &mut Commit<'_>, command: EndMoveCommand) -> Outcome {
    let known = commit.moving(command.shard)?;
    if known.is_some_and(|row| row.id == command.r#move) {
        let key = directory::moving(commit.space(), command.shard);
        commit.rows.delete(Family::Directory, key);
    }
    match command.replicas {
        Some(replicas) => record_replicas(commit, replicas),
        None => Ok(Answer::Done(Done {})),
    }
}
