//! Command tags.

use std::fmt;

use crate::cursor::{Cursor, Parsed, SyntaxError, is_tag_char};

/// Longest tag that is taken, in octets: it is kept while the command runs.
const MAX_TAG: usize = 128;

/// The tag of a command (RFC 3501 section 2.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(Box<str>);

impl Tag {
    /// The tag of this text, or `None` if it is none.
    pub fn new(text: &str) -> Option<Self> {
        let valid = (1..=MAX_TAG).contains(&text.len()) && text.bytes().all(is_tag_char);
        valid.then(|| Self(text.into()))
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let no_tag = SyntaxError("the command has no valid tag");
        let word = cursor.word(is_tag_char, no_tag.0)?;
        std::str::from_utf8(word)
            .ok()
            .and_then(Self::new)
            .ok_or(no_tag)
    }

    /// The tag a broken command starts with, if one can be read.
    pub(crate) fn of_broken(line: &[u8]) -> Option<Self> {
        let word = line.split(|b| matches!(b, b' ' | b'\r' | b'\n')).next()?;
        Self::new(std::str::from_utf8(word).ok()?)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
