//! The legal states of a recipient, and the one commit that moves between them.
//!
//! | from | event | to | commit |
//! |---|---|---|---|
//! | (none) | accepted | pending, due at once | `Spool/Accept`, or `Settle` for a notification |
//! | (none) | accepted and filed | delivered | `Spool/Accept` (fast path) |
//! | pending | delivered | delivered | `Spool/Settle` |
//! | pending | failed for now | pending, due later, one attempt more | `Spool/Settle` |
//! | pending | failed for good, or expired | bounced, with its notification | `Spool/Settle` |
//! | pending | an operator asks | pending, due at once | `Spool/RetryNow` |
//! | pending | postponed | pending, unchanged | none: a plan in the holder's memory |
//! | pending | postponed by a dead site, nothing said so far | as one that failed for now, with the site's last reply | `Spool/Settle` |
//! | pending | filed in the mailbox, not settled | pending | none here: `MailStore/Deliver` left its dedupe row |
//! | delivered, bounced | anything | unchanged | none: a settled recipient is never touched again |
//!
//! Every `Settle` carries the lease epoch, which the store checks in the same commit: of two
//! holders, one writes. A letter leaves the spool in the commit that settles its last recipient.

use postino_proto::store::v1::RecipientStatus;

/// The state of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Waiting for its next attempt, or in one: the store does not tell them apart, so a holder
    /// that dies in an attempt leaves nothing to repair.
    Pending,
    /// Taken by its mailbox or by the next host.
    Delivered,
    /// Given up.
    Bounced,
}

/// What happens to a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// An attempt delivered it.
    Delivered,
    /// An attempt failed for now.
    Deferred,
    /// An attempt failed for good, or the last one is over.
    Failed,
    /// An operator asks for an attempt now.
    RetryNow,
    /// No attempt was made: its site takes no letter at the moment.
    Postponed,
}

/// The commit that makes a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Commit {
    /// `Spool/Settle`, under the lease.
    Settle,
    /// `Spool/RetryNow`.
    RetryNow,
    /// None: nothing changes that a restart would miss.
    Nothing,
}

impl State {
    /// The state that the store names; `None` if it names none.
    pub fn of(status: RecipientStatus) -> Option<Self> {
        match status {
            RecipientStatus::Unspecified => None,
            RecipientStatus::Pending => Some(Self::Pending),
            RecipientStatus::Delivered => Some(Self::Delivered),
            RecipientStatus::Bounced => Some(Self::Bounced),
        }
    }

    /// Where an event leads, and by which commit; `None` if the event is not legal in this state.
    pub fn after(self, event: Event) -> Option<(State, Commit)> {
        match (self, event) {
            (Self::Pending, Event::Delivered) => Some((Self::Delivered, Commit::Settle)),
            (Self::Pending, Event::Deferred) => Some((Self::Pending, Commit::Settle)),
            (Self::Pending, Event::Failed) => Some((Self::Bounced, Commit::Settle)),
            (Self::Pending, Event::RetryNow) => Some((Self::Pending, Commit::RetryNow)),
            (Self::Pending, Event::Postponed) => Some((Self::Pending, Commit::Nothing)),
            (Self::Delivered | Self::Bounced, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 5] = [
        Event::Delivered,
        Event::Deferred,
        Event::Failed,
        Event::RetryNow,
        Event::Postponed,
    ];

    #[test]
    fn a_pending_recipient_moves_as_the_table_says() {
        let moves = EVENTS.map(|event| State::Pending.after(event));
        assert_eq!(
            moves,
            [
                Some((State::Delivered, Commit::Settle)),
                Some((State::Pending, Commit::Settle)),
                Some((State::Bounced, Commit::Settle)),
                Some((State::Pending, Commit::RetryNow)),
                Some((State::Pending, Commit::Nothing)),
            ]
        );
    }

    #[test]
    fn a_settled_recipient_is_never_touched_again() {
        for state in [State::Delivered, State::Bounced] {
            for event in EVENTS {
                assert_eq!(state.after(event), None, "{state:?} {event:?}");
            }
        }
    }
}
