//! Keys against one message, and the logic of the unknown.

use proptest::prelude::*;

use super::*;
use crate::Limits;
use crate::command::{Command, tests::any_search_key};

/// How much of the message is at hand.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Loaded {
    Row,
    Header,
    All,
}

struct Letter(Loaded);

impl Letter {
    fn with<T>(&self, needed: Loaded, value: T) -> Known<T> {
        match self.0 >= needed {
            true => Known::Yes(value),
            false => Known::NotLoaded,
        }
    }
}

impl Subject for Letter {
    fn sequence(&self) -> u32 {
        3
    }
    fn uid(&self) -> Uid {
        Uid::new(30).expect("not zero")
    }
    fn has_flag(&self, flag: &Flag) -> bool {
        *flag == Flag::Seen
    }
    fn recent(&self) -> Recent {
        Recent::Yes
    }
    fn size(&self) -> u64 {
        1000
    }
    fn internal_date(&self) -> Date {
        Date::new(2024, 2, 29).expect("a day")
    }
    fn mod_seq(&self) -> ModSeq {
        ModSeq::new(77).expect("not zero")
    }
    fn sent_date(&self) -> Known<Option<Date>> {
        self.with(Loaded::Header, Date::new(2024, 2, 28))
    }
    fn field_contains(&self, name: &str, text: &str) -> Known<bool> {
        let value = match name {
            "SUBJECT" => Some("grüße aus bonn"),
            "X-EMPTY" => Some(""),
            _ => None,
        };
        let found = value.is_some_and(|value| value.contains(&text.to_lowercase()));
        self.with(Loaded::Header, found)
    }
    fn body_contains(&self, text: &str) -> Known<bool> {
        self.with(Loaded::All, "the body".contains(&text.to_lowercase()))
    }
    fn header_contains(&self, text: &str) -> Known<bool> {
        self.with(
            Loaded::Header,
            "subject: grüße aus bonn".contains(&text.to_lowercase()),
        )
    }
}

fn search(keys: &str, loaded: Loaded) -> Option<bool> {
    let limits = Limits::default();
    let line = format!("SEARCH {keys}");
    let mut cursor = crate::cursor::Cursor::new(line.as_bytes(), &limits);
    let Ok(Command::Search(_, search)) = Command::parse(&mut cursor) else {
        panic!("{keys} does not parse");
    };
    let largest = Largest {
        sequence: 5,
        uid: 50,
    };
    Matcher::new(&search.program, largest).matches(&Letter(loaded))
}

#[test]
fn keys_match() {
    for (keys, expected) in [
        ("ALL", true),
        ("SEEN", true),
        ("UNSEEN", false),
        ("UNFLAGGED RECENT", true),
        ("NEW", false),
        ("OLD", false),
        ("3", true),
        ("4:*", false),
        ("UID 30:*", true),
        ("LARGER 999 SMALLER 1001", true),
        ("LARGER 1000", false),
        ("ON 29-Feb-2024", true),
        ("BEFORE 29-Feb-2024", false),
        ("SINCE 29-Feb-2024", true),
        ("SENTON 28-Feb-2024", true),
        ("SUBJECT \"GRÜSSE\"", false),
        ("SUBJECT \"GRÜßE\"", true),
        ("HEADER X-EMPTY \"\"", true),
        ("HEADER X-NONE \"\"", false),
        ("BODY BODY", true),
        ("TEXT bonn", true),
        ("MODSEQ 78", false),
        ("OR UNSEEN (SEEN NOT DELETED)", true),
    ] {
        assert_eq!(search(keys, Loaded::All), Some(expected), "{keys}");
    }
}

#[test]
fn what_is_decided_early_needs_no_more() {
    assert_eq!(search("UNSEEN BODY x", Loaded::Row), Some(false));
    assert_eq!(search("OR SEEN BODY x", Loaded::Row), Some(true));
    assert_eq!(search("SEEN BODY x", Loaded::Row), None);
    assert_eq!(search("SUBJECT x", Loaded::Row), None);
    assert_eq!(search("SUBJECT x", Loaded::Header), Some(false));
    assert_eq!(search("TEXT bonn", Loaded::Header), Some(true));
    assert_eq!(search("TEXT x", Loaded::Header), None);
}

#[test]
fn a_search_says_what_it_will_look_for() {
    let text = |t: &str| SearchKey::Body(t.into());
    let program = [
        SearchKey::Uid(SequenceSet::range(3, 9)),
        SearchKey::Or(
            Box::new(text("a")),
            Box::new(SearchKey::Not(Box::new(text("b")))),
        ),
        SearchKey::And(vec![SearchKey::Text("c".into())]),
    ];
    let matcher = Matcher::new(
        &program,
        Largest {
            sequence: 5,
            uid: 50,
        },
    );
    assert_eq!(matcher.body_texts(), ["a", "b", "c"]);
    let candidates: Vec<_> = matcher.candidates().collect();
    assert_eq!(candidates, [Candidates::Uids(&[3..=9])]);
}

proptest! {
    #[test]
    fn more_knowledge_never_changes_an_answer(keys in prop::collection::vec(any_search_key(), 1..4)) {
        let matcher = Matcher::new(&keys, Largest { sequence: 5, uid: 50 });
        let answers = [Loaded::Row, Loaded::Header, Loaded::All].map(|l| matcher.matches(&Letter(l)));
        prop_assert!(answers[2].is_some());
        for pair in answers.windows(2) {
            prop_assert!(pair[0].is_none() || pair[0] == pair[1]);
        }
    }

    #[test]
    fn not_is_the_opposite(key in any_search_key()) {
        let largest = Largest { sequence: 5, uid: 50 };
        let plain = Matcher::new(std::slice::from_ref(&key), largest).matches(&Letter(Loaded::All));
        let negated = Matcher::new(&[SearchKey::Not(Box::new(key))], largest);
        prop_assert_eq!(negated.matches(&Letter(Loaded::All)), plain.map(|m| !m));
    }
}
