use proptest::prelude::*;

use super::*;

fn transfer(encoding: Encoding, octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut decoder = TransferDecoder::new(encoding);
    decoder.feed(octets, &mut out);
    decoder.finish(&mut out);
    out
}

#[test]
fn base64_is_read_leniently() {
    for (encoded, expected) in [
        ("aGVsbG8=", "hello"),
        ("aGVs\r\nbG8", "hello"),
        ("aGVsbG8gd29ybGQ=\r\n", "hello world"),
        ("YQ==Yg==", "ab"),
        ("!a*G#VsbG8=", "hello"),
        ("", ""),
        ("=", ""),
        ("Y", ""),
    ] {
        assert_eq!(
            transfer(Encoding::Base64, encoded.as_bytes()),
            expected.as_bytes(),
            "{encoded}"
        );
    }
}

#[test]
fn quoted_printable_is_read_leniently() {
    for (encoded, expected) in [
        ("a=3Db", &b"a=b"[..]),
        ("caf=c3=A9", "café".as_bytes()),
        ("soft=\r\nline", b"softline"),
        ("soft=  \r\nline", b"softline"),
        ("soft=\nline", b"softline"),
        ("blanks \t\r\nend  ", b"blanks\r\nend"),
        ("in the middle", b"in the middle"),
        ("bad=ZZ =4", b"bad=ZZ =4"),
        ("end=", b"end"),
        ("==3D", b"=="),
        ("lf\nonly\r\n", b"lf\nonly\r\n"),
    ] {
        let decoded = transfer(Encoding::QuotedPrintable, encoded.as_bytes());
        assert_eq!(decoded, expected, "{encoded:?}");
    }
}

#[test]
fn encoded_words_become_text() {
    for (value, expected) in [
        ("=?ISO-8859-1?Q?a?=", "a"),
        ("=?ISO-8859-1?Q?a?= b", "a b"),
        ("=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab"),
        ("=?ISO-8859-1?Q?a_?= =?utf-8?B?w6k=?=", "a é"),
        ("=?utf-8?b?w6?= =?UTF-8?B?qQ==?=", "é"),
        ("=?utf-8*en?q?caf=C3=A9?=", "café"),
        ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
        ("=?gb2312?B?1tDOxA==?=", "中文"),
        ("broken =?utf-8?x?a?= word", "broken =?utf-8?x?a?= word"),
        ("=?utf-8?q?open", "=?utf-8?q?open"),
        ("=?=?utf-8?q?a?=", "=?a"),
        ("raw é", "raw é"),
        ("", ""),
    ] {
        assert_eq!(decode_text(value.as_bytes()), expected, "{value}");
    }
}

#[test]
fn text_of_a_part_is_decoded_across_chunks() {
    let mut text = String::new();
    let mut decoder = TextDecoder::new(Encoding::QuotedPrintable, "ISO-8859-15");
    for chunk in ["10 =", "A", "4 plus", " =\r", "\nmore"] {
        decoder.feed(chunk.as_bytes(), &mut text);
    }
    decoder.finish(&mut text);
    assert_eq!(text, "10 € plus more");
}

fn encodings() -> impl Strategy<Value = Encoding> {
    prop_oneof![
        Just(Encoding::Identity),
        Just(Encoding::QuotedPrintable),
        Just(Encoding::Base64)
    ]
}

proptest! {
    #[test]
    fn chunks_do_not_matter(
        octets in proptest::collection::vec(prop_oneof![
            Just(b'='), Just(b' '), Just(b'\r'), Just(b'\n'), Just(b'4'), any::<u8>()], 0..80),
        cut in 0usize..80,
        encoding in encodings(),
        charset in prop_oneof![Just("utf-8"), Just("iso-2022-jp"), Just("gbk"), Just("utf-16le"), Just("x")],
    ) {
        let cut = cut.min(octets.len());
        let decode = |chunks: &[&[u8]]| {
            let mut text = String::new();
            let mut decoder = TextDecoder::new(encoding, charset);
            for chunk in chunks {
                decoder.feed(chunk, &mut text);
            }
            decoder.finish(&mut text);
            text
        };
        prop_assert_eq!(decode(&[&octets]), decode(&[&octets[..cut], &octets[cut..]]));
    }

    #[test]
    fn no_header_value_panics(value in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = decode_text(&value);
        let mut word = b"=?utf-8?q?".to_vec();
        word.extend(&value);
        word.extend(b"?=");
        let _ = decode_text(&word);
    }

    #[test]
    fn decoding_agrees_with_mail_parser(text in "[a-zA-Z0-9 é=_日]{0,40}") {
        use base64::Engine as _;
        let word = format!("?utf-8?B?{}?=", base64::engine::general_purpose::STANDARD.encode(&text));
        let oracle = mail_parser::parsers::MessageStream::new(word.as_bytes()).decode_rfc2047();
        prop_assume!(!text.is_empty());
        let word = format!("={word}");
        prop_assert_eq!(Some(decode_text(word.as_bytes())), oracle);
    }
}
