//! Delivery status notifications (RFC 3461, 3464, 6522, 3834).
//!
//! A notification is a letter of three parts: text for a person, fields for a machine, and the
//! letter it is about, or its header. All of it is 7-bit with lines of at most 998 octets, so that
//! it can be sent anywhere. It travels with the null reverse-path, and none is made for a letter
//! that has the null reverse-path itself: the caller sees to both.

mod fields;
mod original;
pub(crate) mod quoted_printable;
mod text;

use postino_types::{Domain, EmailAddress, EnhancedStatus};

use crate::compose::{date_field, message_id};
use crate::header::first_field;
use crate::message_id::message_ids;

/// A notification to be made. Times are Unix seconds.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The name of the host that reports.
    pub reporting_mta: &'a Domain,
    /// The letter's queue-id.
    pub queue_id: &'a str,
    /// What the sender gave as ENVID (RFC 3461 section 4.4), decoded.
    pub envelope_id: Option<&'a str>,
    /// When the letter was accepted.
    pub arrival: i64,
    /// When the notification is made.
    pub now: i64,
    /// Letters and digits that no other notification of this host has.
    pub unique: &'a str,
    /// Whom to tell: the letter's reverse-path.
    pub to: &'a EmailAddress,
    /// What became of each recipient that is reported.
    pub recipients: &'a [RecipientReport<'a>],
    /// The letter.
    pub original: Original<'a>,
}

/// What became of one recipient.
#[derive(Debug, Clone)]
pub struct RecipientReport<'a> {
    /// ORCPT as `type;address` (RFC 3461 section 4.2), decoded.
    pub original: Option<&'a str>,
    /// The address that was tried.
    pub address: &'a EmailAddress,
    /// What became of it.
    pub action: Action,
    /// Why.
    pub status: EnhancedStatus,
    /// The host that said so, by name or address; `None` if no server said anything.
    pub remote_mta: Option<&'a str>,
    /// Its SMTP reply, or without one what we know, on one line.
    pub diagnostic: Option<&'a str>,
    /// When it was tried for the last time.
    pub last_attempt: Option<i64>,
}

/// What became of a recipient (RFC 3464 section 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It will not be delivered.
    Failed,
    /// It is not delivered yet.
    Delayed {
        /// When it will be given up; Unix seconds.
        will_retry_until: i64,
    },
}

/// How much of the letter is sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Original<'a> {
    /// These octets of its header, whole lines.
    Header(&'a [u8]),
    /// All of it, if it is 7-bit and has no lines that are too long; else its header.
    Message(&'a [u8]),
}

impl<'a> Original<'a> {
    fn octets(self) -> &'a [u8] {
        match self {
            Self::Header(octets) | Self::Message(octets) => octets,
        }
    }
}

/// Makes the notification: a whole letter, with CRLF line ends.
pub fn compose(report: &Report<'_>) -> Vec<u8> {
    let boundary = boundary(report);
    let mut out = Vec::with_capacity(4096 + report.original.octets().len());
    write_header(report, &boundary, &mut out);
    delimiter(&boundary, &mut out);
    text::write(report, &mut out);
    delimiter(&boundary, &mut out);
    fields::write(report, &mut out);
    delimiter(&boundary, &mut out);
    original::write(report.original, &mut out);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

fn write_header(report: &Report<'_>, boundary: &str, out: &mut Vec<u8>) {
    let host = report.reporting_mta;
    let failed = report.recipients.iter().any(|r| r.action == Action::Failed);
    let subject = if failed {
        "Undelivered mail returned to sender"
    } else {
        "Delayed mail"
    };
    let mut header = date_field(report.now);
    header += &format!("From: Mail Delivery System <MAILER-DAEMON@{host}>\r\n");
    header += &format!("To: <{}>\r\n", report.to);
    header += &format!("Subject: {subject}\r\n");
    header += &format!("Message-ID: {}\r\n", message_id(report.unique, host));
    if let Some(id) = original_message_id(report.original) {
        header += &format!("In-Reply-To: {id}\r\nReferences: {id}\r\n");
    }
    // RFC 3834 section 5.
    header += "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n";
    header += "Content-Type: multipart/report; report-type=delivery-status;\r\n";
    header += &format!("\tboundary=\"{boundary}\"\r\n");
    out.extend_from_slice(header.as_bytes());
}

fn original_message_id(original: Original<'_>) -> Option<String> {
    let field = first_field(original.octets(), "Message-ID")?;
    let id = message_ids(&field.unfolded(), 1).pop()?;
    (id.is_ascii() && id.len() < 900).then_some(id)
}

/// A boundary that does not occur in the letter. `=_` cannot occur in quoted-printable.
fn boundary(report: &Report<'_>) -> String {
    let unique: String = report
        .unique
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(40)
        .collect();
    let octets = report.original.octets();
    (0u32..)
        .map(|number| format!("=_{number}_{unique}"))
        .find(|b| memchr::memmem::find(octets, b.as_bytes()).is_none())
        .unwrap_or_default()
}

fn delimiter(boundary: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
}

/// Text that came from outside, fit for one line of ASCII: control characters become spaces, other
/// characters `?`.
fn printable(text: &str) -> String {
    let clean = |c: char| match c {
        ' '..='~' => c,
        c if c.is_control() => ' ',
        _ => '?',
    };
    text.chars().map(clean).collect()
}

#[cfg(test)]
mod tests;
