use std::collections::{BTreeMap, BTreeSet};

use postino_proto::store::v1::MoveCause;
use postino_types::{NodeId, ShardId};
use proptest::prelude::*;

use super::super::picture::{Node, Replica, Shard, Standing};
use super::*;

const LIMITS: Limits = Limits {
    replicas: 3,
    moves: 2,
    leads: 4,
};

const FIT: Replica = Replica {
    voter: true,
    caught_up: true,
};

fn node(zone: &str) -> Node {
    Node {
        zone: zone.to_owned(),
        standing: Standing::Active,
        alive: true,
        full: false,
    }
}

/// Nodes 1, 2 … in these zones.
fn nodes(zones: &[&str]) -> BTreeMap<NodeId, Node> {
    (1..)
        .map(NodeId::new)
        .zip(zones.iter().map(|zone| node(zone)))
        .collect()
}

/// A shard on these nodes, led by the first.
fn shard(on: &[u64]) -> Shard {
    Shard {
        leader: on.first().copied().map(NodeId::new),
        replicas: on.iter().map(|id| (NodeId::new(*id), FIT)).collect(),
        changing: false,
    }
}

fn picture(zones: &[&str], shards: &[&[u64]]) -> Picture {
    Picture {
        nodes: nodes(zones),
        shards: (0..)
            .map(ShardId::new)
            .zip(shards.iter().map(|on| shard(on)))
            .collect(),
    }
}

fn stand(picture: &mut Picture, node: u64, standing: Standing) {
    picture.nodes.get_mut(&NodeId::new(node)).unwrap().standing = standing;
}

fn down(picture: &mut Picture, node: u64) {
    picture.nodes.get_mut(&NodeId::new(node)).unwrap().alive = false;
}

/// Shard, from, to (0: none) of each planned move.
fn moves(picture: &Picture) -> Vec<(u32, u64, u64)> {
    let number = |node: Option<NodeId>| node.map_or(0, NodeId::get);
    let planned = plan(picture, &LIMITS).moves.into_iter();
    planned
        .map(|planned| {
            (
                planned.shard.get(),
                number(planned.from),
                number(planned.to),
            )
        })
        .collect()
}

fn leads(picture: &Picture) -> Vec<(u32, u64, u64)> {
    let planned = plan(picture, &LIMITS).leads.into_iter();
    planned
        .map(|lead| (lead.shard.get(), lead.from.get(), lead.to.get()))
        .collect()
}

#[test]
fn one_node_has_nothing_to_plan() {
    let alone = picture(&[""], &[&[1], &[1], &[1]]);
    assert_eq!(plan(&alone, &LIMITS), Plan::default());
}

#[test]
fn two_nodes_do_not_make_two_replicas_and_three_make_three() {
    let mut two = picture(&["", ""], &[&[1], &[1]]);
    assert_eq!(moves(&two), []);
    two.nodes = nodes(&["", "", ""]);
    assert_eq!(moves(&two), [(0, 0, 2), (1, 0, 3)]);
    let full = picture(&["", "", ""], &[&[1, 2, 3], &[1, 2]]);
    assert_eq!(moves(&full), [(1, 0, 3)]);
}

#[test]
fn five_replicas_become_three() {
    let five = picture(&["", "", "", "", ""], &[&[1, 2, 3, 4, 5]]);
    assert_eq!(moves(&five), [(0, 5, 0)]);
    let four = picture(&["", "", "", "", ""], &[&[1, 2, 3, 4]]);
    assert_eq!(moves(&four), [(0, 4, 0)]);
    // Those that are up are needed when others are down.
    let mut shaky = four;
    down(&mut shaky, 2);
    down(&mut shaky, 3);
    assert_eq!(moves(&shaky), [(0, 3, 0)]);
    down(&mut shaky, 4);
    assert_eq!(moves(&shaky), []);
}

#[test]
fn a_draining_node_is_replaced_or_done_without() {
    let mut four = picture(&["", "", "", ""], &[&[1, 2, 3], &[1, 2, 4]]);
    stand(&mut four, 1, Standing::Draining);
    assert_eq!(moves(&four), [(0, 1, 4), (1, 1, 3)]);
    let mut three = picture(&["", "", ""], &[&[1, 2, 3]]);
    stand(&mut three, 1, Standing::Draining);
    assert_eq!(moves(&three), [(0, 1, 0)]);
    // The two that would stay are both needed then.
    down(&mut three, 3);
    assert_eq!(moves(&three), []);
    // A node that died is drained like any other.
    let mut dead = picture(&["", "", "", ""], &[&[2, 1, 3]]);
    stand(&mut dead, 1, Standing::Draining);
    down(&mut dead, 1);
    assert_eq!(moves(&dead), [(0, 1, 4)]);
    // The last voter of a cluster of one stays.
    let mut last = picture(&[""], &[&[1]]);
    stand(&mut last, 1, Standing::Draining);
    assert_eq!(moves(&last), []);
    let mut two = picture(&["", ""], &[&[1]]);
    stand(&mut two, 1, Standing::Draining);
    assert_eq!(moves(&two), [(0, 1, 2)]);
}

#[test]
fn what_an_interrupted_move_left_is_completed_or_dropped() {
    let learner = Replica {
        voter: false,
        ..FIT
    };
    let mut two = picture(&["", "", "", ""], &[&[1, 2]]);
    let shard = two.shards.get_mut(&ShardId::new(0)).unwrap();
    shard.replicas.insert(NodeId::new(4), learner);
    assert_eq!(moves(&two), [(0, 0, 4)]);
    let mut three = picture(&["", "", "", ""], &[&[1, 2, 3]]);
    let shard = three.shards.get_mut(&ShardId::new(0)).unwrap();
    shard.replicas.insert(NodeId::new(4), learner);
    assert_eq!(moves(&three), [(0, 4, 0)]);
}

#[test]
fn replicas_go_where_their_zone_has_none() {
    let zones = ["a", "a", "b", "b", "c"];
    assert_eq!(moves(&picture(&zones, &[&[1]])), [(0, 0, 3)]);
    assert_eq!(moves(&picture(&zones, &[&[1, 3]])), [(0, 0, 5)]);
    assert_eq!(moves(&picture(&zones, &[&[1, 2, 3]])), [(0, 2, 5)]);
    assert_eq!(moves(&picture(&zones, &[&[1, 3, 5]])), []);
}

#[test]
fn full_nodes_give_to_empty_ones_but_not_a_zone() {
    let even = picture(&["", "", "", ""], &[&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]]);
    assert_eq!(moves(&even).len(), 2);
    assert!(moves(&even).iter().all(|(_, _, to)| *to == 4));
    let zoned = picture(&["a", "b", "c", "c"], &[&[1, 2, 3], &[1, 2, 3]]);
    assert_eq!(moves(&zoned), [(0, 3, 4)]);
    // Not while a replica is away.
    let mut away = zoned;
    down(&mut away, 2);
    assert_eq!(moves(&away), []);
}

#[test]
fn what_is_not_known_or_changing_is_left_alone() {
    let mut picture = picture(&["", "", ""], &[&[1], &[1]]);
    picture.shards.get_mut(&ShardId::new(0)).unwrap().leader = None;
    picture.shards.get_mut(&ShardId::new(1)).unwrap().changing = true;
    assert_eq!(plan(&picture, &LIMITS), Plan::default());
}

#[test]
fn leads_even_out() {
    let all: &[u64] = &[1, 2, 3];
    let three = picture(&["", "", ""], &[all; 5]);
    // 5, 0, 0 becomes 2, 2, 1 or alike.
    assert_eq!(leads(&three).len(), 3);
    // A node that is about to stop, or has died, gets none, and gives away what it has.
    let mut stopping = three.clone();
    down(&mut stopping, 1);
    let given = leads(&stopping);
    assert_eq!(given.len(), 4);
    assert!(given.iter().all(|(_, from, to)| *from == 1 && *to != 1));
    let mut draining = three;
    stand(&mut draining, 3, Standing::Draining);
    assert!(leads(&draining).iter().all(|(_, _, to)| *to == 2));
    // By way of a node in between: 1 leads three shards, 3 none, and they share no shard.
    let path = picture(&["", "", ""], &[&[1, 2], &[1, 2], &[2, 3]]);
    let limits = Limits {
        replicas: 2,
        ..LIMITS
    };
    let given = plan(&path, &limits).leads;
    assert_eq!(given.len(), 2);
    assert_eq!(
        (given[0].from.get(), given[0].to.get()),
        (2, 3),
        "the end of the path comes first"
    );
}

#[test]
fn a_replica_that_is_behind_does_not_lead() {
    let all: &[u64] = &[1, 2, 3];
    let mut behind = picture(&["", "", ""], &[all; 4]);
    for shard in behind.shards.values_mut() {
        shard.replicas.get_mut(&NodeId::new(2)).unwrap().caught_up = false;
    }
    assert!(leads(&behind).iter().all(|(_, _, to)| *to == 3));
}

/// A replica comes: in the place of another, or as one more, which votes if that makes the voters
/// an odd number, together with another learner or alone.
fn arrive(shard: &mut Shard, node: NodeId, replaces: bool) {
    let learner = shard.learners().find(|learner| *learner != node);
    let votes = replaces || shard.voters().count().is_multiple_of(2) || learner.is_some();
    let replica = Replica {
        voter: votes,
        ..FIT
    };
    shard.replicas.insert(node, replica);
    if let (true, false, Some(learner)) = (votes, replaces, learner) {
        shard.replicas.insert(learner, FIT);
    }
}

/// Does what is planned, as if it took no time.
fn carry_out(picture: &mut Picture, plan: &Plan) {
    for planned in &plan.moves {
        let shard = picture.shards.get_mut(&planned.shard).unwrap();
        if let Some(to) = planned.to {
            let learner = shard.learners().any(|node| node == to);
            assert!(learner || !shard.replicas.contains_key(&to), "{planned:?}");
            arrive(shard, to, planned.from.is_some());
        }
        if let Some(from) = planned.from {
            assert!(shard.replicas.remove(&from).is_some(), "{planned:?}");
            if shard.leader == Some(from) {
                let next = shard.voters().next();
                shard.leader = next;
            }
        }
        assert!(shard.leader.is_some(), "{planned:?}");
    }
    for lead in &plan.leads {
        let shard = picture.shards.get_mut(&lead.shard).unwrap();
        assert_eq!(shard.leader, Some(lead.from));
        assert!(shard.replicas.contains_key(&lead.to));
        shard.leader = Some(lead.to);
    }
}

/// Plans and does until nothing is left. Fails if that takes for ever.
fn settle(picture: &mut Picture) {
    let steps = 20 + 8 * picture.nodes.len() * picture.shards.len();
    for _ in 0..steps {
        let next = plan(picture, &LIMITS);
        assert!(next.moves.len() <= LIMITS.moves);
        if next.len() == 0 {
            return;
        }
        carry_out(picture, &next);
    }
    panic!("no end: {picture:?}");
}

fn loads(picture: &Picture, of: impl Fn(&Shard, NodeId) -> bool) -> Vec<usize> {
    let takes = picture.nodes.keys().filter(|node| picture.takes(**node));
    takes
        .map(|node| {
            let shards = picture.shards.values();
            shards.filter(|shard| of(shard, *node)).count()
        })
        .collect()
}

fn is_even(loads: &[usize]) -> bool {
    match (loads.iter().min(), loads.iter().max()) {
        (Some(least), Some(most)) => most - least <= 1,
        _ => true,
    }
}

fn any_picture() -> impl Strategy<Value = (Picture, bool)> {
    let nodes = prop::collection::vec((0..3_usize, 0..8_u8), 1..7);
    let shards = prop::collection::vec((1..6_usize, any::<prop::sample::Index>()), 1..20);
    (nodes, shards, any::<bool>()).prop_map(|(nodes, shards, zoned)| {
        let mut zones = Vec::new();
        for (zone, _) in &nodes {
            zones.push(if zoned { ["a", "b", "c"][*zone] } else { "" });
        }
        let count = nodes.len();
        let on: Vec<Vec<u64>> = shards
            .iter()
            .map(|(replicas, first)| {
                let first = first.index(count);
                let all = (0..count).map(|step| ((first + step) % count) as u64 + 1);
                all.take(*replicas).collect()
            })
            .collect();
        let on: Vec<&[u64]> = on.iter().map(Vec::as_slice).collect();
        let mut picture = picture(&zones, &on);
        for (id, (_, fate)) in (1..).zip(&nodes) {
            // The first node is always up, so that there is somewhere to go.
            if *fate == 0 && id != 1 {
                stand(&mut picture, id, Standing::Draining);
            }
        }
        (picture, zoned)
    })
}

proptest! {
    #[test]
    fn planning_comes_to_an_even_end((start, zoned) in any_picture()) {
        let mut picture = start.clone();
        settle(&mut picture);
        let active = picture.active();
        for (id, shard) in &picture.shards {
            let voters = shard.voters().count();
            prop_assert!(voters >= 1);
            prop_assert!(voters <= LIMITS.replicas.max(active));
            let least = [0, 1, 1, 3, 3, 3, 3, 3][active];
            prop_assert!(voters >= least, "{id}: {shard:?}");
            // Whoever was to go is gone.
            prop_assert!(shard.voters().all(|node| !picture.is_draining(node)));
            // As many zones as there are, and as the replicas reach.
            let takers = picture.nodes.keys().filter(|node| picture.takes(**node));
            let zones: BTreeSet<_> = takers.map(|node| picture.zone(*node)).collect();
            let mine: BTreeSet<_> = shard.voters().map(|node| picture.zone(node)).collect();
            prop_assert!(active < 3 || mine.len() >= zones.len().min(voters), "{id}: {shard:?}");
        }
        if !zoned && active >= 3 {
            let replicas = loads(&picture, |shard, node| shard.replicas.contains_key(&node));
            prop_assert!(is_even(&replicas), "{replicas:?}");
            let leads = loads(&picture, |shard, node| shard.leader == Some(node));
            // Where every node could lead every shard, no node leads two more than another.
            if active == 3 && picture.shards.values().all(|shard| shard.replicas.len() == active) {
                prop_assert!(is_even(&leads), "{leads:?}");
            }
        }
    }

    #[test]
    fn with_nodes_down_nothing_is_planned_that_could_stop_a_shard((start, _) in any_picture(), dead in 1..7_u64) {
        let mut picture = start;
        if let Some(node) = picture.nodes.get_mut(&NodeId::new(dead)) {
            node.alive = false;
        }
        for shard in picture.shards.values_mut() {
            if shard.leader == Some(NodeId::new(dead)) {
                let next = shard.voters().find(|node| node.get() != dead);
                shard.leader = next;
            }
        }
        for planned in plan(&picture, &LIMITS).moves {
            let shard = &picture.shards[&planned.shard];
            prop_assert!(planned.to.is_none_or(|to| picture.takes(to)));
            let mut after = shard.clone();
            if let Some(from) = planned.from {
                after.replicas.remove(&from);
            }
            if let Some(to) = planned.to {
                after.replicas.insert(to, FIT);
            }
            let (fit, voters) = (picture.fit_voters(&after), after.voters().count());
            // A replica more is always welcome.
            prop_assert!(fit > voters / 2 || planned.cause == MoveCause::Replication && planned.from.is_none());
        }
    }
}
