//! `STORE` and flag lists (RFC 3501 section 6.4.6).

use postino_types::{Flag, FlagSet};

use crate::cursor::{Cursor, Empty, Parsed, SyntaxError, is_atom_char};
use crate::sequence::SequenceSet;

/// What is done with the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagOperation {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// Whether the client wants to hear the new flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reporting {
    /// An untagged FETCH for each message.
    Full,
    /// `.SILENT`
    Silent,
}

/// `STORE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Which messages.
    pub set: SequenceSet,
    /// Replace, add or remove.
    pub operation: FlagOperation,
    /// With or without FETCH responses.
    pub reporting: Reporting,
    /// The flags.
    pub flags: FlagSet,
}

/// A flag of a list. `\Recent`, which no client can set, is read over: clients copy it along.
fn parse_flag(cursor: &mut Cursor<'_>) -> Parsed<Option<Flag>> {
    let system = cursor.take(b'\\');
    let word = cursor.word(is_atom_char, "a flag is missing")?;
    let name = String::from_utf8_lossy(word);
    let name = if system {
        format!("\\{name}")
    } else {
        name.into_owned()
    };
    if name.eq_ignore_ascii_case("\\Recent") {
        return Ok(None);
    }
    name.parse()
        .map(Some)
        .map_err(|_| SyntaxError("the flag cannot be set"))
}

/// A flag list in parentheses.
pub(crate) fn parse_flags(cursor: &mut Cursor<'_>) -> Parsed<FlagSet> {
    let flags = cursor.list(Empty::Allowed, parse_flag)?;
    Ok(flags.into_iter().flatten().collect())
}

/// Writes a flag list.
pub(crate) fn encode_flags(flags: &FlagSet, out: &mut Vec<u8>) {
    let names: Vec<&str> = flags.iter().map(Flag::as_str).collect();
    out.extend_from_slice(format!("({})", names.join(" ")).as_bytes());
}

impl Store {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        cursor.space()?;
        let set = SequenceSet::parse(cursor)?;
        cursor.space()?;
        let item = cursor.keyword()?;
        let (item, reporting) = match item.strip_suffix(".SILENT") {
            Some(item) => (item, Reporting::Silent),
            None => (item.as_str(), Reporting::Full),
        };
        let operation = match item {
            "FLAGS" => FlagOperation::Replace,
            "+FLAGS" => FlagOperation::Add,
            "-FLAGS" => FlagOperation::Remove,
            _ => return Err(SyntaxError("unknown item of STORE")),
        };
        cursor.space()?;
        let flags = match cursor.peek() {
            Some(b'(') => parse_flags(cursor)?,
            _ => Self::parse_bare_flags(cursor)?,
        };
        Ok(Self {
            set,
            operation,
            reporting,
            flags,
        })
    }

    fn parse_bare_flags(cursor: &mut Cursor<'_>) -> Parsed<FlagSet> {
        let mut flags = FlagSet::new();
        loop {
            cursor.count()?;
            flags.extend(parse_flag(cursor)?);
            if !cursor.take(b' ') {
                return Ok(flags);
            }
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let sign = match self.operation {
            FlagOperation::Replace => "",
            FlagOperation::Add => "+",
            FlagOperation::Remove => "-",
        };
        let silent = match self.reporting {
            Reporting::Full => "",
            Reporting::Silent => ".SILENT",
        };
        out.extend_from_slice(format!("STORE {} {sign}FLAGS{silent} ", self.set).as_bytes());
        encode_flags(&self.flags, out);
    }
}
