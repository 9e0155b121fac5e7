//! Names of mailboxes, in UTF-8, as stored. The wire form of IMAP4rev1 (modified UTF-7) is a
//! matter of the IMAP codec.

use std::fmt;
use std::str::FromStr;

/// The hierarchy separator.
pub const SEPARATOR: char = '/';
/// Longest name, in octets of UTF-8.
const MAX_NAME: usize = 512;
/// Deepest hierarchy.
const MAX_DEPTH: usize = 32;

/// A text that is no mailbox name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MailboxNameError {
    /// Empty, or an empty level: a leading, trailing or doubled separator.
    #[error("a mailbox name has an empty level")]
    Empty,
    /// Longer or deeper than the limit.
    #[error("the mailbox name is too long")]
    TooLong,
    /// A control character, or a wildcard of LIST.
    #[error("the mailbox name has a character that is not allowed")]
    Character,
}

/// A mailbox name: levels joined by [`SEPARATOR`]. `INBOX` is always upper case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(Box<str>);

impl MailboxName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `INBOX`.
    pub fn inbox() -> Self {
        Self("INBOX".into())
    }

    /// Whether this is `INBOX`.
    pub fn is_inbox(&self) -> bool {
        &*self.0 == "INBOX"
    }

    /// The name one level up, if there is one.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once(SEPARATOR)
            .map(|(parent, _)| Self(parent.into()))
    }

    /// The name after `old` is renamed to `new`, if this is `old` or below it.
    pub fn renamed(&self, old: &Self, new: &Self) -> Option<Result<Self, MailboxNameError>> {
        let rest = self.0.strip_prefix(&*old.0)?;
        match rest.starts_with(SEPARATOR) || rest.is_empty() {
            true => Some(format!("{}{rest}", new.0).parse()),
            false => None,
        }
    }
}

impl FromStr for MailboxName {
    type Err = MailboxNameError;

    fn from_str(text: &str) -> Result<Self, MailboxNameError> {
        if text.len() > MAX_NAME || text.split(SEPARATOR).count() > MAX_DEPTH {
            return Err(MailboxNameError::TooLong);
        }
        if text.split(SEPARATOR).any(str::is_empty) {
            return Err(MailboxNameError::Empty);
        }
        if text.contains(|c: char| c.is_control() || c == '*' || c == '%') {
            return Err(MailboxNameError::Character);
        }
        // INBOX is case-insensitive (RFC 9051 section 5.1), as the first level too.
        match text.split_once(SEPARATOR) {
            None if text.eq_ignore_ascii_case("INBOX") => Ok(Self::inbox()),
            Some((first, rest)) if first.eq_ignore_ascii_case("INBOX") => {
                Ok(Self(format!("INBOX{SEPARATOR}{rest}").into()))
            }
            _ => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The special use of a mailbox (RFC 6154 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// The attribute as LIST writes it.
    pub fn attribute(self) -> &'static str {
        match self {
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbox_has_one_spelling() {
        assert_eq!("inBox".parse(), Ok(MailboxName::inbox()));
        assert_eq!(
            "inbox/a".parse::<MailboxName>().expect("valid").as_str(),
            "INBOX/a"
        );
        for bad in ["", "/", "a/", "/a", "a//b", "a*", "a%b", "a\nb"] {
            assert!(bad.parse::<MailboxName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_rename_moves_what_is_below() {
        let name = |text: &str| text.parse::<MailboxName>().expect("valid");
        let renamed = |n: &str| name(n).renamed(&name("a"), &name("b"));
        assert_eq!(renamed("a/c"), Some(Ok(name("b/c"))));
        assert_eq!(renamed("a"), Some(Ok(name("b"))));
        assert_eq!(renamed("ab"), None);
        assert_eq!(name("b/c").parent(), Some(name("b")));
    }
}
