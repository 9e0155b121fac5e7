//! The `message/delivery-status` part (RFC 3464 section 2).

use std::net::IpAddr;

use postino_types::EmailAddress;

use super::{Action, RecipientReport, Report, printable};
use crate::date::{DateTime, format_date};

/// Columns after which a field is folded, where it has a blank.
const FOLD_AT: usize = 76;
/// Octets of a value that are written; a diagnostic can be as long as its server likes.
const MAX_VALUE: usize = 4000;
/// Octets without a blank that are written on one line.
const MAX_WORD: usize = 900;

pub(super) fn write(report: &Report<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Type: message/delivery-status\r\n\r\n");
    field(
        "Reporting-MTA",
        &format!("dns; {}", report.reporting_mta),
        out,
    );
    if let Some(id) = report.envelope_id {
        field("Original-Envelope-Id", id, out);
    }
    field("X-Postino-Queue-ID", report.queue_id, out);
    field("Arrival-Date", &date(report.arrival), out);
    for recipient in report.recipients {
        out.extend_from_slice(b"\r\n");
        write_recipient(recipient, out);
    }
}

fn write_recipient(recipient: &RecipientReport<'_>, out: &mut Vec<u8>) {
    if let Some(original) = recipient.original {
        field("Original-Recipient", original, out);
    }
    field("Final-Recipient", &typed_address(recipient.address), out);
    let action = match recipient.action {
        Action::Failed => "failed",
        Action::Delayed { .. } => "delayed",
    };
    field("Action", action, out);
    field("Status", &recipient.status.to_string(), out);
    if let Some(mta) = recipient.remote_mta {
        field("Remote-MTA", &format!("dns; {}", mta_name(mta)), out);
    }
    if let Some(diagnostic) = recipient.diagnostic {
        // RFC 3464 section 2.3.6: `smtp` is for replies of a server; our own words have our own type.
        let kind = match recipient.remote_mta {
            Some(_) => "smtp",
            None => "X-Postino",
        };
        field("Diagnostic-Code", &format!("{kind}; {diagnostic}"), out);
    }
    if let Some(time) = recipient.last_attempt {
        field("Last-Attempt-Date", &date(time), out);
    }
    if let Action::Delayed { will_retry_until } = recipient.action {
        field("Will-Retry-Until", &date(will_retry_until), out);
    }
}

/// The name of a host, an address as the literal that RFC 5321 section 4.1.3 has
/// (RFC 3464 section 2.1.2).
pub(super) fn mta_name(name: &str) -> String {
    match name.parse() {
        Ok(IpAddr::V4(address)) => format!("[{address}]"),
        Ok(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
        Err(_) => name.to_owned(),
    }
}

/// `rfc822; address`, or for an address beyond ASCII its `utf-8-addr-xtext` form (RFC 6533
/// section 3), which is ASCII.
fn typed_address(address: &EmailAddress) -> String {
    let text = address.to_string();
    if text.is_ascii() {
        return format!("rfc822; {text}");
    }
    let mut encoded = String::from("utf-8; ");
    for c in text.chars() {
        match c {
            '\\' | '+' | '=' | ' ' => encoded += &format!("\\x{{{:02X}}}", u32::from(c)),
            c if c.is_ascii() => encoded.push(c),
            c => encoded += &format!("\\x{{{:X}}}", u32::from(c)),
        }
    }
    encoded
}

fn date(unix_seconds: i64) -> String {
    format_date(DateTime {
        seconds: unix_seconds,
        offset_minutes: 0,
    })
}

/// Writes a field, folded at blanks.
fn field(name: &str, value: &str, out: &mut Vec<u8>) {
    let value = printable(&value.chars().take(MAX_VALUE).collect::<String>());
    let mut line = format!("{name}:");
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        // Printable text is ASCII: any cut is between characters.
        let word = &word[..word.len().min(MAX_WORD)];
        if line.len() + 1 + word.len() > FOLD_AT && !line.ends_with(':') {
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
            line = String::new();
        }
        line.push(' ');
        line.push_str(word);
    }
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}
