//! Which messages a search matches.
//!
//! Most keys need only a message's small row; some need its header, few its whole text. A key is
//! evaluated with what is at hand: the answer is unknown if it hangs on something that is not, and
//! then the caller loads more and asks again.

use postino_types::{Flag, ModSeq, Uid};

use crate::command::{DateField, SearchKey};
use crate::date::Date;
use crate::response::Recent;
use crate::sequence::SequenceSet;

/// Something of a message that may not be at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known<T> {
    /// It is this.
    Yes(T),
    /// It was not loaded.
    NotLoaded,
}

/// A message as SEARCH sees it.
pub trait Subject {
    /// Its sequence number.
    fn sequence(&self) -> u32;
    /// Its UID.
    fn uid(&self) -> Uid;
    /// Whether it has a flag.
    fn has_flag(&self, flag: &Flag) -> bool;
    /// Whether it is recent.
    fn recent(&self) -> Recent;
    /// Its size in octets.
    fn size(&self) -> u64;
    /// The day of its INTERNALDATE, in that date's zone.
    fn internal_date(&self) -> Date;
    /// Its mod-sequence.
    fn mod_seq(&self) -> ModSeq;
    /// The day of its Date header, in that header's zone; `None` if there is no such day.
    fn sent_date(&self) -> Known<Option<Date>>;
    /// Whether a header field, its name in upper case, is there with a decoded value that holds
    /// the text. Without regard to case, here and below; an empty text is in every value.
    fn field_contains(&self, name: &str, text: &str) -> Known<bool>;
    /// Whether the text occurs in the decoded header.
    fn header_contains(&self, text: &str) -> Known<bool>;
    /// Whether the text occurs in the decoded bodies.
    fn body_contains(&self, text: &str) -> Known<bool>;
}

/// What `*` stands for in the search's sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Largest {
    /// The number of messages.
    pub sequence: u32,
    /// The largest UID, or 0.
    pub uid: u32,
}

/// A search, made ready: sets are resolved once.
#[derive(Debug, Clone)]
pub struct Matcher(Vec<Condition>);

/// Ranges outside of which nothing matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidates<'a> {
    /// Of UIDs.
    Uids(&'a [std::ops::RangeInclusive<u32>]),
    /// Of sequence numbers.
    Sequences(&'a [std::ops::RangeInclusive<u32>]),
}

#[derive(Debug, Clone)]
enum Condition {
    All,
    Flag(Flag),
    Recent(Recent),
    Sequence(Vec<std::ops::RangeInclusive<u32>>),
    Uid(Vec<std::ops::RangeInclusive<u32>>),
    Larger(u64),
    Smaller(u64),
    Before(DateField, Date),
    On(DateField, Date),
    Since(DateField, Date),
    Header(Box<str>, Box<str>),
    Body(Box<str>),
    Text(Box<str>),
    ModSeq(ModSeq),
    Not(Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    And(Vec<Condition>),
}

impl Matcher {
    /// Makes a search ready. All `program` keys have to match.
    pub fn new(program: &[SearchKey], largest: Largest) -> Self {
        Self(program.iter().map(|key| prepare(key, largest)).collect())
    }

    /// The texts that bodies are searched for, so that one pass over a body can look for all.
    pub fn body_texts(&self) -> Vec<&str> {
        let mut texts = Vec::new();
        self.0.iter().for_each(|c| c.collect_body_texts(&mut texts));
        texts
    }

    /// UIDs and sequence numbers that the message must be among, if the search says so at its top
    /// level; the rest need not be looked at.
    pub fn candidates(&self) -> impl Iterator<Item = Candidates<'_>> {
        self.0.iter().filter_map(|condition| match condition {
            Condition::Uid(ranges) => Some(Candidates::Uids(ranges)),
            Condition::Sequence(ranges) => Some(Candidates::Sequences(ranges)),
            _ => None,
        })
    }

    /// Whether the message matches; `None` if that hangs on what is not loaded.
    pub fn matches(&self, message: &impl Subject) -> Option<bool> {
        all(&self.0, message)
    }
}

fn prepare(key: &SearchKey, largest: Largest) -> Condition {
    let sequence = |set: &SequenceSet| Condition::Sequence(set.resolve(largest.sequence));
    let not = |condition| Condition::Not(Box::new(condition));
    match key {
        SearchKey::All => Condition::All,
        SearchKey::Flag(flag) => Condition::Flag(flag.clone()),
        SearchKey::NoFlag(flag) => not(Condition::Flag(flag.clone())),
        SearchKey::Recent => Condition::Recent(Recent::Yes),
        SearchKey::Old => Condition::Recent(Recent::No),
        SearchKey::New => Condition::And(vec![
            Condition::Recent(Recent::Yes),
            not(Condition::Flag(Flag::Seen)),
        ]),
        SearchKey::Sequence(set) => sequence(set),
        SearchKey::Uid(set) => Condition::Uid(set.resolve(largest.uid)),
        SearchKey::Larger(size) => Condition::Larger(*size),
        SearchKey::Smaller(size) => Condition::Smaller(*size),
        SearchKey::Before(field, date) => Condition::Before(*field, *date),
        SearchKey::On(field, date) => Condition::On(*field, *date),
        SearchKey::Since(field, date) => Condition::Since(*field, *date),
        SearchKey::Header(name, text) => {
            Condition::Header(name.to_ascii_uppercase().into(), text.clone())
        }
        SearchKey::Body(text) => Condition::Body(text.clone()),
        SearchKey::Text(text) => Condition::Text(text.clone()),
        SearchKey::ModSeq(value) => Condition::ModSeq(*value),
        SearchKey::Not(key) => not(prepare(key, largest)),
        SearchKey::Or(left, right) => Condition::Or(
            Box::new(prepare(left, largest)),
            Box::new(prepare(right, largest)),
        ),
        SearchKey::And(keys) => {
            Condition::And(keys.iter().map(|key| prepare(key, largest)).collect())
        }
    }
}

/// Kleene's conjunction: one `false` decides, whatever is unknown.
fn all(conditions: &[Condition], message: &impl Subject) -> Option<bool> {
    let mut result = Some(true);
    for condition in conditions {
        match condition.evaluate(message) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => result = None,
        }
    }
    result
}

fn known<T>(value: Known<T>, test: impl FnOnce(T) -> bool) -> Option<bool> {
    match value {
        Known::Yes(value) => Some(test(value)),
        Known::NotLoaded => None,
    }
}

fn on_date(
    message: &impl Subject,
    field: DateField,
    test: impl FnOnce(Date) -> bool,
) -> Option<bool> {
    match field {
        DateField::Internal => Some(test(message.internal_date())),
        DateField::Sent => known(message.sent_date(), |date| date.is_some_and(test)),
    }
}

fn holds(ranges: &[std::ops::RangeInclusive<u32>], number: u32) -> bool {
    let at = ranges.partition_point(|range| *range.end() < number);
    ranges.get(at).is_some_and(|range| range.contains(&number))
}

impl Condition {
    fn collect_body_texts<'a>(&'a self, texts: &mut Vec<&'a str>) {
        match self {
            Self::Body(text) | Self::Text(text) => texts.push(text),
            Self::Not(condition) => condition.collect_body_texts(texts),
            Self::Or(left, right) => {
                left.collect_body_texts(texts);
                right.collect_body_texts(texts);
            }
            Self::And(conditions) => {
                conditions.iter().for_each(|c| c.collect_body_texts(texts));
            }
            _ => {}
        }
    }

    fn evaluate(&self, message: &impl Subject) -> Option<bool> {
        match self {
            Self::All => Some(true),
            Self::Flag(flag) => Some(message.has_flag(flag)),
            Self::Recent(recent) => Some(message.recent() == *recent),
            Self::Sequence(ranges) => Some(holds(ranges, message.sequence())),
            Self::Uid(ranges) => Some(holds(ranges, message.uid().get())),
            Self::Larger(size) => Some(message.size() > *size),
            Self::Smaller(size) => Some(message.size() < *size),
            Self::Before(field, date) => on_date(message, *field, |d| d < *date),
            Self::On(field, date) => on_date(message, *field, |d| d == *date),
            Self::Since(field, date) => on_date(message, *field, |d| d >= *date),
            Self::Header(name, text) => known(message.field_contains(name, text), |found| found),
            Self::Body(text) => known(message.body_contains(text), |found| found),
            Self::Text(text) => either(known(message.header_contains(text), |f| f), || {
                known(message.body_contains(text), |f| f)
            }),
            Self::ModSeq(value) => Some(message.mod_seq() >= *value),
            Self::Not(condition) => condition.evaluate(message).map(|matched| !matched),
            Self::Or(left, right) => either(left.evaluate(message), || right.evaluate(message)),
            Self::And(conditions) => all(conditions, message),
        }
    }
}

/// Kleene's disjunction: one `true` decides.
fn either(left: Option<bool>, right: impl FnOnce() -> Option<bool>) -> Option<bool> {
    if left == Some(true) {
        return left;
    }
    match right() {
        Some(true) => Some(true),
        Some(false) => left,
        None => None,
    }
}

#[cfg(test)]
mod tests;
