//! Which fault comes when: made from a seed, so that a run can be repeated.

use std::ops::Range;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// `kill -9` of a process, or of all stores at once, as by a power cut.
    Kill,
    /// SIGTERM.
    Terminate,
    /// SIGSTOP, and SIGCONT later.
    Stop,
    /// No other host's packets reach a store.
    Deaf,
    /// None of a store's packets reach another host.
    Mute,
    /// What stores send to each other takes long.
    Slow,
    /// What stores send to each other is held back, and comes all at once.
    Stall,
    /// What one store sends to another is lost, while the other way works.
    Cut,
    /// Connections between stores are reset, again and again.
    Reset,
    /// The wall clock of a process jumps, and jumps back later.
    Clock,
    /// A store's disk has too little room.
    Full,
}

/// Who it happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The store of this number, from 1.
    Store(usize),
    /// All stores at once.
    Stores,
    /// Another process, by its name.
    Process(&'static str),
}

/// Ways between stores, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ways {
    /// From one store to another.
    One(usize, usize),
    /// From one store to all others.
    From(usize),
    /// From all others to one store.
    To(usize),
    /// From one store to all others, and back.
    Around(usize),
}

impl Ways {
    /// Whether the way from one store to another is one of them.
    pub fn has(self, from: usize, to: usize) -> bool {
        match self {
            Self::One(a, b) => (a, b) == (from, to),
            Self::From(a) => a == from,
            Self::To(b) => b == to,
            Self::Around(a) => a == from || a == to,
        }
    }
}

/// How much room is left on a full disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Half of what the store keeps free.
    Half,
    /// An eighth of it.
    Eighth,
    /// None. The store must stop rather than lose anything.
    Nothing,
}

/// What happens, until it is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// See [`Kind::Kill`].
    Kill(Victim),
    /// See [`Kind::Terminate`].
    Terminate(Victim),
    /// See [`Kind::Stop`].
    Stop(Victim),
    /// See [`Kind::Deaf`].
    Deaf(usize),
    /// See [`Kind::Mute`].
    Mute(usize),
    /// By so long; each piece by up to half as long again.
    Slow(Ways, Duration),
    /// See [`Kind::Stall`].
    Stall(Ways),
    /// See [`Kind::Cut`].
    Cut(Ways),
    /// See [`Kind::Reset`].
    Reset(Ways),
    /// By so many seconds.
    Clock(Victim, i64),
    /// The disk of the store that has one of its own.
    Full(Left),
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Quiet time before it.
    pub after: Duration,
    /// What.
    pub fault: Fault,
    /// How long until it is undone.
    pub lasting: Duration,
}

/// The furthest that a clock jumps, seconds: less than any letter's id is remembered for.
const FURTHEST: i64 = 3600;

/// The faults of a run of this length. One at a time, so that a majority of the stores lives,
/// except where all fall at once. Kinds come in turn, shuffled each time, so that a short run has
/// all of them.
pub fn plan(seed: u64, length: Duration, stores: usize, kinds: &[Kind]) -> Vec<Step> {
    let mut random = Rng::with_seed(seed);
    let (mut steps, mut turn) = (Vec::new(), Vec::new());
    let mut elapsed = Duration::ZERO;
    loop {
        if turn.is_empty() {
            turn.extend_from_slice(kinds);
            random.shuffle(&mut turn);
        }
        let Some(kind) = turn.pop() else {
            return steps;
        };
        let step = step(&mut random, kind, stores);
        elapsed += step.after + step.lasting;
        if elapsed > length {
            return steps;
        }
        steps.push(step);
    }
}

fn step(random: &mut Rng, kind: Kind, stores: usize) -> Step {
    let fault = match kind {
        Kind::Kill => Fault::Kill(match random.u32(..4) {
            0 => Victim::Stores,
            _ => victim(random, stores),
        }),
        Kind::Terminate => Fault::Terminate(victim(random, stores)),
        Kind::Stop => Fault::Stop(victim(random, stores)),
        Kind::Deaf => Fault::Deaf(random.usize(1..=stores)),
        Kind::Mute => Fault::Mute(random.usize(1..=stores)),
        Kind::Slow => Fault::Slow(ways(random, stores), millis(random, 20..1500)),
        Kind::Stall => Fault::Stall(ways(random, stores)),
        Kind::Cut => Fault::Cut(ways(random, stores)),
        Kind::Reset => Fault::Reset(ways(random, stores)),
        Kind::Clock => {
            let seconds = match random.bool() {
                true => random.i64(1..=FURTHEST),
                false => -random.i64(1..=FURTHEST),
            };
            Fault::Clock(victim(random, stores), seconds)
        }
        Kind::Full => Fault::Full(match random.u32(..3) {
            0 => Left::Half,
            1 => Left::Eighth,
            _ => Left::Nothing,
        }),
    };
    let lasting = match kind {
        // A store looks at its disk once a second.
        Kind::Full => 2500..6000,
        // A process reads its clock's file once a second.
        Kind::Clock => 1500..6000,
        _ => 200..5500,
    };
    Step {
        after: millis(random, 300..2500),
        fault,
        lasting: millis(random, lasting),
    }
}

fn millis(random: &mut Rng, range: Range<u64>) -> Duration {
    Duration::from_millis(random.u64(range))
}

fn victim(random: &mut Rng, stores: usize) -> Victim {
    let others = ["queue-1", "ingress-1", "access-1", "routing-1"];
    match random.u32(..3) {
        0 => Victim::Process(others[random.usize(..others.len())]),
        _ => Victim::Store(random.usize(1..=stores)),
    }
}

fn ways(random: &mut Rng, stores: usize) -> Ways {
    let one = random.usize(1..=stores);
    match random.u32(..4) {
        0 if stores > 1 => {
            let other = random.usize(1..stores);
            Ways::One(one, if other < one { other } else { other + 1 })
        }
        1 => Ways::From(one),
        2 => Ways::To(one),
        _ => Ways::Around(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORES: usize = 3;

    fn kind(fault: Fault) -> Kind {
        match fault {
            Fault::Kill(_) => Kind::Kill,
            Fault::Terminate(_) => Kind::Terminate,
            Fault::Stop(_) => Kind::Stop,
            Fault::Deaf(_) => Kind::Deaf,
            Fault::Mute(_) => Kind::Mute,
            Fault::Slow(..) => Kind::Slow,
            Fault::Stall(_) => Kind::Stall,
            Fault::Cut(_) => Kind::Cut,
            Fault::Reset(_) => Kind::Reset,
            Fault::Clock(..) => Kind::Clock,
            Fault::Full(_) => Kind::Full,
        }
    }

    fn long(seed: u64, kinds: &[Kind]) -> Vec<Step> {
        plan(seed, Duration::from_secs(3600), STORES, kinds)
    }

    #[test]
    fn a_seed_makes_the_same_faults_again_and_another_others() {
        let kinds = Kind::value_variants();
        let steps = long(7, kinds);
        assert_eq!(steps, long(7, kinds));
        assert_ne!(steps, long(8, kinds));
        let total: Duration = steps.iter().map(|step| step.after + step.lasting).sum();
        let length = Duration::from_secs(3600);
        assert!(total <= length && total > length - Duration::from_secs(9));
        assert_eq!(long(7, &[]), []);
    }

    #[test]
    fn each_kind_comes_as_often_as_another_and_no_other_comes() {
        let some = [Kind::Cut, Kind::Clock, Kind::Kill];
        for kinds in [Kind::value_variants(), &some] {
            let steps = long(7, kinds);
            for wanted in Kind::value_variants() {
                let count = steps.iter().filter(|s| kind(s.fault) == *wanted).count();
                let turns = steps.len() / kinds.len();
                let expected = match kinds.contains(wanted) {
                    true => turns..=turns + 1,
                    false => 0..=0,
                };
                assert!(expected.contains(&count), "{wanted:?}: {count}");
            }
        }
    }

    #[test]
    fn victims_are_there_and_every_way_between_stores_is_hit() {
        let steps = long(7, Kind::value_variants());
        let is_there = |number| (1..=STORES).contains(&number);
        let mut hit = std::collections::BTreeSet::new();
        for step in &steps {
            match step.fault {
                Fault::Kill(Victim::Store(store))
                | Fault::Terminate(Victim::Store(store))
                | Fault::Stop(Victim::Store(store))
                | Fault::Clock(Victim::Store(store), _)
                | Fault::Deaf(store)
                | Fault::Mute(store) => assert!(is_there(store), "{step:?}"),
                Fault::Cut(ways) => {
                    for (from, to) in (1..=STORES).flat_map(|a| (1..=STORES).map(move |b| (a, b))) {
                        if from != to && ways.has(from, to) {
                            hit.insert((from, to));
                        }
                    }
                }
                _ => {}
            }
        }
        assert_eq!(hit.len(), STORES * (STORES - 1));
        let cuts = steps.iter().any(|s| s.fault == Fault::Kill(Victim::Stores));
        assert!(cuts, "no power cut");
    }
}
