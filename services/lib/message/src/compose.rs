//! Fields that a server adds to a letter (RFC 6409 section 8, RFC 5321 section 4.4).

use postino_types::{Domain, ReversePath};

use crate::date::{DateTime, format_date};
use crate::scan::Structure;

/// Fields that every letter must have, or should, and that this one lacks (RFC 5322 section 3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MissingFields {
    /// There is no `Date`.
    pub date: bool,
    /// There is no `Message-ID`.
    pub message_id: bool,
    /// There is no `From`.
    pub from: bool,
}

/// Which fields a submitted letter lacks.
pub fn missing_fields(structure: &Structure) -> MissingFields {
    let lacks = |name: &str| !structure.fields().any(|field| field.is(name));
    MissingFields {
        date: lacks("Date"),
        message_id: lacks("Message-ID"),
        from: lacks("From"),
    }
}

/// A `Date` field with its line end, for Unix seconds in UTC.
pub fn date_field(unix_seconds: i64) -> String {
    format!(
        "Date: {}\r\n",
        format_date(DateTime {
            seconds: unix_seconds,
            offset_minutes: 0
        })
    )
}

/// A `Message-ID` field with its line end. `unique` is a text of letters and digits that no other
/// id of this host has; other characters are left out.
pub fn message_id_field(unique: &str, host: &Domain) -> String {
    format!("Message-ID: {}\r\n", message_id(unique, host))
}

/// `<unique@host>`
pub(crate) fn message_id(unique: &str, host: &Domain) -> String {
    let unique: String = unique
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '.')
        .collect();
    format!("<{unique}@{host}>")
}

/// The `Return-Path` field that final delivery adds, with its line end (RFC 5321 section 4.4).
pub fn return_path_field(reverse_path: &ReversePath) -> String {
    format!("Return-Path: <{reverse_path}>\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Scanner};

    fn missing(letter: &[u8]) -> MissingFields {
        let mut scanner = Scanner::new(Limits::default());
        scanner.feed(letter);
        missing_fields(&scanner.finish())
    }

    #[test]
    fn missing_fields_are_told() {
        assert_eq!(
            missing(b"from: a@b\r\nDATE: x\r\n\r\nMessage-ID: <in@body>\r\n"),
            MissingFields {
                date: false,
                message_id: true,
                from: false
            }
        );
        assert_eq!(
            missing(b"\r\n"),
            MissingFields {
                date: true,
                message_id: true,
                from: true
            }
        );
    }

    #[test]
    fn fields_are_whole_lines() {
        let host = "mx.example.org".parse().expect("valid");
        assert_eq!(date_field(0), "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n");
        assert_eq!(
            message_id_field("a>b.1", &host),
            "Message-ID: <ab.1@mx.example.org>\r\n"
        );
        assert_eq!(return_path_field(&ReversePath::Null), "Return-Path: <>\r\n");
        let path = "\"a b\"@x.org".parse().expect("valid");
        assert_eq!(return_path_field(&path), "Return-Path: <\"a b\"@x.org>\r\n");
    }
}
