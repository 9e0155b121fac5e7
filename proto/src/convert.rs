//! Conversions between the generated messages and the domain types.

use postino_types::{
    AccountId, AddressError, EmailAddress, EnhancedStatus, EnhancedStatusError, Flag, FlagError,
    FlagSet, Reply, ReversePath, ShardId, SpecialUse,
};

use crate::{mail, routing, store};

/// The bit of a system flag in `system_flags`: its place in [`Flag::SYSTEM`].
pub fn system_flag_bits(flags: &FlagSet) -> u32 {
    let bit = |(place, flag): (usize, &Flag)| u32::from(flags.contains(flag)) << place;
    Flag::SYSTEM.iter().enumerate().map(bit).sum()
}

/// The keywords of a set of flags, as text.
pub fn keywords(flags: &FlagSet) -> Vec<String> {
    let is_keyword = |flag: &&Flag| matches!(flag, Flag::Keyword(_));
    flags
        .iter()
        .filter(is_keyword)
        .map(|flag| flag.as_str().to_owned())
        .collect()
}

/// The set of flags with these bits and keywords. Bits beyond the system flags are ignored.
pub fn flag_set(bits: u32, keywords: &[String]) -> Result<FlagSet, FlagError> {
    let system = Flag::SYSTEM.into_iter().enumerate();
    let mut flags: FlagSet = system
        .filter(|(place, _)| bits & (1 << place) != 0)
        .map(|(_, flag)| flag)
        .collect();
    for keyword in keywords {
        flags.insert(keyword.parse()?);
    }
    Ok(flags)
}

impl From<SpecialUse> for store::v1::SpecialUse {
    fn from(special_use: SpecialUse) -> Self {
        match special_use {
            SpecialUse::Archive => Self::Archive,
            SpecialUse::Drafts => Self::Drafts,
            SpecialUse::Junk => Self::Junk,
            SpecialUse::Sent => Self::Sent,
            SpecialUse::Trash => Self::Trash,
        }
    }
}

impl store::v1::SpecialUse {
    /// The domain value; `None` if unspecified.
    pub fn known(self) -> Option<SpecialUse> {
        match self {
            Self::Unspecified => None,
            Self::Archive => Some(SpecialUse::Archive),
            Self::Drafts => Some(SpecialUse::Drafts),
            Self::Junk => Some(SpecialUse::Junk),
            Self::Sent => Some(SpecialUse::Sent),
            Self::Trash => Some(SpecialUse::Trash),
        }
    }
}

impl store::v1::Account {
    /// An account on its shard.
    pub fn on(account: AccountId, shard: ShardId) -> Self {
        Self {
            account: account.get(),
            shard: shard.get(),
        }
    }
}

impl mail::v1::Envelope {
    /// The reverse-path as a domain value.
    pub fn parsed_reverse_path(&self) -> Result<ReversePath, AddressError> {
        self.reverse_path.parse()
    }
}

impl mail::v1::Recipient {
    /// The address as a domain value.
    pub fn parsed_address(&self) -> Result<EmailAddress, AddressError> {
        self.address.parse()
    }
}

impl From<&Reply> for routing::v1::Refusal {
    fn from(reply: &Reply) -> Self {
        Self {
            code: u32::from(reply.code()),
            enhanced_status: reply.status().map(|s| s.to_string()).unwrap_or_default(),
            text: reply.lines().join(" "),
        }
    }
}

impl TryFrom<routing::v1::Refusal> for Reply {
    type Error = EnhancedStatusError;

    /// Codes other than 4xx and 5xx, which no refusal has, are an error.
    fn try_from(refusal: routing::v1::Refusal) -> Result<Self, EnhancedStatusError> {
        let status: EnhancedStatus = refusal.enhanced_status.parse()?;
        match u16::try_from(refusal.code) {
            Ok(code @ 400..=599) => Ok(Reply::new(code, status, refusal.text)),
            _ => Err(EnhancedStatusError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_back_from_bits() {
        let flags: FlagSet = [Flag::Seen, Flag::Draft, "$x".parse().expect("valid")].into();
        assert_eq!(system_flag_bits(&flags), 1 | 16);
        assert_eq!(
            flag_set(system_flag_bits(&flags), &keywords(&flags)),
            Ok(flags)
        );
        assert!(flag_set(0, &["a b".into()]).is_err());
    }

    #[test]
    fn a_refusal_is_a_reply() {
        let reply = Reply::new(550, EnhancedStatus::permanent(1, 1), "no such user");
        let refusal = routing::v1::Refusal::from(&reply);
        assert_eq!(Reply::try_from(refusal.clone()), Ok(reply));
        assert!(
            Reply::try_from(routing::v1::Refusal {
                code: 250,
                ..refusal
            })
            .is_err()
        );
    }
}
