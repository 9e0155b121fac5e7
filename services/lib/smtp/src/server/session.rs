//! The session: its state, its input and output, and the order of replies.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use postino_types::Reply;

use super::action::{Action, Event, Ticket, Verdict};
use super::body::Body;
use super::replies;
use super::settings::{Role, Settings};
use crate::sasl::Exchange;
use crate::{ClientName, LineReader, encode_reply, sasl};

/// What the bytes travel on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// In the open.
    Plain,
    /// Through TLS.
    Tls,
}

/// How the client greeted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// `HELO name`.
    Helo(ClientName),
    /// `EHLO name`: it knows extensions.
    Ehlo(ClientName),
}

impl Hello {
    /// The name the client gave itself.
    pub fn name(&self) -> &ClientName {
        match self {
            Self::Helo(name) | Self::Ehlo(name) => name,
        }
    }
}

/// One session. See the module's page for how to drive it.
#[derive(Debug)]
pub struct Session {
    pub(super) settings: Arc<Settings>,
    pub(super) channel: Channel,
    pub(super) state: State,
    pub(super) hello: Option<Hello>,
    pub(super) login: Login,
    pub(super) transaction: Option<Transaction>,
    pub(super) actions: VecDeque<Action>,
    pub(super) counts: Counts,
    input: BytesMut,
    lines: LineReader,
    output: BytesMut,
    /// Replies that wait for a recipient before them.
    slots: VecDeque<Slot>,
    next_ticket: u64,
    draining: Draining,
}

/// What the session waits for; see the table on the module's page.
#[derive(Debug)]
pub(super) enum State {
    Commands,
    Sender,
    Opening,
    Body(Body),
    HandOver,
    Sasl(Exchange),
    Authenticating,
    Handshake,
    Closed,
}

/// Whether somebody has logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    Nobody,
    User,
}

/// A transaction whose `MAIL` was accepted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Transaction {
    pub(super) asked: usize,
    pub(super) accepted: usize,
    pub(super) pending: usize,
}

/// What the limits count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) errors: u32,
    pub(super) idle_commands: u32,
    pub(super) failed_logins: u32,
}

#[derive(Debug)]
enum Slot {
    Waiting(Ticket),
    Ready(Reply),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draining {
    No,
    Yes,
}

impl Session {
    /// A session on a fresh connection. The greeting is its first action.
    pub fn new(settings: Arc<Settings>, channel: Channel) -> Self {
        let mut session = Self {
            lines: LineReader::new(settings.limits.line.max(sasl::MAX_LINE)),
            channel,
            state: State::Commands,
            hello: None,
            login: Login::Nobody,
            transaction: None,
            actions: VecDeque::new(),
            counts: Counts::default(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            slots: VecDeque::new(),
            next_ticket: 0,
            draining: Draining::No,
            settings,
        };
        session.reply(replies::greeting(&session.settings.hostname));
        session
    }

    /// Takes bytes that were read from the connection.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The buffer of the input: a driver may read into it instead of calling
    /// [`Session::receive`]. It must only append.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// The next thing to do; `None`: read from the connection, and wait for what was asked for.
    pub fn next_action(&mut self) -> Option<Action> {
        loop {
            match self.actions.front() {
                // Recipients are asked for before replies go out, so that one write holds many.
                Some(Action::CheckRecipient(..) | Action::Reset) => {
                    return self.actions.pop_front();
                }
                Some(_) if self.output.is_empty() => return self.actions.pop_front(),
                Some(_) => return Some(self.flush()),
                None => {}
            }
            if !self.step() && self.actions.is_empty() {
                return (!self.output.is_empty()).then(|| self.flush());
            }
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, event: Event) {
        if matches!(self.state, State::Closed) {
            return;
        }
        match event {
            Event::Timeout => self.close_with(replies::timeout(&self.settings.hostname)),
            Event::Shutdown => self.draining = Draining::Yes,
            Event::TlsEstablished => self.on_tls(),
            Event::Authenticated(outcome) => self.on_authenticated(outcome),
            Event::Sender(verdict) => self.on_sender(verdict),
            Event::Recipient(ticket, verdict) => self.on_recipient(ticket, verdict),
            Event::Open(verdict) => self.on_open(verdict),
            Event::RefuseBody(reply) => self.on_refuse_body(reply),
            Event::HandOver(outcome) => self.on_hand_over(outcome),
        }
    }

    /// How the client greeted, if it did.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// What the bytes travel on.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Whether the machine waits for the client, so that a time limit applies (RFC 5321 section
    /// 4.5.3.2.7); otherwise it waits for the driver.
    pub fn waits_for_client(&self) -> bool {
        match self.state {
            State::Commands => self.slots.is_empty(),
            State::Body(_) | State::Sasl(_) => true,
            _ => false,
        }
    }

    /// Whether a letter is coming in.
    pub fn is_receiving_letter(&self) -> bool {
        matches!(self.state, State::Body(_))
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Goes one step; false if nothing can be done now.
    fn step(&mut self) -> bool {
        let idle = self.transaction.is_none() && self.slots.is_empty();
        match self.state {
            State::Commands if idle && self.draining == Draining::Yes => {
                self.close_with(replies::shutdown(&self.settings.hostname));
                true
            }
            State::Commands if !self.may_overtake() => false,
            State::Commands | State::Sasl(_) => match self.lines.next_line(&mut self.input) {
                None => false,
                Some(line) => {
                    self.on_line(line);
                    true
                }
            },
            State::Body(ref mut body) => {
                let event = body.receiver.receive(&mut self.input);
                self.on_data(event)
            }
            _ => false,
        }
    }

    /// While recipients are pending, only more recipients are read ahead.
    fn may_overtake(&self) -> bool {
        let waiting = self
            .slots
            .iter()
            .filter(|s| matches!(s, Slot::Waiting(_)))
            .count();
        let next = self.input.get(..4);
        let limits = &self.settings.limits;
        // Where the pending ones may use up the limit, they come first: they may be refused.
        let room = self
            .transaction
            .is_some_and(|t| t.accepted + t.pending < limits.recipients);
        waiting == 0
            || (room
                && waiting < limits.concurrent_recipients
                && next.is_some_and(|verb| verb.eq_ignore_ascii_case(b"RCPT")))
    }

    fn flush(&mut self) -> Action {
        let bytes: Bytes = self.output.split().freeze();
        Action::Send(bytes)
    }

    /// Sends a reply, behind those that are still pending.
    pub(super) fn reply(&mut self, reply: Reply) {
        match self.slots.is_empty() {
            true => encode_reply(&reply, &mut self.output),
            false => self.slots.push_back(Slot::Ready(reply)),
        }
    }

    /// Sends a reply to a command that failed, and counts it.
    pub(super) fn error(&mut self, reply: Reply) {
        self.counts.errors += 1;
        match self.counts.errors > self.settings.limits.errors {
            true => self.close_with(replies::too_many_errors(&self.settings.hostname)),
            false => self.refuse(reply),
        }
    }

    /// Sends a refusal; 421 closes (RFC 5321 section 3.8).
    pub(super) fn refuse(&mut self, reply: Reply) {
        match reply.code() {
            421 => self.close_with(reply),
            _ => self.reply(reply),
        }
    }

    /// Ends the session with a last reply. Replies that wait for a recipient are dropped: 421 may
    /// answer anything.
    pub(super) fn close_with(&mut self, reply: Reply) {
        self.slots.clear();
        encode_reply(&reply, &mut self.output);
        self.reset();
        self.state = State::Closed;
        self.actions.push_back(Action::Close);
    }

    /// Ends the transaction, if there is one.
    pub(super) fn reset(&mut self) {
        if self.transaction.take().is_some() {
            self.actions.push_back(Action::Reset);
        }
    }

    /// Forgets the rest of the input, which is not to be trusted.
    pub(super) fn discard_input(&mut self) {
        self.lines.start_over(&mut self.input);
    }

    /// Opens a slot for the reply to a recipient.
    pub(super) fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.slots.push_back(Slot::Waiting(ticket));
        ticket
    }

    fn on_recipient(&mut self, ticket: Ticket, verdict: Verdict) {
        let waiting = |slot: &Slot| matches!(slot, Slot::Waiting(t) if *t == ticket);
        let Some(place) = self.slots.iter().position(waiting) else {
            return;
        };
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        transaction.pending -= 1;
        let reply = match verdict {
            Verdict::Accept => {
                transaction.accepted += 1;
                replies::recipient_ok()
            }
            Verdict::Refuse(reply) if reply.code() == 421 => return self.close_with(reply),
            Verdict::Refuse(reply) => {
                self.counts.errors += 1;
                if self.counts.errors > self.settings.limits.errors {
                    let reply = replies::too_many_errors(&self.settings.hostname);
                    return self.close_with(reply);
                }
                reply
            }
        };
        self.slots[place] = Slot::Ready(reply);
        while let Some(Slot::Ready(_)) = self.slots.front() {
            if let Some(Slot::Ready(reply)) = self.slots.pop_front() {
                encode_reply(&reply, &mut self.output);
            }
        }
    }

    /// Whether letters may only come from somebody who has logged in.
    pub(super) fn needs_login(&self) -> bool {
        self.settings.role == Role::Submission && self.login == Login::Nobody
    }
}
