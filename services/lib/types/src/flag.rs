//! Message flags (RFC 9051 section 2.3.2).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Longest keyword that is taken, in octets.
const MAX_KEYWORD: usize = 100;

/// A text that is no flag that can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a flag that can be set")]
pub struct FlagError;

/// A flag of a message. `\Recent` is not one of them: it belongs to a session, not to a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flag {
    /// `\Seen`
    Seen,
    /// `\Answered`
    Answered,
    /// `\Flagged`
    Flagged,
    /// `\Deleted`
    Deleted,
    /// `\Draft`
    Draft,
    /// A keyword: an atom such as `$Forwarded`, lower case (keywords compare without case).
    Keyword(Keyword),
}

/// The name of a keyword; see [`Flag::Keyword`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Keyword(Box<str>);

impl Flag {
    /// The five system flags, in the order of their bits in storage.
    pub const SYSTEM: [Self; 5] = [
        Self::Seen,
        Self::Answered,
        Self::Flagged,
        Self::Deleted,
        Self::Draft,
    ];

    /// The flag as written on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Seen => "\\Seen",
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Draft => "\\Draft",
            Self::Keyword(keyword) => &keyword.0,
        }
    }
}

impl FromStr for Flag {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let system = Self::SYSTEM
            .into_iter()
            .find(|f| f.as_str().eq_ignore_ascii_case(text));
        if let Some(flag) = system {
            return Ok(flag);
        }
        // flag-keyword is an atom (RFC 9051 section 9).
        let atom = |b: u8| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b);
        match (1..=MAX_KEYWORD).contains(&text.len()) && text.bytes().all(atom) {
            // The `$` keywords have a registered spelling, but compare without case; one
            // spelling is stored, so that they are one flag.
            true => Ok(Self::Keyword(Keyword(text.to_ascii_lowercase().into()))),
            false => Err(FlagError),
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of flags.
pub type FlagSet = BTreeSet<Flag>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_compare_without_case() {
        assert_eq!("\\SEEN".parse(), Ok(Flag::Seen));
        assert_eq!("$Forwarded".parse::<Flag>(), "$FORWARDED".parse::<Flag>());
        for bad in ["", "\\Recent", "\\Foo", "a b", "a]", "ü"] {
            assert_eq!(bad.parse::<Flag>(), Err(FlagError), "{bad:?}");
        }
    }
}
