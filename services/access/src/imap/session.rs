//! One IMAP session, from greeting to goodbye.

use std::net::SocketAddr;
use std::sync::Arc;

use postino_imap::command::Command;
use postino_imap::response::{self, Condition, ResponseCode};
use postino_imap::state::{Access, State, permit};
use postino_imap::{Event, Expunges, SyntaxError, Tag, View};
use postino_net::{Connection, plaintext_allowed};
use postino_types::{FlagSet, MailboxName, ModSeq, Uid};
use std::collections::HashMap;

use super::Server;
use super::command;
use super::failure::{Done, Failure, Outcome, Told, told_of_store};
use super::link::{Closed, Link};
use super::notify;
use crate::account::MailAccount;
use crate::store_error::StoreError;
use crate::watch::{AccountWatch, Heard};

/// A logged-in user.
pub(super) struct User {
    pub(super) store: MailAccount,
    pub(super) watch: AccountWatch,
}

/// A selected mailbox.
pub(super) struct Selected {
    pub(super) mailbox: u64,
    pub(super) name: MailboxName,
    pub(super) access: Access,
    pub(super) view: View,
    /// Changes of flags that this session made and was told of, until the view has passed them.
    pub(super) own: HashMap<Uid, ModSeq>,
    /// How far the account's changes were read.
    pub(super) heard: Heard,
    /// Flags that were announced with FLAGS.
    pub(super) flags: FlagSet,
}

/// How far a session is.
pub(super) enum Stage {
    NotAuthenticated,
    Authenticated(User),
    Selected(User, Box<Selected>),
    Logout,
}

/// What the client has switched on or used that makes FETCH responses carry MODSEQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CondStore {
    Off,
    On,
}

/// One session.
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) server: Arc<Server>,
    pub(super) peer: SocketAddr,
    pub(super) stage: Stage,
    pub(super) cond_store: CondStore,
    pub(super) login_failures: u32,
    bad_commands: u32,
}

impl Session {
    pub(super) fn new(server: Arc<Server>, connection: Connection) -> Self {
        let config = &server.config;
        let peer = connection.peer_address();
        let link = Link::new(
            connection,
            config.limits_before_login(),
            config.write_timeout.get(),
        );
        Self {
            link,
            server,
            peer,
            stage: Stage::NotAuthenticated,
            cond_store: CondStore::Off,
            login_failures: 0,
            bad_commands: 0,
        }
    }

    /// Serves the client until one of both hangs up.
    pub(super) async fn run(mut self) {
        let capabilities = self.capabilities();
        response::put_greeting(self.link.out(), capabilities, "Postino ready");
        let closed = loop {
            match self.turn().await {
                Ok(()) => {}
                Err(closed) => break closed,
            }
            if matches!(self.stage, Stage::Logout) {
                return self.link.close().await;
            }
        };
        if matches!(closed, Closed::Silent) {
            response::put_bye(self.link.out(), None, "you said nothing for too long");
            self.link.close().await;
        }
        tracing::debug!(peer = %self.peer, reason = %closed, "IMAP session ended");
    }

    pub(super) fn state(&self) -> State {
        match &self.stage {
            Stage::NotAuthenticated => State::NotAuthenticated,
            Stage::Authenticated(_) => State::Authenticated,
            Stage::Selected(_, selected) => State::Selected(selected.access),
            Stage::Logout => State::Logout,
        }
    }

    pub(super) fn silence(&self) -> std::time::Duration {
        match self.stage {
            Stage::NotAuthenticated => self.server.config.login_timeout.get(),
            _ => self.server.config.idle_timeout.get(),
        }
    }

    /// Waits for one event and deals with it. What runs for a command is boxed, so that a waiting
    /// session does not hold room for it.
    async fn turn(&mut self) -> Result<(), Closed> {
        let event = match self.link.ready_event() {
            Some(event) => event,
            None => {
                // Before the wait, since sending must not be dropped half-way.
                self.link.flush().await?;
                let (silence, shutdown) = (self.silence(), self.server.shutdown.clone());
                let Some(event) = shutdown.until_begun(self.link.event(silence)).await else {
                    let code = ResponseCode::Unavailable;
                    self.say_bye(Some(&code), "the server is going down, come back");
                    return Ok(());
                };
                event?
            }
        };
        match event {
            Event::Command(tag, command) => {
                self.bad_commands = 0;
                Box::pin(self.command(tag, command)).await
            }
            Event::Append(tag, head, size) => {
                Box::pin(command::append::run(self, tag, head, size)).await
            }
            Event::Continue => {
                response::put_continuation(self.link.out(), "go on");
                Ok(())
            }
            Event::Bad(tag, error) => {
                self.bad(tag.as_ref(), error);
                Ok(())
            }
            Event::TooBig(tag) => {
                let (code, text) = (Some(ResponseCode::TooBig), "the literal is too large");
                match tag {
                    Some(tag) => response::put_tagged(
                        self.link.out(),
                        &tag,
                        Condition::No,
                        code.as_ref(),
                        text,
                    ),
                    None => self.bad(None, SyntaxError(text)),
                }
                Ok(())
            }
            // Only asked-for lines and accepted appends give these.
            Event::Line(_) | Event::AppendChunk(_) | Event::AppendEnd | Event::AppendBroken(_) => {
                Ok(())
            }
        }
    }

    fn bad(&mut self, tag: Option<&Tag>, error: SyntaxError) {
        let out = self.link.out();
        match tag {
            Some(tag) => response::put_tagged(out, tag, Condition::Bad, None, error.0),
            None => response::put_untagged(out, Condition::Bad, None, error.0),
        }
        self.bad_commands += 1;
        if self.bad_commands >= self.server.config.max_bad_commands {
            self.say_bye(None, "too many commands that make no sense");
        }
    }

    pub(super) fn say_bye(&mut self, code: Option<&ResponseCode>, text: &str) {
        response::put_bye(self.link.out(), code, text);
        self.stage = Stage::Logout;
    }

    async fn command(&mut self, tag: Tag, command: Command) -> Result<(), Closed> {
        let name = command.name();
        let expunges = Expunges::after(&command);
        let outcome = match permit(self.state(), &command) {
            Ok(()) => self.dispatch(&tag, command).await,
            Err(refusal) => Err(refusal.into()),
        };
        self.finish(&tag, name, outcome, expunges).await
    }

    /// Tells what happened meanwhile, then how the command ended.
    pub(super) async fn finish(
        &mut self,
        tag: &Tag,
        name: &'static str,
        outcome: Outcome,
        expunges: Expunges,
    ) -> Result<(), Closed> {
        let outcome = match notify::at_command_end(self, expunges).await {
            Err(failure @ (Failure::Closed(_) | Failure::Bye(..))) => Err(failure),
            // What could not be read now is read at the end of the next command.
            Ok(()) | Err(_) => outcome,
        };
        let told: Told = match outcome {
            Ok(Done::Ok(code, text)) => (Condition::Ok, code.or(self.remark()), text.into()),
            Ok(Done::Told) => {
                self.server.metrics.command(name, Some(Condition::Ok));
                return Ok(());
            }
            Err(Failure::No(code, text)) => (Condition::No, code, text),
            Err(Failure::Bad(text)) => (Condition::Bad, None, text),
            Err(Failure::Store(error)) => {
                log_store_error(name, &error);
                told_of_store(&error)
            }
            Err(Failure::Bye(code, text)) => {
                self.server.metrics.command(name, None);
                self.say_bye(code.as_ref(), text);
                return Ok(());
            }
            Err(Failure::Closed(closed)) => {
                self.server.metrics.command(name, None);
                return Err(closed);
            }
        };
        let (condition, code, text) = told;
        self.server.metrics.command(name, Some(condition));
        response::put_tagged(self.link.out(), tag, condition, code.as_ref(), &text);
        Ok(())
    }

    /// Somebody else has expunged messages, and this was no moment to tell (RFC 5530 section 3): the
    /// client should send a NOOP.
    fn remark(&self) -> Option<ResponseCode> {
        match &self.stage {
            Stage::Selected(_, selected) if selected.view.holds_expunges() => {
                Some(ResponseCode::ExpungeIssued)
            }
            _ => None,
        }
    }

    async fn dispatch(&mut self, tag: &Tag, command: Command) -> Outcome {
        use super::command as c;
        match command {
            Command::Capability => c::capability::run(self),
            Command::Noop | Command::Check => c::noop::run(self).await,
            Command::Logout => c::logout::run(self),
            Command::Id(_) => c::id::run(self),
            Command::StartTls => c::starttls::run(self, tag).await,
            Command::Authenticate { mechanism, initial } => {
                c::authenticate::run(self, &mechanism, initial).await
            }
            Command::Login(login) => c::login::run(self, login).await,
            Command::Enable(capabilities) => c::enable::run(self, &capabilities),
            Command::Select(mailbox) => c::select::run(self, mailbox, Access::ReadWrite).await,
            Command::Examine(mailbox) => c::select::run(self, mailbox, Access::ReadOnly).await,
            Command::Create(mailbox, special_use) => {
                c::create::run(self, mailbox, special_use).await
            }
            Command::Delete(mailbox) => c::delete::run(self, mailbox).await,
            Command::Rename { from, to } => c::rename::run(self, from, to).await,
            Command::Subscribe(mailbox) => {
                c::subscribe::run(self, mailbox, c::subscribe::Change::Subscribe).await
            }
            Command::Unsubscribe(mailbox) => {
                c::subscribe::run(self, mailbox, c::subscribe::Change::Unsubscribe).await
            }
            Command::List(list) => c::list::run(self, list).await,
            Command::Namespace => c::namespace::run(self),
            Command::Status(status) => c::status::run(self, status).await,
            Command::Close => c::close::run(self, c::close::Deleted::Expunge).await,
            Command::Unselect => c::close::run(self, c::close::Deleted::Keep).await,
            Command::Expunge(uids) => c::expunge::run(self, uids).await,
            Command::Search(numbering, search) => {
                Box::pin(c::search::run(self, numbering, search)).await
            }
            Command::Fetch(numbering, fetch) => {
                Box::pin(c::fetch::run(self, numbering, fetch)).await
            }
            Command::Store(numbering, store) => c::store::run(self, numbering, store).await,
            Command::Copy(numbering, set, target) => {
                c::copy::run(self, numbering, set, target).await
            }
            Command::Move(numbering, set, target) => {
                c::r#move::run(self, numbering, set, target).await
            }
            Command::Idle => c::idle::run(self).await,
        }
    }

    /// The user; commands that need one are permitted only once there is one.
    pub(super) fn user(&self) -> Result<&User, Failure> {
        match &self.stage {
            Stage::Authenticated(user) | Stage::Selected(user, _) => Ok(user),
            Stage::NotAuthenticated | Stage::Logout => Err(Failure::bad("log in first")),
        }
    }

    /// The user's mail; a handle that can be kept while the session is written to.
    pub(super) fn store(&self) -> Result<MailAccount, Failure> {
        self.user().map(|user| user.store.clone())
    }

    /// The selected mailbox; commands that need one are permitted only once there is one.
    pub(super) fn selected(&mut self) -> Result<&mut Selected, Failure> {
        match &mut self.stage {
            Stage::Selected(_, selected) => Ok(selected),
            _ => Err(Failure::bad("select a mailbox first")),
        }
    }

    /// Goes back from a selected mailbox to none.
    pub(super) fn unselect(&mut self) -> Option<Selected> {
        match std::mem::replace(&mut self.stage, Stage::NotAuthenticated) {
            Stage::Selected(user, selected) => {
                self.stage = Stage::Authenticated(user);
                Some(*selected)
            }
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// Whether a password may be sent now.
    pub(super) fn may_log_in(&self) -> bool {
        plaintext_allowed(self.server.plaintext, self.peer, self.link.tls())
    }

    /// What the session offers. What needs a log-in is named before it, too: some clients ask only
    /// once.
    pub(super) fn capabilities(&self) -> Vec<&'static str> {
        let mut names = vec![
            "IMAP4rev1",
            "LITERAL+",
            "SASL-IR",
            "ID",
            "ENABLE",
            "IDLE",
            "NAMESPACE",
            "UIDPLUS",
            "MOVE",
            "UNSELECT",
            "CHILDREN",
            "SPECIAL-USE",
            "CREATE-SPECIAL-USE",
        ];
        if matches!(self.stage, Stage::NotAuthenticated) {
            if self.link.tls().is_none() && self.server.tls.is_some() {
                names.push("STARTTLS");
            }
            names.push(match self.may_log_in() {
                true => "AUTH=PLAIN",
                false => "LOGINDISABLED",
            });
        }
        names
    }
}

/// An error is logged once, here: only those that an operator can do something about.
fn log_store_error(command: &'static str, error: &StoreError) {
    match error {
        StoreError::Unavailable(_) => tracing::warn!(command, %error, "the store is not available"),
        StoreError::Broken(_) => tracing::error!(command, %error, "the store failed"),
        _ => tracing::debug!(command, %error, "the store refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a waiting session costs beside its socket (services/ARCHITECTURE.md, "Promises in
    /// numbers").
    #[tokio::test]
    async fn a_waiting_session_is_small() {
        let (mut session, _client) = super::super::tests::session().await;
        let tag = Tag::new("a").expect("a tag");
        let idle = std::mem::size_of_val(&session.command(tag, Command::Idle));
        let waiting = std::mem::size_of_val(&session.run());
        assert!(waiting < 3 * 1024, "a session takes {waiting} octets");
        assert!(idle < 4 * 1024, "a command takes {idle} octets");
    }
}
