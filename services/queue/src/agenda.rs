//! What a shard's holder will do next: letters by due time, in memory, only for the near future.
//!
//! The due-time index of the store is the truth; the agenda holds the part of it up to a horizon,
//! and at most so many letters. What does not fit is left out and the horizon moves back, so the
//! next page read from the store brings it again.

use std::collections::{BTreeSet, HashMap};

use postino_types::QueueId;

/// The letters of one shard that are due soon, and those being worked on.
#[derive(Debug)]
pub struct Agenda {
    by_time: BTreeSet<(u64, QueueId)>,
    times: HashMap<QueueId, u64>,
    /// Letters worked on, with the time noted for them meanwhile.
    working: HashMap<QueueId, Option<u64>>,
    /// Waiting letters that became due suddenly, and when that was said.
    asked: HashMap<QueueId, u64>,
    /// All letters due before this time (Unix milliseconds) are here, or were.
    horizon_ms: u64,
    capacity: usize,
}

impl Agenda {
    /// An empty agenda that holds up to `capacity` waiting letters.
    pub fn new(capacity: usize) -> Self {
        Self {
            by_time: BTreeSet::new(),
            times: HashMap::new(),
            working: HashMap::new(),
            asked: HashMap::new(),
            horizon_ms: 0,
            capacity: capacity.max(1),
        }
    }

    /// Notes that a letter is due: it came, or an operator wants it tried. For a letter that waits
    /// already the earlier time counts; one that is worked on comes up again once its work is
    /// [`done`](Self::done). Times beyond the horizon are ignored: the store will name them.
    pub fn note(&mut self, letter: QueueId, due_ms: u64) {
        if due_ms >= self.horizon_ms {
            return;
        }
        match self.working.get_mut(&letter) {
            Some(Some(noted_ms)) => *noted_ms = due_ms.min(*noted_ms),
            Some(noted) => *noted = Some(due_ms),
            None => self.plan(letter, due_ms),
        }
    }

    /// Notes what the store says of a letter at `now_ms`: it came, or its plan changed. One that is
    /// suddenly due was asked for by an operator, unless it is new.
    pub fn told(&mut self, letter: QueueId, due_ms: u64, now_ms: u64) {
        let known_as_due = self
            .times
            .get(&letter)
            .is_some_and(|&at_ms| at_ms <= due_ms);
        self.note(letter, due_ms);
        if due_ms <= now_ms && !known_as_due && self.times.contains_key(&letter) {
            self.asked.insert(letter, now_ms);
        }
    }

    /// When the store said of a letter that was just taken that it is suddenly due.
    pub fn take_asked(&mut self, letter: QueueId) -> Option<u64> {
        self.asked.remove(&letter)
    }

    /// Notes a letter from a page of the due-time index, whatever the horizon. One that is worked on
    /// is passed over: it stands in the index until its outcome is settled.
    pub fn note_listed(&mut self, letter: QueueId, due_ms: u64) {
        if !self.working.contains_key(&letter) {
            self.plan(letter, due_ms);
        }
    }

    /// Notes a letter's due time whatever the horizon: for plans that the store does not know.
    pub fn postpone(&mut self, letter: QueueId, due_ms: u64) {
        self.plan(letter, due_ms);
    }

    fn plan(&mut self, letter: QueueId, due_ms: u64) {
        match self.times.get(&letter) {
            Some(&known) if known <= due_ms => return,
            Some(&known) => {
                self.by_time.remove(&(known, letter));
            }
            None => {}
        }
        self.times.insert(letter, due_ms);
        self.by_time.insert((due_ms, letter));
        while self.by_time.len() > self.capacity {
            if let Some((last_ms, last)) = self.by_time.pop_last() {
                self.times.remove(&last);
                self.asked.remove(&last);
                // From here on the store has to be asked again.
                self.horizon_ms = self.horizon_ms.min(last_ms);
            }
        }
    }

    /// Takes the next letter that is due by `now_ms` and marks it as worked on.
    pub fn take_due(&mut self, now_ms: u64) -> Option<QueueId> {
        let &(at_ms, letter) = self.by_time.first().filter(|(at_ms, _)| *at_ms <= now_ms)?;
        self.by_time.remove(&(at_ms, letter));
        self.times.remove(&letter);
        self.working.insert(letter, None);
        Some(letter)
    }

    /// Ends the work on a letter. Its next time, if it has one, is noted by the caller.
    pub fn done(&mut self, letter: QueueId) {
        if let Some(Some(noted_ms)) = self.working.remove(&letter) {
            self.plan(letter, noted_ms);
        }
    }

    /// When the next waiting letter is due, Unix milliseconds.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.by_time.first().map(|&(at_ms, _)| at_ms)
    }

    /// How far the agenda reaches, Unix milliseconds.
    pub fn horizon_ms(&self) -> u64 {
        self.horizon_ms
    }

    /// Moves the horizon on before the store's letters up to it are noted; never back.
    pub fn extend(&mut self, horizon_ms: u64) {
        self.horizon_ms = self.horizon_ms.max(horizon_ms);
    }

    /// Moves the horizon back: what lies beyond was not read.
    pub fn retract(&mut self, horizon_ms: u64) {
        self.horizon_ms = self.horizon_ms.min(horizon_ms);
    }

    /// Letters waiting.
    pub fn waiting(&self) -> usize {
        self.by_time.len()
    }

    /// Letters worked on.
    pub fn working(&self) -> usize {
        self.working.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_types::ShardId;
    use proptest::prelude::*;

    fn id(n: u64) -> QueueId {
        QueueId::mint(ShardId::new(1), 1, n).expect("fits")
    }

    fn agenda(capacity: usize) -> Agenda {
        let mut agenda = Agenda::new(capacity);
        agenda.extend(1_000);
        agenda
    }

    #[test]
    fn letters_come_up_when_due_and_once() {
        let mut agenda = agenda(10);
        agenda.note(id(1), 20);
        agenda.note(id(2), 10);
        agenda.note(id(1), 30);
        agenda.note(id(3), 1_000);
        assert_eq!(agenda.next_due_ms(), Some(10));
        assert_eq!(agenda.take_due(9), None);
        assert_eq!(agenda.take_due(25), Some(id(2)));
        assert_eq!(agenda.take_due(25), Some(id(1)));
        assert_eq!(
            agenda.take_due(2_000),
            None,
            "beyond the horizon the store is asked"
        );
        assert_eq!((agenda.waiting(), agenda.working()), (0, 2));
    }

    #[test]
    fn a_letter_in_work_waits_for_its_end() {
        let mut agenda = agenda(10);
        agenda.note(id(1), 10);
        assert_eq!(agenda.take_due(10), Some(id(1)));
        // The index still names it; then an operator asks for it again while it is tried.
        agenda.note_listed(id(1), 10);
        agenda.note(id(1), 11);
        assert_eq!(agenda.take_due(20), None);
        assert_eq!(agenda.next_due_ms(), None);
        agenda.done(id(1));
        assert_eq!(agenda.take_due(20), Some(id(1)));
    }

    #[test]
    fn a_letter_that_is_suddenly_due_was_asked_for_or_is_new() {
        let mut agenda = agenda(10);
        agenda.note(id(1), 10);
        agenda.told(id(1), 10, 20);
        assert_eq!(agenda.take_due(10), Some(id(1)));
        assert_eq!(agenda.take_asked(id(1)), None, "known as due");
        // In work: the word may be of what another part of the letter came to.
        agenda.told(id(1), 9, 20);
        agenda.done(id(1));
        agenda.postpone(id(2), 500);
        agenda.told(id(2), 10, 20);
        agenda.note(id(3), 500);
        agenda.told(id(3), 15, 20);
        agenda.postpone(id(4), 500);
        agenda.told(id(4), 400, 20);
        agenda.told(id(5), 20, 20);
        agenda.told(id(6), 21, 20);
        let mut taken = Vec::new();
        while let Some(letter) = agenda.take_due(500) {
            taken.push((letter, agenda.take_asked(letter)));
        }
        let expected = [
            (id(1), None),
            (id(2), Some(20)),
            (id(3), Some(20)),
            (id(5), Some(20)),
            (id(6), None),
            (id(4), None),
        ];
        assert_eq!(taken, expected);
        assert_eq!(agenda.take_asked(id(2)), None);
    }

    #[test]
    fn what_does_not_fit_pulls_the_horizon_back() {
        let mut agenda = agenda(2);
        for n in [30, 10, 20] {
            agenda.note(id(n), n);
        }
        assert_eq!((agenda.waiting(), agenda.horizon_ms()), (2, 30));
        agenda.note(id(40), 40);
        assert_eq!(agenda.waiting(), 2);
        agenda.extend(1_000);
        agenda.note(id(5), 5);
        assert_eq!(agenda.horizon_ms(), 20);
        assert_eq!(agenda.take_due(100), Some(id(5)));
    }

    #[test]
    fn a_postponed_letter_is_kept_beyond_the_horizon() {
        let mut agenda = Agenda::new(10);
        agenda.note(id(1), 10);
        assert_eq!(agenda.waiting(), 0);
        agenda.postpone(id(1), 10);
        assert_eq!(agenda.take_due(10), Some(id(1)));
    }

    proptest! {
        /// Against a plain list: nothing due within the horizon is ever left out.
        #[test]
        fn nothing_within_the_horizon_is_lost(notes in prop::collection::vec((0u64..40, 0u64..900), 0..60)) {
            let mut agenda = agenda(8);
            let mut earliest: std::collections::BTreeMap<u64, u64> = Default::default();
            for &(n, due) in &notes {
                agenda.note(id(n), due);
                let at = earliest.entry(n).or_insert(due);
                *at = due.min(*at);
            }
            let horizon = agenda.horizon_ms();
            let mut taken = Vec::new();
            while let Some(letter) = agenda.take_due(u64::MAX) {
                taken.push(letter);
            }
            for (n, due) in earliest {
                prop_assert!(due >= horizon || taken.contains(&id(n)), "{n} at {due} within {horizon}");
            }
        }
    }
}
