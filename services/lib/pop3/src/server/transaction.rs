//! The TRANSACTION state (RFC 1939 section 5) and, at its end, UPDATE (section 6).

use super::output::{Code, Output};
use super::{CommitError, FLUSH_AT, ReadError, Server, State, Step};
use crate::command::Command;
use crate::maildrop::{Maildrop, Message, MessageNumber};
use crate::stuffing::{Stuffing, TopLines};

/// A session that has its maildrop.
#[derive(Debug)]
pub(super) struct Transaction {
    maildrop: Maildrop,
    activity: Activity,
}

#[derive(Debug)]
enum Activity {
    /// A command is awaited.
    Idle,
    /// A listing is being written; the next message to list has this index.
    Listing(Listing, usize),
    /// A message is being sent.
    Reading(Reading),
    /// QUIT: marked messages are being deleted.
    Committing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    Sizes,
    UniqueIds,
}

#[derive(Debug)]
struct Reading {
    progress: Progress,
    top: Option<TopLines>,
    stuffing: Stuffing,
    size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing has been sent, so a failure can still be told.
    NotStarted,
    Started,
}

/// Whether the rest of a message is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Go on.
    More,
    /// TOP has what it needs: end the message with [`Server::read`].
    Enough,
}

impl Transaction {
    pub(super) fn new(maildrop: Maildrop) -> Self {
        Self {
            maildrop,
            activity: Activity::Idle,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.activity, Activity::Idle)
    }

    /// Writes on at a listing, up to what should be sent at once; false if there is none.
    pub(super) fn list(&mut self, output: &mut Output) -> bool {
        let Activity::Listing(listing, from) = &mut self.activity else {
            return false;
        };
        for (number, message) in self.maildrop.from(*from) {
            if output.len() >= FLUSH_AT {
                return true;
            }
            *from = number;
            output.write(&[&line(&self.maildrop, *listing, number, message)]);
        }
        output.lines([]);
        self.activity = Activity::Idle;
        true
    }

    fn start_listing(&mut self, listing: Listing, output: &mut Output) {
        let (count, size) = self.maildrop.totals();
        match listing {
            Listing::Sizes => output.ok(&format!("{count} messages, {size} octets")),
            Listing::UniqueIds => output.ok(&format!("{count} messages")),
        }
        self.activity = Activity::Listing(listing, 0);
    }
}

/// A line of a listing, with the message's number.
fn line(maildrop: &Maildrop, listing: Listing, number: usize, message: Message) -> String {
    match listing {
        Listing::Sizes => format!("{number} {}", message.size),
        Listing::UniqueIds => format!("{number} {}", maildrop.unique_id(message)),
    }
}

impl Server {
    /// Carries out a command in this state.
    pub(super) fn transaction(&mut self, command: Command) -> Option<Step> {
        let State::Transaction(transaction) = &mut self.state else {
            return None;
        };
        let output = &mut self.output;
        match command {
            Command::Stat => {
                let (count, size) = transaction.maildrop.totals();
                output.ok(&format!("{count} {size}"));
            }
            Command::List(None) => transaction.start_listing(Listing::Sizes, output),
            Command::Uidl(None) => transaction.start_listing(Listing::UniqueIds, output),
            Command::List(Some(number)) => self.list_one(Listing::Sizes, number),
            Command::Uidl(Some(number)) => self.list_one(Listing::UniqueIds, number),
            Command::Retr(number) => return self.start_reading(number, None),
            Command::Top(number, lines) => return self.start_reading(number, Some(lines)),
            Command::Dele(number) => match transaction.maildrop.delete(number) {
                true => output.ok(&format!("message {number} deleted")),
                false => output.error(None, "no such message"),
            },
            Command::Noop => output.ok("nothing done"),
            Command::Rset => {
                transaction.maildrop.reset();
                let (count, size) = transaction.maildrop.totals();
                output.ok(&format!("{count} messages, {size} octets"));
            }
            Command::Capa => self.capabilities(),
            Command::Quit => return self.quit(),
            Command::User(_)
            | Command::Pass(_)
            | Command::Auth { .. }
            | Command::AuthList
            | Command::Stls => self.error("you are logged in already"),
        }
        None
    }

    fn list_one(&mut self, listing: Listing, number: MessageNumber) {
        let State::Transaction(transaction) = &self.state else {
            return;
        };
        let maildrop = &transaction.maildrop;
        match (maildrop.get(number), usize::try_from(number.get())) {
            (Some(message), Ok(number)) => {
                self.output.ok(&line(maildrop, listing, number, message));
            }
            _ => self.output.error(None, "no such message"),
        }
    }

    fn start_reading(&mut self, number: MessageNumber, top: Option<u32>) -> Option<Step> {
        let State::Transaction(transaction) = &mut self.state else {
            return None;
        };
        let Some(message) = transaction.maildrop.get(number) else {
            self.output.error(None, "no such message");
            return None;
        };
        transaction.activity = Activity::Reading(Reading {
            progress: Progress::NotStarted,
            top: top.map(TopLines::new),
            stuffing: Stuffing::default(),
            size: message.size,
        });
        Some(Step::Read(message))
    }

    /// Takes the next octets of the message that [`Step::Read`] asked for. Output should be sent
    /// before the next ones are handed over.
    pub fn chunk(&mut self, octets: &[u8]) -> Wanted {
        let State::Transaction(transaction) = &mut self.state else {
            return Wanted::Enough;
        };
        let Activity::Reading(reading) = &mut transaction.activity else {
            return Wanted::Enough;
        };
        reading.start(&mut self.output);
        let passed = reading
            .top
            .as_mut()
            .map_or(octets.len(), |top| top.pass(octets));
        reading
            .stuffing
            .feed(&octets[..passed], self.output.buffer());
        match &reading.top {
            Some(top) if top.is_done() => Wanted::Enough,
            _ => Wanted::More,
        }
    }

    /// The message that [`Step::Read`] asked for has ended, or cannot be read. In the midst of a
    /// message the client can only be told by closing the connection.
    pub fn read(&mut self, result: Result<(), ReadError>) {
        let State::Transaction(transaction) = &mut self.state else {
            return;
        };
        let Activity::Reading(reading) = &mut transaction.activity else {
            return;
        };
        match (result, reading.progress) {
            (Ok(()), _) => {
                reading.start(&mut self.output);
                std::mem::take(&mut reading.stuffing).finish(self.output.buffer());
            }
            (Err(error @ ReadError::Gone), Progress::NotStarted) => {
                self.output.error(None, &error.to_string());
            }
            (Err(error @ ReadError::Unavailable), Progress::NotStarted) => {
                self.output.error(Some(Code::SysTemp), &error.to_string());
            }
            (Err(_), Progress::Started) => {
                self.state = State::Closing;
                return;
            }
        }
        transaction.activity = Activity::Idle;
    }

    fn quit(&mut self) -> Option<Step> {
        let State::Transaction(transaction) = &mut self.state else {
            return None;
        };
        let deleted = transaction.maildrop.deleted();
        if deleted.is_empty() {
            self.output.ok("goodbye");
            self.state = State::Closing;
            return None;
        }
        transaction.activity = Activity::Committing;
        Some(Step::Commit(deleted))
    }

    /// The answer to [`Step::Commit`].
    pub fn committed(&mut self, result: Result<(), CommitError>) {
        let State::Transaction(transaction) = &self.state else {
            return;
        };
        if !matches!(transaction.activity, Activity::Committing) {
            return;
        }
        match result {
            Ok(()) => self.output.ok("goodbye"),
            // RFC 1939 section 6: some messages may not have been removed.
            Err(error) => self.output.error(Some(Code::SysTemp), &error.to_string()),
        }
        self.state = State::Closing;
    }
}

impl Reading {
    fn start(&mut self, output: &mut Output) {
        if std::mem::replace(&mut self.progress, Progress::Started) == Progress::NotStarted {
            match self.top {
                None => output.ok(&format!("{} octets", self.size)),
                Some(_) => output.ok("top of message follows"),
            }
        }
    }
}
