//! What happened in a simulation, and what must hold of it.

use std::collections::BTreeMap;
use std::time::Duration;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A message of this kind has come.
    Delivered {
        from: u64,
        to: u64,
        kind: &'static str,
    },
    /// A node says that it votes for a candidate.
    Granted {
        voter: u64,
        term: u64,
        candidate: u64,
    },
    /// A node acts as the leader of a term.
    Led { leader: u64, term: u64 },
    /// A client asks for a command.
    Proposed { command: u64 },
    /// A client is told that its command is done.
    Acknowledged { command: u64, index: u64 },
    /// A replica applies the commands of an entry.
    Applied {
        node: u64,
        index: u64,
        term: u64,
        commands: Vec<u64>,
    },
    /// What the rows of a replica's state sum up to behind an entry.
    State { node: u64, index: u64, sum: u64 },
    /// A client asks for a read.
    ReadBegan { read: u64 },
    /// A node reads for it, having applied so far.
    Read { read: u64, node: u64, applied: u64 },
    /// A node's process ends, or its power fails.
    Crashed { node: u64 },
    /// It is back.
    Started { node: u64 },
    /// A replica has stopped by itself, or does not come back into step.
    Stuck { node: u64, why: String },
}

/// A promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Broken {
    /// A node votes for one candidate in a term.
    OneVote,
    /// A term has one leader.
    OneLeader,
    /// All replicas apply the same entry at an index.
    SameEntries,
    /// A replica applies entries in order, each once.
    InOrder,
    /// A command is applied once, and where its client was told.
    OnceAndKept,
    /// A read sees all that was acknowledged before it began.
    FreshReads,
    /// Replicas that have applied the same have the same state.
    SameState,
    /// Replicas go on.
    Alive,
}

/// All events, in their order, with the virtual time of each.
#[derive(Debug, Default)]
pub(super) struct History {
    events: Vec<(Duration, Event)>,
}

impl History {
    pub(super) fn record(&mut self, at: Duration, event: Event) {
        self.events.push((at, event));
    }

    pub(super) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events
            .iter()
            .filter(|(_, event)| wanted(event))
            .count()
    }

    /// The first event in which two differ, and its number.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let longest = self.events.len().max(other.events.len());
        (0..longest).find_map(|number| {
            let (here, there) = (self.events.get(number), other.events.get(number));
            (here != there).then(|| format!("event {number}: {here:?}, and {there:?}"))
        })
    }

    /// The promises that were broken, each with the event that shows it first.
    pub(super) fn check(&self) -> BTreeMap<Broken, String> {
        let mut check = Check::default();
        for (at, event) in &self.events {
            if let Err(broken) = check.event(event) {
                let shown = || format!("{at:?}: {event:?}");
                check.broken.entry(broken).or_insert_with(shown);
            }
        }
        check.broken
    }
}

#[derive(Default)]
struct Check {
    votes: BTreeMap<(u64, u64), u64>,
    leaders: BTreeMap<u64, u64>,
    entries: BTreeMap<u64, (u64, Vec<u64>)>,
    /// How far each replica has come since it was started.
    applied: BTreeMap<u64, u64>,
    /// Where each command was applied.
    places: BTreeMap<u64, u64>,
    /// Where clients were told that it was.
    acknowledged: BTreeMap<u64, u64>,
    last_acknowledged: u64,
    reads: BTreeMap<u64, u64>,
    states: BTreeMap<u64, u64>,
    broken: BTreeMap<Broken, String>,
}

/// Keeps the first value of a key; whether this one is the same.
fn agrees<K: Ord, V: PartialEq>(known: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    match known.get(&key) {
        Some(known) => *known == value,
        None => {
            known.insert(key, value);
            true
        }
    }
}

fn holds(it_does: bool, promise: Broken) -> Result<(), Broken> {
    it_does.then_some(()).ok_or(promise)
}

impl Check {
    fn event(&mut self, event: &Event) -> Result<(), Broken> {
        match event {
            Event::Granted {
                voter,
                term,
                candidate,
            } => holds(
                agrees(&mut self.votes, (*voter, *term), *candidate),
                Broken::OneVote,
            ),
            Event::Led { leader, term } => {
                holds(agrees(&mut self.leaders, *term, *leader), Broken::OneLeader)
            }
            Event::Applied {
                node,
                index,
                term,
                commands,
            } => self.applied(*node, *index, *term, commands),
            Event::Acknowledged { command, index } => {
                self.last_acknowledged = self.last_acknowledged.max(*index);
                let once = agrees(&mut self.acknowledged, *command, *index);
                let place = self.places.get(command);
                let there = place.is_none_or(|place| place == index);
                holds(once && there, Broken::OnceAndKept)
            }
            Event::State { index, sum, .. } => {
                holds(agrees(&mut self.states, *index, *sum), Broken::SameState)
            }
            Event::ReadBegan { read } => {
                self.reads.insert(*read, self.last_acknowledged);
                Ok(())
            }
            Event::Read { read, applied, .. } => {
                let least = self.reads.get(read).copied().unwrap_or_default();
                holds(*applied >= least, Broken::FreshReads)
            }
            Event::Crashed { node } => {
                // What was not durable may be applied once more.
                self.applied.remove(node);
                Ok(())
            }
            Event::Stuck { .. } => Err(Broken::Alive),
            Event::Delivered { .. } | Event::Proposed { .. } | Event::Started { .. } => Ok(()),
        }
    }

    fn applied(
        &mut self,
        node: u64,
        index: u64,
        term: u64,
        commands: &[u64],
    ) -> Result<(), Broken> {
        let before = self.applied.insert(node, index);
        holds(before.is_none_or(|before| before < index), Broken::InOrder)?;
        let same = agrees(&mut self.entries, index, (term, commands.to_vec()));
        holds(same, Broken::SameEntries)?;
        for command in commands {
            let once = agrees(&mut self.places, *command, index);
            let told = self.acknowledged.get(command);
            let as_told = told.is_none_or(|told| *told == index);
            holds(once && as_told, Broken::OnceAndKept)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(events: &[Event]) -> Vec<Broken> {
        let mut history = History::default();
        for event in events {
            history.record(Duration::ZERO, event.clone());
        }
        history.check().into_keys().collect()
    }

    fn applied(node: u64, index: u64, command: u64) -> Event {
        Event::Applied {
            node,
            index,
            term: 1,
            commands: vec![command],
        }
    }

    #[test]
    fn what_may_happen_is_no_breach() {
        let fine = [
            Event::Granted {
                voter: 1,
                term: 1,
                candidate: 2,
            },
            Event::Granted {
                voter: 1,
                term: 2,
                candidate: 3,
            },
            Event::Led { leader: 2, term: 1 },
            Event::Led { leader: 2, term: 1 },
            applied(1, 5, 50),
            Event::Acknowledged {
                command: 50,
                index: 5,
            },
            Event::ReadBegan { read: 1 },
            Event::Read {
                read: 1,
                node: 1,
                applied: 5,
            },
            Event::Crashed { node: 1 },
            applied(1, 5, 50),
            applied(2, 5, 50),
        ];
        assert_eq!(broken(&fine), []);
    }

    /// One history for each promise, in which nothing else is broken.
    #[test]
    fn each_promise_is_seen_to_be_broken() {
        let state = |node, sum| Event::State {
            node,
            index: 5,
            sum,
        };
        let told = |index| Event::Acknowledged { command: 50, index };
        let vote = |candidate| Event::Granted {
            voter: 1,
            term: 1,
            candidate,
        };
        let cases = [
            (Broken::OneVote, vec![vote(2), vote(3)]),
            (
                Broken::OneLeader,
                vec![
                    Event::Led { leader: 1, term: 4 },
                    Event::Led { leader: 2, term: 4 },
                ],
            ),
            (
                Broken::SameEntries,
                vec![applied(1, 5, 50), applied(2, 5, 51)],
            ),
            (Broken::InOrder, vec![applied(1, 5, 50), applied(1, 5, 50)]),
            (
                Broken::OnceAndKept,
                vec![applied(1, 5, 50), applied(1, 6, 50)],
            ),
            (Broken::OnceAndKept, vec![told(5), applied(1, 6, 50)]),
            (
                Broken::FreshReads,
                vec![
                    told(5),
                    Event::ReadBegan { read: 1 },
                    Event::Read {
                        read: 1,
                        node: 1,
                        applied: 4,
                    },
                ],
            ),
            (Broken::SameState, vec![state(1, 7), state(2, 8)]),
            (
                Broken::Alive,
                vec![Event::Stuck {
                    node: 1,
                    why: "halted".to_owned(),
                }],
            ),
        ];
        for (promise, events) in cases {
            assert_eq!(broken(&events), [promise], "{events:?}");
        }
    }
}
