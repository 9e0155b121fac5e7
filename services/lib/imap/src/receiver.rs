//! The streaming parser: bytes go in, commands come out.
//!
//! The receiver frames a command (its line, its literals, the lines between them), then parses it
//! as a whole. The message of `APPEND` alone is handed on in pieces as it comes. How the input is
//! cut into pieces never changes what comes out.

use bytes::{Buf, Bytes, BytesMut};

use crate::command::{AppendHead, Command};
use crate::cursor::{Cursor, SyntaxError};
use crate::limits::Limits;
use crate::tag::Tag;

/// Longest announcement of a literal: `{`, 20 digits, `+}`, line end.
const MAX_ANNOUNCEMENT: usize = 32;

/// What the receiver found.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A complete command.
    Command(Tag, Command),
    /// The client waits for `+` before it sends a literal.
    Continue,
    /// The message of an `APPEND` is next. Call [`Receiver::accept_append`] or
    /// [`Receiver::refuse_append`] before the next event is asked for.
    Append(Tag, AppendHead, AppendSize),
    /// Some octets of the message.
    AppendChunk(Bytes),
    /// The message and its command are complete.
    AppendEnd,
    /// After the message, the command did not end; the letter must not be kept.
    AppendBroken(SyntaxError),
    /// The line that was asked for with [`Receiver::expect_line`], without its end.
    Line(Bytes),
    /// A command could not be read; answer `BAD`, tagged if there is a tag.
    Bad(Option<Tag>, SyntaxError),
    /// A literal is larger than the limit; answer `NO [TOOBIG]` (RFC 7889 section 4) or `BAD`.
    TooBig(Option<Tag>),
}

/// The size of an appended message, and whether the client waits before it sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendSize {
    /// Octets of the message.
    pub octets: u64,
    /// Whether `+` has to be sent once the append is accepted.
    pub waits: Waits,
}

/// Whether the client waits for a continuation before it sends a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// A synchronizing literal: nothing comes before `+` is sent.
    ForContinuation,
    /// A non-synchronizing literal: the octets follow at once.
    No,
}

/// What the next input octets are.
#[derive(Debug)]
enum State {
    /// Part of a command line.
    Line,
    /// Octets of a literal inside a command.
    Literal { left: usize },
    /// The caller has not decided on an append.
    Undecided(AppendSize),
    /// Octets of an appended message.
    Message { left: u64 },
    /// The rest of the line after an appended message.
    MessageTail,
    /// To be thrown away: literal octets, then a line, whose end is kept to see its literal.
    Discard { left: u64, tail: Vec<u8> },
    /// One line that is no command.
    Plain,
}

/// The streaming parser of one connection.
#[derive(Debug)]
pub struct Receiver {
    limits: Limits,
    state: State,
    input: BytesMut,
    /// How far `input` was searched for a line end.
    scanned: usize,
    /// The command so far.
    command: BytesMut,
    /// Octets of literals in `command`.
    literals: usize,
}

/// Whether to look for an event again.
enum Step {
    Emit(Event),
    Again,
    Wait,
}

/// A literal's announcement at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Announcement {
    /// Where it starts in the line.
    at: usize,
    octets: u64,
    waits: Waits,
}

impl Receiver {
    /// A receiver at the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Line,
            input: BytesMut::new(),
            scanned: 0,
            command: BytesMut::new(),
            literals: 0,
        }
    }

    /// Replaces the limits, for instance after authentication.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Adds input. Take all events before adding more, so that the input buffer stays small.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The input buffer, to be read into directly.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Throws away input that has not been looked at: after STARTTLS, what was sent in plain text
    /// must not count (RFC 3501 section 6.2.1).
    pub fn discard_input(&mut self) {
        self.input = BytesMut::new();
        self.scanned = 0;
    }

    /// Whether input is waiting that was not yet turned into an event.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether the connection is between two commands and nothing has been received.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Line | State::Plain)
            && self.command.is_empty()
            && self.input.is_empty()
    }

    /// Gives back memory while nothing is being received.
    pub fn shrink(&mut self) {
        if self.input.is_empty() {
            self.discard_input();
        }
        if self.command.is_empty() {
            self.command = BytesMut::new();
        }
    }

    /// The next line is no command: a SASL response, or the `DONE` of IDLE.
    pub fn expect_line(&mut self) {
        if matches!(self.state, State::Line) && self.command.is_empty() {
            self.state = State::Plain;
        }
    }

    /// Takes the message that was announced by [`Event::Append`].
    pub fn accept_append(&mut self) {
        if let State::Undecided(size) = self.state {
            self.state = State::Message { left: size.octets };
        }
    }

    /// Refuses the message that was announced by [`Event::Append`]. What a client that does not
    /// wait sends all the same is thrown away.
    pub fn refuse_append(&mut self) {
        if let State::Undecided(size) = self.state {
            self.restart_after(size.octets, size.waits);
        }
    }

    /// The next event, or `None` until there is more input.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            match self.step() {
                Step::Emit(event) => return Some(event),
                Step::Again => {}
                Step::Wait => return None,
            }
        }
    }

    fn step(&mut self) -> Step {
        match &mut self.state {
            State::Line => self.step_line(),
            State::Literal { left } => {
                let taken = (*left).min(self.input.len());
                *left -= taken;
                let done = *left == 0;
                self.command.unsplit(self.input.split_to(taken));
                match done {
                    true => {
                        self.state = State::Line;
                        Step::Again
                    }
                    false => Step::Wait,
                }
            }
            State::Undecided(_) => Step::Wait,
            State::Message { left: 0 } => {
                self.state = State::MessageTail;
                Step::Again
            }
            State::Message { left } => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX);
                let taken = most.min(self.input.len());
                if taken == 0 {
                    return Step::Wait;
                }
                *left -= taken as u64;
                Step::Emit(Event::AppendChunk(self.input.split_to(taken).freeze()))
            }
            State::MessageTail => self.step_message_tail(),
            State::Discard { .. } => self.step_discard(),
            State::Plain => self.step_plain(),
        }
    }

    /// Takes a line with its end from the input, if one is complete.
    fn take_line(&mut self) -> Option<BytesMut> {
        let found = self.input[self.scanned..].iter().position(|b| *b == b'\n');
        match found {
            Some(at) => {
                let line = self.input.split_to(self.scanned + at + 1);
                self.scanned = 0;
                Some(line)
            }
            None => {
                self.scanned = self.input.len();
                None
            }
        }
    }

    fn step_line(&mut self) -> Step {
        let room = (self.limits.line + self.literals).saturating_sub(self.command.len());
        let line = self.take_line();
        let length = line.as_ref().map_or(self.input.len(), BytesMut::len);
        if length > room {
            return self.line_too_long(line);
        }
        let Some(line) = line else {
            return Step::Wait;
        };
        if self.command.is_empty() && without_end(&line).is_empty() {
            // An empty line between commands is forgiven.
            return Step::Again;
        }
        match announcement(without_end(&line)) {
            None => {
                self.command.unsplit(line);
                self.finish()
            }
            Some(announced) => {
                let head_length = self.command.len() + announced.at;
                self.command.unsplit(line);
                self.announced(announced, head_length)
            }
        }
    }

    /// The whole command is here.
    fn finish(&mut self) -> Step {
        let command = self.reset_command();
        match parse(without_end(&command), &self.limits) {
            Ok((tag, command)) => Step::Emit(Event::Command(tag, command)),
            Err(error) => Step::Emit(Event::Bad(Tag::of_broken(&command), error)),
        }
    }

    /// A line ended with the announcement of a literal; the command before it has `head_length`
    /// octets.
    fn announced(&mut self, announced: Announcement, head_length: usize) -> Step {
        let Announcement { octets, waits, .. } = announced;
        match parse_append(&self.command[..head_length], &self.limits) {
            AppendProgress::Other => {}
            AppendProgress::Broken(error) => {
                let tag = Tag::of_broken(&self.command);
                self.restart_after(octets, waits);
                return Step::Emit(Event::Bad(tag, error));
            }
            AppendProgress::Complete(tag, head) => {
                self.reset_command();
                if octets > self.limits.message {
                    self.restart_after(octets, waits);
                    return Step::Emit(Event::TooBig(Some(tag)));
                }
                let size = AppendSize { octets, waits };
                self.state = State::Undecided(size);
                return Step::Emit(Event::Append(tag, head, size));
            }
        }
        let room = self.limits.literals.saturating_sub(self.literals);
        match usize::try_from(octets) {
            Ok(left) if left <= room => {
                self.literals += left;
                self.state = State::Literal { left };
                match waits {
                    Waits::ForContinuation => Step::Emit(Event::Continue),
                    Waits::No => Step::Again,
                }
            }
            _ => {
                let tag = Tag::of_broken(&self.command);
                self.restart_after(octets, waits);
                Step::Emit(Event::TooBig(tag))
            }
        }
    }

    fn step_message_tail(&mut self) -> Step {
        let line = self.take_line();
        let length = line.as_ref().map_or(self.input.len(), BytesMut::len);
        let error = SyntaxError("there is more than the command takes");
        if length > self.limits.line {
            self.line_too_long(line);
            return Step::Emit(Event::AppendBroken(error));
        }
        let Some(line) = line else {
            return Step::Wait;
        };
        let content = without_end(&line);
        if content.iter().all(|b| *b == b' ') {
            self.state = State::Line;
            return Step::Emit(Event::AppendEnd);
        }
        match announcement(content) {
            Some(announced) => self.restart_after(announced.octets, announced.waits),
            None => self.state = State::Line,
        }
        Step::Emit(Event::AppendBroken(error))
    }

    fn step_plain(&mut self) -> Step {
        let line = self.take_line();
        let length = line.as_ref().map_or(self.input.len(), BytesMut::len);
        if length > self.limits.line {
            return self.line_too_long(line);
        }
        match line {
            None => Step::Wait,
            Some(mut line) => {
                self.state = State::Line;
                line.truncate(without_end(&line).len());
                Step::Emit(Event::Line(line.freeze()))
            }
        }
    }

    /// Gives up on a line that is over the limit, whether its end (`line`) is here or not.
    fn line_too_long(&mut self, line: Option<BytesMut>) -> Step {
        let mut start = self.reset_command();
        match line {
            Some(line) => {
                start.extend_from_slice(&line);
                match announcement(without_end(&line)) {
                    Some(announced) => self.restart_after(announced.octets, announced.waits),
                    None => self.state = State::Line,
                }
            }
            None => {
                start.extend_from_slice(&self.input);
                self.state = State::Discard {
                    left: 0,
                    tail: Vec::new(),
                };
                self.scanned = 0;
            }
        }
        let error = SyntaxError("the line is too long");
        Step::Emit(Event::Bad(Tag::of_broken(&start), error))
    }

    fn step_discard(&mut self) -> Step {
        let State::Discard { left, tail } = &mut self.state else {
            return Step::Again;
        };
        let most = usize::try_from(*left).unwrap_or(usize::MAX);
        let skipped = most.min(self.input.len());
        self.input.advance(skipped);
        *left -= skipped as u64;
        if *left > 0 {
            return Step::Wait;
        }
        let end = self.input.iter().position(|b| *b == b'\n');
        let length = end.map_or(self.input.len(), |at| at + 1);
        tail.extend_from_slice(&self.input.split_to(length));
        let surplus = tail.len().saturating_sub(MAX_ANNOUNCEMENT);
        tail.drain(..surplus);
        if end.is_none() {
            return Step::Wait;
        }
        match announcement(without_end(tail)) {
            Some(announced) => self.restart_after(announced.octets, announced.waits),
            None => self.state = State::Line,
        }
        Step::Again
    }

    /// Drops the command at a literal. A client that waits will send nothing more of it once it
    /// has its tagged reply (RFC 3501 section 7.5); otherwise the literal and the rest are skipped.
    fn restart_after(&mut self, octets: u64, waits: Waits) {
        self.reset_command();
        self.state = match waits {
            Waits::ForContinuation => State::Line,
            Waits::No => State::Discard {
                left: octets,
                tail: Vec::new(),
            },
        };
    }

    fn reset_command(&mut self) -> BytesMut {
        self.literals = 0;
        std::mem::take(&mut self.command)
    }
}

/// A line without CRLF or, forgiven, a bare LF.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The `{n}` or `{n+}` at the end of a line without its line end.
fn announcement(line: &[u8]) -> Option<Announcement> {
    let tail = &line[line.len().saturating_sub(MAX_ANNOUNCEMENT)..];
    let inner = tail.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|b| *b == b'{')?;
    let (digits, waits) = match &inner[open + 1..] {
        [digits @ .., b'+'] => (digits, Waits::No),
        digits => (digits, Waits::ForContinuation),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // A number that fits no u64 is larger than any limit, too.
    let octets = std::str::from_utf8(digits)
        .ok()?
        .parse()
        .unwrap_or(u64::MAX);
    Some(Announcement {
        at: line.len() - (tail.len() - open),
        octets,
        waits,
    })
}

fn parse(command: &[u8], limits: &Limits) -> Result<(Tag, Command), SyntaxError> {
    let mut cursor = Cursor::new(command, limits);
    let tag = Tag::parse(&mut cursor)?;
    cursor.space()?;
    let command = Command::parse(&mut cursor)?;
    cursor.end()?;
    Ok((tag, command))
}

enum AppendProgress {
    /// Another command, or an append whose mailbox name is the literal.
    Other,
    Broken(SyntaxError),
    Complete(Tag, AppendHead),
}

/// Looks at a command up to a literal.
fn parse_append(head: &[u8], limits: &Limits) -> AppendProgress {
    let mut cursor = Cursor::new(head, limits);
    let Ok(tag) = Tag::parse(&mut cursor) else {
        return AppendProgress::Other;
    };
    if cursor.space().is_err() || !cursor.take_word("APPEND") {
        return AppendProgress::Other;
    }
    if cursor.rest() == b" " {
        return AppendProgress::Other;
    }
    match AppendHead::parse(&mut cursor) {
        Ok(head) => AppendProgress::Complete(tag, head),
        Err(error) => AppendProgress::Broken(error),
    }
}

#[cfg(test)]
mod tests;
