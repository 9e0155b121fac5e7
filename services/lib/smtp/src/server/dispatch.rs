//! What a command does in each stage of a session.

use bytes::Bytes;
use postino_types::{Recipient, Reply};

use super::action::{Action, Verdict};
use super::replies;
use super::session::{Channel, Hello, Login, Session, State, Transaction};
use super::settings::{AuthOffer, PlaintextAuth, TlsOffer};
use crate::{
    BodyKind, Command, CommandError, Internationalized, LineError, MailCommand, RcptCommand,
};

/// How far a session has come, as far as the order of commands goes (RFC 5321 section 4.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connected,
    Greeted,
    Transaction,
}

impl Session {
    pub(super) fn on_line(&mut self, line: Result<Bytes, LineError>) {
        let line = match line {
            Ok(line) => line,
            // The client's idea of a line differs from ours: nothing it sends can be trusted.
            Err(error @ (LineError::BareCarriageReturn | LineError::BareLineFeed)) => {
                return self.close_with(replies::bad_line(error));
            }
            Err(LineError::TooLong) if matches!(self.state, State::Sasl(_)) => {
                self.state = State::Commands;
                return self.error(replies::auth_too_long());
            }
            Err(error) => return self.error(replies::bad_line(error)),
        };
        if matches!(self.state, State::Sasl(_)) {
            return self.on_sasl_line(&line);
        }
        // RFC 4954 section 4 lets a line of AUTH be longer than others.
        let is_auth = line
            .get(..4)
            .is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"));
        if line.len() > self.settings.limits.line && !is_auth {
            return self.error(replies::bad_line(LineError::TooLong));
        }
        match Command::parse(&line) {
            Ok(command) => self.on_command(command),
            Err(CommandError::Unknown) if is_http(&line) => {
                // A browser or proxy was made to talk to us; it must not get a dialogue.
                self.close_with(replies::not_smtp(&self.settings.hostname));
            }
            Err(error) => self.error(replies::bad_command(error)),
        }
    }

    fn on_command(&mut self, command: Command) {
        let stage = match (&self.hello, &self.transaction) {
            (_, Some(_)) => Stage::Transaction,
            (Some(_), None) => Stage::Greeted,
            (None, None) => Stage::Connected,
        };
        match (command, stage) {
            (Command::Quit, _) => {
                self.close_with(replies::goodbye());
            }
            (Command::Noop, _) => self.idle(replies::done()),
            (Command::Help, _) => self.idle(replies::help()),
            (Command::Vrfy(_), _) => self.idle(replies::not_verified()),
            (Command::Expn(_) | Command::Lhlo(_), _) => self.error(replies::not_offered()),
            (Command::Rset, _) => {
                self.reset();
                self.idle(replies::done());
            }
            (Command::Helo(name), _) => {
                self.reset();
                self.hello = Some(Hello::Helo(name));
                self.idle(Reply::plain(250, self.settings.hostname.clone()));
            }
            (Command::Ehlo(name), _) => {
                // RFC 5321 section 4.1.4: EHLO in mid-session works as RSET does, too.
                self.reset();
                self.hello = Some(Hello::Ehlo(name));
                let extensions = self.extensions();
                self.idle(extensions);
            }
            (Command::StartTls, _) => self.on_start_tls(),
            (Command::Auth(auth), _) => self.on_auth(&auth),
            (Command::Mail(_), Stage::Connected) => self.error(replies::say_hello_first()),
            (Command::Mail(_), Stage::Transaction) => self.error(replies::nested_mail()),
            (Command::Mail(mail), Stage::Greeted) => self.on_mail(mail),
            (Command::Rcpt(_) | Command::Data, Stage::Connected) => {
                self.error(replies::say_hello_first());
            }
            (Command::Rcpt(_) | Command::Data, Stage::Greeted) => {
                self.error(replies::need_mail());
            }
            (Command::Rcpt(rcpt), Stage::Transaction) => self.on_rcpt(rcpt),
            (Command::Data, Stage::Transaction) => self.on_data_command(),
        }
    }

    /// A reply to a command that brings no letter nearer.
    fn idle(&mut self, reply: Reply) {
        self.counts.idle_commands += 1;
        match self.counts.idle_commands > self.settings.limits.idle_commands {
            true => self.close_with(replies::too_many_idle_commands(&self.settings.hostname)),
            false => self.reply(reply),
        }
    }

    /// The answer to EHLO: it differs before and after TLS (RFC 3207 section 4.2).
    fn extensions(&self) -> Reply {
        let mut lines = vec![
            self.settings.hostname.clone(),
            "PIPELINING".to_owned(),
            format!("SIZE {}", self.settings.limits.data.size),
        ];
        if self.offers_tls() {
            lines.push("STARTTLS".to_owned());
        }
        if self.settings.auth == AuthOffer::Offered && self.may_send_password() {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        lines.push("ENHANCEDSTATUSCODES".to_owned());
        lines.push("8BITMIME".to_owned());
        Reply::from_lines(250, None, lines)
    }

    fn offers_tls(&self) -> bool {
        self.settings.tls == TlsOffer::Offered && self.channel == Channel::Plain
    }

    /// Whether a password may be sent on this channel.
    pub(super) fn may_send_password(&self) -> bool {
        self.channel == Channel::Tls || self.settings.plaintext_auth == PlaintextAuth::Allowed
    }

    fn on_start_tls(&mut self) {
        match (self.channel, self.settings.tls) {
            (Channel::Tls, _) => self.error(replies::tls_active()),
            (_, TlsOffer::Unavailable) => self.error(replies::not_offered()),
            (Channel::Plain, TlsOffer::Offered) => {
                // RFC 3207 section 4.2, CVE-2011-0411: what the client has already sent in the
                // open must not be taken for something that came through TLS.
                self.discard_input();
                self.reply(replies::start_tls());
                self.reset();
                self.state = State::Handshake;
                self.actions.push_back(Action::StartTls);
            }
        }
    }

    pub(super) fn on_tls(&mut self) {
        if matches!(self.state, State::Handshake) {
            self.discard_input();
            self.channel = Channel::Tls;
            self.hello = None;
            self.login = Login::Nobody;
            self.state = State::Commands;
        }
    }

    fn on_mail(&mut self, mail: MailCommand) {
        let limit = self.settings.limits.data.size;
        let offers_auth = self.settings.auth == AuthOffer::Offered;
        if self.needs_login() {
            let reply = match self.may_send_password() {
                true => replies::need_auth(),
                false => replies::need_tls(),
            };
            return self.error(reply);
        }
        if mail.internationalized == Internationalized::Yes
            || (mail.submitter.is_some() && !offers_auth)
        {
            return self.error(replies::unknown_parameter());
        }
        if mail
            .reverse_path
            .address()
            .is_some_and(|a| a.needs_smtputf8())
        {
            return self.error(replies::needs_smtputf8());
        }
        if mail.size.is_some_and(|size| size > limit) {
            return self.error(replies::too_large(limit));
        }
        // 8BITMIME is offered, and without it eight-bit data are taken as well (RFC 6152).
        let (BodyKind::SevenBit | BodyKind::EightBitMime) = mail.body;
        self.state = State::Sender;
        self.actions.push_back(Action::CheckSender(mail));
    }

    pub(super) fn on_sender(&mut self, verdict: Verdict) {
        if !matches!(self.state, State::Sender) {
            return;
        }
        self.state = State::Commands;
        match verdict {
            Verdict::Accept => {
                self.transaction = Some(Transaction::default());
                self.reply(replies::sender_ok());
            }
            Verdict::Refuse(reply) => self.error(reply),
        }
    }

    fn on_rcpt(&mut self, rcpt: RcptCommand) {
        let limit = self.settings.limits.recipients;
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        transaction.asked += 1;
        if transaction.accepted + transaction.pending >= limit {
            return self.error(replies::too_many_recipients());
        }
        if matches!(&rcpt.recipient, Recipient::Address(a) if a.needs_smtputf8()) {
            return self.error(replies::needs_smtputf8());
        }
        transaction.pending += 1;
        let ticket = self.ticket();
        self.actions.push_back(Action::CheckRecipient(ticket, rcpt));
    }

    fn on_data_command(&mut self) {
        match self.transaction {
            Some(Transaction {
                accepted: 0,
                asked: 0,
                ..
            }) => self.error(replies::need_rcpt()),
            Some(Transaction { accepted: 0, .. }) => self.error(replies::no_valid_recipients()),
            _ => {
                self.state = State::Opening;
                self.actions.push_back(Action::OpenBody);
            }
        }
    }
}

/// The first line of a request of HTTP.
fn is_http(line: &[u8]) -> bool {
    let verbs: [&[u8]; 5] = [b"GET ", b"POST ", b"CONNECT ", b"PUT ", b"HEAD "];
    verbs.iter().any(|verb| line.starts_with(verb))
}
