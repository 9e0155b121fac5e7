//! Numbers with a meaning: shards, nodes, accounts, UIDs, mod-sequences.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

/// A number that is not a valid id of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {kind}")]
pub struct IdError {
    kind: &'static str,
    value: String,
}

impl IdError {
    fn new(kind: &'static str, value: impl fmt::Display) -> Self {
        Self {
            kind,
            value: value.to_string(),
        }
    }
}

macro_rules! plain_id {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($repr);

        impl $name {
            /// The id with this number.
            pub const fn new(value: $repr) -> Self {
                Self(value)
            }

            /// The number.
            pub const fn get(self) -> $repr {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.parse().map(Self).map_err(|_| IdError::new(stringify!($name), text))
            }
        }
    };
}

macro_rules! nonzero_id {
    ($(#[$doc:meta])* $name:ident, $nonzero:ty, $repr:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($nonzero);

        impl $name {
            /// The first value.
            pub const MIN: Self = Self(<$nonzero>::MIN);
            /// The last value.
            pub const MAX: Self = Self(<$nonzero>::MAX);

            /// The id with this number; zero is refused.
            pub fn new(value: $repr) -> Result<Self, IdError> {
                <$nonzero>::new(value)
                    .map(Self)
                    .ok_or_else(|| IdError::new(stringify!($name), value))
            }

            /// The number.
            pub const fn get(self) -> $repr {
                self.0.get()
            }

            /// The next number, or `None` at the end of the range.
            pub fn next(self) -> Option<Self> {
                self.0.checked_add(1).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl TryFrom<$repr> for $name {
            type Error = IdError;

            fn try_from(value: $repr) -> Result<Self, IdError> {
                Self::new(value)
            }
        }
    };
}

plain_id!(
    /// A shard: one Raft group. Shard 0 is the control group.
    ShardId, u32
);

impl ShardId {
    /// The control group: nodes, domains, aliases, which account lives where.
    pub const CONTROL: Self = Self(0);

    /// Whether this is the control group, which holds no mail.
    pub const fn is_control(self) -> bool {
        self.0 == 0
    }
}

plain_id!(
    /// A store node of the cluster; allocated by the control group, never reused.
    NodeId, u64
);
plain_id!(
    /// An account. Never reused: an address that is removed and added again is a new account.
    AccountId, u64
);
plain_id!(
    /// A mailbox of an account, stable across renames (RFC 8474 MAILBOXID).
    MailboxId, u64
);
plain_id!(
    /// A stored letter of an account, shared by its copies (RFC 8474 EMAILID).
    EmailId, u64
);
plain_id!(
    /// How many times a shard's lease has been taken; a write with an older epoch is refused.
    LeaseEpoch, u64
);

nonzero_id!(
    /// A message's unique identifier in its mailbox (RFC 9051 section 2.3.1.1).
    Uid, NonZeroU32, u32
);
nonzero_id!(
    /// The validity value of a mailbox's UIDs (RFC 9051 section 2.3.1.1).
    UidValidity, NonZeroU32, u32
);
nonzero_id!(
    /// A modification sequence: at most 63 bits on the wire (RFC 7162 section 3.1).
    ModSeq, NonZeroU64, u64
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_uid_and_the_last_one_has_no_next() {
        assert!(Uid::new(0).is_err());
        assert_eq!(Uid::MIN.next().map(Uid::get), Some(2));
        assert_eq!(Uid::MAX.next(), None);
    }

    #[test]
    fn the_control_group_is_shard_zero() {
        assert!(ShardId::CONTROL.is_control());
        assert!(!ShardId::new(1).is_control());
        assert_eq!("7".parse(), Ok(ShardId::new(7)));
        assert!("x".parse::<ShardId>().is_err());
    }
}
