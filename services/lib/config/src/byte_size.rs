//! Sizes in octets, written with their unit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The units, largest first; a size prints in the largest one that divides it.
const UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size: write a number and B, KiB, MiB, GiB or TiB, such as \"25 MiB\"")]
pub struct ByteSizeError(String);

/// A size in octets; its text form has a unit of powers of 1024: `25 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many octets.
    pub const fn bytes(octets: u64) -> Self {
        Self(octets)
    }

    /// So many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many GiB.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The octets.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The octets as a size in memory; more than the machine can address is cut.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The octets as 32 bits; more is cut.
    pub fn as_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .find(|(_, octets)| self.0 != 0 && self.0.is_multiple_of(*octets));
        match unit {
            Some((name, octets)) => write!(f, "{} {name}", self.0 / octets),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let error = || ByteSizeError(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.parse().map_err(|_| error())?;
        let octets = match unit.trim() {
            "" | "B" => 1,
            unit => {
                let named = UNITS
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(unit));
                named.map(|(_, octets)| *octets).ok_or_else(error)?
            }
        };
        number.checked_mul(octets).map(Self).ok_or_else(error)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_come_back() {
        for (text, size) in [
            ("25 MiB", ByteSize::mib(25)),
            ("1536 KiB", ByteSize::kib(1536)),
            ("3 GiB", ByteSize::gib(3)),
            ("1000 B", ByteSize::bytes(1000)),
            ("0 B", ByteSize::bytes(0)),
        ] {
            assert_eq!(text.parse(), Ok(size));
            assert_eq!(size.to_string(), text);
        }
        assert_eq!("25mib".parse(), Ok(ByteSize::mib(25)));
        assert_eq!("17".parse(), Ok(ByteSize::bytes(17)));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for bad in [
            "",
            "MiB",
            "-1 MiB",
            "1.5 MiB",
            "1 MB",
            "1 MiB x",
            "99999999999 GiB",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_size_comes_back(octets: u64) {
            let size = ByteSize::bytes(octets);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_panics(text in "[0-9KMGTiB .-]{0,30}") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
