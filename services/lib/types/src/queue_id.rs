//! The id that an accepted letter is known by, from the `250` to its last trace.

use std::fmt;
use std::str::FromStr;

use crate::ShardId;

/// Crockford's base 32: no letter that a person could misread.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const SHARD_DIGITS: usize = 4;
const UNIQUE_DIGITS: usize = 20;

/// A text that is no queue-id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a queue-id: it has {} digits of base 32", SHARD_DIGITS + UNIQUE_DIGITS)]
pub struct QueueIdError;

/// A queue-id: the shard that holds the letter and 100 bits that make it unique.
///
/// The first 48 of them are milliseconds of Unix time, so ids sort roughly by age; the rest is
/// random. Written as 24 digits of Crockford's base 32, shard first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId {
    shard: ShardId,
    unique: u128,
}

impl QueueId {
    /// The largest shard number an id can name (20 bits).
    pub const MAX_SHARD: u32 = (1 << (5 * SHARD_DIGITS)) - 1;

    /// Makes an id from the time of acceptance (Unix milliseconds) and random bits, of which 52 are
    /// used. `None` if the shard number does not fit into an id.
    pub fn mint(shard: ShardId, unix_millis: u64, random: u64) -> Option<Self> {
        let time = u128::from(unix_millis & ((1 << 48) - 1)) << 52;
        let unique = time | u128::from(random & ((1 << 52) - 1));
        (shard.get() <= Self::MAX_SHARD).then_some(Self { shard, unique })
    }

    /// The shard whose spool holds the letter.
    pub fn shard(self) -> ShardId {
        self.shard
    }

    /// When the id was minted, in Unix milliseconds.
    pub fn unix_millis(self) -> u64 {
        // 48 bits always fit.
        u64::try_from(self.unique >> 52).unwrap_or(u64::MAX)
    }

    /// The 100 bits that tell the ids of a shard apart.
    pub fn unique(self) -> u128 {
        self.unique
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = (u128::from(self.shard.get()) << (5 * UNIQUE_DIGITS)) | self.unique;
        for place in (0..SHARD_DIGITS + UNIQUE_DIGITS).rev() {
            let digit = usize::try_from((whole >> (5 * place)) & 31).unwrap_or(0);
            write!(f, "{}", char::from(ALPHABET[digit]))?;
        }
        Ok(())
    }
}

impl FromStr for QueueId {
    type Err = QueueIdError;

    fn from_str(text: &str) -> Result<Self, QueueIdError> {
        if text.len() != SHARD_DIGITS + UNIQUE_DIGITS {
            return Err(QueueIdError);
        }
        let whole = text.bytes().try_fold(0u128, |whole, byte| {
            let byte = byte.to_ascii_uppercase();
            let digit = ALPHABET
                .iter()
                .position(|&d| d == byte)
                .ok_or(QueueIdError)?;
            Ok((whole << 5) | u128::try_from(digit).map_err(|_| QueueIdError)?)
        })?;
        let shard = u32::try_from(whole >> (5 * UNIQUE_DIGITS)).map_err(|_| QueueIdError)?;
        let unique = whole & ((1 << (5 * UNIQUE_DIGITS)) - 1);
        Ok(Self {
            shard: ShardId::new(shard),
            unique,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_prints_as_it_always_has() {
        let id =
            QueueId::mint(ShardId::new(3), 0x0123_4567_89ab, 0xf_ffff_ffff_ffff).expect("fits");
        assert_eq!(id.to_string(), "000304HMASW9NFZZZZZZZZZZ");
        assert_eq!(id.unix_millis(), 0x0123_4567_89ab);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for bad in [
            "",
            "0003",
            "000304HMASW9NFZZZZZZZZZU",
            "000304HMASW9NFZZZZZZZZZZZ",
        ] {
            assert_eq!(bad.parse::<QueueId>(), Err(QueueIdError), "{bad:?}");
        }
        assert!(QueueId::mint(ShardId::new(QueueId::MAX_SHARD + 1), 0, 0).is_none());
    }

    proptest! {
        #[test]
        fn ids_come_back(shard in 0..=QueueId::MAX_SHARD, time: u64, random: u64) {
            let id = QueueId::mint(ShardId::new(shard), time, random).expect("fits");
            prop_assert_eq!(id.to_string().parse::<QueueId>(), Ok(id));
            prop_assert_eq!(id.to_string().to_lowercase().parse::<QueueId>(), Ok(id));
        }
    }
}
