//! The part that a person reads.

use super::fields::mta_name;
use super::{Action, RecipientReport, Report, printable};
use crate::date::{DateTime, format_date};

/// Columns of the text.
const WIDTH: usize = 72;
/// Characters of a word and of a reason that are shown.
const MAX_WORD: usize = 500;
const MAX_REASON: usize = 2000;

pub(super) fn write(report: &Report<'_>, out: &mut Vec<u8>) {
    let is_failed = |r: &&RecipientReport<'_>| r.action == Action::Failed;
    let (failed, delayed): (Vec<_>, Vec<_>) = report.recipients.iter().partition(is_failed);
    let arrival = format_date(DateTime {
        seconds: report.arrival,
        offset_minutes: 0,
    });
    let mut text = Text(String::new());
    text.paragraph(
        "",
        &format!("This is the mail system at {}.", report.reporting_mta),
    );
    if !failed.is_empty() {
        text.paragraph(
            "",
            &format!(
                "Your message of {arrival} could not be delivered to the recipients below, and \
                 will not be tried again. The message, or its header, is attached."
            ),
        );
        failed.iter().for_each(|r| text.recipient(r));
    }
    if !delayed.is_empty() {
        text.paragraph(
            "",
            &format!(
                "Your message of {arrival} has not been delivered to the recipients below yet. \
                 You do not need to send it again: it will be tried further."
            ),
        );
        delayed.iter().for_each(|r| text.recipient(r));
    }
    text.paragraph(
        "",
        &format!("The message is known here as {}.", report.queue_id),
    );
    out.extend_from_slice(b"Content-Type: text/plain; charset=us-ascii\r\n\r\n");
    out.extend_from_slice(text.0.trim_end().as_bytes());
    out.extend_from_slice(b"\r\n");
}

struct Text(String);

impl Text {
    fn recipient(&mut self, recipient: &RecipientReport<'_>) {
        let mut about = format!("<{}>: {}", recipient.address, recipient.status);
        if let Some(mta) = recipient.remote_mta {
            about += &format!(", said by {}", mta_name(mta));
        }
        if let Some(diagnostic) = recipient.diagnostic {
            about += &format!(
                ": {}",
                diagnostic.chars().take(MAX_REASON).collect::<String>()
            );
        }
        self.paragraph("    ", &about);
        if let Action::Delayed { will_retry_until } = recipient.action {
            let until = format_date(DateTime {
                seconds: will_retry_until,
                offset_minutes: 0,
            });
            self.paragraph("    ", &format!("It will be tried until {until}."));
        }
    }

    /// Adds words in lines of the text's width, and an empty line.
    fn paragraph(&mut self, indent: &str, words: &str) {
        let words = printable(words);
        let mut column = 0;
        for word in words.split(' ').filter(|word| !word.is_empty()) {
            // Printable text is ASCII: any cut is between characters.
            let word = &word[..word.len().min(MAX_WORD)];
            if column > 0 && column + 1 + word.len() > WIDTH {
                self.0.push_str("\r\n");
                column = 0;
            }
            let before = if column == 0 { indent } else { " " };
            self.0.push_str(before);
            self.0.push_str(word);
            column += before.len() + word.len();
        }
        self.0.push_str("\r\n\r\n");
    }
}
