//! How far the attempt of one letter at a site has come: who still needs a host, and what the hosts
//! said so far.
//!
//! RFC 5321 section 5.1: a client tries the hosts of the plan in order until an attempt succeeds. That
//! holds for each recipient by itself: whom one host took or refused for good needs no other host;
//! all others go on to the next one, and only when there is none left does the last word count.

use postino_types::{EmailAddress, EnhancedStatus, Reply};

use super::attempt::Target;
use crate::outcome::{Attempted, Outcome};

/// What a host's transaction means for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No other host is to be asked.
    Final(Attempted),
    /// Another host may take the letter; if there is none, this is the result.
    Open(Attempted),
}

/// Why a host does not take part at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What it said, or what we know instead.
    pub(super) reply: Reply,
    /// The host, if the reply is its own; else empty.
    pub(super) remote: String,
}

impl Failure {
    /// What we know of a host that said nothing of use.
    pub(super) fn ours(reply: Reply) -> Self {
        let remote = String::new();
        Self { reply, remote }
    }
}

/// One letter's way through the hosts of a site.
#[derive(Debug)]
pub(super) struct Course {
    open: Vec<Open>,
    ended: Vec<Attempted>,
    tried: Vec<Target>,
    took_part: bool,
    last_failure: Option<Reply>,
}

/// A recipient that no host has taken or refused for good.
#[derive(Debug)]
struct Open {
    index: u32,
    address: EmailAddress,
    last: Option<Attempted>,
}

impl Course {
    /// No host was asked yet.
    pub(super) fn new(recipients: &[(u32, EmailAddress)]) -> Self {
        let open = |(index, address): &(u32, EmailAddress)| Open {
            index: *index,
            address: address.clone(),
            last: None,
        };
        Self {
            open: recipients.iter().map(open).collect(),
            ended: Vec::new(),
            tried: Vec::new(),
            took_part: false,
            last_failure: None,
        }
    }

    /// The recipients for the next host.
    pub(super) fn recipients(&self) -> Vec<(u32, EmailAddress)> {
        let recipient = |open: &Open| (open.index, open.address.clone());
        self.open.iter().map(recipient).collect()
    }

    /// Whether nobody is left who needs a host.
    pub(super) fn is_over(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a host was asked.
    pub(super) fn has_tried(&self, target: &Target) -> bool {
        self.tried.contains(target)
    }

    /// A host took part; a verdict for each of the [`recipients`](Self::recipients), in their order.
    pub(super) fn answered(&mut self, target: &Target, verdicts: Vec<Verdict>) {
        self.tried.push(target.clone());
        self.took_part = true;
        let open = std::mem::take(&mut self.open);
        for (mut recipient, verdict) in open.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Final(attempted) => self.ended.push(attempted),
                Verdict::Open(attempted) => {
                    recipient.note(attempted);
                    self.open.push(recipient);
                }
            }
        }
    }

    /// A host does not take part.
    pub(super) fn failed(&mut self, target: &Target, failure: &Failure) {
        self.tried.push(target.clone());
        for recipient in &mut self.open {
            let attempted = Attempted {
                remote: failure.remote.clone(),
                ..Attempted::ours(recipient.index, &failure.reply)
            };
            recipient.note(attempted);
        }
        self.last_failure = Some(failure.reply.clone());
    }

    /// Whether a host took part, whatever it said of the letter; else why the last one did not.
    pub(super) fn site(&self) -> Result<(), Reply> {
        match (self.took_part, &self.last_failure) {
            (true, _) => Ok(()),
            (false, Some(reply)) => Err(reply.clone()),
            (false, None) => Err(no_address()),
        }
    }

    /// The results, once there is no host left.
    pub(super) fn end(self) -> Vec<Attempted> {
        let last_word = |open: Open| {
            open.last
                .unwrap_or_else(|| Attempted::ours(open.index, &no_address()))
        };
        let mut results = self.ended;
        results.extend(self.open.into_iter().map(last_word));
        results
    }

    /// The results of those of whom something was said, if we break off before the last host.
    pub(super) fn break_off(self) -> Vec<Attempted> {
        let mut results = self.ended;
        results.extend(self.open.into_iter().filter_map(|open| open.last));
        results
    }
}

impl Open {
    /// The last word counts, but nothing is for good while a host may take the letter tomorrow.
    fn note(&mut self, said: Attempted) {
        let keeps = |last: &Attempted| {
            last.outcome == Outcome::Temporary && said.outcome == Outcome::Permanent
        };
        if !self.last.as_ref().is_some_and(keeps) {
            self.last = Some(said);
        }
    }
}

fn no_address() -> Reply {
    let text = "the plan has no usable address";
    Reply::new(451, EnhancedStatus::temporary(4, 4), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: u8) -> Target {
        Target {
            host: format!("mx{number}"),
            address: ([192, 0, 2, number], 25).into(),
            verified: false,
        }
    }

    fn course(recipients: u32) -> Course {
        let address = |index| {
            (
                index,
                format!("r{index}@example.com").parse().expect("valid"),
            )
        };
        Course::new(&(0..recipients).map(address).collect::<Vec<_>>())
    }

    fn said(recipient: u32, code: u16, host: u8) -> Attempted {
        Attempted {
            remote: format!("mx{host}"),
            ..Attempted::ours(recipient, &Reply::plain(code, "x"))
        }
    }

    fn told(results: Vec<Attempted>) -> Vec<String> {
        let told = |a: Attempted| format!("{} {} {}", a.recipient, a.reply, a.remote);
        results.into_iter().map(told).collect()
    }

    #[test]
    fn who_is_refused_for_now_goes_on_to_the_next_host_and_nobody_else() {
        use Verdict::{Final, Open};
        let mut course = course(4);
        course.answered(
            &target(1),
            vec![
                Final(said(0, 250, 1)),
                Open(said(1, 451, 1)),
                Final(said(2, 550, 1)),
                Open(said(3, 452, 1)),
            ],
        );
        let left = |course: &Course| course.recipients().iter().map(|r| r.0).collect::<Vec<_>>();
        assert_eq!(left(&course), [1, 3]);
        assert!(course.has_tried(&target(1)) && !course.has_tried(&target(2)));
        course.answered(
            &target(2),
            vec![Final(said(1, 250, 2)), Open(said(3, 450, 2))],
        );
        assert_eq!(left(&course), [3]);
        assert_eq!(course.site(), Ok(()));
        assert_eq!(
            told(course.end()),
            ["0 250 x mx1", "2 550 x mx1", "1 250 x mx2", "3 450 x mx2"]
        );
    }

    #[test]
    fn the_last_word_counts_and_is_for_good_only_if_every_host_said_so() {
        enum Host {
            Fails(u16),
            Says(u16),
        }
        use Host::{Fails, Says};
        for (hosts, expected) in [
            (vec![], "0 451 4.4.4 the plan has no usable address "),
            (vec![Fails(554), Fails(554)], "0 554 x mx2"),
            (vec![Fails(451), Fails(554)], "0 451 x mx1"),
            (vec![Fails(554), Fails(451)], "0 451 x mx2"),
            (vec![Says(451), Fails(554)], "0 451 x mx1"),
            (vec![Says(451), Fails(421)], "0 421 x mx2"),
            (vec![Says(451), Says(450)], "0 450 x mx2"),
            // What a host does not offer, another one may.
            (vec![Says(554), Says(554)], "0 554 x mx2"),
            (vec![Fails(451), Says(554)], "0 451 x mx1"),
        ] {
            let mut course = course(1);
            for (number, host) in (1..).zip(hosts) {
                match host {
                    Fails(code) => {
                        let failure = Failure {
                            reply: Reply::plain(code, "x"),
                            remote: format!("mx{number}"),
                        };
                        course.failed(&target(number), &failure);
                    }
                    Says(code) => {
                        let verdict = Verdict::Open(said(0, code, number));
                        course.answered(&target(number), vec![verdict]);
                    }
                }
            }
            assert!(!course.is_over());
            assert_eq!(told(course.end()), [expected]);
        }
    }

    #[test]
    fn what_is_broken_off_keeps_what_was_said() {
        let mut course = course(2);
        assert!(course.site().is_err());
        let taken = Verdict::Final(said(0, 250, 1));
        course.answered(&target(1), vec![taken, Verdict::Open(said(1, 451, 1))]);
        assert_eq!(told(course.break_off()), ["0 250 x mx1", "1 451 x mx1"]);
        assert!(super::tests::course(2).break_off().is_empty());
    }

    #[test]
    fn a_site_is_dead_if_no_host_took_part() {
        let mut course = course(1);
        course.failed(&target(1), &Failure::ours(Reply::plain(451, "refused")));
        assert_eq!(course.site(), Err(Reply::plain(451, "refused")));
        course.answered(&target(2), vec![Verdict::Open(said(0, 451, 2))]);
        assert_eq!(course.site(), Ok(()));
    }
}
