//! Sessions with the server machine, told as conversations in `tests/server/*.txt`.
//!
//! `C:` is a line of the client, `X:` its raw octets with `\r`, `\n`, `\0` and `\xHH`; `S:` is a
//! line of the server; `L:` the last letter that was handed over, in the same notation; `E:` an
//! event (`timeout`, `shutdown`); `=closed` says that the session is over. The first line names
//! the settings. Each conversation is held twice: as it stands, and octet by octet.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use postino_smtp::DataLimits;
use postino_smtp::server::{
    Action, AuthOffer, Authentication, Channel, Event, HandOver, Limits, PlaintextAuth, Role,
    Session, Settings, TlsOffer, Verdict,
};
use postino_types::{EnhancedStatus, QueueId, Recipient, Reply, ShardId};

struct Server {
    session: Session,
    wire: Vec<u8>,
    letter: Vec<u8>,
    /// Recipients are answered in reverse order, once the machine wants no more of them.
    recipients: VecDeque<Event>,
    closed: bool,
}

impl Server {
    fn new(header: &str) -> Self {
        let has = |word: &str| header.split_whitespace().any(|w| w == word);
        let settings = Settings {
            hostname: "mx.example.org".into(),
            role: if has("submission") {
                Role::Submission
            } else {
                Role::Exchange
            },
            tls: if has("tls") {
                TlsOffer::Offered
            } else {
                TlsOffer::Unavailable
            },
            auth: if has("auth") {
                AuthOffer::Offered
            } else {
                AuthOffer::Unavailable
            },
            plaintext_auth: match has("plaintext") {
                true => PlaintextAuth::Allowed,
                false => PlaintextAuth::Refused,
            },
            limits: Limits {
                data: DataLimits {
                    size: 1000,
                    line: 100,
                    received_fields: 2,
                },
                discard: 1000,
                recipients: 3,
                line: 200,
                errors: 4,
                idle_commands: 8,
                ..Limits::default()
            },
        };
        Self {
            session: Session::new(Arc::new(settings), Channel::Plain),
            wire: Vec::new(),
            letter: Vec::new(),
            recipients: VecDeque::new(),
            closed: false,
        }
    }

    fn run(&mut self) {
        loop {
            let Some(action) = self.session.next_action() else {
                match self.recipients.pop_back() {
                    Some(event) => self.session.handle(event),
                    None => return,
                }
                continue;
            };
            match action {
                Action::Send(bytes) => self.wire.extend_from_slice(&bytes),
                Action::StartTls => self.session.handle(Event::TlsEstablished),
                Action::Authenticate(credentials) => {
                    self.session.handle(Event::Authenticated(
                        match credentials.password.expose() {
                            "secret" => Authentication::Accepted,
                            "later" => Authentication::Unavailable,
                            _ => Authentication::Rejected,
                        },
                    ));
                }
                Action::CheckSender(mail) => {
                    let name = mail.reverse_path.to_string();
                    self.session.handle(Event::Sender(verdict(&name)));
                }
                Action::CheckRecipient(ticket, rcpt) => {
                    let name = match &rcpt.recipient {
                        Recipient::Postmaster => String::new(),
                        Recipient::Address(address) => address.to_string(),
                    };
                    self.recipients
                        .push_back(Event::Recipient(ticket, verdict(&name)));
                }
                Action::OpenBody => {
                    self.letter.clear();
                    self.session.handle(Event::Open(Verdict::Accept));
                }
                Action::BodyChunk(chunk) => {
                    self.letter.extend_from_slice(&chunk);
                    if chunk.windows(6).any(|w| w == b"poison") {
                        self.session.handle(Event::RefuseBody(later()));
                    }
                }
                Action::Reset | Action::BodyRefused(_) => self.recipients.clear(),
                Action::BodyEnd(summary) => {
                    assert_eq!(summary.size, self.letter.len() as u64);
                    let id = QueueId::mint(ShardId::new(1), 0, 0).expect("fits");
                    self.session.handle(Event::HandOver(HandOver::Accepted(id)));
                }
                Action::Close => self.closed = true,
            }
        }
    }
}

fn later() -> Reply {
    Reply::new(451, EnhancedStatus::temporary(3, 0), "Later")
}

fn verdict(address: &str) -> Verdict {
    let no = EnhancedStatus::permanent(1, 1);
    match address.split('@').next() {
        Some("unknown") => Verdict::Refuse(Reply::new(550, no, "No such user")),
        Some("later") => Verdict::Refuse(later()),
        Some("busy") => {
            Verdict::Refuse(Reply::new(421, EnhancedStatus::temporary(3, 2), "Go away"))
        }
        _ => Verdict::Accept,
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.to_string().as_bytes());
            continue;
        }
        match chars.next() {
            Some('r') => out.push(b'\r'),
            Some('n') => out.push(b'\n'),
            Some('0') => out.push(0),
            Some('x') => {
                let hex: String = chars.by_ref().take(2).collect();
                out.push(u8::from_str_radix(&hex, 16).expect("two hexadecimal digits"));
            }
            other => panic!("unknown escape {other:?}"),
        }
    }
    out
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
    let mut server = Server::new(lines.next().expect("settings"));
    let mut pending: Vec<u8> = Vec::new();
    server.run();
    for line in lines {
        let place = format!("{name} ({cut:?}): {line}");
        let (kind, rest) = line.split_at(2);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if !matches!(kind, "C:" | "X:") {
            match cut {
                Cut::Whole => {
                    server.session.receive(&pending);
                    server.run();
                }
                Cut::Octets => {
                    for octet in &pending {
                        server.session.receive(&[*octet]);
                        server.run();
                    }
                }
            }
            pending.clear();
        }
        match kind {
            "C:" => {
                pending.extend_from_slice(rest.as_bytes());
                pending.extend_from_slice(b"\r\n");
            }
            "X:" => pending.extend(unescape(rest)),
            "S:" => {
                let said = String::from_utf8_lossy(&server.wire).into_owned();
                let (first, others) = said.split_once("\r\n").unwrap_or_else(|| {
                    panic!("{place}: the server says nothing more than {said:?}")
                });
                assert_eq!(first.trim_end(), rest.trim_end(), "{place}");
                server.wire = others.as_bytes().to_vec();
            }
            "L:" => assert_eq!(server.letter, unescape(rest), "{place}"),
            "E:" => {
                server.session.handle(match rest {
                    "timeout" => Event::Timeout,
                    "shutdown" => Event::Shutdown,
                    other => panic!("unknown event {other}"),
                });
                server.run();
            }
            "=c" => {
                assert!(server.closed && server.session.is_closed(), "{place}");
                assert!(server.wire.is_empty(), "{place}");
            }
            _ => panic!("{place}: what is this?"),
        }
    }
    let rest = String::from_utf8_lossy(&server.wire).into_owned();
    assert_eq!(rest, "", "{name}: the server said more");
}

#[test]
fn conversations_go_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server");
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
        // STARTTLS discards what came with it, so cutting does matter there.
        if !text.contains("# whole only") {
            hold(&name, &text, Cut::Octets);
        }
        held += 1;
    }
    assert!(held >= 8, "{held} conversations");
}
