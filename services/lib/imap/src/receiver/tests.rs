//! Framing: literals, appends, recovery from errors, and that pieces do not matter.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    line: 200,
    literals: 50,
    message: 1000,
    depth: 8,
    arguments: 50,
};

/// Events as lines of text, with adjacent chunks put together; each append is decided by `accept`.
fn events(pieces: &[&[u8]], accept: bool) -> Vec<String> {
    let mut receiver = Receiver::new(LIMITS);
    let mut seen: Vec<String> = Vec::new();
    for piece in pieces {
        receiver.feed(piece);
        while let Some(event) = receiver.next_event() {
            let tagged = |tag: &Option<Tag>| tag.as_ref().map_or("*", Tag::as_str).to_owned();
            let text = match &event {
                Event::Command(tag, command) => format!("{tag} {}", command.name()),
                Event::Continue => "+".into(),
                Event::Append(tag, head, size) => {
                    match accept {
                        true => receiver.accept_append(),
                        false => receiver.refuse_append(),
                    }
                    format!("{tag} APPEND {} {}", head.mailbox.as_str(), size.octets)
                }
                Event::AppendChunk(bytes) => {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    match seen.last_mut() {
                        Some(last) if last.starts_with("chunk ") => {
                            last.push_str(&text);
                            continue;
                        }
                        _ => format!("chunk {text}"),
                    }
                }
                Event::AppendEnd => "end".into(),
                Event::AppendBroken(_) => "broken".into(),
                Event::Line(line) => format!("line {}", String::from_utf8_lossy(line)),
                Event::Bad(tag, _) => format!("{} BAD", tagged(tag)),
                Event::TooBig(tag) => format!("{} TOOBIG", tagged(tag)),
            };
            seen.push(text);
        }
    }
    seen
}

fn check(input: &[u8], expected: &[&str]) {
    assert_eq!(events(&[input], true), expected, "in one piece");
    let single: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(events(&single, true), expected, "octet by octet");
}

#[test]
fn commands_follow_each_other() {
    check(
        b"a NOOP\r\nb noop\nc LOGOUT\r\n",
        &["a NOOP", "b NOOP", "c LOGOUT"],
    );
    check(b"\r\na NOOP\r\n", &["a NOOP"]);
}

#[test]
fn literals_of_both_kinds_join_the_command() {
    check(
        b"a LOGIN {5}\r\nal\r\nx {3+}\r\npw!\r\nb NOOP\r\n",
        &["+", "a LOGIN", "b NOOP"],
    );
    check(b"a LOGIN {0}\r\n {0+}\r\n\r\n", &["+", "a LOGIN"]);
}

#[test]
fn an_append_streams() {
    check(
        b"a APPEND INBOX (\\Seen) \"17-Jul-1996 02:44:25 -0700\" {11+}\r\nA: b\r\n\r\nabc\r\nb NOOP\r\n",
        &["a APPEND INBOX 11", "chunk A: b\r\n\r\nabc", "end", "b NOOP"],
    );
    check(
        b"a APPEND {5}\r\nINBOX {2}\r\nhi\r\n",
        &["+", "a APPEND INBOX 2", "chunk hi", "end"],
    );
    check(b"a APPEND INBOX {0}\r\n\r\n", &["a APPEND INBOX 0", "end"]);
}

#[test]
fn a_refused_append_leaves_the_connection_in_step() {
    let waiting = b"a APPEND x {3}\r\nb NOOP\r\n";
    assert_eq!(events(&[waiting], false), ["a APPEND x 3", "b NOOP"]);
    let pushing = b"a APPEND x {3+}\r\nc\r\n\r\nb NOOP\r\n";
    assert_eq!(events(&[pushing], false), ["a APPEND x 3", "b NOOP"]);
}

#[test]
fn a_broken_append_is_refused_before_its_message() {
    check(b"a APPEND x y {3}\r\nb NOOP\r\n", &["a BAD", "b NOOP"]);
    check(
        b"a APPEND x y {3+}\r\nq\r\n\r\nb NOOP\r\n",
        &["a BAD", "b NOOP"],
    );
    check(
        b"a APPEND x {1+}\r\nq x {4+}\r\nNOOP\r\nb NOOP\r\n",
        &["a APPEND x 1", "chunk q", "broken", "b NOOP"],
    );
}

#[test]
fn too_large_literals_do_not_desynchronise() {
    check(b"a LOGIN {51}\r\nb NOOP\r\n", &["a TOOBIG", "b NOOP"]);
    let mut pushed = b"a LOGIN {60+}\r\n".to_vec();
    pushed.extend_from_slice(&[b'x'; 60]);
    pushed.extend_from_slice(b" {4+}\r\nz\r\nz\r\nb NOOP\r\n");
    check(&pushed, &["a TOOBIG", "b NOOP"]);
    check(b"a APPEND x {1001}\r\nb NOOP\r\n", &["a TOOBIG", "b NOOP"]);
    check(
        b"a LOGIN {99999999999999999999999}\r\nb NOOP\r\n",
        &["a TOOBIG", "b NOOP"],
    );
}

#[test]
fn the_literals_of_a_command_share_one_limit() {
    let mut input = b"a LOGIN {30+}\r\n".to_vec();
    input.extend_from_slice(&[b'x'; 30]);
    input.extend_from_slice(b" {30}\r\nb NOOP\r\n");
    check(&input, &["a TOOBIG", "b NOOP"]);
}

#[test]
fn long_lines_are_skipped_to_their_end() {
    let mut input = b"a SELECT ".to_vec();
    input.extend_from_slice(&[b'x'; 500]);
    input.extend_from_slice(b"\r\nb NOOP\r\n");
    check(&input, &["a BAD", "b NOOP"]);
    let mut with_literal = b"a SELECT ".to_vec();
    with_literal.extend_from_slice(&[b'x'; 500]);
    with_literal.extend_from_slice(b" {8+}\r\nc NOOP\r\n\r\nb NOOP\r\n");
    check(&with_literal, &["a BAD", "b NOOP"]);
}

#[test]
fn errors_keep_the_tag_where_there_is_one() {
    check(
        b"a FOO\r\n+ NOOP\r\n\xff\xfe x\r\nb NOOP\r\n",
        &["a BAD", "* BAD", "* BAD", "b NOOP"],
    );
    check(b"noop\r\n", &["noop BAD"]);
}

#[test]
fn a_line_that_is_no_command_is_asked_for() {
    let mut receiver = Receiver::new(LIMITS);
    receiver.feed(b"a IDLE\r\nDONE\r\nb NOOP\r\n");
    assert!(matches!(
        receiver.next_event(),
        Some(Event::Command(_, Command::Idle))
    ));
    receiver.expect_line();
    assert_eq!(receiver.next_event(), Some(Event::Line("DONE".into())));
    assert!(matches!(
        receiver.next_event(),
        Some(Event::Command(_, Command::Noop))
    ));
    assert_eq!(receiver.next_event(), None);
    assert!(receiver.is_idle());
}

#[test]
fn what_came_in_plain_text_can_be_thrown_away() {
    let mut receiver = Receiver::new(LIMITS);
    receiver.feed(b"a STARTTLS\r\nb LOGIN x y\r\nc NO");
    assert!(matches!(
        receiver.next_event(),
        Some(Event::Command(_, Command::StartTls))
    ));
    receiver.discard_input();
    receiver.feed(b"d NOOP\r\n");
    assert!(matches!(receiver.next_event(), Some(Event::Command(tag, _)) if tag.as_str() == "d"));
}

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"a NOOP\r\n".to_vec()),
        Just(b"b LOGIN {3}\r\nabc {2+}\r\nde\r\n".to_vec()),
        Just(b"c APPEND x {12+}\r\nd NOOP\r\n{4+}\r\n".to_vec()),
        Just(b"c APPEND x {12}\r\n".to_vec()),
        Just(b"e FOO {4+}\r\n".to_vec()),
        Just(b"f LOGIN {70+}\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
        "[a-z{}+0-9 \r\n]{0,30}".prop_map(String::into_bytes),
        Just(vec![b'x'; 150]),
    ]
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        lines in prop::collection::vec(any_line(), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        accept: bool,
    ) {
        let input = lines.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(input.len());
        let mut start = 0;
        let mut pieces = Vec::new();
        for cut in cuts {
            pieces.push(&input[start..cut]);
            start = cut;
        }
        prop_assert_eq!(events(&pieces, accept), events(&[&input], accept));
    }
}
