//! No input of a peer makes a machine panic, and how the network cuts it changes nothing.

use std::sync::Arc;

use postino_smtp::client::{self, Client};
use postino_smtp::server::{
    Action, AuthOffer, Authentication, Channel, Event, HandOver, Limits, PlaintextAuth, Role,
    Session, Settings, TlsOffer, Verdict,
};
use postino_smtp::{BodyKind, ClientName, Internationalized};
use postino_types::{QueueId, Recipient, ReversePath, ShardId};
use proptest::prelude::*;

/// What the server says to this input, and the letters it takes.
fn serve(input: &[u8], cut: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let settings = Settings {
        hostname: "mx.example.org".into(),
        role: Role::Exchange,
        tls: TlsOffer::Unavailable,
        auth: AuthOffer::Offered,
        plaintext_auth: PlaintextAuth::Allowed,
        limits: Limits::default(),
    };
    let mut session = Session::new(Arc::new(settings), Channel::Plain);
    let (mut said, mut letters) = (Vec::new(), vec![Vec::new()]);
    for piece in input.chunks(cut) {
        session.receive(piece);
        while let Some(action) = session.next_action() {
            let event = match action {
                Action::Send(bytes) => {
                    said.extend_from_slice(&bytes);
                    continue;
                }
                Action::BodyChunk(chunk) => {
                    letters.last_mut().expect("one").extend_from_slice(&chunk);
                    continue;
                }
                Action::Authenticate(_) => Event::Authenticated(Authentication::Rejected),
                Action::CheckSender(_) => Event::Sender(Verdict::Accept),
                Action::CheckRecipient(ticket, _) => Event::Recipient(ticket, Verdict::Accept),
                Action::OpenBody => {
                    letters.last_mut().expect("one").clear();
                    Event::Open(Verdict::Accept)
                }
                Action::BodyEnd(_) => {
                    letters.push(Vec::new());
                    let id = QueueId::mint(ShardId::new(1), 0, 0).expect("fits");
                    Event::HandOver(HandOver::Accepted(id))
                }
                Action::StartTls => Event::TlsEstablished,
                Action::Reset | Action::BodyRefused(_) | Action::Close => continue,
            };
            session.handle(event);
        }
    }
    letters.pop();
    (said, letters)
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "EHLO x\r\n",
        "HELO x\r\n",
        "MAIL FROM:<a@x.org>\r\n",
        "RCPT TO:<b@x.org>\r\n",
        "DATA\r\n",
        "Received: x\r\n",
        "\r\n.\r\n",
        ".\r\n",
        "..\r\n",
        "RSET\r\n",
        "QUIT\r\n",
        "AUTH PLAIN\r\n",
        "*\r\n",
        "\r",
        "\n",
    ];
    prop_oneof![
        8 => proptest::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => "[ -~]{0,30}\r\n".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_server_says_the_same_however_the_input_is_cut(
        fragments in proptest::collection::vec(fragment(), 0..25),
        cut in 1usize..50,
    ) {
        let input = [b"EHLO x\r\n".to_vec(), fragments.concat()].concat();
        let whole = serve(&input, input.len());
        prop_assert_eq!(serve(&input, cut), whole.clone());
        // Every letter that is taken has whole lines only.
        for letter in whole.1 {
            prop_assert!(letter.is_empty() || letter.ends_with(b"\r\n"));
        }
    }

    #[test]
    fn the_client_survives_any_server(
        replies in proptest::collection::vec(
            prop_oneof![
                4 => "(220|250|250-|354|421|451|550)( [A-Z0-9. ]{0,12})?\r\n",
                1 => "250-(PIPELINING|SIZE 10|AUTH PLAIN|STARTTLS)\r\n",
                1 => ".{0,20}\r?\n",
            ],
            0..25,
        ),
        cut in 1usize..20,
    ) {
        let settings = client::Settings::new(ClientName::new("x").expect("valid"));
        let mut machine = Client::new(settings, client::Channel::Plain);
        let (mut letters, mut reports, mut closed) = (0, 0, false);
        for piece in replies.concat().as_bytes().chunks(cut) {
            machine.receive(piece);
            while let Some(action) = machine.next_action() {
                prop_assert!(!closed, "after the end: {action:?}");
                match action {
                    client::Action::Ready => {
                        letters += 1;
                        machine.send(client::Letter {
                            reverse_path: ReversePath::Null,
                            recipients: vec![Recipient::Postmaster, Recipient::Postmaster],
                            size: 1,
                            body: BodyKind::SevenBit,
                            internationalized: Internationalized::No,
                        });
                    }
                    client::Action::SendBody => {
                        machine.body(b"x");
                        machine.finish_body();
                    }
                    client::Action::StartTls => machine.tls_established(),
                    client::Action::Done(report) => {
                        reports += 1;
                        prop_assert_eq!(report.recipients.len(), 2);
                    }
                    client::Action::Close => closed = true,
                    client::Action::Send(_) | client::Action::Failed(_) => {}
                }
            }
        }
        // The connection ends: every letter has its report, none has two.
        machine.connection_lost("the end");
        while let Some(action) = machine.next_action() {
            reports += usize::from(matches!(action, client::Action::Done(_)));
        }
        prop_assert_eq!(letters, reports);
    }
}
