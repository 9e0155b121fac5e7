use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::{Limits, Scanner};

const LETTER: &[u8] = b"From: a@example.org\r\nMessage-ID: <x@y>\r\nSubject: hi\r\n\r\nbody\r\n";

/// Python's email package is the judge: it prints what it finds, one line each.
fn python(letter: &[u8]) -> String {
    const SCRIPT: &str = r#"
import email, email.policy, sys
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
print(m.get_content_type(), m.get_param("report-type"), m["auto-submitted"])
print(m["from"].addresses[0].addr_spec, m["to"].addresses[0].addr_spec, m["message-id"])
print(m["date"].datetime.timestamp())
text, status, original = m.iter_parts()
print("|".join(text.get_content().split()))
for block in status.get_payload():
    for name, value in block.items():
        print(name, "=", " ".join(value.split()))
    print("--")
print(original.get_content_type(), original["content-transfer-encoding"])
print(repr(original.get_payload(decode=True) or original.get_payload(0).as_bytes()))
defects = [d for p in m.walk() for d in p.defects]
print("defects", defects)
"#;
    let mut child = Command::new("python3")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(letter)
        .expect("python reads");
    let output = child.wait_with_output().expect("python ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn address(text: &str) -> EmailAddress {
    text.parse().expect("valid")
}

fn report<'a>(
    to: &'a EmailAddress,
    host: &'a Domain,
    recipients: &'a [RecipientReport<'a>],
    original: Original<'a>,
) -> Report<'a> {
    Report {
        reporting_mta: host,
        queue_id: "000304HMASW9NFZZZZZZZZZZ",
        envelope_id: Some("QQ314159"),
        arrival: 1_795_530_738,
        now: 1_795_534_338,
        unique: "U1",
        to,
        recipients,
        original,
    }
}

#[test]
fn python_reads_a_failure() {
    let (to, host) = (
        address("a@example.org"),
        "mx.example.org".parse().expect("valid"),
    );
    let gone = address("gone@example.com");
    let long = format!(
        "550 5.1.1 No such user {}\r\nX-Injected: é",
        "blah ".repeat(30)
    );
    let recipients = [RecipientReport {
        original: Some("rfc822;gone@example.com"),
        address: &gone,
        action: Action::Failed,
        status: EnhancedStatus::permanent(1, 1),
        remote_mta: Some("mail.example.com"),
        diagnostic: Some(&long),
        last_attempt: Some(1_795_534_338),
    }];
    let letter = compose(&report(&to, &host, &recipients, Original::Message(LETTER)));
    let blah = ["blah"; 30].join(" ");
    let seen = python(&letter);
    let mut lines = seen.lines();
    assert_eq!(
        lines.next(),
        Some("multipart/report delivery-status auto-replied")
    );
    assert_eq!(
        lines.next(),
        Some("MAILER-DAEMON@mx.example.org a@example.org <U1@mx.example.org>")
    );
    assert_eq!(lines.next(), Some("1795534338.0"));
    let text = lines.next().expect("text");
    assert!(
        text.contains("<gone@example.com>:|5.1.1,|said|by|mail.example.com:|550"),
        "{text}"
    );
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            "Reporting-MTA = dns; mx.example.org",
            "Original-Envelope-Id = QQ314159",
            "X-Postino-Queue-ID = 000304HMASW9NFZZZZZZZZZZ",
            "Arrival-Date = Tue, 24 Nov 2026 14:32:18 +0000",
            "--",
            "Original-Recipient = rfc822;gone@example.com",
            "Final-Recipient = rfc822; gone@example.com",
            "Action = failed",
            "Status = 5.1.1",
            "Remote-MTA = dns; mail.example.com",
            &format!("Diagnostic-Code = smtp; 550 5.1.1 No such user {blah} X-Injected: ?"),
            "Last-Attempt-Date = Tue, 24 Nov 2026 15:32:18 +0000",
            "--",
            "message/rfc822 None",
            r"b'From: a@example.org\nMessage-ID: <x@y>\nSubject: hi\n\nbody\n'",
            "defects []",
        ]
    );
}

#[test]
fn only_what_a_server_said_is_called_smtp() {
    let (to, host) = (
        address("a@example.org"),
        "mx.example.org".parse().expect("valid"),
    );
    for (remote_mta, fields, text) in [
        (
            Some("mx.example.com"),
            "Remote-MTA: dns; mx.example.com\r\nDiagnostic-Code: smtp; words\r\n",
            "4.4.1, said by mx.example.com: words",
        ),
        (
            Some("127.0.0.1"),
            "Remote-MTA: dns; [127.0.0.1]\r\nDiagnostic-Code: smtp; words\r\n",
            "4.4.1, said by [127.0.0.1]: words",
        ),
        (
            Some("2001:db8::1"),
            "Remote-MTA: dns; [IPv6:2001:db8::1]\r\nDiagnostic-Code: smtp; words\r\n",
            "4.4.1, said by [IPv6:2001:db8::1]:",
        ),
        (
            None,
            "Status: 4.4.1\r\nDiagnostic-Code: X-Postino; words\r\n",
            "<a@example.org>: 4.4.1: words",
        ),
    ] {
        let recipients = [RecipientReport {
            original: None,
            address: &to,
            action: Action::Failed,
            status: EnhancedStatus::temporary(4, 1),
            remote_mta,
            diagnostic: Some("words"),
            last_attempt: None,
        }];
        let letter = compose(&report(&to, &host, &recipients, Original::Header(b"")));
        let letter = String::from_utf8(letter).expect("ASCII");
        for expected in [fields, text] {
            assert!(letter.contains(expected), "{expected:?} is not in {letter}");
        }
    }
}

#[test]
fn python_reads_a_delay_of_an_eight_bit_letter() {
    let (to, host) = (
        address("a@example.org"),
        "mx.example.org".parse().expect("valid"),
    );
    let slow = address("müller@example.com");
    let recipients = [RecipientReport {
        original: None,
        address: &slow,
        action: Action::Delayed {
            will_retry_until: 1_795_966_338,
        },
        status: EnhancedStatus::temporary(4, 1),
        remote_mta: None,
        diagnostic: None,
        last_attempt: None,
    }];
    let header = "Subject: é=\r\n\r\nbody é\r\n".as_bytes();
    let seen = python(&compose(&report(
        &to,
        &host,
        &recipients,
        Original::Message(header),
    )));
    for expected in [
        "Final-Recipient = utf-8; m\\x{FC}ller@example.com\nAction = delayed\nStatus = 4.4.1\n\
         Will-Retry-Until = Sun, 29 Nov 2026 15:32:18 +0000\n--\n",
        "text/rfc822-headers quoted-printable\nb'Subject: \\xc3\\xa9=\\r\\n",
        "defects []",
    ] {
        assert!(seen.contains(expected), "{expected:?} is not in {seen}");
    }
}

proptest! {
    #[test]
    fn a_notification_can_be_sent_anywhere(
        original in proptest::collection::vec(prop_oneof![
            Just("\r\n"), Just("A: b"), Just("--=_0_U1"), Just("\n"), Just("é")], 0..20),
        diagnostic in ".{0,200}",
        whole: bool,
    ) {
        let original = original.concat().into_bytes();
        let (to, host) = (address("a@example.org"), "mx.example.org".parse().expect("valid"));
        let recipients = [RecipientReport {
            original: Some(&diagnostic),
            address: &to,
            action: Action::Failed,
            status: EnhancedStatus::permanent(1, 1),
            remote_mta: Some(&diagnostic),
            diagnostic: Some(&diagnostic),
            last_attempt: None,
        }];
        let original = match whole {
            true => Original::Message(&original),
            false => Original::Header(&original),
        };
        let letter = compose(&report(&to, &host, &recipients, original));
        prop_assert!(letter.is_ascii());
        let mut scanner = Scanner::new(Limits::default());
        scanner.feed(&letter);
        let structure = scanner.finish();
        prop_assert!(!structure.content.has_bare_cr() && !structure.content.has_bare_lf());
        prop_assert_eq!(structure.root().children.len(), 3);
    }
}
