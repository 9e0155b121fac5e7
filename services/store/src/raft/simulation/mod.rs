//! A deterministic simulation: replicas of a shard in one thread, on virtual time, with everything
//! that is drawn coming from one seed. The same seed gives the same history, event for event.
//!
//! Real: openraft, the log and its rows, votes, group commit, the messages and their encoding, apply
//! with mail commands, the database with its write-ahead log, and what a power cut leaves of it.
//! Simulated: the clock, which task goes on next, the network, when a sync is made and told of.
//! Left out: snapshots and purges, changes of members, and more than one shard (`raft/tests` and
//! `tests/faults.sh` have those), and the threads that production runs apply and syncs in.
//!
//! `tests/simulate.sh` runs more seeds, and one seed again.

mod chance;
mod executor;
mod history;
mod replica;
mod runtime;
mod wire;
mod world;

pub(crate) use executor::is_simulated;
pub(crate) use runtime::Runtime;

use std::time::Duration;

use history::{Broken, Event, History};
use world::{Mutant, Plan, simulate};

/// Seeds that every run of the tests takes.
const SEEDS: std::ops::Range<u64> = 0..8;
/// Seeds with which a mutant must be found.
const MUTANT_SEEDS: std::ops::Range<u64> = 0..40;

const PLAN: Plan = Plan {
    nodes: 3,
    length: Duration::from_secs(40),
    mutant: None,
};

/// A number in an environment variable.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

fn sound(seed: u64, plan: Plan) -> History {
    let history = simulate(seed, plan);
    let broken = history.check();
    assert!(
        broken.is_empty(),
        "seed {seed} of {} nodes (tests/simulate.sh --seed {seed}): {broken:#?}",
        plan.nodes
    );
    history
}

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = match (number("POSTINO_SEED"), number("POSTINO_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => SEEDS,
    };
    let (mut told, mut read, mut crashed) = (0, 0, 0);
    for seed in seeds.clone() {
        let nodes = if seed % 4 == 3 { 5 } else { 3 };
        let history = sound(seed, Plan { nodes, ..PLAN });
        told += history.count(|event| matches!(event, Event::Acknowledged { .. }));
        read += history.count(|event| matches!(event, Event::Read { .. }));
        crashed += history.count(|event| matches!(event, Event::Crashed { .. }));
    }
    println!("seeds {seeds:?}: {told} commands, {read} reads, {crashed} crashes");
    // A simulation in which nothing happens proves nothing.
    assert!(told > 20 && read > 20 && crashed > 0);
}

#[test]
fn a_seed_gives_the_same_history_again() {
    for seed in 1..4 {
        let first = sound(seed, PLAN);
        assert_eq!(first.difference(&sound(seed, PLAN)), None, "seed {seed}");
        assert_ne!(first.difference(&sound(seed + 1, PLAN)), None);
    }
}

/// Whether some seed shows that one of these promises is broken.
fn found(mutant: Mutant, promises: &[Broken]) -> bool {
    MUTANT_SEEDS.into_iter().any(|seed| {
        let plan = Plan {
            mutant: Some(mutant),
            ..PLAN
        };
        // openraft may notice by itself that something is wrong, and panic: then another seed must
        // show it.
        let history = std::panic::catch_unwind(|| simulate(seed, plan));
        let broken = history.unwrap_or_default().check();
        promises.iter().any(|promise| broken.contains_key(promise))
    })
}

#[test]
fn a_log_that_is_not_synced_is_found() {
    let lost = [Broken::OnceAndKept, Broken::SameEntries, Broken::OneVote];
    assert!(found(Mutant::UnsyncedLog, &lost));
}

#[test]
fn a_vote_that_is_forgotten_is_found() {
    assert!(found(
        Mutant::ForgottenVote,
        &[Broken::OneVote, Broken::OneLeader]
    ));
}

#[test]
fn a_read_that_asks_nobody_is_found() {
    assert!(found(Mutant::UnaskedReads, &[Broken::FreshReads]));
}

#[test]
fn an_apply_that_looks_around_is_found() {
    assert!(found(Mutant::ImpureApply, &[Broken::SameState]));
}
