//! Known answers both ways, and properties, for all commands.

use postino_types::{Flag, FlagSet, ModSeq, Secret, SpecialUse};
use proptest::prelude::*;

use super::*;
use crate::date::Date;
use crate::limits::Limits;
use crate::sequence::tests::any_set;

fn parse(text: &[u8]) -> Parsed<Command> {
    let limits = Limits::default();
    let mut cursor = Cursor::new(text, &limits);
    let command = Command::parse(&mut cursor)?;
    cursor.end()?;
    Ok(command)
}

fn encode(command: &Command) -> Vec<u8> {
    let tag = Tag::new("t").expect("a valid tag");
    let mut out = Vec::new();
    command.encode(&tag, LiteralKind::NonSynchronizing, &mut out);
    let line = out.strip_prefix(b"t ").expect("the tag comes first");
    line.strip_suffix(b"\r\n").expect("a line").to_vec()
}

fn set(text: &str) -> SequenceSet {
    let limits = Limits::default();
    SequenceSet::parse(&mut Cursor::new(text.as_bytes(), &limits)).expect("a valid set")
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::new(text)
}

fn section(part: &[u32], text: Option<SectionText>, peek: Peek) -> FetchItem {
    let part = part.iter().map(|n| (*n).try_into().expect("not zero"));
    FetchItem::BodySection {
        section: Section {
            part: part.collect(),
            text,
        },
        peek,
        partial: None,
    }
}

/// Pairs of what is written and what it means; each is also written so.
#[test]
fn known_commands_go_both_ways() {
    let flags =
        |names: &[&str]| -> FlagSet { names.iter().map(|n| n.parse().expect("a flag")).collect() };
    let date = Date::new(1994, 2, 1).expect("a day");
    let cases: Vec<(&str, Command)> = vec![
        ("CAPABILITY", Command::Capability),
        ("STARTTLS", Command::StartTls),
        (
            "AUTHENTICATE PLAIN AGEAYg==",
            Command::Authenticate {
                mechanism: "PLAIN".into(),
                initial: Some(Secret::new("AGEAYg==")),
            },
        ),
        (
            "LOGIN alice@example.org \"pass \\\"word\"",
            Command::Login(Login {
                user: "alice@example.org".into(),
                password: Secret::new("pass \"word"),
            }),
        ),
        (
            "ID (\"name\" \"Mutt\" \"os\" NIL)",
            Command::Id(Identification(vec![
                ("name".into(), Some("Mutt".into())),
                ("os".into(), None),
            ])),
        ),
        ("ID NIL", Command::Id(Identification::default())),
        (
            "ENABLE CONDSTORE X-A",
            Command::Enable(vec!["CONDSTORE".into(), "X-A".into()]),
        ),
        ("SELECT Entw&APw-rfe", Command::Select(mailbox("Entwürfe"))),
        (
            "CREATE a/b (USE (\\Sent))",
            Command::Create(mailbox("a/b"), Some(SpecialUse::Sent)),
        ),
        (
            "RENAME \"a b\" c",
            Command::Rename {
                from: mailbox("a b"),
                to: mailbox("c"),
            },
        ),
        (
            "LIST \"\" \"%/*\"",
            Command::List(List {
                kind: ListKind::List,
                reference: "".into(),
                pattern: "%/*".into(),
            }),
        ),
        (
            "STATUS INBOX (MESSAGES UIDNEXT)",
            Command::Status(Status {
                mailbox: mailbox("INBOX"),
                items: vec![StatusItem::Messages, StatusItem::UidNext],
            }),
        ),
        ("UID EXPUNGE 1:3,*", Command::Expunge(Some(set("1:3,*")))),
        (
            "STORE 2:4 +FLAGS.SILENT (\\Seen $work)",
            Command::Store(
                Numbering::Sequence,
                Store {
                    set: set("2:4"),
                    operation: FlagOperation::Add,
                    reporting: Reporting::Silent,
                    flags: flags(&["\\Seen", "$work"]),
                },
            ),
        ),
        (
            "UID MOVE 4 Trash",
            Command::Move(Numbering::Uid, set("4"), mailbox("Trash")),
        ),
        (
            "UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (Date \"X Y\")] BODY[1.2.MIME] BODY[])",
            Command::Fetch(
                Numbering::Uid,
                Fetch {
                    set: set("1:*"),
                    items: vec![
                        FetchItem::Flags,
                        section(
                            &[],
                            Some(SectionText::HeaderFields(vec!["Date".into(), "X Y".into()])),
                            Peek::Peek,
                        ),
                        section(&[1, 2], Some(SectionText::Mime), Peek::SetSeen),
                        section(&[], None, Peek::SetSeen),
                    ],
                },
            ),
        ),
        (
            "SEARCH CHARSET UTF-8 OR UNSEEN (KEYWORD $x NOT SENTSINCE 1-Feb-1994) HEADER SUBJECT {2+}\r\nü 2:*",
            Command::Search(
                Numbering::Sequence,
                Search {
                    charset: Charset::Utf8,
                    program: vec![
                        SearchKey::Or(
                            Box::new(SearchKey::NoFlag(Flag::Seen)),
                            Box::new(SearchKey::And(vec![
                                SearchKey::Flag("$x".parse().expect("a keyword")),
                                SearchKey::Not(Box::new(SearchKey::Since(DateField::Sent, date))),
                            ])),
                        ),
                        SearchKey::Header("SUBJECT".into(), "ü".into()),
                        SearchKey::Sequence(set("2:*")),
                    ],
                },
            ),
        ),
    ];
    for (text, command) in cases {
        assert_eq!(parse(text.as_bytes()).as_ref(), Ok(&command), "{text}");
        assert_eq!(String::from_utf8_lossy(&encode(&command)), text);
    }
}

/// Other spellings of the same commands.
#[test]
fn commands_have_more_than_one_spelling() {
    for (spelling, canonical) in [
        ("select {5}\r\nINBOX", "SELECT INBOX"),
        ("SELECT \"Entwürfe\"", "SELECT Entw&APw-rfe"),
        ("SELECT a&b", "SELECT a&-b"),
        ("lIsT \"\" %", "LIST \"\" \"%\""),
        (
            "FETCH 1 ALL",
            "FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)",
        ),
        (
            "FETCH 1 full",
            "FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY)",
        ),
        ("FETCH 1 BODY", "FETCH 1 (BODY)"),
        (
            "FETCH 1 body.peek[text]<0.10>",
            "FETCH 1 (BODY.PEEK[TEXT]<0.10>)",
        ),
        ("FETCH 1 BODY[1]", "FETCH 1 (BODY[1])"),
        (
            "STORE 1 FLAGS \\Seen \\Deleted",
            "STORE 1 FLAGS (\\Seen \\Deleted)",
        ),
        ("STORE 1 -flags (\\Recent)", "STORE 1 -FLAGS ()"),
        ("SEARCH FROM x", "SEARCH HEADER FROM x"),
        (
            "SEARCH MODSEQ \"/flags/\\\\draft\" all 620162338",
            "SEARCH MODSEQ 620162338",
        ),
        ("SEARCH ON \"1-Feb-1994\"", "SEARCH ON 1-Feb-1994"),
        ("NOOP ", "NOOP"),
    ] {
        let command = parse(spelling.as_bytes()).expect(spelling);
        assert_eq!(String::from_utf8_lossy(&encode(&command)), canonical);
    }
}

#[test]
fn what_is_no_command_is_refused() {
    for bad in [
        "",
        "FOO",
        "NOOP x",
        "LOGIN a",
        "SELECT",
        "SELECT ",
        "FETCH 1",
        "FETCH 0 FLAGS",
        "FETCH 1 ()",
        "FETCH 1 (ALL)",
        "FETCH 1 BODY[MIME]",
        "FETCH 1 BODY[1.]",
        "FETCH 1 BODY[0]",
        "FETCH 1 BODY[HEADER.FIELDS ()]",
        "FETCH 1 BODY[]<0.0>",
        "FETCH 1 RFC822[TEXT]",
        "STORE 1 FLAGS \\Foo",
        "STORE 1 FLAGS",
        "UID NOOP",
        "UID LOGIN a b",
        "SEARCH",
        "SEARCH ()",
        "SEARCH NOT",
        "SEARCH OR SEEN",
        "SEARCH SMALLER x",
        "SEARCH SEEN  UNSEEN",
        "CREATE a (USE (\\All))",
        "STATUS INBOX ()",
        "COPY 1",
        "ENABLE",
        "ID",
    ] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let deep = format!("SEARCH {}SEEN", "NOT ".repeat(10_000));
    assert_eq!(
        parse(deep.as_bytes()),
        Err(SyntaxError("nested too deeply"))
    );
}

#[test]
fn a_search_in_another_charset_parses_so_that_it_can_be_refused_properly() {
    let search = parse(b"UID SEARCH CHARSET KOI8-R SUBJECT {2}\r\n\xc1\xc2");
    let Ok(Command::Search(Numbering::Uid, search)) = search else {
        panic!("{search:?}");
    };
    assert_eq!(search.charset, Charset::Unsupported);
}

#[test]
fn no_password_is_printed() {
    let login = parse(b"LOGIN alice secretive").expect("valid");
    assert!(!format!("{login:?}").contains("secretive"));
    let plain = parse(b"AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldGl2ZQ==").expect("valid");
    assert!(!format!("{plain:?}").contains("AGFs"));
}

fn any_text() -> impl Strategy<Value = Box<str>> {
    "[^\0]{0,12}".prop_map(Into::into)
}

fn any_mailbox() -> impl Strategy<Value = Mailbox> {
    "[^\0]{0,12}".prop_map(Mailbox::new)
}

fn any_numbering() -> impl Strategy<Value = Numbering> {
    prop_oneof![Just(Numbering::Sequence), Just(Numbering::Uid)]
}

fn any_flag() -> impl Strategy<Value = Flag> {
    prop_oneof![
        (0..5usize).prop_map(|at| Flag::SYSTEM[at].clone()),
        "[$a-z][a-z]{0,5}".prop_map(|k| k.parse().expect("a keyword")),
    ]
}

fn any_date() -> impl Strategy<Value = Date> {
    (-20_000_000_000i64..20_000_000_000).prop_map(Date::from_unix)
}

fn any_field() -> impl Strategy<Value = DateField> {
    prop_oneof![Just(DateField::Internal), Just(DateField::Sent)]
}

pub(crate) fn any_search_key() -> impl Strategy<Value = SearchKey> {
    let leaf = prop_oneof![
        Just(SearchKey::All),
        Just(SearchKey::New),
        Just(SearchKey::Old),
        Just(SearchKey::Recent),
        any_flag().prop_map(SearchKey::Flag),
        any_flag().prop_map(SearchKey::NoFlag),
        any_set().prop_map(SearchKey::Sequence),
        any_set().prop_map(SearchKey::Uid),
        any::<u64>().prop_map(SearchKey::Larger),
        (any_field(), any_date()).prop_map(|(f, d)| SearchKey::Before(f, d)),
        (any_field(), any_date()).prop_map(|(f, d)| SearchKey::On(f, d)),
        (any_field(), any_date()).prop_map(|(f, d)| SearchKey::Since(f, d)),
        ("[A-Z-]{1,8}", any_text()).prop_map(|(n, t)| SearchKey::Header(n.into(), t)),
        any_text().prop_map(SearchKey::Body),
        any_text().prop_map(SearchKey::Text),
        (1u64..u64::MAX).prop_map(|n| SearchKey::ModSeq(ModSeq::new(n).expect("not zero"))),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|key| SearchKey::Not(Box::new(key))),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| SearchKey::Or(Box::new(a), Box::new(b))),
            prop::collection::vec(inner, 1..4).prop_map(SearchKey::And),
        ]
    })
}

fn any_section() -> impl Strategy<Value = Section> {
    let fields = || prop::collection::vec(any_text(), 1..4);
    let text = prop_oneof![
        Just(SectionText::Header),
        Just(SectionText::Text),
        fields().prop_map(SectionText::HeaderFields),
        fields().prop_map(SectionText::HeaderFieldsNot),
    ];
    let part = (1u32..99).prop_map(|n| n.try_into().expect("not zero"));
    (prop::collection::vec(part, 0..4), prop::option::of(text))
        .prop_map(|(part, text)| Section { part, text })
}

fn any_fetch_item() -> impl Strategy<Value = FetchItem> {
    let partial = (any::<u32>(), 1u32..).prop_map(|(offset, length)| Partial {
        offset,
        length: length.try_into().expect("not zero"),
    });
    let peek = prop_oneof![Just(Peek::Peek), Just(Peek::SetSeen)];
    prop_oneof![
        Just(FetchItem::Envelope),
        Just(FetchItem::Body),
        Just(FetchItem::BodyStructure),
        Just(FetchItem::Rfc822Header),
        Just(FetchItem::ModSeq),
        (any_section(), peek, prop::option::of(partial)).prop_map(|(section, peek, partial)| {
            FetchItem::BodySection {
                section,
                peek,
                partial,
            }
        }),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    let operation = prop_oneof![
        Just(FlagOperation::Replace),
        Just(FlagOperation::Add),
        Just(FlagOperation::Remove)
    ];
    let reporting = prop_oneof![Just(Reporting::Full), Just(Reporting::Silent)];
    let flags = prop::collection::btree_set(any_flag(), 0..4);
    let store =
        (any_set(), operation, reporting, flags).prop_map(|(set, operation, reporting, flags)| {
            Store {
                set,
                operation,
                reporting,
                flags,
            }
        });
    let program = prop::collection::vec(any_search_key(), 1..4);
    prop_oneof![
        Just(Command::Idle),
        (any_text(), any_text()).prop_map(|(user, password)| Command::Login(Login {
            user,
            password: Secret::new(password)
        })),
        any_mailbox().prop_map(Command::Select),
        any_mailbox().prop_map(|m| Command::Create(m, Some(SpecialUse::Junk))),
        (any_mailbox(), any_mailbox()).prop_map(|(from, to)| Command::Rename { from, to }),
        (any_text(), any_text()).prop_map(|(reference, pattern)| Command::List(List {
            kind: ListKind::Lsub,
            reference,
            pattern
        })),
        (any_numbering(), any_set(), any_mailbox()).prop_map(|(n, s, m)| Command::Copy(n, s, m)),
        (any_numbering(), store).prop_map(|(n, s)| Command::Store(n, s)),
        (any_numbering(), program).prop_map(|(n, program)| Command::Search(
            n,
            Search {
                charset: Charset::Utf8,
                program
            }
        )),
        (
            any_numbering(),
            any_set(),
            prop::collection::vec(any_fetch_item(), 1..4)
        )
            .prop_map(|(n, set, items)| Command::Fetch(n, Fetch { set, items })),
    ]
}

proptest! {
    #[test]
    fn every_command_comes_back(command in any_command()) {
        prop_assert_eq!(parse(&encode(&command)), Ok(command));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_damaged_command_panics(command in any_command(), at: prop::sample::Index, byte: u8) {
        let mut bytes = encode(&command);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = parse(&bytes);
        let _ = parse(&bytes[..at]);
    }
}
