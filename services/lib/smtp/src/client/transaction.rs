//! One letter on its way: which recipients are settled, and how.

use postino_types::{EnhancedStatus, Reply};

use super::capabilities::SizeLimit;
use super::report::{Outcome, RecipientReport, Report, Stage};
use super::{Capabilities, Letter};
use crate::{BodyKind, Internationalized, MailCommand};

/// Whether the final dot has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FinalDot {
    Pending,
    Sent,
}

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) letter: Letter,
    results: Vec<Option<RecipientReport>>,
    accepted: Vec<usize>,
    pub(super) final_dot: FinalDot,
}

impl Transaction {
    pub(super) fn new(letter: Letter) -> Self {
        Self {
            results: vec![None; letter.recipients.len()],
            letter,
            accepted: Vec::new(),
            final_dot: FinalDot::Pending,
        }
    }

    /// The refusal that the server's announcement already implies; another server may do better.
    pub(super) fn hopeless(&self, offered: &Capabilities) -> Option<Reply> {
        match offered.size {
            Some(SizeLimit::Octets(limit)) if self.letter.size > limit => {
                let text = format!(
                    "The letter has {} octets; the server takes {limit}",
                    self.letter.size
                );
                // RFC 1870 section 6.1.
                Some(Reply::new(552, EnhancedStatus::permanent(3, 4), text))
            }
            _ if self.letter.internationalized == Internationalized::Yes && !offered.smtp_utf8 => {
                // RFC 6531 section 3.5.
                let text = "The letter needs SMTPUTF8, which the server does not offer";
                Some(Reply::new(550, EnhancedStatus::permanent(6, 7), text))
            }
            _ if self.letter.body == BodyKind::EightBitMime && !offered.eight_bit_mime => {
                // RFC 6152 section 3: never sent as it is.
                let text = "The letter has eight-bit data; the server does not offer 8BITMIME";
                Some(Reply::new(554, EnhancedStatus::permanent(6, 3), text))
            }
            _ => None,
        }
    }

    /// `MAIL` with the parameters that the server understands.
    pub(super) fn mail(&self, offered: &Capabilities) -> MailCommand {
        let mut mail = MailCommand::new(self.letter.reverse_path.clone());
        mail.size = offered.size.map(|_| self.letter.size);
        mail.body = self.letter.body;
        if offered.smtp_utf8 {
            mail.internationalized = self.letter.internationalized;
        }
        mail
    }

    /// The reply to `RCPT` number `index`.
    pub(super) fn recipient_answered(&mut self, index: usize, reply: Reply) {
        if reply.is_positive() && self.results[index].is_none() {
            self.accepted.push(index);
            return;
        }
        // RFC 5321 section 4.5.3.1.10: some servers say 552 for "too many recipients".
        let reply = match reply.code() {
            552 => Reply::from_lines(
                452,
                Some(EnhancedStatus::temporary(5, 3)),
                reply.lines().to_vec(),
            ),
            _ => reply,
        };
        self.settle(index, Stage::Rcpt, Outcome::Refused(failure(reply)));
    }

    /// Recipients that the server takes the letter for.
    pub(super) fn accepted(&self) -> &[usize] {
        &self.accepted
    }

    /// Settles one recipient, if it is not.
    pub(super) fn settle(&mut self, index: usize, stage: Stage, outcome: Outcome) {
        self.results[index].get_or_insert(RecipientReport { stage, outcome });
    }

    /// The reply to the final dot, for one recipient.
    pub(super) fn ended(&mut self, index: usize, reply: Reply) {
        let outcome = match reply.is_positive() {
            true => Outcome::Delivered(reply),
            false => Outcome::Refused(failure(reply)),
        };
        self.settle(index, Stage::EndOfData, outcome);
    }

    /// Refuses all recipients that are not settled.
    pub(super) fn refuse_rest(&mut self, stage: Stage, reply: Reply) {
        let reply = failure(reply);
        for index in 0..self.results.len() {
            self.settle(index, stage, Outcome::Refused(reply.clone()));
        }
        self.accepted.clear();
    }

    /// The report, once nothing more can be learned; `reason` is for what is not settled.
    pub(super) fn report(self, reason: &str) -> Report {
        let dot = self.final_dot;
        let unsettled = || match dot {
            FinalDot::Pending => RecipientReport {
                stage: Stage::Data,
                outcome: Outcome::Lost(reason.to_owned()),
            },
            FinalDot::Sent => RecipientReport {
                stage: Stage::EndOfData,
                outcome: Outcome::Unknown(reason.to_owned()),
            },
        };
        let recipients = self
            .results
            .into_iter()
            .map(|r| r.unwrap_or_else(unsettled))
            .collect();
        Report { recipients }
    }
}

/// A reply that stands for a failure; one that does not (a 2xx or 3xx out of place) becomes a
/// temporary one.
fn failure(reply: Reply) -> Reply {
    match reply.failure() {
        Some(_) => reply,
        None => {
            let text = format!("The server gave an unexpected reply: {reply}");
            Reply::new(451, EnhancedStatus::temporary(5, 0), text)
        }
    }
}
