use proptest::prelude::*;

use super::*;

fn scan(letter: &[u8]) -> Structure {
    let mut scanner = Scanner::new(Limits::default());
    scanner.feed(letter);
    scanner.finish()
}

/// The tree in a short form: kind, header and body as text, lines.
fn tree(letter: &str) -> Vec<String> {
    let structure = scan(letter.as_bytes());
    let text = |range: ByteRange| {
        let start = usize::try_from(range.start).expect("small");
        let end = usize::try_from(range.end).expect("small");
        letter[start..end].replace("\r\n", "~")
    };
    structure
        .parts
        .iter()
        .map(|p| {
            format!(
                "{:?} [{}] [{}] {}",
                p.kind,
                text(p.header),
                text(p.body),
                p.lines
            )
        })
        .collect()
}

#[test]
fn a_plain_letter() {
    let structure = scan(b"Subject: hi\r\nReceived: a\r\nreceived : b\r\n\r\nbody\r\nmore\r\n");
    assert_eq!(structure.size, 54);
    assert_eq!(structure.lines, 6);
    assert_eq!(structure.received, 2);
    assert_eq!(structure.root().header, ByteRange::new(0, 42));
    assert_eq!(structure.root().body, ByteRange::new(42, 54));
    assert_eq!(structure.root().lines, 2);
    assert_eq!(
        &structure.header[..],
        b"Subject: hi\r\nReceived: a\r\nreceived : b\r\n"
    );
}

#[test]
fn the_message_id_is_found_if_there_is_one() {
    let id = |letter: &[u8]| scan(letter).message_id();
    let folded = b"A: b\r\nmessage-id:\r\n <a@b> (c)\r\n\r\nMessage-ID: <x@y>\r\n";
    assert_eq!(id(folded).as_deref(), Some("<a@b>"));
    assert_eq!(id(b"Message-ID: none\r\n\r\n"), None);
    assert_eq!(id(b"A: b\r\n\r\nMessage-ID: <x@y>\r\n"), None);
}

#[test]
fn return_paths_are_found_with_their_folds() {
    let structure = scan(
        b"Return-Path: <a>\r\nreturn-path:\r\n\t<b>\r\nA: b\r\n c\r\nReturn-Path: <d>\r\n\r\nReturn-Path: x\r\n",
    );
    assert_eq!(
        structure.return_paths,
        vec![ByteRange::new(0, 38), ByteRange::new(48, 66)]
    );
    assert_eq!(structure.return_path_lines, 4);
}

#[test]
fn odd_octets_are_told() {
    let content = scan(b"a: b\r\n\r\nplain\r\n").content;
    assert!(!content.has_eight_bit() && !content.has_nul());
    assert!(!content.has_bare_cr() && !content.has_bare_lf());
    let content = scan(b"a\rb\nc\0\xff\r").content;
    assert!(content.has_eight_bit() && content.has_nul());
    assert!(content.has_bare_cr() && content.has_bare_lf());
}

#[test]
fn nested_multiparts() {
    assert_eq!(
        tree(concat!(
            "Content-Type: multipart/mixed; boundary=a\r\n\r\npreamble\r\n",
            "--a\r\n\r\none\r\n\r\n",
            "--a  \r\nContent-Type: multipart/alternative; boundary=\"ab\"\r\n\r\n",
            "--ab\r\n\r\ntwo\r\n--ab\r\nX: y\r\n\r\n\r\n--ab--\r\nepilogue\r\n--ab\r\n",
            "--a--\r\nepilogue\r\n--a\r\n",
        )),
        vec![
            "Multipart [Content-Type: multipart/mixed; boundary=a~~] [preamble~--a~~one~~--a  ~\
             Content-Type: multipart/alternative; boundary=\"ab\"~~--ab~~two~--ab~X: y~~~--ab--~\
             epilogue~--ab~--a--~epilogue~--a~] 21",
            "Leaf [~] [one~] 1",
            "Multipart [Content-Type: multipart/alternative; boundary=\"ab\"~~] \
             [--ab~~two~--ab~X: y~~~--ab--~epilogue] 8",
            "Leaf [~] [two] 0",
            "Leaf [X: y~~] [] 0",
            "Leaf [] [] 0",
        ],
    );
}

#[test]
fn a_missing_close_delimiter_ends_with_the_enclosing_part() {
    assert_eq!(
        tree(concat!(
            "Content-Type: multipart/mixed; boundary=out\r\n\r\n",
            "--out\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\ntext\r\n",
            "--out\r\nA: b\r\n",
            "--out\r\n\r\ncut off",
        ))[1..],
        [
            "Multipart [Content-Type: multipart/mixed; boundary=in~~] [--in~~text] 2",
            "Leaf [~] [text] 0",
            "Leaf [A: b] [] 0",
            "Leaf [~] [cut off] 0",
        ],
    );
}

#[test]
fn messages_in_messages() {
    let structure = scan(
        concat!(
            "Content-Type: multipart/digest; boundary=d\r\n\r\n",
            "--d\r\n\r\nSubject: inner\r\nContent-Type: text/html\r\n\r\n<p>\r\n",
            "--d\r\nContent-Type: message/rfc822\r\n--d--\r\n",
        )
        .as_bytes(),
    );
    let kinds: Vec<_> = structure.parts.iter().map(|p| (p.kind, p.parent)).collect();
    assert_eq!(
        kinds,
        vec![
            (Kind::Multipart, None),
            (Kind::Message, Some(0)),
            (Kind::Leaf, Some(1)),
            (Kind::Message, Some(0)),
            (Kind::Leaf, Some(3)),
        ]
    );
    let inner = structure.parts[2]
        .envelope
        .as_ref()
        .expect("a message has one");
    assert_eq!(inner.subject.as_deref(), Some(&b"inner"[..]));
    assert!(structure.parts[2].fields.content_type.is("text", "html"));
    assert_eq!(structure.parts[1].lines, 3);
}

#[test]
fn input_may_end_anywhere() {
    let letter = concat!(
        "A: b\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n",
        "--x\r\nContent-Type: message/rfc822\r\n\r\nS: t\r\n\r\nz\r\n--x--\r\n"
    );
    for end in 0..=letter.len() {
        let structure = scan(&letter.as_bytes()[..end]);
        assert_eq!(structure.size, end as u64);
        assert_eq!(structure.root().body.end, end as u64);
    }
}

#[test]
fn what_is_over_a_limit_is_opaque() {
    let limits = Limits {
        top_header: 40,
        part_header: 20,
        depth: 2,
        parts: 4,
        ..Limits::default()
    };
    let scan = |letter: &str| {
        let mut scanner = Scanner::new(limits);
        scanner.feed(letter.as_bytes());
        scanner.finish()
    };
    let long = scan(&format!(
        "A: b\r\nB: {}\r\nReceived: x\r\nC: d\r\n\r\nbody",
        "x".repeat(100)
    ));
    assert_eq!(&long.header[..], b"A: b\r\n");
    assert_eq!(long.received, 1);
    assert_eq!(long.root().body.len(), 4);
    let deep = scan(
        "Content-Type: multipart/a; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nx",
    );
    assert_eq!(deep.parts[1].kind, Kind::Leaf, "its header is too long");
    let many = scan(&format!(
        "Content-Type: multipart/a; boundary=b\r\n\r\n{}--b--\r\n",
        "--b\r\n\r\nx\r\n".repeat(10)
    ));
    assert_eq!(many.parts.len(), 4);
    assert_eq!(many.parts[3].body.len(), 1);
    let limits = Limits {
        depth: 2,
        ..Limits::default()
    };
    let mut scanner = Scanner::new(limits);
    scanner.feed(b"Content-Type: multipart/a; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nx");
    assert_eq!(scanner.finish().parts[1].kind, Kind::Opaque);
}

#[test]
fn a_boundary_that_starts_another_does_not_hide_it() {
    let structure = scan(
        concat!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
            "Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n\r\nx\r\n--b1--\r\n--b--\r\n"
        )
        .as_bytes(),
    );
    let parents: Vec<_> = structure.parts.iter().map(|p| p.parent).collect();
    assert_eq!(parents, vec![None, Some(0), Some(1)]);
}

/// Pieces that make MIME, whole and broken.
fn letters() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("Content-Type: multipart/mixed; boundary=a\r\n"),
        Just("Content-Type: multipart/digest; boundary=ab\r\n"),
        Just("Content-Type: message/rfc822\r\n"),
        Just("Return-Path: <x@y>\r\n"),
        Just(" folded\r\n"),
        Just("Subject: x\r\n"),
        Just("\r\n"),
        Just("--a\r\n"),
        Just("--ab\r\n"),
        Just("--a--\r\n"),
        Just("--"),
        Just("a"),
        Just("\r"),
        Just("\n"),
        Just("\0é"),
        Just("text\r\n"),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn chunks_do_not_matter(
        letter in letters(),
        size in 1usize..20,
        top_header in prop_oneof![Just(1usize << 20), 0usize..80],
        part_header in prop_oneof![Just(1usize << 16), 0usize..80],
    ) {
        let limits = Limits { top_header, part_header, depth: 5, parts: 9, ..Limits::default() };
        let mut whole = Scanner::new(limits);
        whole.feed(&letter);
        let whole = whole.finish();
        let mut cut = Scanner::new(limits);
        for chunk in letter.chunks(size) {
            cut.feed(chunk);
        }
        prop_assert_eq!(&whole, &cut.finish());
        prop_assert_eq!(whole.size, letter.len() as u64);
        for part in &whole.parts {
            prop_assert_eq!(part.header.end, part.body.start);
            prop_assert!(part.header.start <= part.header.end && part.body.start <= part.body.end);
            prop_assert!(part.body.end <= whole.size);
            let body = &letter[part.body.start as usize..part.body.end as usize];
            prop_assert_eq!(part.lines, memchr::memchr_iter(b'\n', body).count() as u64);
        }
    }
}
