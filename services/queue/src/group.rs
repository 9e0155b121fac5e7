//! Which recipients of a letter are tried together.

use std::collections::BTreeMap;

use postino_proto::mail::v1::Recipient;
use postino_proto::store::v1::{Letter, RecipientState, RecipientStatus};
use postino_types::{Domain, EmailAddress};

use crate::metrics::To;
use crate::work::Next;

/// Recipients of one letter that are tried together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Group {
    /// Mailboxes on one shard.
    Local { shard: u32, recipients: Vec<u32> },
    /// Addresses of one domain.
    Remote {
        domain: Domain,
        recipients: Vec<u32>,
    },
    /// Addresses that are none: they cannot be delivered.
    Broken { recipients: Vec<u32> },
}

impl Group {
    pub(crate) fn recipients(&self) -> &[u32] {
        match self {
            Self::Local { recipients, .. }
            | Self::Remote { recipients, .. }
            | Self::Broken { recipients } => recipients,
        }
    }

    pub(crate) fn destination(&self) -> String {
        match self {
            Self::Local { .. } => "local".to_owned(),
            Self::Remote { domain, .. } => domain.to_string(),
            Self::Broken { .. } => "invalid".to_owned(),
        }
    }

    pub(crate) fn to(&self) -> To {
        match self {
            Self::Local { .. } => To::Local,
            Self::Remote { .. } | Self::Broken { .. } => To::Remote,
        }
    }
}

/// A recipient by its index in the envelope.
pub(crate) fn recipient(letter: &Letter, index: u32) -> Option<&Recipient> {
    letter
        .envelope
        .as_ref()?
        .recipients
        .get(usize::try_from(index).ok()?)
}

fn is_pending(state: &&RecipientState) -> bool {
    state.status() == RecipientStatus::Pending
}

/// The due recipients of a letter, grouped.
pub(crate) fn groups(letter: &Letter, now: u64) -> Vec<Group> {
    let mut local: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut remote: BTreeMap<Domain, Vec<u32>> = BTreeMap::new();
    let mut broken = Vec::new();
    let due = letter
        .recipients
        .iter()
        .filter(is_pending)
        .filter(|s| s.next_attempt_ms <= now);
    for state in due {
        let index = state.recipient;
        let Some(recipient) = recipient(letter, index) else {
            continue;
        };
        match (&recipient.local, recipient.address.parse::<EmailAddress>()) {
            (Some(target), _) => local.entry(target.shard).or_default().push(index),
            (None, Ok(address)) => remote
                .entry(address.domain().clone())
                .or_default()
                .push(index),
            (None, Err(_)) => broken.push(index),
        }
    }
    let mut groups: Vec<Group> = local
        .into_iter()
        .map(|(shard, recipients)| Group::Local { shard, recipients })
        .collect();
    groups.extend(
        remote
            .into_iter()
            .map(|(domain, recipients)| Group::Remote { domain, recipients }),
    );
    if !broken.is_empty() {
        groups.push(Group::Broken { recipients: broken });
    }
    groups
}

/// When the recipients come up that are not due yet.
pub(crate) fn later(letter: &Letter, now: u64) -> Next {
    let pending = letter.recipients.iter().filter(is_pending);
    let later = pending
        .map(|state| state.next_attempt_ms)
        .filter(|&at| at > now)
        .min();
    later.map_or(Next::Done, Next::Scheduled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_proto::mail::v1::{Envelope, LocalTarget};

    fn letter(recipients: &[(&str, u32)], states: &[(RecipientStatus, u64)]) -> Letter {
        let recipient = |&(address, shard): &(&str, u32)| Recipient {
            address: address.to_owned(),
            original: address.to_owned(),
            local: (shard > 0).then_some(LocalTarget { account: 1, shard }),
            orcpt: String::new(),
        };
        let state = |(index, &(status, next_attempt_ms)): (usize, &(RecipientStatus, u64))| {
            RecipientState {
                recipient: index as u32,
                status: status.into(),
                next_attempt_ms,
                ..RecipientState::default()
            }
        };
        Letter {
            envelope: Some(Envelope {
                recipients: recipients.iter().map(recipient).collect(),
                ..Envelope::default()
            }),
            recipients: states.iter().enumerate().map(state).collect(),
            ..Letter::default()
        }
    }

    #[test]
    fn due_recipients_are_grouped_by_shard_and_domain() {
        use RecipientStatus::{Bounced, Delivered, Pending};
        let letter = letter(
            &[
                ("a@example.org", 3),
                ("b@remote.example", 0),
                ("c@example.org", 3),
                ("d@REMOTE.example", 0),
                ("e@other.example", 0),
                ("broken", 0),
                ("f@example.org", 4),
                ("g@example.org", 3),
            ],
            &[
                (Pending, 10),
                (Pending, 10),
                (Pending, 5),
                (Pending, 0),
                (Pending, 11),
                (Pending, 0),
                (Delivered, 0),
                (Bounced, 0),
            ],
        );
        let domain = "remote.example".parse().expect("domain");
        assert_eq!(
            groups(&letter, 10),
            [
                Group::Local {
                    shard: 3,
                    recipients: vec![0, 2]
                },
                Group::Remote {
                    domain,
                    recipients: vec![1, 3]
                },
                Group::Broken {
                    recipients: vec![5]
                },
            ]
        );
        assert_eq!(later(&letter, 10), Next::Scheduled(11));
        assert_eq!(later(&letter, 11), Next::Done);
    }
}
