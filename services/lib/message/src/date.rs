//! Dates of header fields (RFC 5322 sections 3.3 and 4.3).

use std::fmt::Write as _;

use crate::content::skip_comments;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// The first of January 1970 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const SECONDS_PER_DAY: i64 = 86_400;

/// A moment, and the zone it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    /// Unix seconds.
    pub seconds: i64,
    /// The zone's offset from UTC in minutes, east positive.
    pub offset_minutes: i32,
}

/// Reads the value of a `Date` field, also in the obsolete forms of RFC 5322 section 4.3 and in
/// the order of C's `asctime`. A missing or unknown zone is taken as UTC. `None` if it is no date.
pub fn parse_date(value: &[u8]) -> Option<DateTime> {
    let mut words = Words { rest: value };
    let first = words.next()?;
    let first = match is_alphabetic(first) && month_number(first).is_none() {
        true => words.next()?, // the name of a day
        false => first,
    };
    let second = words.next()?;
    let (month, day) = match month_number(first) {
        Some(month) => (month, number(second)?),
        None => (month_number(second)?, number(first)?),
    };
    let third = words.next()?;
    let fourth = words.next()?;
    let (year, time, zone) = match third.contains(&b':') {
        true => (year_number(fourth)?, third, words.next()),
        false => (year_number(third)?, fourth, words.next()),
    };
    let days = days_from_civil(year, month, day)?;
    let offset_minutes = zone.map_or(0, zone_offset);
    let seconds = days * SECONDS_PER_DAY + time_of_day(time)? - i64::from(offset_minutes) * 60;
    Some(DateTime {
        seconds,
        offset_minutes,
    })
}

/// Writes a moment as a `Date` field's value: `Tue, 24 Nov 2026 14:32:18 +0000`. Years outside
/// 0 to 9999, which the form does not have, are clamped.
pub fn format_date(date: DateTime) -> String {
    const YEAR_0: i64 = -62_167_219_200;
    const YEAR_10000: i64 = 253_402_300_800;
    let offset = date.offset_minutes.clamp(-5999, 5999);
    let local = date
        .seconds
        .saturating_add(i64::from(offset) * 60)
        .clamp(YEAR_0, YEAR_10000 - 1);
    let (days, time) = (
        local.div_euclid(SECONDS_PER_DAY),
        local.rem_euclid(SECONDS_PER_DAY),
    );
    let (year, month, day) = civil_from_days(days);
    let index = |n: i64| usize::try_from(n).unwrap_or(0);
    let weekday = WEEKDAYS[index(days.rem_euclid(7))];
    let month = MONTHS[index(month - 1)];
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let sign = if offset < 0 { '-' } else { '+' };
    let (zone_hour, zone_minute) = (offset.abs() / 60, offset.abs() % 60);
    let mut text = String::with_capacity(31);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} {sign}{zone_hour:02}{zone_minute:02}"
    );
    text
}

/// Words between blanks, comments and commas.
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let text = skip_comments(self.rest);
            let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b',' | b'(');
            let length = text.iter().position(ends).unwrap_or(text.len());
            let (word, rest) = text.split_at(length);
            match (word.is_empty(), rest.is_empty()) {
                (true, true) => return None,
                (true, false) => self.rest = rest.get(1..).unwrap_or_default(),
                (false, _) => {
                    self.rest = rest;
                    return Some(word);
                }
            }
        }
    }
}

fn is_alphabetic(word: &[u8]) -> bool {
    word.first().is_some_and(u8::is_ascii_alphabetic)
}

fn number(word: &[u8]) -> Option<i64> {
    let digits = (1..=5).contains(&word.len()) && word.iter().all(u8::is_ascii_digit);
    digits.then(|| word.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
}

fn month_number(word: &[u8]) -> Option<i64> {
    let name = word.get(..3)?;
    let place = MONTHS
        .iter()
        .position(|m| m.as_bytes().eq_ignore_ascii_case(name))?;
    i64::try_from(place + 1).ok()
}

/// RFC 5322 section 4.3: two digits are 1950 to 2049, three digits count from 1900.
fn year_number(word: &[u8]) -> Option<i64> {
    let year = number(word)?;
    match (word.len(), year) {
        (1 | 2, 0..=49) => Some(2000 + year),
        (1..=3, _) => Some(1900 + year),
        (4, _) => Some(year),
        _ => None,
    }
}

/// `hour:minute[:second]` in seconds; a leap second is the second before it.
fn time_of_day(word: &[u8]) -> Option<i64> {
    let mut parts = word.split(|&b| b == b':');
    let hour = number(parts.next()?)?;
    let minute = number(parts.next()?)?;
    let second = parts.next().map_or(Some(0), number)?;
    let valid = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
    valid.then_some(hour * 3600 + minute * 60 + second.min(59))
}

/// Minutes east of UTC. Letters other than these say nothing reliable (RFC 5322 section 4.3).
fn zone_offset(zone: &[u8]) -> i32 {
    if let Some((sign @ (b'+' | b'-'), digits)) = zone.split_first()
        && digits.len() == 4
        && let Some(number) = number(digits)
    {
        let minutes = i32::try_from(number / 100 * 60 + number % 100).unwrap_or(0);
        return if *sign == b'-' { -minutes } else { minutes };
    }
    match zone.to_ascii_uppercase().as_slice() {
        b"EDT" => -240,
        b"EST" | b"CDT" => -300,
        b"CST" | b"MDT" => -360,
        b"MST" | b"PDT" => -420,
        b"PST" => -480,
        _ => 0,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar; `None` for a day that the month does not have.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=length)
        .contains(&day)
        .then(|| days_before(year, month) + day - 1)
}

/// Days from 1970-01-01 to the first of a month, counting years from March, so that a leap day is
/// a year's last day.
fn days_before(year: i64, month: i64) -> i64 {
    const EPOCH: i64 = 719_468; // days from 0000-03-01 to 1970-01-01
    let year = if month <= 2 { year - 1 } else { year };
    let months = (month + 9) % 12;
    let before_year = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    before_year + (months * 153 + 2) / 5 - EPOCH
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // A guess from the mean length of a year is wrong by one at most.
    let mut year = 1970 + (days * 400).div_euclid(146_097);
    while days_before(year, 1) > days {
        year -= 1;
    }
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let mut month = 12;
    while days_before(year, month) > days {
        month -= 1;
    }
    (year, month, days - days_before(year, month) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_of_every_form_are_read() {
        for (value, seconds, offset_minutes) in [
            ("Tue, 24 Nov 2026 14:32:18 +0000", 1_795_530_738, 0),
            ("Fri, 21 Nov 1997 09:55:06 -0600", 880_127_706, -360),
            ("21 Nov 97 09:55:06 GMT", 880_106_106, 0),
            ("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", 0, -1),
            ("Fri,21 Nov 1997 09:55 EST (Eastern)", 880_124_100, -300),
            ("Thu Jan  1 00:00:01 1970", 1, 0),
            ("Thu, 1 January 1970 00:00:01 +0100", -3599, 60),
            ("29 Feb 2024 23:59:60 Z", 1_709_251_199, 0),
            ("1 Jan 100 00:00:00 X", 946_684_800, 0),
        ] {
            let expected = (offset_minutes != -1).then_some(DateTime {
                seconds,
                offset_minutes,
            });
            assert_eq!(parse_date(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for value in [
            "",
            ",",
            "Tue",
            "Tue, 24",
            "31 Feb 2024 00:00:00 +0000",
            "1 Foo 2024 00:00 Z",
            "1 Jan 2024 25:00:00 Z",
            "1 Jan 2024",
            "1 Jan 99999 00:00:00 Z",
            "0 Jan 2024 00:00:00 Z",
        ] {
            assert_eq!(parse_date(value.as_bytes()), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn dates_come_back(
            seconds in -62_167_132_800i64..253_402_214_400,
            offset_minutes in -1439i32..1439,
        ) {
            let date = DateTime { seconds, offset_minutes };
            prop_assert_eq!(parse_date(format_date(date).as_bytes()), Some(date));
        }

        #[test]
        fn nothing_panics(value in proptest::collection::vec(any::<u8>(), 0..60), seconds: i64, offset_minutes: i32) {
            let _ = parse_date(&value);
            prop_assert_eq!(format_date(DateTime { seconds, offset_minutes }).len(), 31);
        }
    }
}
