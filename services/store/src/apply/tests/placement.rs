use super::*;
use crate::model::directory::{self as rows, MoveRow};

fn bench() -> Bench {
    let mut bench = Bench::empty(ShardId::CONTROL);
    bench.done(node(1, NodeState::Unspecified));
    for number in 2..=3 {
        let allocate = Kind::AllocateNode(AllocateNodeCommand {
            endpoint: format!("http://n{number}:1"),
        });
        match bench.apply(allocate) {
            Answer::Node(allocated) => assert_eq!(allocated.node, number),
            answer => panic!("{answer:?}"),
        }
    }
    bench
}

fn node(node: u64, state: NodeState) -> Kind {
    Kind::RecordNode(RecordNodeCommand {
        node,
        endpoint: format!("http://n{node}:1"),
        zone: None,
        state: state.into(),
    })
}

fn replicas(shard: u32, membership_index: u64, voters: &[u64]) -> RecordReplicasCommand {
    RecordReplicasCommand {
        shard,
        membership_index,
        voters: voters.to_vec(),
        learners: Vec::new(),
    }
}

fn begin(shard: u32, from: u64, to: u64) -> Kind {
    Kind::BeginMove(BeginMoveCommand {
        shard,
        from,
        to,
        cause: MoveCause::Command.into(),
        limit: 2,
    })
}

fn state(bench: &Bench, node: u64) -> NodeState {
    let all = rows::all_nodes(&bench.db, bench.space).unwrap();
    let found = all.iter().find(|(id, _)| *id == node);
    found.unwrap().1.standing()
}

fn moves(bench: &Bench) -> Vec<(u32, MoveRow)> {
    rows::all_moves(&bench.db, bench.space).unwrap()
}

#[test]
fn a_node_goes_through_its_states_and_never_comes_back() {
    use NodeState::{Active, Draining, Joining, Removed};
    let mut bench = bench();
    assert_eq!((state(&bench, 1), state(&bench, 2)), (Active, Joining));
    // From the state it is in, to one that is asked for; whether that is done.
    let table = [
        (2, Joining, true),
        (2, Active, true),
        (2, Active, true),
        (2, Joining, false),
        (2, Removed, false),
        (2, Draining, true),
        (2, Active, true),
        (2, Draining, true),
        (2, Removed, true),
        (2, Active, false),
        (2, Removed, false),
        (3, Draining, true),
        (3, Removed, true),
        (1, Removed, false),
    ];
    for (id, asked, done) in table {
        match bench.apply(node(id, asked)) {
            Answer::Done(_) => assert!(done, "node {id} to {asked:?}"),
            Answer::Refused(_) => assert!(!done, "node {id} to {asked:?}"),
            answer => panic!("{answer:?}"),
        }
        assert!(!done || state(&bench, id) == asked);
    }
}

#[test]
fn a_node_with_a_replica_or_a_move_is_not_removed() {
    let mut bench = bench();
    bench.done(node(2, NodeState::Active));
    bench.done(Kind::RecordReplicas(replicas(4, 10, &[1])));
    bench.done(begin(4, 1, 2));
    bench.done(node(2, NodeState::Draining));
    let remove = || node(2, NodeState::Removed);
    assert_eq!(bench.refused(remove()), RefusalKind::FailedPrecondition);
    let id = moves(&bench)[0].1.id;
    bench.done(Kind::EndMove(EndMoveCommand {
        shard: 4,
        r#move: id,
        replicas: Some(replicas(4, 12, &[2])),
    }));
    assert_eq!(bench.refused(remove()), RefusalKind::FailedPrecondition);
    // A report that comes late changes nothing.
    bench.done(Kind::RecordReplicas(replicas(4, 11, &[1])));
    assert_eq!(bench.refused(remove()), RefusalKind::FailedPrecondition);
    bench.done(Kind::RecordReplicas(replicas(4, 13, &[1])));
    bench.done(remove());
}

#[test]
fn a_shard_has_one_move_and_only_that_one_is_ended() {
    let mut bench = bench();
    assert_eq!(
        bench.refused(begin(1, 1, 2)),
        RefusalKind::FailedPrecondition,
        "it has not joined yet"
    );
    for id in [2, 3] {
        bench.done(node(id, NodeState::Active));
    }
    bench.done(begin(1, 1, 2));
    assert_eq!(
        bench.refused(begin(1, 0, 3)),
        RefusalKind::FailedPrecondition
    );
    assert_eq!(bench.refused(begin(2, 3, 3)), RefusalKind::Invalid);
    assert_eq!(bench.refused(begin(2, 1, 9)), RefusalKind::NotFound);
    bench.done(begin(2, 1, 0));
    assert_eq!(
        bench.refused(begin(3, 0, 3)),
        RefusalKind::FailedPrecondition,
        "two at once"
    );
    let known = moves(&bench);
    assert_eq!(known.len(), 2);
    assert_eq!((known[0].1.from, known[0].1.to), (1, 2));
    assert_eq!(known[0].1.started_ms, START_MS);
    let end = |id| {
        Kind::EndMove(EndMoveCommand {
            shard: 1,
            r#move: id,
            replicas: None,
        })
    };
    bench.done(end(known[0].1.id + 100));
    assert_eq!(moves(&bench).len(), 2);
    bench.done(end(known[0].1.id));
    bench.done(end(known[0].1.id));
    assert_eq!(moves(&bench).len(), 1);
    bench.done(begin(1, 2, 1));
}

#[test]
fn a_move_starts_at_a_member_and_ends_at_another_node() {
    let mut bench = bench();
    for id in [2, 3] {
        bench.done(node(id, NodeState::Active));
    }
    bench.done(Kind::RecordReplicas(replicas(1, 5, &[1, 2])));
    bench.done(Kind::RecordReplicas(replicas(2, 5, &[1])));
    for (shard, from, to) in [(1, 3, 0), (1, 1, 2), (1, 0, 2), (2, 1, 0)] {
        let refused = bench.refused(begin(shard, from, to));
        assert_eq!(refused, RefusalKind::FailedPrecondition);
    }
    bench.done(begin(1, 2, 3));
    bench.done(begin(2, 0, 3));
}
