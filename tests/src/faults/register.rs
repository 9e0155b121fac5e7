//! Whether what was seen of one register, which holds yes or no, fits one order of all calls that
//! agrees with real time (Herlihy and Wing's linearizability).
//!
//! The search follows the history and orders a call only when a return asks for it (Wing and Gong's
//! search in Lowe's form, "Testing for linearizability", 2017): what it keeps is the set of states
//! in which the register may be, so a long history costs no more per call than a short one.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Set it to this.
    Write(bool),
    /// What is it?
    Read,
}

/// A call, or its return. Whoever never heard what became of a call is never seen again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// Somebody asks.
    Call(Op),
    /// The write is done.
    Written,
    /// The register is this.
    Seen(bool),
}

/// What one of several people did, in the order in which it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Who; a person does one thing at a time.
    pub who: u32,
    /// What.
    pub moment: Moment,
}

/// A call as the search sees it.
#[derive(Debug, Clone, Copy)]
enum Act {
    Write(bool),
    /// A read and what it gave.
    Saw(bool),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A call that returns, by a number that no other open call has.
    Begin(u32, Act),
    End(u32),
    /// A write that nobody knows the outcome of: it may be done at any time from now on, or never.
    Lost(bool),
}

/// One way in which it may have gone up to now.
#[derive(Debug, Clone, Copy)]
struct State {
    value: bool,
    /// Open calls that are done already: a bit each.
    done: u64,
    /// How many writes of unknown outcome were done, of "no" and of "yes".
    lost: [u32; 2],
}

/// The first event that fits no order, by its place in the history; `None`: all fit. The register
/// is "no" at first. An error means that it is no history: somebody returns from nothing.
pub fn misfit(events: &[Event]) -> Result<Option<usize>, String> {
    let mut open: [Option<Act>; 64] = [None; 64];
    let mut lost = [0_u32; 2];
    let mut states = vec![State {
        value: false,
        done: 0,
        lost: [0; 2],
    }];
    for (place, step) in steps(events)? {
        match step {
            Step::Begin(slot, act) => open[slot as usize] = Some(act),
            Step::Lost(value) => lost[usize::from(value)] += 1,
            Step::End(slot) => {
                states = after(&states, slot, &open, lost);
                open[slot as usize] = None;
                if states.is_empty() {
                    return Ok(Some(place));
                }
            }
        }
    }
    Ok(None)
}

/// Matches calls with returns.
fn steps(events: &[Event]) -> Result<Vec<(usize, Step)>, String> {
    let mut calls: HashMap<u32, (usize, Op)> = HashMap::new();
    let mut acts: HashMap<usize, Act> = HashMap::new();
    for (place, event) in events.iter().enumerate() {
        if let Moment::Call(op) = event.moment {
            if calls.insert(event.who, (place, op)).is_some() {
                return Err(format!("event {place}: {} calls twice at once", event.who));
            }
            continue;
        }
        let act = match (calls.remove(&event.who), event.moment) {
            (Some((call, Op::Write(value))), Moment::Written) => (call, Act::Write(value)),
            (Some((call, Op::Read)), Moment::Seen(value)) => (call, Act::Saw(value)),
            (call, moment) => return Err(format!("event {place}: {moment:?} after {call:?}")),
        };
        acts.insert(act.0, act.1);
    }
    let mut steps = Vec::with_capacity(events.len());
    let mut slots: HashMap<u32, u32> = HashMap::new();
    let mut free = u64::MAX;
    for (place, event) in events.iter().enumerate() {
        match (event.moment, acts.get(&place)) {
            (Moment::Call(_), Some(act)) => {
                let slot = free.trailing_zeros();
                if slot == u64::BITS {
                    return Err(format!("event {place}: too many calls at once"));
                }
                free &= !(1 << slot);
                slots.insert(event.who, slot);
                steps.push((place, Step::Begin(slot, *act)));
            }
            (Moment::Call(Op::Write(value)), None) => steps.push((place, Step::Lost(value))),
            // Nobody heard what it saw.
            (Moment::Call(Op::Read), None) => {}
            (Moment::Written | Moment::Seen(_), _) => {
                if let Some(slot) = slots.remove(&event.who) {
                    free |= 1 << slot;
                    steps.push((place, Step::End(slot)));
                }
            }
        }
    }
    Ok(steps)
}

/// The states in which the call of this slot is done, and closed.
fn after(states: &[State], slot: u32, open: &[Option<Act>; 64], lost: [u32; 2]) -> Vec<State> {
    let bit = 1_u64 << slot;
    let (mut seen, mut closed) = (Front::default(), Front::default());
    let mut waiting: Vec<State> = states.to_vec();
    while let Some(state) = waiting.pop() {
        if !seen.add(state) {
            continue;
        }
        if state.done & bit != 0 {
            let done = state.done & !bit;
            closed.add(State { done, ..state });
            continue;
        }
        let acts = open.iter().enumerate();
        waiting.extend(acts.filter_map(|(slot, act)| {
            let done = state.done | 1 << slot;
            match (*act)? {
                _ if state.done == done => None,
                Act::Write(value) => Some(State {
                    value,
                    done,
                    ..state
                }),
                Act::Saw(value) => (value == state.value).then_some(State { done, ..state }),
            }
        }));
        // Writing what is there already leads nowhere new.
        let value = !state.value;
        let mut used = state.lost;
        used[usize::from(value)] += 1;
        if used[usize::from(value)] <= lost[usize::from(value)] {
            waiting.push(State {
                value,
                lost: used,
                ..state
            });
        }
    }
    closed.states()
}

/// States, without those that are like another one but spent more writes of unknown outcome.
#[derive(Debug, Default)]
struct Front(HashMap<(bool, u64), Vec<[u32; 2]>>);

impl Front {
    /// Whether it says anything new.
    fn add(&mut self, state: State) -> bool {
        let spent = self.0.entry((state.value, state.done)).or_default();
        let covers = |a: &[u32; 2], b: &[u32; 2]| a[0] <= b[0] && a[1] <= b[1];
        if spent.iter().any(|less| covers(less, &state.lost)) {
            return false;
        }
        spent.retain(|more| !covers(&state.lost, more));
        spent.push(state.lost);
        true
    }

    fn states(self) -> Vec<State> {
        let states = self.0.into_iter().flat_map(|((value, done), spent)| {
            let state = move |lost| State { value, done, lost };
            spent.into_iter().map(state)
        });
        states.collect()
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
    use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

    use super::*;
    use Moment::{Call, Seen, Written};
    use Op::{Read, Write};

    fn events(moments: &[(u32, Moment)]) -> Vec<Event> {
        let event = |(who, moment): &(u32, Moment)| Event {
            who: *who,
            moment: *moment,
        };
        moments.iter().map(event).collect()
    }

    #[test]
    fn a_stale_read_is_caught_where_it_is() {
        let told = |seen| {
            let write = [(1, Call(Write(true))), (1, Written)];
            events(&[&write[..], &[(2, Call(Read)), (2, Seen(seen))]].concat())
        };
        assert_eq!(misfit(&told(true)), Ok(None));
        assert_eq!(misfit(&told(false)), Ok(Some(3)));
    }

    #[test]
    fn a_read_beside_a_write_sees_the_old_or_the_new_but_not_back_and_forth() {
        let told = |first, second| {
            events(&[
                (1, Call(Write(true))),
                (2, Call(Read)),
                (2, Seen(first)),
                (2, Call(Read)),
                (2, Seen(second)),
                (1, Written),
            ])
        };
        for (first, second, fits) in [
            (false, false, true),
            (false, true, true),
            (true, true, true),
            (true, false, false),
        ] {
            let found = misfit(&told(first, second)).unwrap();
            assert_eq!(found.is_none(), fits, "{first} {second}");
        }
    }

    #[test]
    fn a_write_that_nobody_heard_of_is_done_once_or_never() {
        for (seen, misfits) in [
            ([false, false, false], None),
            ([false, true, true], None),
            // It was undone: no write that was called says "no".
            ([false, true, false], Some(6)),
        ] {
            let reads = seen.map(|seen| [(2, Call(Read)), (2, Seen(seen))]);
            let told = [&[(1, Call(Write(true)))][..], &reads.concat()].concat();
            assert_eq!(misfit(&events(&told)), Ok(misfits), "{seen:?}");
        }
    }

    #[test]
    fn what_is_no_history_is_an_error() {
        for told in [
            &[(1, Written)][..],
            &[(1, Call(Read)), (1, Written)],
            &[(1, Call(Read)), (1, Call(Read))],
        ] {
            assert!(misfit(&events(told)).is_err(), "{told:?}");
        }
    }

    /// A history of a few people, of whom some never hear an answer; answers are drawn, so that
    /// some histories fit and some do not.
    fn drawn(random: &mut Rng) -> Vec<Event> {
        let mut events = Vec::new();
        let mut busy: Vec<(u32, Op)> = Vec::new();
        let mut people = 0;
        let mut value = false;
        for _ in 0..14 {
            if busy.len() < 3 && random.bool() {
                people += 1;
                let op = [Write(true), Write(false), Read, Read][random.usize(..4)];
                busy.push((people, op));
                events.push((people, Call(op)));
            } else if !busy.is_empty() {
                let (who, op) = busy.swap_remove(random.usize(..busy.len()));
                if random.u32(..8) == 0 {
                    continue;
                }
                let moment = match op {
                    Write(new) => {
                        value = new;
                        Written
                    }
                    Read => Seen(value ^ (random.u32(..6) == 0)),
                };
                events.push((who, moment));
            }
        }
        self::events(&events)
    }

    /// Stateright's tester: slower with each call, and by other people.
    fn judged_by_another(events: &[Event]) -> bool {
        let mut tester = LinearizabilityTester::new(Register(false));
        for event in events {
            let taken = match event.moment {
                Call(Write(value)) => tester.on_invoke(event.who, RegisterOp::Write(value)),
                Call(Read) => tester.on_invoke(event.who, RegisterOp::Read),
                Written => tester.on_return(event.who, RegisterRet::WriteOk),
                Seen(value) => tester.on_return(event.who, RegisterRet::ReadOk(value)),
            };
            taken.unwrap();
        }
        tester.is_consistent()
    }

    #[test]
    fn another_checker_says_the_same_of_histories_of_all_kinds() {
        let mut random = Rng::with_seed(11);
        let mut fitting = 0;
        for round in 0..3000 {
            let events = drawn(&mut random);
            let fits = misfit(&events).unwrap().is_none();
            assert_eq!(fits, judged_by_another(&events), "{round}: {events:?}");
            fitting += usize::from(fits);
        }
        assert!((500..2500).contains(&fitting), "{fitting} of 3000 fit");
    }

    #[test]
    fn a_long_history_with_many_unknown_outcomes_is_judged_at_once() {
        let mut random = Rng::with_seed(12);
        let (mut events, mut value) = (Vec::new(), false);
        for who in 0..100_000 {
            let lost = random.u32(..500) == 0;
            let op = [Write(true), Write(false), Read][random.usize(..3)];
            events.push((who, Call(op)));
            if lost {
                // Done or not, by chance.
                if let (Write(new), true) = (op, random.bool()) {
                    value = new;
                }
                continue;
            }
            let moment = match op {
                Write(new) => {
                    value = new;
                    Written
                }
                Read => Seen(value),
            };
            events.push((who, moment));
        }
        assert_eq!(misfit(&self::events(&events)), Ok(None));
    }
}
