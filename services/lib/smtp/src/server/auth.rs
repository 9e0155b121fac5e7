//! `AUTH` (RFC 4954).

use postino_types::{Reply, Secret};

use super::action::{Action, Authentication};
use super::replies;
use super::session::{Login, Session, State};
use super::settings::AuthOffer;
use crate::AuthCommand;
use crate::sasl::{Exchange, Mechanism, SaslError, Step};

impl Session {
    pub(super) fn on_auth(&mut self, auth: &AuthCommand) {
        if self.settings.auth == AuthOffer::Unavailable {
            return self.error(replies::not_offered());
        }
        if self.hello.is_none() {
            return self.error(replies::say_hello_first());
        }
        // RFC 4954 section 4: not within a transaction, and once only.
        if self.transaction.is_some() {
            return self.error(replies::nested_mail());
        }
        if self.login == Login::User {
            return self.error(replies::already_authenticated());
        }
        if !self.may_send_password() {
            return self.error(replies::auth_needs_tls());
        }
        let Some(mechanism) = Mechanism::by_name(&auth.mechanism) else {
            return self.error(replies::unknown_mechanism());
        };
        let initial = auth.initial.as_ref().map(Secret::expose);
        let (exchange, step) = Exchange::start(mechanism, initial);
        self.state = State::Sasl(exchange);
        self.on_step(step);
    }

    pub(super) fn on_sasl_line(&mut self, line: &[u8]) {
        if let State::Sasl(exchange) = &mut self.state {
            let step = exchange.respond(line);
            self.on_step(step);
        }
    }

    fn on_step(&mut self, step: Step) {
        match step {
            Step::Challenge(text) => self.reply(Reply::plain(334, text)),
            Step::Done(credentials) => {
                self.state = State::Authenticating;
                self.actions.push_back(Action::Authenticate(credentials));
            }
            Step::Failed(error) => {
                self.state = State::Commands;
                self.error(match error {
                    SaslError::Cancelled => replies::auth_cancelled(),
                    SaslError::Base64 | SaslError::Malformed => replies::auth_malformed(),
                });
            }
        }
    }

    pub(super) fn on_authenticated(&mut self, outcome: Authentication) {
        if !matches!(self.state, State::Authenticating) {
            return;
        }
        self.state = State::Commands;
        match outcome {
            Authentication::Accepted => {
                self.login = Login::User;
                self.reply(replies::auth_succeeded());
            }
            Authentication::Rejected => {
                self.counts.failed_logins += 1;
                if self.counts.failed_logins >= self.settings.limits.failed_logins {
                    self.reply(replies::auth_failed());
                    self.close_with(replies::too_many_logins(&self.settings.hostname));
                } else {
                    self.error(replies::auth_failed());
                }
            }
            Authentication::Unavailable => self.reply(replies::auth_unavailable()),
        }
    }
}
