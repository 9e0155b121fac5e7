//! Lengths of time, written with their unit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The units in milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a length of time: write numbers with d, h, m, s or ms, such as \"5m\" or \"1h 30m\""
)]
pub struct DurationError(String);

/// A length of time in whole milliseconds; its text form has units: `5m`, `400ms`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(u64);

impl Duration {
    /// So many milliseconds.
    pub const fn millis(count: u64) -> Self {
        Self(count)
    }

    /// So many seconds.
    pub const fn secs(count: u64) -> Self {
        Self(count * 1_000)
    }

    /// So many minutes.
    pub const fn mins(count: u64) -> Self {
        Self(count * 60_000)
    }

    /// So many hours.
    pub const fn hours(count: u64) -> Self {
        Self(count * 3_600_000)
    }

    /// So many days.
    pub const fn days(count: u64) -> Self {
        Self(count * 86_400_000)
    }

    /// The same for the standard library and tokio.
    pub const fn get(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// The milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.get()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let (mut rest, mut gap) = (self.0, "");
        for (name, millis) in UNITS {
            if rest >= millis {
                write!(f, "{gap}{}{name}", rest / millis)?;
                rest %= millis;
                gap = " ";
            }
        }
        Ok(())
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let error = || DurationError(text.to_owned());
        let mut rest = text.trim();
        let mut total = 0u64;
        if rest.is_empty() {
            return Err(error());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, after) = after.split_at(letters);
            let (_, millis) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(error)?;
            let part = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(*millis));
            total = part
                .and_then(|part| total.checked_add(part))
                .ok_or_else(error)?;
            rest = after.trim_start();
        }
        Ok(Self(total))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
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
    fn durations_come_back() {
        for (text, duration) in [
            ("400ms", Duration::millis(400)),
            ("5m", Duration::mins(5)),
            ("1h 30m", Duration::mins(90)),
            ("5d", Duration::days(5)),
            ("1s 500ms", Duration::millis(1500)),
            ("0s", Duration::secs(0)),
        ] {
            assert_eq!(text.parse(), Ok(duration));
            assert_eq!(duration.to_string(), text);
        }
        assert_eq!("1h30m".parse(), Ok(Duration::mins(90)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for bad in [
            "",
            "5",
            "m",
            "-5m",
            "1.5s",
            "5 m x",
            "5min",
            "99999999999999999d",
        ] {
            assert!(bad.parse::<Duration>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_comes_back(millis: u64) {
            let duration = Duration::millis(millis);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-z .-]{0,30}") {
            let _ = text.parse::<Duration>();
        }
    }
}
