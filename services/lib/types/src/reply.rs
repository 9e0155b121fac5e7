//! SMTP replies and enhanced status codes (RFC 5321 section 4.2, RFC 3463).

use std::fmt;
use std::str::FromStr;

/// A text that is no enhanced status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an enhanced status code (RFC 3463)")]
pub struct EnhancedStatusError;

/// The class of an enhanced status code: its first number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusClass {
    /// 2: it worked.
    Success,
    /// 4: it failed, and may work later.
    PersistentTransient,
    /// 5: it failed, and will fail again.
    Permanent,
}

impl StatusClass {
    fn digit(self) -> u8 {
        match self {
            Self::Success => 2,
            Self::PersistentTransient => 4,
            Self::Permanent => 5,
        }
    }
}

/// An enhanced status code such as `5.1.1` (RFC 3463 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedStatus {
    class: StatusClass,
    subject: u16,
    detail: u16,
}

impl EnhancedStatus {
    /// `class.subject.detail`. Subject and detail have up to three digits; larger numbers are
    /// cut to 999.
    pub const fn new(class: StatusClass, subject: u16, detail: u16) -> Self {
        let subject = if subject > 999 { 999 } else { subject };
        let detail = if detail > 999 { 999 } else { detail };
        Self {
            class,
            subject,
            detail,
        }
    }

    /// `2.subject.detail`.
    pub const fn success(subject: u16, detail: u16) -> Self {
        Self::new(StatusClass::Success, subject, detail)
    }

    /// `4.subject.detail`.
    pub const fn temporary(subject: u16, detail: u16) -> Self {
        Self::new(StatusClass::PersistentTransient, subject, detail)
    }

    /// `5.subject.detail`.
    pub const fn permanent(subject: u16, detail: u16) -> Self {
        Self::new(StatusClass::Permanent, subject, detail)
    }

    /// The class.
    pub const fn class(self) -> StatusClass {
        self.class
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class.digit(), self.subject, self.detail)
    }
}

impl FromStr for EnhancedStatus {
    type Err = EnhancedStatusError;

    fn from_str(text: &str) -> Result<Self, EnhancedStatusError> {
        let number = |part: Option<&str>| match part {
            Some(p) if (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()) => {
                p.parse::<u16>().map_err(|_| EnhancedStatusError)
            }
            _ => Err(EnhancedStatusError),
        };
        let mut parts = text.split('.');
        let class = match parts.next() {
            Some("2") => StatusClass::Success,
            Some("4") => StatusClass::PersistentTransient,
            Some("5") => StatusClass::Permanent,
            _ => return Err(EnhancedStatusError),
        };
        let (subject, detail) = (number(parts.next())?, number(parts.next())?);
        match parts.next() {
            None => Ok(Self {
                class,
                subject,
                detail,
            }),
            Some(_) => Err(EnhancedStatusError),
        }
    }
}

/// Whether trying the same again may work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permanence {
    /// Try again later.
    Temporary,
    /// Trying again is useless.
    Permanent,
}

/// A reply of an SMTP server: code, enhanced code, text of one or more lines.
///
/// The text never holds a line end: each line is one element, cut of control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: Option<EnhancedStatus>,
    lines: Vec<String>,
}

impl Reply {
    /// A reply of one line. Panics in debug builds if `code` is not in 200..=599: codes are
    /// literals of our own code; replies read from a network come from the reply parser.
    pub fn new(code: u16, status: EnhancedStatus, text: impl Into<String>) -> Self {
        Self::from_lines(code, Some(status), vec![text.into()])
    }

    /// A reply without an enhanced code: greeting, `EHLO`, `354`, `334` (RFC 2034 section 4).
    pub fn plain(code: u16, text: impl Into<String>) -> Self {
        Self::from_lines(code, None, vec![text.into()])
    }

    /// A reply of several lines.
    pub fn from_lines(code: u16, status: Option<EnhancedStatus>, lines: Vec<String>) -> Self {
        debug_assert!((200..=599).contains(&code), "reply code {code}");
        let clean = |line: String| match line.contains(|c: char| c.is_control()) {
            true => line.replace(|c: char| c.is_control(), " "),
            false => line,
        };
        Self {
            code,
            status,
            lines: lines.into_iter().map(clean).collect(),
        }
    }

    /// The three-digit code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced code, if the reply has one.
    pub fn status(&self) -> Option<EnhancedStatus> {
        self.status
    }

    /// The lines of text, without codes.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// 2xx.
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// For a failure, whether it is permanent (5xx) or temporary (4xx).
    pub fn failure(&self) -> Option<Permanence> {
        match self.code {
            400..=499 => Some(Permanence::Temporary),
            500..=599 => Some(Permanence::Permanent),
            _ => None,
        }
    }
}

impl fmt::Display for Reply {
    /// The reply on one line, for logs and DSNs: `550 5.1.1 No such user`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        for line in &self.lines {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_come_back() {
        let status: EnhancedStatus = "5.7.28".parse().expect("valid");
        assert_eq!(status, EnhancedStatus::permanent(7, 28));
        assert_eq!(status.to_string(), "5.7.28");
        for bad in [
            "", "5", "5.1", "3.1.1", "5.1.1.1", "5.a.1", "5.1000.1", "5.+1.1",
        ] {
            assert!(bad.parse::<EnhancedStatus>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_reply_cannot_smuggle_a_line() {
        let reply = Reply::new(550, EnhancedStatus::permanent(1, 1), "no\r\n250 ok");
        assert_eq!(reply.to_string(), "550 5.1.1 no  250 ok");
        assert_eq!(reply.failure(), Some(Permanence::Permanent));
    }
}
