//! From an accepted letter to what is stored of it and what IMAP answers.

use postino_message::{
    ByteRange, Delivery, Email, FieldSelection, Limits, Located, PartKind, Scanner, Section,
    SectionText, Segment, deliver, locate,
};
use proptest::prelude::*;

fn delivered(letter: &[u8], prefix: &[u8], return_path: &[u8]) -> (Delivery, Vec<u8>) {
    let mut scanner = Scanner::new(Limits::default());
    scanner.feed(letter);
    let delivery = deliver(&scanner.finish(), prefix, return_path);
    let accepted = [prefix, letter].concat();
    let mut message = Vec::new();
    for segment in &delivery.segments {
        match segment {
            Segment::Literal(octets) => message.extend_from_slice(octets),
            Segment::Range(range) => message.extend_from_slice(slice(&accepted, *range)),
        }
    }
    (delivery, message)
}

fn email(letter: &str) -> Email {
    delivered(letter.as_bytes(), b"", b"").0.email
}

fn slice(octets: &[u8], range: ByteRange) -> &[u8] {
    &octets
        [usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small")]
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).expect("UTF-8")
}

const MIXED: &str = concat!(
    "From: Alice <alice@example.org>\r\n",
    "To: bob@example.org\r\n",
    "Subject: Re: [list] =?utf-8?q?caf=C3=A9?=\r\n",
    "Date: Tue, 24 Nov 2026 14:32:18 +0000\r\n",
    "Message-ID: <m1@example.org>\r\n",
    "In-Reply-To: <m0@example.org>\r\n",
    "MIME-Version: 1.0\r\n",
    "Content-Type: multipart/mixed; boundary=\"b\"\r\n",
    "\r\n",
    "--b\r\n",
    "Content-Type: TEXT/plain; charset=UTF-8\r\n",
    "Content-Transfer-Encoding: Quoted-Printable\r\n",
    "\r\n",
    "hello\r\nworld\r\n",
    "\r\n--b\r\n",
    "Content-Type: application/pdf; name=\"a \\\"b\\\".pdf\"\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Disposition: attachment; filename*0=\"a.\"; filename*1=pdf; size=3\r\n",
    "Content-ID: <part2@example.org>\r\n",
    "Content-Description: a file\r\n",
    "Content-Language: en, de\r\n",
    "Content-Location: file.pdf\r\n",
    "Content-MD5: Q2hlY2s=\r\n",
    "\r\n",
    "AAAA\r\n",
    "--b\r\n",
    "Content-Type: message/rfc822\r\n",
    "\r\n",
    "Subject: inner\r\nFrom: carol@example.org\r\n\r\ninside\r\n",
    "\r\n--b--\r\n",
);

#[test]
fn the_wire_forms_are_those_of_the_rfc() {
    let email = email(MIXED);
    assert_eq!(
        text(&email.envelope),
        "(\"Tue, 24 Nov 2026 14:32:18 +0000\" \"Re: [list] =?utf-8?q?caf=C3=A9?=\" \
         ((\"Alice\" NIL \"alice\" \"example.org\")) ((\"Alice\" NIL \"alice\" \"example.org\")) \
         ((\"Alice\" NIL \"alice\" \"example.org\")) ((NIL NIL \"bob\" \"example.org\")) NIL NIL \
         \"<m0@example.org>\" \"<m1@example.org>\")"
    );
    let inner = "(NIL \"inner\" ((NIL NIL \"carol\" \"example.org\")) \
         ((NIL NIL \"carol\" \"example.org\")) ((NIL NIL \"carol\" \"example.org\")) \
         NIL NIL NIL NIL NIL)";
    assert_eq!(
        text(&email.body),
        format!(
            "((\"text\" \"plain\" (\"charset\" \"UTF-8\") NIL NIL \"quoted-printable\" 14 2)\
             (\"application\" \"pdf\" (\"name\" \"a \\\"b\\\".pdf\") \"<part2@example.org>\" \
             \"a file\" \"base64\" 4)\
             (\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 51 {inner} \
             (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 8 1) 4) \"mixed\")"
        )
    );
    assert_eq!(
        text(&email.bodystructure),
        format!(
            "((\"text\" \"plain\" (\"charset\" \"UTF-8\") NIL NIL \"quoted-printable\" 14 2 NIL NIL NIL NIL)\
             (\"application\" \"pdf\" (\"name\" \"a \\\"b\\\".pdf\") \"<part2@example.org>\" \
             \"a file\" \"base64\" 4 \"Q2hlY2s=\" \
             (\"attachment\" (\"size\" \"3\" \"filename\" \"a.pdf\")) (\"en\" \"de\") \"file.pdf\")\
             (\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 51 {inner} \
             (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 8 1 NIL NIL NIL NIL) \
             4 NIL NIL NIL NIL) \
             \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)"
        )
    );
}

#[test]
fn broken_structures_keep_to_the_grammar() {
    for (letter, expected) in [
        (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\nno part\r\n",
            "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0) \"mixed\")",
        ),
        (
            "Content-Type: multipart/mixed\r\n\r\nno boundary\r\n",
            "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 13 1)",
        ),
        (
            "Content-Type: nonsense\r\n\r\nx",
            "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0)",
        ),
        (
            "Content-Type: message/rfc822\r\n",
            "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 0 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) \
             (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0) 0)",
        ),
        (
            "",
            "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0)",
        ),
    ] {
        assert_eq!(text(&email(letter).body), expected, "{letter}");
    }
}

#[test]
fn sort_and_thread_keys() {
    let email = email(MIXED);
    assert_eq!(email.subject_base, "café");
    assert_eq!(email.message_id, "<m1@example.org>");
    assert_eq!(email.in_reply_to, "<m0@example.org>");
    assert_eq!(email.references, ["<m0@example.org>"]);
    assert_eq!(email.sent_seconds, Some(1_795_530_738));
    assert!(email.has_attachment);
    assert_eq!(email.lines, MIXED.matches('\n').count() as u64);
}

fn section(letter: &str, path: &[u32], what: SectionText) -> Option<String> {
    let (delivery, message) = delivered(letter.as_bytes(), b"", b"");
    let section = Section {
        path: path.to_vec(),
        text: what,
    };
    let octets = match locate(&delivery.email, &section)? {
        Located::Octets(range) => slice(&message, range).to_vec(),
        Located::Filtered(range, selection) => {
            postino_message::filter_fields(slice(&message, range), &selection)
        }
    };
    Some(text(&octets).to_owned())
}

#[test]
fn sections_of_a_multipart() {
    use SectionText::{All, Header, HeaderFields, Mime, Text};
    let get = |path: &[u32], what| section(MIXED, path, what);
    assert_eq!(get(&[], All).as_deref(), Some(MIXED));
    assert_eq!(get(&[1], All).as_deref(), Some("hello\r\nworld\r\n"));
    assert_eq!(
        get(&[1], Mime).as_deref(),
        Some(
            "Content-Type: TEXT/plain; charset=UTF-8\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n"
        )
    );
    assert_eq!(get(&[2], All).as_deref(), Some("AAAA"));
    assert_eq!(
        get(&[3], Mime).as_deref(),
        Some("Content-Type: message/rfc822\r\n\r\n")
    );
    assert_eq!(
        get(&[3], Header).as_deref(),
        Some("Subject: inner\r\nFrom: carol@example.org\r\n\r\n")
    );
    assert_eq!(get(&[3], Text).as_deref(), Some("inside\r\n"));
    assert_eq!(get(&[3, 1], All).as_deref(), Some("inside\r\n"));
    assert_eq!(
        get(
            &[3],
            HeaderFields(FieldSelection::Only(vec![b"FROM".to_vec()]))
        )
        .as_deref(),
        Some("From: carol@example.org\r\n\r\n")
    );
    assert_eq!(
        get(
            &[],
            HeaderFields(FieldSelection::Only(vec![b"to".to_vec()]))
        )
        .as_deref(),
        Some("To: bob@example.org\r\n\r\n")
    );
    let header = get(&[], Header).expect("there is one");
    let body = get(&[], Text).expect("there is one");
    assert_eq!(header + &body, MIXED);
    for (path, what) in [
        (&[4][..], All),
        (&[1, 1], All),
        (&[1], Header),
        (&[1], Text),
        (&[3, 2], All),
        (&[], Mime),
        (&[0], All),
    ] {
        assert_eq!(get(path, what.clone()), None, "{path:?} {what:?}");
    }
}

/// RFC 3501 section 6.4.5: the example of part numbers.
#[test]
fn part_numbers_are_those_of_the_rfc() {
    let leaf = |media: &str| format!("Content-Type: {media}\r\n\r\nx\r\n");
    let multipart = |boundary: &str, parts: &[String]| {
        let mut whole = format!("Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n");
        for part in parts {
            whole += &format!("--{boundary}\r\n{part}");
        }
        whole + &format!("--{boundary}--\r\n")
    };
    let message = |inner: String| format!("Content-Type: message/rfc822\r\n\r\n{inner}");
    let alternative = multipart("k", &[leaf("text/plain"), leaf("text/richtext")]);
    let nested = multipart(
        "j",
        &[
            leaf("image/gif"),
            message(multipart("i", &[leaf("text/plain"), alternative])),
        ],
    );
    let letter = multipart(
        "h",
        &[
            leaf("text/plain"),
            leaf("application/octet-stream"),
            message(multipart(
                "g",
                &[leaf("text/plain"), leaf("application/octet-stream")],
            )),
            nested,
        ],
    );
    let parts: Vec<_> = email(&letter)
        .parts
        .into_iter()
        .filter(|part| part.path.last() != Some(&0))
        .map(|part| {
            let path: Vec<_> = part.path.iter().map(u32::to_string).collect();
            format!("{} {}", path.join("."), part.content_type)
        })
        .collect();
    assert_eq!(
        parts,
        [
            "1 text/plain",
            "2 application/octet-stream",
            "3 message/rfc822",
            "3.1 text/plain",
            "3.2 application/octet-stream",
            "4 multipart/mixed",
            "4.1 image/gif",
            "4.2 message/rfc822",
            "4.2.1 text/plain",
            "4.2.2 multipart/mixed",
            "4.2.2.1 text/plain",
            "4.2.2.2 text/richtext",
        ]
    );
}

#[test]
fn a_letter_without_parts_has_part_one() {
    use SectionText::{All, Header, Mime, Text};
    let letter = "Subject: x\r\n\r\nbody\r\n";
    assert_eq!(section(letter, &[1], All).as_deref(), Some("body\r\n"));
    assert_eq!(
        section(letter, &[1], Mime).as_deref(),
        Some("Subject: x\r\n\r\n")
    );
    assert_eq!(section(letter, &[], Text).as_deref(), Some("body\r\n"));
    assert_eq!(section(letter, &[1], Header), None);
    let message = format!("Content-Type: message/rfc822\r\n\r\n{letter}");
    assert_eq!(
        section(&message, &[1], Header).as_deref(),
        Some("Subject: x\r\n\r\n")
    );
    assert_eq!(section(&message, &[1, 1], All).as_deref(), Some("body\r\n"));
}

#[test]
fn delivery_puts_one_return_path_in_front() {
    let letter =
        b"Return-Path: <old@x>\r\nA: b\r\nReturn-Path:\r\n <older@x>\r\nSubject: s\r\n\r\nbody\r\n";
    let (delivery, message) = delivered(
        letter,
        b"Received: by mx\r\n\tfor <a>\r\nDate: 1 Jan 1970 00:00:00 Z\r\n",
        b"Return-Path: <new@x>\r\n",
    );
    assert_eq!(
        text(&message),
        "Return-Path: <new@x>\r\nReceived: by mx\r\n\tfor <a>\r\nDate: 1 Jan 1970 00:00:00 Z\r\n\
         A: b\r\nSubject: s\r\n\r\nbody\r\n"
    );
    let email = &delivery.email;
    assert_eq!(email.size, message.len() as u64);
    assert_eq!(email.lines, 8);
    assert_eq!(email.sent_seconds, Some(0));
    assert_eq!(
        slice(&message, ByteRange::new(email.header_size, email.size)),
        b"body\r\n"
    );
    assert_eq!(email.parts[0].header, ByteRange::new(0, email.header_size));
    assert_eq!(slice(&message, email.parts[0].body), b"body\r\n");
    assert_eq!(delivery.segments.len(), 4);
}

fn letters() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("Content-Type: multipart/mixed; boundary=a\r\n"),
        Just("Content-Type: message/rfc822\r\n"),
        Just("Content-Type: text/html; charset=\"é\"\r\n"),
        Just("Content-Disposition: attachment; filename=\"\\\"\r\n"),
        Just("Return-Path: <x@y>\r\n"),
        Just(" folded\r\n"),
        Just("Subject: é\0\"x\r\n"),
        Just("To: a:(\"<@\r\n"),
        Just("\r\n"),
        Just("--a\r\n"),
        Just("--a--\r\n"),
        Just("text\r\n"),
        Just("\n"),
        Just("x"),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// What scanning the delivered message itself finds must be what was computed from the accepted.
fn assert_same_as_rescan(letter: &str, prefix: &str, return_path: &str) {
    let (delivery, message) =
        delivered(letter.as_bytes(), prefix.as_bytes(), return_path.as_bytes());
    let mut scanner = Scanner::new(Limits::default());
    scanner.feed(&message);
    let again = scanner.finish();
    assert_eq!(delivery.email.size, again.size);
    assert_eq!(delivery.email.lines, again.lines);
    assert_eq!(delivery.email.header_size, again.root().header.end);
    assert_eq!(
        again.return_paths.len(),
        usize::from(!return_path.is_empty())
    );
    let direct = deliver(&again, b"", b"").email;
    assert_eq!(delivery.email.envelope, direct.envelope);
    assert_eq!(delivery.email.bodystructure, direct.bodystructure);
    assert_eq!(
        delivery.email.parts,
        without_return_path(direct, return_path.len()).parts
    );
}

/// `direct` was made of a message whose Return-Path it cut out again: puts the offsets back.
fn without_return_path(mut direct: Email, length: usize) -> Email {
    let length = length as u64;
    for part in &mut direct.parts {
        for range in [&mut part.header, &mut part.body] {
            range.end += length;
            if range.start > 0 {
                range.start += length;
            }
        }
    }
    direct
}

proptest! {
    #[test]
    fn offsets_are_those_of_the_delivered_message(letter in letters(), return_path: bool) {
        // A letter that starts with a folded line would join the field before it.
        let letter = format!("A: b\r\n{letter}");
        let return_path = if return_path { "Return-Path: <new@x>\r\n" } else { "" };
        assert_same_as_rescan(&letter, "Received: x\r\n", return_path);
    }

    #[test]
    fn wire_forms_have_balanced_parentheses(letter in letters()) {
        let email = email(&letter);
        for wire in [&email.envelope, &email.body, &email.bodystructure] {
            prop_assert_eq!(depth_after(wire), Some(0), "{}", String::from_utf8_lossy(wire));
        }
    }

    #[test]
    fn every_part_lies_in_the_message(letter in letters()) {
        let email = email(&letter);
        prop_assert!(!email.parts.is_empty() || text(&email.body).contains("0 0) \"mixed\")"));
        for part in &email.parts {
            prop_assert!(part.body.end <= email.size && part.header.end <= part.body.start);
            prop_assert_eq!(part.kind == PartKind::Message, part.content_type == "message/rfc822");
        }
    }
}

/// Depth of parentheses after the wire form; `None` if a string is not closed.
fn depth_after(wire: &[u8]) -> Option<i64> {
    let mut depth = 0;
    let mut rest = wire;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        match octet {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'"' => loop {
                let (&octet, tail) = rest.split_first()?;
                rest = tail;
                match octet {
                    b'"' => break,
                    b'\\' => rest = rest.get(1..)?,
                    b'\r' | b'\n' | 0 | 0x80.. => return None,
                    _ => {}
                }
            },
            b'{' => {
                let end = rest.windows(3).position(|w| w == b"}\r\n")?;
                let length: usize = text(&rest[..end]).parse().ok()?;
                rest = rest.get(end + 3 + length..)?;
            }
            _ => {}
        }
    }
    Some(depth)
}
