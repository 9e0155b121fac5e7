//! What the DNS said, as plain values: the input of the decisions in [`crate::plan`].

use std::net::IpAddr;
use std::time::Duration;

/// An MX record (RFC 1035 section 3.3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxRecord {
    /// Lower is tried first.
    pub preference: u16,
    /// Host name in lower case without the final dot; empty is the root, which names no host.
    pub exchange: String,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// Records of the type that was asked for, CNAMEs followed.
    Found(Vec<T>),
    /// The name exists, without such records.
    NoRecords,
    /// The name does not exist (NXDOMAIN).
    NoName,
    /// No usable answer: SERVFAIL, REFUSED, a timeout, a broken reply. The text is for logs.
    Failed(String),
}

impl<T> Answer<T> {
    /// The records, if there are any.
    pub fn records(&self) -> &[T] {
        match self {
            Self::Found(records) => records,
            _ => &[],
        }
    }
}

/// An answer and how long it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed<T> {
    /// What was answered.
    pub answer: Answer<T>,
    /// Its time to live; for "no such record" the zone's negative one (RFC 2308 section 5).
    pub ttl: Duration,
}

/// A host that mail may go to, and what the DNS knows of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The host's name.
    pub host: String,
    /// Its IPv6 and IPv4 addresses.
    pub answer: Answer<IpAddr>,
}

/// Joins the answers for AAAA and A of one name. Addresses of one family are enough; a failure
/// counts only if the other family has none, since then it may hide the only address.
pub fn join_families(first: Timed<IpAddr>, second: Timed<IpAddr>) -> Timed<IpAddr> {
    let ttl = first.ttl.min(second.ttl);
    let answer = match (first.answer, second.answer) {
        (Answer::Found(mut a), Answer::Found(b)) => {
            a.extend(b);
            Answer::Found(a)
        }
        (found @ Answer::Found(_), _) | (_, found @ Answer::Found(_)) => found,
        (failed @ Answer::Failed(_), _) | (_, failed @ Answer::Failed(_)) => failed,
        (Answer::NoName, _) | (_, Answer::NoName) => Answer::NoName,
        (Answer::NoRecords, Answer::NoRecords) => Answer::NoRecords,
    };
    Timed { answer, ttl }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(answer: Answer<IpAddr>) -> Timed<IpAddr> {
        Timed {
            answer,
            ttl: Duration::from_secs(60),
        }
    }

    #[test]
    fn one_family_is_enough_and_a_failure_is_not_an_absence() {
        let v4: IpAddr = [192, 0, 2, 1].into();
        let found = || timed(Answer::Found(vec![v4]));
        let failed = || timed(Answer::Failed("SERVFAIL".into()));
        let none = || timed(Answer::NoRecords);
        assert_eq!(
            join_families(failed(), found()).answer,
            Answer::Found(vec![v4])
        );
        assert_eq!(join_families(found(), found()).answer.records().len(), 2);
        assert_eq!(join_families(none(), failed()), failed());
        assert_eq!(join_families(none(), none()).answer, Answer::NoRecords);
        assert_eq!(
            join_families(timed(Answer::NoName), none()).answer,
            Answer::NoName
        );
    }
}
