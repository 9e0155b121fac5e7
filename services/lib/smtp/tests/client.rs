//! Sessions with the client machine, told as conversations in `tests/client/*.txt`.
//!
//! `S:` is a line of the server, `C:` a line of the client. `>` is what the driver does: `send
//! SENDER RECIPIENT…` (the letter has 100 octets), `body TEXT` (with `\r\n`), `finish`, `lost`,
//! `quit`, `tls ok`, `tls failed`. `=` is what the machine tells the driver: `ready`, `starttls`,
//! `body`, `close`, `failed TEXT`, and for a report one line per recipient, `STAGE OUTCOME`. The
//! first line names the settings. Each conversation is held twice: as it stands, and octet by
//! octet.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use postino_smtp::client::{
    Action, Channel, Client, Letter, Outcome, Protocol, Settings, TlsUse, Wait,
};
use postino_smtp::{BodyKind, ClientName, Internationalized};
use postino_types::Secret;
use postino_types::sasl::Plain;

struct Talk {
    client: Client,
    body: BodyKind,
    wire: Vec<u8>,
    told: VecDeque<String>,
}

impl Talk {
    fn new(header: &str) -> Self {
        let has = |word: &str| header.split_whitespace().any(|w| w == word);
        let mut settings = Settings::new(ClientName::new("out.example.org").expect("valid"));
        if has("lmtp") {
            settings.protocol = Protocol::Lmtp;
        }
        if has("no-tls") {
            settings.tls = TlsUse::Never;
        }
        if has("tls-required") {
            settings.tls = TlsUse::Required;
        }
        if has("login") {
            settings.credentials = Some(Plain::new("test", Secret::new("1234")));
        }
        let body = match has("eight-bit") {
            true => BodyKind::EightBitMime,
            false => BodyKind::SevenBit,
        };
        Self {
            client: Client::new(settings, Channel::Plain),
            body,
            wire: Vec::new(),
            told: VecDeque::new(),
        }
    }

    fn run(&mut self) {
        while let Some(action) = self.client.next_action() {
            match action {
                Action::Send(bytes) => self.wire.extend_from_slice(&bytes),
                Action::StartTls => self.told.push_back("starttls".into()),
                Action::Ready => self.told.push_back("ready".into()),
                Action::SendBody => self.told.push_back("body".into()),
                Action::Close => self.told.push_back("close".into()),
                Action::Failed(failure) => self.told.push_back(format!("failed {failure}")),
                Action::Done(report) => {
                    for recipient in report.recipients {
                        let outcome = match recipient.outcome {
                            Outcome::Delivered(reply) => format!("delivered {reply}"),
                            Outcome::Refused(reply) => format!("refused {reply}"),
                            Outcome::Lost(_) => "lost".to_owned(),
                            Outcome::Unknown(_) => "unknown".to_owned(),
                        };
                        self.told
                            .push_back(format!("{:?} {outcome}", recipient.stage));
                    }
                }
            }
        }
    }

    fn act(&mut self, command: &str) {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        match (verb, rest) {
            ("send", rest) => {
                let mut words = rest.split_whitespace();
                let sender = words.next().expect("a sender").trim_matches(['<', '>']);
                self.client.send(Letter {
                    reverse_path: sender.parse().expect("valid"),
                    recipients: words.map(|w| w.parse().expect("valid")).collect(),
                    size: 100,
                    body: self.body,
                    internationalized: Internationalized::No,
                });
            }
            ("body", text) => {
                let text = text.replace("\\r", "\r").replace("\\n", "\n");
                self.client.body(text.as_bytes());
            }
            ("finish", _) => self.client.finish_body(),
            ("lost", _) => self.client.connection_lost("reset by peer"),
            ("quit", _) => self.client.quit(),
            ("tls", "ok") => self.client.tls_established(),
            ("tls", _) => self.client.tls_failed("bad certificate"),
            other => panic!("unknown command {other:?}"),
        }
        self.run();
    }
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Octets,
}

fn hold(name: &str, text: &str, cut: Cut) {
    let mut lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut talk = Talk::new(lines.next().expect("settings"));
    let mut pending: Vec<u8> = Vec::new();
    for line in lines.chain(["end"]) {
        let place = format!("{name} ({cut:?}): {line}");
        if !line.starts_with("S:") {
            match cut {
                Cut::Whole => talk.client.receive(&pending),
                Cut::Octets => {
                    for octet in &pending {
                        talk.client.receive(&[*octet]);
                        talk.run();
                    }
                }
            }
            talk.run();
            pending.clear();
        }
        match line.split_once(' ') {
            Some(("S:", rest)) => {
                pending.extend_from_slice(rest.as_bytes());
                pending.extend_from_slice(b"\r\n");
            }
            Some(("C:", rest)) => {
                let said = String::from_utf8_lossy(&talk.wire).into_owned();
                let (first, others) = said
                    .split_once("\r\n")
                    .unwrap_or_else(|| panic!("{place}: the client says nothing"));
                assert_eq!(first, rest, "{place}");
                talk.wire = others.as_bytes().to_vec();
            }
            Some((">", rest)) => talk.act(rest),
            Some(("=", rest)) => {
                assert_eq!(talk.told.pop_front().as_deref(), Some(rest), "{place}");
            }
            _ if line == "end" => {}
            _ => panic!("{place}: what is this?"),
        }
    }
    assert_eq!(
        String::from_utf8_lossy(&talk.wire),
        "",
        "{name}: the client said more"
    );
    assert!(
        talk.told.is_empty(),
        "{name}: more was told: {:?}",
        talk.told
    );
}

#[test]
fn conversations_go_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client");
    let mut held = 0;
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("readable").path();
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).expect("readable");
        hold(&name, &text, Cut::Whole);
        hold(&name, &text, Cut::Octets);
        held += 1;
    }
    assert!(held >= 10, "{held} conversations");
}

#[test]
fn each_wait_has_its_own_time() {
    let mut talk = Talk::new("smtp");
    assert_eq!(talk.client.waiting_for(), Wait::Greeting);
    talk.client.receive(b"220 hi\r\n250 hi\r\n");
    assert_eq!(talk.client.waiting_for(), Wait::Driver);
    talk.run();
    talk.act("send <a@example.org> b@example.com");
    assert_eq!(talk.client.waiting_for(), Wait::Mail);
    talk.client.receive(b"250 ok\r\n250 ok\r\n");
    assert_eq!(talk.client.waiting_for(), Wait::DataStart);
    talk.client.receive(b"354 go\r\n");
    assert_eq!(talk.client.waiting_for(), Wait::DataBlock);
    talk.client.finish_body();
    assert_eq!(talk.client.waiting_for(), Wait::DataEnd);
    assert_eq!(Wait::DataEnd.rfc_timeout().as_secs(), 600);
}
