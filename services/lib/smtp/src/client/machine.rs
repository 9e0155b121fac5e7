//! The machine itself: which reply is awaited, and what follows it.

use std::collections::VecDeque;

use bytes::BytesMut;
use postino_types::{Recipient, Reply, Secret};

use super::report::{SessionFailure, Stage};
use super::transaction::{FinalDot, Transaction};
use super::{Action, Capabilities, Channel, Letter, Protocol, Settings, TlsUse, Wait};
use crate::sasl::{self, Mechanism};
use crate::{AuthCommand, Command, DotStuffer, RcptCommand, ReplyParser};

/// The client's side of one connection. See the module's page for how to drive it.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    channel: Channel,
    offered: Capabilities,
    phase: Phase,
    /// Replies that will come, in order.
    awaited: VecDeque<Awaited>,
    transaction: Option<Transaction>,
    input: BytesMut,
    parser: ReplyParser,
    output: BytesMut,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum Phase {
    /// Up to the first `Ready`.
    Opening,
    TlsHandshake,
    Ready,
    /// `MAIL`, `RCPT`, `DATA` and the replies to the final dot.
    Transacting,
    Body(DotStuffer),
    Quitting,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Auth,
    Mail,
    Rcpt(usize),
    Data,
    /// The reply to the final dot, for all recipients.
    End,
    /// The reply to the final dot, for one recipient (RFC 2033 section 4.2).
    EndFor(usize),
    /// The reply to the dot of an empty letter that nobody wants.
    EmptyEnd,
    Reset,
    Quit,
}

impl Client {
    /// A client on a fresh connection; the server speaks first.
    pub fn new(settings: Settings, channel: Channel) -> Self {
        Self {
            parser: ReplyParser::new(settings.replies),
            settings,
            channel,
            offered: Capabilities::default(),
            phase: Phase::Opening,
            awaited: VecDeque::from([Awaited::Greeting]),
            transaction: None,
            input: BytesMut::new(),
            output: BytesMut::new(),
            actions: VecDeque::new(),
        }
    }

    /// Takes bytes that were read from the connection.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !matches!(self.phase, Phase::Closed | Phase::TlsHandshake) {
            match self.parser.next_reply(&mut self.input) {
                None => return,
                Some(Ok(reply)) => self.on_reply(reply),
                Some(Err(error)) => self.fail(SessionFailure::Protocol(error)),
            }
        }
    }

    /// The next thing to do; `None`: read from the connection, or hand over a letter.
    pub fn next_action(&mut self) -> Option<Action> {
        match self.output.is_empty() {
            false => Some(Action::Send(self.output.split().freeze())),
            true => self.actions.pop_front(),
        }
    }

    /// What the server can do, as it said after the last `EHLO`.
    pub fn capabilities(&self) -> &Capabilities {
        &self.offered
    }

    /// What the bytes travel on.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// What is awaited, to choose a time limit.
    pub fn waiting_for(&self) -> Wait {
        match (self.awaited.front(), &self.phase) {
            (_, Phase::Body(_)) => Wait::DataBlock,
            (None, _) => Wait::Driver,
            (Some(awaited), _) => match awaited {
                Awaited::Greeting => Wait::Greeting,
                Awaited::Mail => Wait::Mail,
                Awaited::Rcpt(_) => Wait::Recipient,
                Awaited::Data => Wait::DataStart,
                Awaited::End | Awaited::EndFor(_) | Awaited::EmptyEnd => Wait::DataEnd,
                _ => Wait::Hello,
            },
        }
    }

    /// TLS is up: start over, trusting nothing that was said before (RFC 3207 section 4.2).
    pub fn tls_established(&mut self) {
        if matches!(self.phase, Phase::TlsHandshake) {
            self.input.clear();
            self.channel = Channel::Tls;
            self.offered = Capabilities::default();
            self.phase = Phase::Opening;
            self.say_hello();
        }
    }

    /// TLS could not be set up; the connection is of no use any more.
    pub fn tls_failed(&mut self, reason: &str) {
        self.close(SessionFailure::TlsFailed(reason.to_owned()));
    }

    /// The connection ended, or its time limit passed.
    pub fn connection_lost(&mut self, reason: &str) {
        match self.phase {
            Phase::Quitting => self.shut(),
            _ => self.close(SessionFailure::Lost(reason.to_owned())),
        }
    }

    /// Sends a letter, after [`Action::Ready`]. If the connection ended meanwhile, the letter is
    /// reported lost. In the middle of another letter this has no effect.
    pub fn send(&mut self, letter: Letter) {
        match self.phase {
            Phase::Ready => {}
            Phase::Closed => {
                let lost = Transaction::new(letter).report("the connection was closed");
                return self.actions.push_front(Action::Done(lost));
            }
            _ => return,
        }
        let mut transaction = Transaction::new(letter);
        if let Some(reply) = transaction.hopeless(&self.offered) {
            transaction.refuse_rest(Stage::Hello, reply);
            self.actions.push_back(Action::Done(transaction.report("")));
            self.actions.push_back(Action::Ready);
            return;
        }
        self.phase = Phase::Transacting;
        self.command(
            Command::Mail(transaction.mail(&self.offered)),
            Awaited::Mail,
        );
        let recipients = transaction.letter.recipients.clone();
        self.transaction = Some(transaction);
        if self.offered.pipelining {
            // RFC 2920 section 3.1: DATA may end the group.
            for (index, recipient) in recipients.into_iter().enumerate() {
                self.recipient(index, recipient);
            }
            self.command(Command::Data, Awaited::Data);
        }
    }

    /// Sends a piece of the body, cut anywhere. Of no effect unless the body is asked for.
    pub fn body(&mut self, piece: &[u8]) {
        if let Phase::Body(stuffer) = &mut self.phase {
            stuffer.stuff(piece, &mut self.output);
        }
    }

    /// Sends the final dot: from now on the server may take the letter. A driver that must not go
    /// so far closes the connection instead.
    pub fn finish_body(&mut self) {
        let Phase::Body(_) = self.phase else { return };
        let Phase::Body(stuffer) = std::mem::replace(&mut self.phase, Phase::Transacting) else {
            return;
        };
        stuffer.finish(&mut self.output);
        if let Some(transaction) = &mut self.transaction {
            transaction.final_dot = FinalDot::Sent;
            match self.settings.protocol {
                Protocol::Smtp => self.awaited.push_back(Awaited::End),
                Protocol::Lmtp => {
                    let accepted = transaction.accepted().iter();
                    self.awaited
                        .extend(accepted.map(|index| Awaited::EndFor(*index)));
                }
            }
        }
    }

    /// Takes leave. Of no effect in the middle of a letter.
    pub fn quit(&mut self) {
        if matches!(self.phase, Phase::Ready) {
            self.phase = Phase::Quitting;
            self.command(Command::Quit, Awaited::Quit);
        }
    }

    fn on_reply(&mut self, reply: Reply) {
        let Some(awaited) = self.awaited.pop_front() else {
            return self.on_unasked(reply);
        };
        // RFC 5321 section 3.8: 421 may answer anything, and ends the connection.
        if reply.code() == 421 && awaited != Awaited::Quit {
            return self.on_refusal(awaited, reply);
        }
        match awaited {
            Awaited::Greeting if reply.code() == 220 => self.say_hello(),
            Awaited::Ehlo if reply.is_positive() => {
                self.offered = Capabilities::of(&reply);
                self.after_hello();
            }
            // RFC 5321 section 3.2: an old server refuses EHLO as unknown.
            Awaited::Ehlo
                if (500..=504).contains(&reply.code())
                    && self.settings.protocol == Protocol::Smtp =>
            {
                self.command(Command::Helo(self.settings.hello.clone()), Awaited::Helo);
            }
            Awaited::Helo if reply.is_positive() => self.after_hello(),
            Awaited::StartTls if reply.code() == 220 => self.start_tls(),
            Awaited::StartTls if self.settings.tls == TlsUse::Opportunistic => self.log_in(),
            Awaited::StartTls => self.fail(SessionFailure::TlsNotOffered),
            Awaited::Auth if reply.is_positive() => self.ready(),
            Awaited::Greeting | Awaited::Ehlo | Awaited::Helo | Awaited::Auth => {
                self.on_refusal(awaited, reply);
            }
            Awaited::Mail => self.on_mail(reply),
            Awaited::Rcpt(index) => self.on_recipient(index, reply),
            Awaited::Data => self.on_data(reply),
            Awaited::End => {
                self.with_transaction(|transaction| {
                    for index in transaction.accepted().to_vec() {
                        transaction.ended(index, reply.clone());
                    }
                });
                self.settled(AfterLetter::Clean);
            }
            Awaited::EndFor(index) => {
                self.with_transaction(|transaction| transaction.ended(index, reply));
                if self.awaited.is_empty() {
                    self.settled(AfterLetter::Clean);
                }
            }
            Awaited::EmptyEnd => self.settled(AfterLetter::Clean),
            Awaited::Reset if reply.is_positive() => self.ready(),
            Awaited::Reset => self.on_refusal(awaited, reply),
            Awaited::Quit => self.shut(),
        }
    }

    fn say_hello(&mut self) {
        let name = self.settings.hello.clone();
        let command = match self.settings.protocol {
            Protocol::Smtp => Command::Ehlo(name),
            Protocol::Lmtp => Command::Lhlo(name),
        };
        self.command(command, Awaited::Ehlo);
    }

    fn after_hello(&mut self) {
        match (self.channel, self.settings.tls, self.offered.start_tls) {
            (Channel::Plain, TlsUse::Opportunistic | TlsUse::Required, true) => {
                self.command(Command::StartTls, Awaited::StartTls);
            }
            (Channel::Plain, TlsUse::Required, false) => self.fail(SessionFailure::TlsNotOffered),
            _ => self.log_in(),
        }
    }

    fn start_tls(&mut self) {
        // What came behind the 220 was not protected, whoever sent it (CVE-2021-23993 and its kin).
        self.input.clear();
        self.phase = Phase::TlsHandshake;
        self.actions.push_back(Action::StartTls);
    }

    fn log_in(&mut self) {
        let Some(credentials) = &self.settings.credentials else {
            return self.ready();
        };
        let open = self.channel == Channel::Plain && self.settings.tls != TlsUse::Never;
        if open || !self.offered.auth.contains(&Mechanism::Plain) {
            return self.fail(SessionFailure::AuthNotOffered);
        }
        let initial: Secret = sasl::plain_response(credentials);
        let mechanism = Mechanism::Plain.name().to_owned();
        let auth = AuthCommand {
            mechanism,
            initial: Some(initial),
        };
        self.command(Command::Auth(auth), Awaited::Auth);
    }

    fn ready(&mut self) {
        self.phase = Phase::Ready;
        self.actions.push_back(Action::Ready);
    }

    fn on_mail(&mut self, reply: Reply) {
        let positive = reply.is_positive();
        if !positive {
            self.with_transaction(|transaction| transaction.refuse_rest(Stage::Mail, reply));
        }
        if self.awaited.is_empty() {
            match positive {
                true => self.next_recipient(0),
                false => self.settled(AfterLetter::Open),
            }
        }
    }

    fn on_recipient(&mut self, index: usize, reply: Reply) {
        self.with_transaction(|transaction| transaction.recipient_answered(index, reply));
        if self.awaited.is_empty() {
            self.next_recipient(index + 1);
        }
    }

    /// Without pipelining: the next `RCPT`, or `DATA` if there is somebody to send it to.
    fn next_recipient(&mut self, index: usize) {
        let Some(transaction) = &self.transaction else {
            return;
        };
        match transaction.letter.recipients.get(index).cloned() {
            Some(recipient) => self.recipient(index, recipient),
            None if transaction.accepted().is_empty() => self.settled(AfterLetter::Open),
            None => self.command(Command::Data, Awaited::Data),
        }
    }

    fn on_data(&mut self, reply: Reply) {
        let wanted = self
            .transaction
            .as_ref()
            .is_some_and(|t| !t.accepted().is_empty());
        match (reply.code(), wanted) {
            (354, true) => {
                self.phase = Phase::Body(DotStuffer::new());
                self.actions.push_back(Action::SendBody);
            }
            // RFC 2920 section 3.1: the server may accept DATA though all recipients were
            // refused; it gets an empty letter and what it says of it does not matter.
            (354, false) => {
                self.output.extend_from_slice(b".\r\n");
                self.awaited.push_back(Awaited::EmptyEnd);
            }
            _ => {
                self.with_transaction(|transaction| transaction.refuse_rest(Stage::Data, reply));
                self.settled(AfterLetter::Open);
            }
        }
    }

    /// A reply that nothing asked for: in the middle of a body it is the server's last word on
    /// the letter, elsewhere at most a farewell.
    fn on_unasked(&mut self, reply: Reply) {
        match (&mut self.transaction, reply.failure()) {
            (Some(transaction), Some(_)) => {
                transaction.refuse_rest(Stage::Data, reply.clone());
                self.close(SessionFailure::Refused {
                    stage: Stage::Data,
                    reply,
                });
            }
            (None, Some(_)) if reply.code() == 421 => {
                self.close(SessionFailure::Refused {
                    stage: Stage::Mail,
                    reply,
                });
            }
            _ => self.fail(SessionFailure::Unexpected(reply)),
        }
    }

    /// The server refuses to go on with the connection.
    fn on_refusal(&mut self, awaited: Awaited, reply: Reply) {
        let stage = match awaited {
            Awaited::Greeting => Stage::Greeting,
            Awaited::Ehlo | Awaited::Helo => Stage::Hello,
            Awaited::StartTls => Stage::StartTls,
            Awaited::Auth => Stage::Auth,
            Awaited::Mail | Awaited::Reset | Awaited::Quit => Stage::Mail,
            Awaited::Rcpt(_) => Stage::Rcpt,
            Awaited::Data => Stage::Data,
            Awaited::End | Awaited::EndFor(_) | Awaited::EmptyEnd => Stage::EndOfData,
        };
        self.with_transaction(|transaction| transaction.refuse_rest(stage, reply.clone()));
        let closing = reply.code() == 421;
        let failure = SessionFailure::Refused { stage, reply };
        match closing {
            true => self.close(failure),
            false => self.fail(failure),
        }
    }

    /// The letter is settled; is a transaction left open at the server?
    fn settled(&mut self, after: AfterLetter) {
        if let Some(transaction) = self.transaction.take() {
            self.actions.push_back(Action::Done(transaction.report("")));
        }
        match after {
            AfterLetter::Clean => self.ready(),
            AfterLetter::Open => self.command(Command::Rset, Awaited::Reset),
        }
    }

    /// Gives up on a connection that still works: says goodbye without waiting for the answer.
    fn fail(&mut self, failure: SessionFailure) {
        if !matches!(self.phase, Phase::TlsHandshake | Phase::Body(_)) {
            Command::Quit.encode(&mut self.output);
        }
        self.close(failure);
    }

    /// Gives up on a connection that is of no use.
    fn close(&mut self, failure: SessionFailure) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        let end = match self.transaction.take() {
            Some(transaction) => Action::Done(transaction.report(&failure.to_string())),
            None => Action::Failed(failure),
        };
        self.actions.push_back(end);
        self.shut();
    }

    fn shut(&mut self) {
        self.phase = Phase::Closed;
        self.awaited.clear();
        self.actions.push_back(Action::Close);
    }

    fn recipient(&mut self, index: usize, recipient: Recipient) {
        self.command(
            Command::Rcpt(RcptCommand { recipient }),
            Awaited::Rcpt(index),
        );
    }

    fn command(&mut self, command: Command, awaited: Awaited) {
        command.encode(&mut self.output);
        self.awaited.push_back(awaited);
    }

    fn with_transaction(&mut self, act: impl FnOnce(&mut Transaction)) {
        if let Some(transaction) = &mut self.transaction {
            act(transaction);
        }
    }
}

/// What a settled letter leaves behind at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterLetter {
    Clean,
    Open,
}
