//! The view against a client that only believes what it is told.

use proptest::prelude::*;

use super::*;
use crate::sequence::tests::any_set;

fn uid(n: u32) -> Uid {
    Uid::new(n).expect("not zero")
}

fn mod_seq(n: u64) -> ModSeq {
    ModSeq::new(n).expect("not zero")
}

fn view(uids: &[u32], first_recent: u32) -> View {
    let runs = UidRuns::from_ranges(uids.iter().map(|n| *n..=*n));
    View::new(runs, first_recent, ModSeq::MIN)
}

#[test]
fn held_expunges_keep_the_numbers_until_they_are_told() {
    let mut subject = view(&[2, 4, 6, 9], 9);
    let gone = Changes {
        expunged: vec![4..=5, 9..=9],
        ..Changes::default()
    };
    assert_eq!(subject.apply(gone, Expunges::Hold), vec![]);
    assert!(subject.holds_expunges());
    assert_eq!(subject.sequence_of(uid(6)), Some(3));
    let told = subject.apply(Changes::default(), Expunges::Tell);
    assert_eq!(told, vec![Update::Expunge(4), Update::Expunge(2)]);
    assert_eq!(subject.sequence_of(uid(6)), Some(2));
    assert!(!subject.holds_expunges());
}

#[test]
fn arrivals_are_recent_and_flags_pass_through() {
    let mut subject = view(&[1, 2], 3);
    assert_eq!(subject.recent(), 0);
    let flags = FlagSet::from([postino_types::Flag::Seen]);
    let changes = Changes {
        changed: vec![
            (uid(2), flags.clone(), mod_seq(5)),
            (uid(7), FlagSet::new(), mod_seq(6)),
        ],
        expunged: vec![],
        highest: Some(mod_seq(6)),
    };
    let told = subject.apply(changes, Expunges::Hold);
    assert_eq!(
        told,
        vec![
            Update::Exists(3),
            Update::Recent(1),
            Update::Flags {
                sequence: 2,
                uid: uid(2),
                flags,
                recent: Recent::No,
                mod_seq: mod_seq(5)
            }
        ]
    );
    assert_eq!(subject.mod_seq(), mod_seq(6));
}

#[test]
fn sets_choose_messages() {
    let subject = view(&[2, 4, 6, 9], 10);
    let chosen = |numbering, text: &str| -> Result<Vec<u32>, NoSuchMessage> {
        let limits = crate::Limits::default();
        let mut cursor = crate::cursor::Cursor::new(text.as_bytes(), &limits);
        let set = SequenceSet::parse(&mut cursor).expect("a set");
        let selection = subject.select(numbering, &set)?;
        Ok(subject
            .members(&selection)
            .map(|(_, uid)| uid.get())
            .collect())
    };
    assert_eq!(chosen(Numbering::Sequence, "2:3,1"), Ok(vec![2, 4, 6]));
    assert_eq!(chosen(Numbering::Sequence, "*"), Ok(vec![9]));
    assert_eq!(chosen(Numbering::Sequence, "1:5"), Err(NoSuchMessage));
    assert_eq!(chosen(Numbering::Uid, "3:5"), Ok(vec![4]));
    assert_eq!(chosen(Numbering::Uid, "100:*"), Ok(vec![9]));
    assert_eq!(chosen(Numbering::Uid, "100"), Ok(vec![]));
    assert_eq!(
        view(&[], 1).select(Numbering::Sequence, &SequenceSet::all()),
        Err(NoSuchMessage)
    );
    let none = view(&[], 1).select(Numbering::Uid, &SequenceSet::all());
    assert_eq!(none, Ok(Selection::default()));
}

/// One step of a mailbox's life.
#[derive(Debug, Clone)]
enum Step {
    Arrive(u32),
    Expunge(Vec<prop::sample::Index>),
    Flag(prop::sample::Index),
    Sync(Expunges),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u32..4).prop_map(Step::Arrive),
        prop::collection::vec(any::<prop::sample::Index>(), 1..4).prop_map(Step::Expunge),
        any::<prop::sample::Index>().prop_map(Step::Flag),
        Just(Step::Sync(Expunges::Hold)),
        Just(Step::Sync(Expunges::Tell)),
    ]
}

/// The store's side: which messages there are, and what changed since the last synchronisation.
#[derive(Default)]
struct Mailbox {
    uids: Vec<u32>,
    next: u32,
    changes: Changes,
}

impl Mailbox {
    fn touch(&mut self, n: u32) {
        self.changes.changed.retain(|(uid, ..)| uid.get() != n);
        self.changes
            .changed
            .push((uid(n), FlagSet::new(), ModSeq::MIN));
        self.changes.changed.sort_by_key(|(uid, ..)| *uid);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Arrive(gap) => {
                self.next += gap;
                self.uids.push(self.next);
                self.touch(self.next);
            }
            Step::Expunge(which) => {
                for index in which {
                    if !self.uids.is_empty() {
                        let n = self.uids.remove(index.index(self.uids.len()));
                        self.changes.changed.retain(|(uid, ..)| uid.get() != n);
                        self.changes.expunged.push(n..=n);
                    }
                }
            }
            Step::Flag(index) if !self.uids.is_empty() => {
                self.touch(self.uids[index.index(self.uids.len())]);
            }
            Step::Flag(_) | Step::Sync(_) => {}
        }
    }
}

proptest! {
    /// A client that follows EXISTS and EXPUNGE always has the same numbers as the view; while
    /// expunges are held it loses none, and after they are told it has what the store has.
    #[test]
    fn a_client_that_believes_the_updates_agrees(steps in prop::collection::vec(any_step(), 0..40)) {
        let mut mailbox = Mailbox::default();
        let mut subject = view(&[], 1);
        // What the client knows of each position: the UID, once the view has it.
        let mut client: Vec<u32> = Vec::new();
        for step in steps {
            mailbox.step(&step);
            let Step::Sync(expunges) = step else { continue };
            let changes = std::mem::take(&mut mailbox.changes);
            for update in subject.apply(changes, expunges) {
                match update {
                    Update::Expunge(n) => {
                        prop_assert_eq!(expunges, Expunges::Tell);
                        client.remove(n as usize - 1);
                    }
                    Update::Exists(n) => {
                        for position in client.len() as u32 + 1..=n {
                            client.push(subject.uid_at(position).expect("counted").get());
                        }
                    }
                    Update::Recent(n) => prop_assert!(n <= subject.exists()),
                    Update::Flags { sequence, uid, .. } => {
                        prop_assert_eq!(client[sequence as usize - 1], uid.get());
                    }
                }
            }
            let seen: Vec<u32> =
                (1..=subject.exists()).map(|n| subject.uid_at(n).expect("counted").get()).collect();
            prop_assert_eq!(&seen, &client);
            if expunges == Expunges::Tell {
                prop_assert_eq!(&seen, &mailbox.uids);
            }
        }
    }

    #[test]
    fn a_selection_has_exactly_the_members(
        members in prop::collection::btree_set(1u32..200, 0..60),
        set in any_set(),
    ) {
        let uids: Vec<u32> = members.into_iter().collect();
        let subject = view(&uids, 1);
        let last = uids.last().copied().unwrap_or(0);
        let ranges = set.resolve(last);
        let selection = subject.select(Numbering::Uid, &set).expect("UIDs are never an error");
        let chosen: Vec<(u32, u32)> =
            subject.members(&selection).map(|(n, uid)| (n, uid.get())).collect();
        let expected: Vec<(u32, u32)> = (1..)
            .zip(uids)
            .filter(|(_, uid)| ranges.iter().any(|r| r.contains(uid)))
            .collect();
        prop_assert_eq!(chosen, expected);
    }
}
