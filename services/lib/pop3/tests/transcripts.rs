//! Sessions as conversations, played from text files.
//!
//! `C:` is a line from the client, `S:` one from the server, `D:` what the machine asks its driver
//! to do. The driver of these tests has one account, and answers by the words after `=>`.

use std::path::Path;

use postino_pop3::{
    AuthenticateError, CommitError, Maildrop, MaildropError, Message, Plaintext, ReadError, Server,
    Settings, Step, Tls, Wanted,
};
use postino_types::{Uid, UidValidity};

const MESSAGES: [&str; 3] = [
    "Subject: one\r\n\r\n.dot\r\nline 2\r\nline 3\r\n",
    "Subject: two\r\n\r\nbare\nends\n",
    "Subject: three\r\n\r\n",
];

fn settings(header: &str) -> Settings {
    let tls = match header {
        h if h.contains("tls=available") => Tls::Available,
        h if h.contains("tls=active") => Tls::Active,
        _ => Tls::Unavailable,
    };
    let plaintext = match header.contains("plaintext=refused") {
        true => Plaintext::Refused,
        false => Plaintext::Allowed,
    };
    Settings::new("mx.example.org", tls, plaintext)
}

fn maildrop() -> Maildrop {
    let message = |(uid, text): (u32, &str)| Message {
        uid: Uid::new(uid).expect("not 0"),
        size: text.len() as u64,
    };
    let uids = [10, 20, 31];
    let validity = UidValidity::new(77).expect("not 0");
    Maildrop::new(validity, uids.into_iter().zip(MESSAGES).map(message))
}

/// Plays one session; what the server says and asks for is compared line by line.
struct Player<'a> {
    name: &'a str,
    server: Server,
    seen: Vec<String>,
}

impl Player<'_> {
    fn drain(&mut self) {
        let output = String::from_utf8(self.server.take_output()).expect("ASCII");
        let mut lines: Vec<_> = output
            .split("\r\n")
            .map(|line| format!("S: {line}"))
            .collect();
        assert_eq!(
            lines.pop().as_deref(),
            Some("S: "),
            "{}: output ends with CRLF",
            self.name
        );
        self.seen.extend(lines);
    }

    /// Runs until input is needed. `answers` are the words of the script's coming `D:` lines.
    fn run(&mut self, answers: &mut Vec<String>) {
        let mut step = self.server.step();
        loop {
            self.drain();
            let told = match &step {
                Step::Input => return,
                Step::Close => {
                    self.seen.push("D: close".into());
                    return;
                }
                Step::Flush => String::new(),
                Step::Wait => panic!("{}: waits for an answer it has got", self.name),
                Step::StartTls => "start tls".into(),
                Step::Authenticate(c) => {
                    format!("authenticate {} {}", c.authentication, c.password.expose())
                }
                Step::OpenMaildrop => "open".into(),
                Step::Read(message) => format!("read {}", message.uid),
                Step::Commit(uids) => {
                    let uids: Vec<_> = uids.iter().map(ToString::to_string).collect();
                    format!("commit {}", uids.join(" "))
                }
            };
            let answer = match step {
                Step::Flush => String::new(),
                _ if answers.is_empty() => panic!("{}: unexpected step: {told}", self.name),
                _ => answers.remove(0),
            };
            self.seen.push(format!("D: {told} => {answer}"));
            step = self.answer(step, &answer);
        }
    }

    fn answer(&mut self, step: Step, answer: &str) -> Step {
        let server = &mut self.server;
        match (step, answer) {
            (Step::StartTls, "ok") => server.tls_started(),
            (Step::Authenticate(_), answer) => {
                let result = match answer {
                    "ok" => Ok(()),
                    "rejected" => Err(AuthenticateError::Rejected),
                    _ => Err(AuthenticateError::Unavailable),
                };
                server.authenticated(result);
            }
            (Step::OpenMaildrop, "ok") => server.opened(Ok(maildrop())),
            (Step::OpenMaildrop, "in use") => server.opened(Err(MaildropError::InUse)),
            (Step::OpenMaildrop, _) => server.opened(Err(MaildropError::Unavailable)),
            (Step::Read(message), answer) => read(server, message, answer),
            (Step::Commit(_), "ok") => server.committed(Ok(())),
            (Step::Commit(_), _) => server.committed(Err(CommitError)),
            (step, _) => panic!("{}: {step:?} cannot be answered with {answer:?}", self.name),
        }
        server.step()
    }
}

fn read(server: &mut Server, message: Message, answer: &str) {
    let text = MESSAGES[match message.uid.get() {
        10 => 0,
        20 => 1,
        _ => 2,
    }];
    match answer {
        "gone" => server.read(Err(ReadError::Gone)),
        "unavailable" => server.read(Err(ReadError::Unavailable)),
        "cut" => {
            server.chunk(&text.as_bytes()[..16]);
            server.read(Err(ReadError::Unavailable));
        }
        _ => {
            for chunk in text.as_bytes().chunks(5) {
                if server.chunk(chunk) == Wanted::Enough {
                    break;
                }
            }
            server.read(Ok(()));
        }
    }
}

fn play(name: &str, script: &str) {
    let header = script.lines().next().unwrap_or_default();
    let server = Server::new(settings(header));
    let mut player = Player {
        name,
        server,
        seen: Vec::new(),
    };
    let lines: Vec<&str> = script
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    // Client lines that follow each other are sent at once: pipelining.
    let mut turns = vec![(String::new(), Vec::new())];
    for line in &lines {
        match line.strip_prefix("C: ") {
            Some(text) => {
                let last = turns.last_mut().expect("there is one");
                let text =
                    text.replace("\\n", "\n") + if text.ends_with("\\n") { "" } else { "\r\n" };
                match last.1.is_empty() && !last.0.is_empty() {
                    true => last.0 += &text,
                    false => turns.push((text, Vec::new())),
                }
            }
            None => turns.last_mut().expect("there is one").1.push(*line),
        }
    }
    for (input, expected) in turns {
        let mut answers = expected
            .iter()
            .filter_map(|line| line.strip_prefix("D: ")?.split_once(" => "))
            .map(|(_, answer)| answer.to_owned())
            .collect();
        player.server.input(input.as_bytes());
        player.run(&mut answers);
        assert_eq!(
            std::mem::take(&mut player.seen),
            expected,
            "{name}, after {input:?}"
        );
    }
}

#[test]
fn transcripts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut played = 0;
    for entry in std::fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("readable").path();
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        play(&name, &std::fs::read_to_string(&path).expect("readable"));
        played += 1;
    }
    assert!(played >= 6, "{played} transcripts");
}

/// A session that plays no part in the wire's order: whatever comes in, and however it is cut, the
/// machine neither panics nor deletes without QUIT.
mod properties {
    use super::*;
    use proptest::prelude::*;

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just("USER alice\r\n"),
            Just("PASS secret\r\n"),
            Just("AUTH PLAIN\r\n"),
            Just("AGFsaWNlAHNlY3JldA==\r\n"),
            Just("STLS\r\n"),
            Just("CAPA\r\n"),
            Just("LIST\r\n"),
            Just("UIDL\n"),
            Just("RETR 1\r\n"),
            Just("TOP 2 1\r\n"),
            Just("DELE 1\r\n"),
            Just("RSET\r\n"),
            Just("QUIT\r\n"),
            Just("\r\n"),
            Just("*\r\n"),
            Just("\u{0}é"),
        ];
        proptest::collection::vec(line, 0..30).prop_map(|lines| lines.concat().into_bytes())
    }

    /// All output, and the commits that were asked for.
    fn run(input: &[u8], chunk: usize) -> (Vec<u8>, usize) {
        let tls = settings("tls=available");
        let mut server = Server::new(Settings {
            max_errors: 1000,
            ..tls
        });
        let (mut output, mut commits) = (Vec::new(), 0);
        let mut chunks = input.chunks(chunk);
        loop {
            let step = server.step();
            output.extend(server.take_output());
            match step {
                Step::Input => match chunks.next() {
                    Some(chunk) => server.input(chunk),
                    None => return (output, commits),
                },
                Step::Flush => {}
                Step::StartTls => server.tls_started(),
                Step::Authenticate(_) => server.authenticated(Ok(())),
                Step::OpenMaildrop => server.opened(Ok(maildrop())),
                Step::Read(message) => read(&mut server, message, "ok"),
                Step::Commit(_) => {
                    commits += 1;
                    server.committed(Ok(()));
                }
                Step::Wait => panic!("every step was answered"),
                Step::Close => return (output, commits),
            }
        }
    }

    fn has(input: &[u8], line: &str) -> bool {
        String::from_utf8_lossy(input).contains(line)
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(input in lines(), chunk in 1usize..9) {
            // STLS drops what came with it in one read: there the cut does matter.
            prop_assume!(!has(&input, "STLS"));
            prop_assert_eq!(run(&input, chunk), run(&input, input.len().max(1)));
        }

        #[test]
        fn nothing_is_deleted_without_quit(input in lines(), chunk in 1usize..200) {
            let (_, commits) = run(&input, chunk);
            prop_assert!(commits == 0 || has(&input, "QUIT") && has(&input, "DELE"));
        }

        #[test]
        fn a_long_listing_is_flushed_in_pieces(count in 1u32..20_000) {
            let mut server = Server::new(settings(""));
            server.input(b"USER a\r\nPASS b\r\nUIDL\r\n");
            let (mut listed, mut largest) = (0, 0);
            loop {
                let step = server.step();
                let output = server.take_output();
                largest = largest.max(output.len());
                listed += output.split(|&b| b == b'\n').filter(|l| l.contains(&b'.')).count();
                match step {
                    Step::Authenticate(_) => server.authenticated(Ok(())),
                    Step::OpenMaildrop => {
                        let messages = (1..=count)
                            .map(|uid| Message { uid: Uid::new(uid).expect("not 0"), size: 1 });
                        server.opened(Ok(Maildrop::new(UidValidity::MIN, messages)));
                    }
                    Step::Flush => {}
                    _ => break,
                }
            }
            // The greeting and the end of the listing have a dot, too.
            prop_assert_eq!(listed, count as usize + 2);
            prop_assert!(largest < 34 << 10);
        }
    }
}
