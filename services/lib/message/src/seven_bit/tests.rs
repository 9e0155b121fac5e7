use proptest::prelude::*;

use super::*;
use crate::decode::TransferDecoder;
use crate::{Limits, Scanner};

fn scan(letter: &[u8]) -> Structure {
    let mut scanner = Scanner::new(Limits::default());
    scanner.feed(letter);
    scanner.finish()
}

fn convert_in(letter: &[u8], chunk: usize) -> Result<Vec<u8>, NotConvertible> {
    let mut survey = Survey::new(&scan(letter));
    letter.chunks(chunk).for_each(|chunk| survey.feed(chunk));
    let mut converter = Converter::new(&survey.finish());
    let mut out = Vec::new();
    for chunk in letter.chunks(chunk) {
        converter.feed(chunk, &mut out)?;
    }
    converter.finish(&mut out);
    Ok(out)
}

/// Text with `~` for each CRLF.
fn convert(letter: &str) -> Option<String> {
    let letter = letter.replace('~', "\r\n");
    let converted = convert_in(letter.as_bytes(), 1000).ok()?;
    assert_eq!(convert_in(letter.as_bytes(), 1), Ok(converted.clone()));
    let text = String::from_utf8(converted).expect("ASCII");
    Some(text.replace("\r\n", "~"))
}

#[test]
fn letters_become_seven_bit() {
    for (letter, expected) in [
        // Nothing to do.
        ("A: b~~body = ~", "A: b~~body = ~"),
        // Not even MIME.
        (
            "A: b~~é = ~",
            "A: b~MIME-Version: 1.0~Content-Transfer-Encoding: quoted-printable~~\
             =C3=A9 =3D=20~",
        ),
        (
            "Content-Transfer-Encoding:~ 8bit~mime-version: 1.0~Subject: x~ y~~.é",
            "Content-Transfer-Encoding: quoted-printable~mime-version: 1.0~Subject: x~ y~~\
             .=C3=A9",
        ),
        (
            "MIME-Version: 1.0~Content-Type: image/x~CONTENT-transfer-ENCODING : binary~A: b~~é\n",
            "MIME-Version: 1.0~Content-Type: image/x~Content-Transfer-Encoding: base64~A: b~~\
             w6kK~",
        ),
        // Of nested multiparts only what needs it.
        (
            "Content-Type: multipart/mixed; boundary=a~Content-Transfer-Encoding: 8bit~~pre~\
             --a~Content-Type: multipart/alternative; boundary=b~~\
             --b~~plain = ~\
             --b~Content-Type: text/html~Content-Transfer-Encoding: 8bit~~<é>~--b--~~\
             --a~Content-Type: application/x~Content-Transfer-Encoding: base64~~w6k=~\
             --a~Content-Type: application/x~~é~--a--~post~",
            "Content-Type: multipart/mixed; boundary=a~~pre~\
             --a~Content-Type: multipart/alternative; boundary=b~~\
             --b~~plain = ~\
             --b~Content-Type: text/html~Content-Transfer-Encoding: quoted-printable~~<=C3=A9>~\
             --b--~~\
             --a~Content-Type: application/x~Content-Transfer-Encoding: base64~~w6k=~\
             --a~Content-Type: application/x~Content-Transfer-Encoding: base64~~w6k=~~\
             --a--~post~",
        ),
        // What is signed stays, beside something that does not.
        (
            "Content-Type: multipart/mixed; boundary=a~~\
             --a~Content-Type: multipart/signed; boundary=b~~--b~~x~--b~~sig~--b--~\
             --a~~é~--a--~",
            "Content-Type: multipart/mixed; boundary=a~~\
             --a~Content-Type: multipart/signed; boundary=b~~--b~~x~--b~~sig~--b--~\
             --a~Content-Transfer-Encoding: quoted-printable~~=C3=A9~--a--~",
        ),
    ] {
        assert_eq!(convert(letter).as_deref(), Some(expected), "{letter}");
    }
}

#[test]
fn what_must_not_be_touched_makes_a_letter_not_convertible() {
    for letter in [
        "Subject: é~~x~",
        "Subject: é~~é~",
        "Content-Type: message/rfc822~~A: b~~é~",
        "Content-Type: message/delivery-status~~A: é~",
        "Content-Type: multipart/signed; boundary=b~~--b~~é~--b~~sig~--b--~",
        "Content-Type: multipart/mixed; boundary=b~~--b~Content-Description: é~~x~--b--~",
        "Content-Type: multipart/mixed; boundary=b~~é~--b~~x~--b--~",
        "Content-Type: multipart/mixed; boundary=b~~--b~~x~--b--~é~",
        "Content-Transfer-Encoding: base64~~é~",
        "Content-Transfer-Encoding: quoted-printable~~é~",
    ] {
        assert_eq!(convert(letter), None, "{letter}");
    }
}

#[test]
fn little_is_kept_of_endless_lines() {
    for octet in *b"\r\n x\xE9" {
        let mut encoder = body::BodyEncoder::new(NewEncoding::QuotedPrintable);
        let mut out = Vec::new();
        for _ in 0..100 {
            encoder.feed(&[octet; 100], &mut out);
        }
        assert!(out.len() > 9_000, "{octet}");
    }
}

proptest! {
    #[test]
    fn content_comes_back(
        content in proptest::collection::vec(prop_oneof![
            Just(" "), Just("="), Just("\r"), Just("\n"), Just("\r\n"), Just("é"), Just("\0"),
            Just("a line that is not a short one; some of these make more than is kept of a line"),
            Just("--b")], 1..60),
        chunk in 1usize..100,
        text: bool,
    ) {
        let (kind, encoding) = match text {
            true => ("text/x", Encoding::QuotedPrintable),
            false => ("image/x", Encoding::Base64),
        };
        let content = [content.concat().as_bytes(), b"\xE9"].concat();
        let mut letter = format!("Content-Type: {kind}\r\n\r\n").into_bytes();
        letter.extend_from_slice(&content);
        let converted = convert_in(&letter, chunk);
        prop_assert_eq!(&converted, &convert_in(&letter, letter.len()));
        let converted = converted.expect("its header is ASCII");
        prop_assert!(converted.is_ascii());
        let structure = scan(&converted);
        let root = structure.root();
        prop_assert_eq!(Encoding::of(&root.fields.encoding), encoding);
        let start = usize::try_from(root.body.start).expect("small");
        let lines = converted[start..].split(|&b| b == b'\n');
        prop_assert!(lines.into_iter().all(|line| line.len() <= 77));
        let mut decoded = Vec::new();
        let mut decoder = TransferDecoder::new(encoding);
        decoder.feed(&converted[start..], &mut decoded);
        decoder.finish(&mut decoded);
        prop_assert_eq!(decoded, content);
    }
}
