//! One transaction: a letter goes over a session, and each recipient gets a result.

use bytes::Bytes;
use futures::StreamExt;
use postino_smtp::client::{Letter, Outcome as Told, RecipientReport, Report, Stage};
use postino_smtp::{BodyKind, Internationalized};
use postino_types::{EnhancedStatus, Permanence, Recipient, Reply};
use tokio::time::{Instant, timeout};
use tracing::Span;

use super::session::{Session, Step};
use super::{Parcel, Remote};
use crate::lease::Tenure;
use crate::outcome::{Attempted, Outcome};

/// What came of a transaction.
pub(super) enum Transacted {
    /// A result for each recipient, and the session if it can be used again.
    Done {
        /// The results.
        results: Vec<Attempted>,
        /// Ready for another letter.
        session: Option<Box<Session>>,
    },
    /// The server certainly took nothing and would not go on: another host may.
    NotBegun {
        /// What it said, or what we know instead.
        reply: Reply,
    },
    /// We broke it off before the final dot, for a reason that is not the server's.
    BrokenOff,
}

/// Why the body did not go out.
enum BodyEnd {
    /// It went out; the final dot follows.
    Whole,
    /// The session ended; the next step tells how.
    SessionEnded,
    /// We broke it off.
    BrokenOff,
}

impl Remote {
    /// Sends a letter over a session that is ready.
    pub(super) async fn transact(
        &self,
        mut session: Session,
        parcel: &Parcel,
        tenure: &Tenure,
    ) -> Transacted {
        if let Some(version) = session.tls_version() {
            Span::current().record("tls.protocol.version", version);
        }
        session.begin(letter(parcel));
        loop {
            match session.step().await {
                Step::Body => match self.send_body(&mut session, parcel, tenure).await {
                    BodyEnd::Whole | BodyEnd::SessionEnded => {}
                    BodyEnd::BrokenOff => {
                        session.abandon();
                        return Transacted::BrokenOff;
                    }
                },
                Step::Done(report) => return self.conclude(session, parcel, &report).await,
                Step::Failed(failure) => {
                    return Transacted::NotBegun {
                        reply: lost(&failure.to_string()),
                    };
                }
                Step::Closed => {
                    return Transacted::NotBegun {
                        reply: lost("the connection was closed"),
                    };
                }
                Step::Ready => {}
            }
        }
    }

    /// Streams the accepted message from the spool. The final dot is asked for only if the letter
    /// is whole and the tenure holds: after it, the letter is the server's.
    async fn send_body(&self, session: &mut Session, parcel: &Parcel, tenure: &Tenure) -> BodyEnd {
        let mut chunks = match self.store.body(parcel.id, 0, 0).await {
            Ok(chunks) => chunks,
            Err(error) => return broken_off(parcel, &error.to_string()),
        };
        let mut sent = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk: Bytes = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return broken_off(parcel, &error.to_string()),
            };
            sent += chunk.len() as u64;
            if !session.body(&chunk).await {
                return BodyEnd::SessionEnded;
            }
        }
        if sent != parcel.size {
            return broken_off(parcel, "the spool gave another length than the letter has");
        }
        if !tenure.holds(Instant::now()) {
            return broken_off(parcel, "the lease is over");
        }
        session.finish_body();
        BodyEnd::Whole
    }

    async fn conclude(&self, mut session: Session, parcel: &Parcel, report: &Report) -> Transacted {
        if let Some(reply) = not_begun(report) {
            return Transacted::NotBegun { reply };
        }
        let host = &session.target().host;
        let results: Vec<Attempted> = parcel
            .recipients
            .iter()
            .zip(&report.recipients)
            .map(|(&(index, _), told)| attempted(index, told, host))
            .collect();
        if let Some(RecipientReport {
            outcome: Told::Delivered(reply) | Told::Refused(reply),
            ..
        }) = report.recipients.first()
        {
            Span::current().record("smtp.reply_code", reply.code());
        }
        // After a refusal the server's transaction is reset first.
        let limit = self.config.quit_timeout.get();
        let session = match timeout(limit, session.step()).await {
            Ok(Step::Ready) => Some(Box::new(session)),
            _ => None,
        };
        Transacted::Done { results, session }
    }
}

fn letter(parcel: &Parcel) -> Letter {
    let mut addresses = parcel.recipients.iter().map(|(_, address)| address);
    let beyond_ascii = addresses.any(|address| address.needs_smtputf8())
        || parcel
            .reverse_path
            .address()
            .is_some_and(|address| address.needs_smtputf8());
    Letter {
        reverse_path: parcel.reverse_path.clone(),
        recipients: parcel
            .recipients
            .iter()
            .map(|(_, address)| Recipient::Address(address.clone()))
            .collect(),
        size: parcel.size,
        body: match parcel.eight_bit {
            true => BodyKind::EightBitMime,
            false => BodyKind::SevenBit,
        },
        // A header in UTF-8 alone is sent as it is, like any eight-bit letter.
        internationalized: match beyond_ascii {
            true => Internationalized::Yes,
            false => Internationalized::No,
        },
    }
}

fn broken_off(parcel: &Parcel, why: &str) -> BodyEnd {
    tracing::warn!(queue_id = %parcel.id, why, "a letter is not sent to its end");
    BodyEnd::BrokenOff
}

/// The reason, if the server took nothing and the connection ended before it had refused anything
/// in particular.
fn not_begun(report: &Report) -> Option<Reply> {
    let ended = |told: &RecipientReport| match &told.outcome {
        Told::Lost(why) => Some(lost(why)),
        Told::Refused(reply) if reply.code() == 421 && told.stage != Stage::EndOfData => {
            Some(reply.clone())
        }
        Told::Delivered(_) | Told::Refused(_) | Told::Unknown(_) => None,
    };
    let reasons: Option<Vec<Reply>> = report.recipients.iter().map(ended).collect();
    reasons?.into_iter().next()
}

fn attempted(recipient: u32, told: &RecipientReport, host: &str) -> Attempted {
    let (outcome, reply) = match &told.outcome {
        Told::Delivered(reply) => (Outcome::Delivered, reply.to_string()),
        Told::Refused(reply) if reply.failure() == Some(Permanence::Permanent) => {
            (Outcome::Permanent, reply.to_string())
        }
        Told::Refused(reply) => (Outcome::Temporary, reply.to_string()),
        Told::Lost(why) => (Outcome::Temporary, lost(why).to_string()),
        // The server may have taken it: the letter is sent again, at least once is the promise.
        Told::Unknown(why) => {
            let text = format!("connection lost after the final dot, outcome unknown: {why}");
            let reply = Reply::new(451, EnhancedStatus::temporary(4, 2), text);
            (Outcome::Temporary, reply.to_string())
        }
    };
    Attempted {
        recipient,
        outcome,
        reply,
        remote: host.to_owned(),
    }
}

fn lost(why: &str) -> Reply {
    Reply::new(
        451,
        EnhancedStatus::temporary(4, 2),
        format!("connection lost: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stage: Stage, outcome: Told) -> RecipientReport {
        RecipientReport { stage, outcome }
    }

    fn refused(code: u16) -> Told {
        Told::Refused(Reply::plain(code, "no"))
    }

    #[test]
    fn another_host_is_tried_only_if_nothing_was_taken_or_refused() {
        let not_begun = |recipients: Vec<RecipientReport>| {
            not_begun(&Report { recipients }).map(|reply| reply.code())
        };
        let lost = || told(Stage::Data, Told::Lost("x".into()));
        assert_eq!(not_begun(vec![lost(), lost()]), Some(451));
        assert_eq!(not_begun(vec![told(Stage::Mail, refused(421))]), Some(421));
        assert_eq!(not_begun(vec![told(Stage::EndOfData, refused(421))]), None);
        assert_eq!(
            not_begun(vec![lost(), told(Stage::Rcpt, refused(550))]),
            None
        );
        assert_eq!(not_begun(vec![told(Stage::Mail, refused(451))]), None);
        assert_eq!(
            not_begun(vec![told(Stage::EndOfData, Told::Unknown("x".into()))]),
            None
        );
        assert_eq!(not_begun(vec![]), None);
    }

    #[test]
    fn replies_become_results() {
        for (outcome, expected, reply) in [
            (
                Told::Delivered(Reply::plain(250, "ok")),
                Outcome::Delivered,
                "250 ok",
            ),
            (refused(550), Outcome::Permanent, "550 no"),
            (refused(451), Outcome::Temporary, "451 no"),
            (Told::Lost("x".into()), Outcome::Temporary, "451 4.4.2 "),
            (Told::Unknown("x".into()), Outcome::Temporary, "451 4.4.2 "),
        ] {
            let attempted = attempted(3, &told(Stage::EndOfData, outcome), "mx.example");
            assert_eq!((attempted.recipient, attempted.outcome), (3, expected));
            assert!(attempted.reply.starts_with(reply), "{}", attempted.reply);
            assert_eq!(attempted.remote, "mx.example");
        }
    }
}
