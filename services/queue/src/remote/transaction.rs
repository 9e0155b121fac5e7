//! One transaction: a letter goes over a session, and each recipient gets a result.

use bytes::Bytes;
use futures::StreamExt;
use postino_smtp::Internationalized;
use postino_smtp::client::{Letter, Outcome as Told, RecipientReport, Report, Stage};
use postino_types::{EnhancedStatus, Permanence, Recipient, Reply};
use tokio::time::{Instant, timeout};
use tracing::Span;

use super::attempt::Target;
use super::conversion::Content;
use super::course::{Failure, Verdict};
use super::session::{Session, Step};
use super::{Parcel, Remote};
use crate::lease::Tenure;
use crate::outcome::Attempted;

/// What came of a transaction.
pub(super) enum Transacted {
    /// A result for each recipient, and the session if it can be used again.
    Done {
        /// The results, in the order of the parcel.
        verdicts: Vec<Verdict>,
        /// Ready for another letter.
        session: Option<Box<Session>>,
    },
    /// The server certainly took nothing and would not go on: another host may.
    NotBegun(Failure),
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
        let content = match self.content(parcel, session.takes_eight_bit()).await {
            Ok(content) => content,
            Err(error) => {
                broken_off(parcel, &error.to_string());
                tokio::spawn(session.quit());
                return Transacted::BrokenOff;
            }
        };
        session.begin(letter(parcel, &content));
        loop {
            match session.step().await {
                Step::Body => match self.send_body(&mut session, parcel, &content, tenure).await {
                    BodyEnd::Whole | BodyEnd::SessionEnded => {}
                    BodyEnd::BrokenOff => {
                        session.abandon();
                        return Transacted::BrokenOff;
                    }
                },
                Step::Done(report) => return self.conclude(session, parcel, &report).await,
                Step::Failed(failure) => {
                    let reply = lost(session.target(), &failure.to_string());
                    return Transacted::NotBegun(Failure::ours(reply));
                }
                Step::Closed => {
                    let reply = lost(session.target(), "the connection was closed");
                    return Transacted::NotBegun(Failure::ours(reply));
                }
                Step::Ready => {}
            }
        }
    }

    /// Streams the accepted message from the spool. The final dot is asked for only if the letter
    /// is whole and the tenure holds: after it, the letter is the server's.
    async fn send_body(
        &self,
        session: &mut Session,
        parcel: &Parcel,
        content: &Content,
        tenure: &Tenure,
    ) -> BodyEnd {
        let mut writer = content.writer();
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
            let Ok(piece) = writer.next(chunk) else {
                return broken_off(parcel, "it cannot be converted after all");
            };
            if !session.body(&piece).await {
                return BodyEnd::SessionEnded;
            }
        }
        if !session.body(&writer.finish()).await {
            return BodyEnd::SessionEnded;
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
        let target = session.target();
        if let Some(failure) = not_begun(report, target) {
            return Transacted::NotBegun(failure);
        }
        let verdicts: Vec<Verdict> = parcel
            .recipients
            .iter()
            .zip(&report.recipients)
            .map(|(&(index, _), told)| verdict(index, told, target))
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
        Transacted::Done { verdicts, session }
    }
}

fn letter(parcel: &Parcel, content: &Content) -> Letter {
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
        size: content.size,
        body: content.kind,
        // A header in UTF-8 alone makes an eight-bit letter like any other.
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
fn not_begun(report: &Report, target: &Target) -> Option<Failure> {
    let ended = |told: &RecipientReport| match &told.outcome {
        Told::Lost(why) => Some(Failure::ours(lost(target, why))),
        Told::Refused(reply) if reply.code() == 421 && told.stage != Stage::EndOfData => {
            Some(Failure {
                reply: reply.clone(),
                remote: target.host.clone(),
            })
        }
        Told::Delivered(_) | Told::Refused(_) | Told::Unknown(_) => None,
    };
    let reasons: Option<Vec<Failure>> = report.recipients.iter().map(ended).collect();
    reasons?.into_iter().next()
}

/// What a host's answer means for a recipient, and whether the next host is to be asked
/// (RFC 5321 section 5.1): after a refusal for now, not after one for good; and never once the final
/// dot may have arrived, since the host may have taken the letter.
fn verdict(recipient: u32, told: &RecipientReport, target: &Target) -> Verdict {
    let theirs = |reply: &Reply| Attempted {
        remote: target.host.clone(),
        ..Attempted::ours(recipient, reply)
    };
    match &told.outcome {
        Told::Delivered(reply) => Verdict::Final(theirs(reply)),
        // What this host does not offer; it was not even asked.
        Told::Refused(reply) if told.stage == Stage::Hello => {
            Verdict::Open(Attempted::ours(recipient, reply))
        }
        Told::Refused(reply) => match reply.failure() {
            Some(Permanence::Permanent) => Verdict::Final(theirs(reply)),
            _ => Verdict::Open(theirs(reply)),
        },
        Told::Lost(why) => Verdict::Open(Attempted::ours(recipient, &lost(target, why))),
        // The letter is sent again later, at least once is the promise.
        Told::Unknown(why) => {
            let text =
                format!("{target}: connection lost after the final dot, outcome unknown: {why}");
            let reply = Reply::new(451, EnhancedStatus::temporary(4, 2), text);
            Verdict::Final(Attempted::ours(recipient, &reply))
        }
    }
}

fn lost(target: &Target, why: &str) -> Reply {
    let text = format!("{target}: connection lost: {why}");
    Reply::new(451, EnhancedStatus::temporary(4, 2), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    fn target() -> Target {
        Target {
            host: "mx.example".into(),
            address: ([192, 0, 2, 1], 25).into(),
            verified: false,
        }
    }

    fn told(stage: Stage, outcome: Told) -> RecipientReport {
        RecipientReport { stage, outcome }
    }

    fn refused(code: u16) -> Told {
        Told::Refused(Reply::plain(code, "no"))
    }

    #[test]
    fn a_host_takes_no_part_only_if_nothing_was_taken_or_refused() {
        let not_begun = |recipients: Vec<RecipientReport>| {
            let failure = not_begun(&Report { recipients }, &target())?;
            Some((failure.reply.code(), failure.remote))
        };
        let lost = || told(Stage::Data, Told::Lost("x".into()));
        let said = Some((421, "mx.example".to_owned()));
        assert_eq!(not_begun(vec![lost(), lost()]), Some((451, String::new())));
        assert_eq!(not_begun(vec![told(Stage::Mail, refused(421))]), said);
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
    fn every_answer_has_its_verdict() {
        use Stage::{Data, EndOfData, Hello, Mail, Rcpt};
        #[derive(Debug, PartialEq)]
        enum Next {
            Host,
            None,
        }
        let temporary = [Mail, Rcpt, Data, EndOfData].map(|stage| {
            (
                stage,
                refused(451),
                Next::Host,
                Outcome::Temporary,
                "451 no",
                true,
            )
        });
        let permanent = [Mail, Rcpt, Data, EndOfData].map(|stage| {
            (
                stage,
                refused(550),
                Next::None,
                Outcome::Permanent,
                "550 no",
                true,
            )
        });
        let taken = Told::Delivered(Reply::plain(250, "ok"));
        let gone = "451 4.4.2 mx.example[192.0.2.1:25]: connection lost";
        let others = [
            (
                EndOfData,
                taken,
                Next::None,
                Outcome::Delivered,
                "250 ok",
                true,
            ),
            // Refused by ourselves, for what the server does not offer.
            (
                Hello,
                refused(554),
                Next::Host,
                Outcome::Permanent,
                "554 no",
                false,
            ),
            (
                EndOfData,
                refused(421),
                Next::Host,
                Outcome::Temporary,
                "421 no",
                true,
            ),
            (
                Data,
                Told::Lost("x".into()),
                Next::Host,
                Outcome::Temporary,
                gone,
                false,
            ),
            (
                EndOfData,
                Told::Unknown("x".into()),
                Next::None,
                Outcome::Temporary,
                gone,
                false,
            ),
        ];
        for (stage, outcome, next, expected, reply, theirs) in
            temporary.into_iter().chain(permanent).chain(others)
        {
            let (gone_on, attempted) = match verdict(3, &told(stage, outcome), &target()) {
                Verdict::Final(attempted) => (Next::None, attempted),
                Verdict::Open(attempted) => (Next::Host, attempted),
            };
            assert_eq!(gone_on, next, "{stage:?} {}", attempted.reply);
            assert_eq!((attempted.recipient, attempted.outcome), (3, expected));
            assert!(attempted.reply.starts_with(reply), "{}", attempted.reply);
            let remote = if theirs { "mx.example" } else { "" };
            assert_eq!(attempted.remote, remote, "{stage:?} {}", attempted.reply);
        }
    }
}
