//! Dates of SEARCH and INTERNALDATE (RFC 3501 section 9: `date`, `date-time`).

use std::fmt;

use crate::cursor::{Cursor, Parsed, SyntaxError};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const SECONDS_PER_DAY: i64 = 86_400;

/// A day of the Gregorian calendar, in years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// The day, or `None` if there is no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let valid = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day);
        valid.then_some(Self { year, month, day })
    }

    /// The day at a Unix time, in UTC. Times outside years 1 to 9999 give the first or last day.
    pub fn from_unix(seconds: i64) -> Self {
        Self::from_days(seconds.div_euclid(SECONDS_PER_DAY))
    }

    /// Days since 1970-01-01 (the algorithm of a calendar that starts in March).
    fn days(self) -> i64 {
        let shifted_year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = shifted_year.div_euclid(400);
        let year_of_era = shifted_year - era * 400;
        let month_from_march = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    fn from_days(days: i64) -> Self {
        let first = Self {
            year: 1,
            month: 1,
            day: 1,
        };
        let last = Self {
            year: 9999,
            month: 12,
            day: 31,
        };
        let days = days.clamp(first.days(), last.days()) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12 + 1;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let in_range = "the days were clamped to years 1 to 9999";
        Self {
            year: u16::try_from(year).expect(in_range),
            month: u8::try_from(month).expect(in_range),
            day: u8::try_from(day).expect(in_range),
        }
    }

    /// `date`: `7-Feb-1994` or the same in quotes.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let quoted = cursor.take(b'"');
        let day = u8::try_from(cursor.number()?).unwrap_or(u8::MAX);
        let date = Self::parse_after_day(cursor, day)?;
        if quoted {
            cursor.expect(b'"', "a quote is not closed")?;
        }
        Ok(date)
    }

    fn parse_after_day(cursor: &mut Cursor<'_>, day: u8) -> Parsed<Self> {
        let no_date = "the date is not valid";
        cursor.expect(b'-', no_date)?;
        let month = cursor.word(|b| b.is_ascii_alphabetic(), no_date)?;
        let month = (1..)
            .zip(MONTHS)
            .find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(month))
            .map(|(number, _)| number)
            .ok_or(SyntaxError(no_date))?;
        cursor.expect(b'-', no_date)?;
        let year = u16::try_from(cursor.number()?).unwrap_or(u16::MAX);
        Self::new(year, month, day).ok_or(SyntaxError(no_date))
    }
}

impl fmt::Display for Date {
    /// `7-Feb-1994`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let month = MONTHS[usize::from(self.month) - 1];
        write!(f, "{}-{month}-{:04}", self.day, self.year)
    }
}

fn days_in_month(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A moment with the zone it was written in: INTERNALDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateTime {
    unix: i64,
    offset_minutes: i16,
}

impl DateTime {
    /// The moment in UTC.
    pub fn from_unix(seconds: i64) -> Self {
        Self {
            unix: seconds,
            offset_minutes: 0,
        }
    }

    /// The moment as written in a zone; offsets of a day or more count as UTC.
    pub fn with_offset(seconds: i64, offset_minutes: i32) -> Self {
        let offset = i16::try_from(offset_minutes).ok();
        Self {
            unix: seconds,
            offset_minutes: offset.filter(|o| o.abs() < 24 * 60).unwrap_or(0),
        }
    }

    /// The zone's offset from UTC in minutes, east positive.
    pub fn offset_minutes(self) -> i32 {
        self.offset_minutes.into()
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix(self) -> i64 {
        self.unix
    }

    /// The day in its own zone.
    pub fn date(self) -> Date {
        Date::from_unix(self.local_seconds())
    }

    fn local_seconds(self) -> i64 {
        self.unix
            .saturating_add(i64::from(self.offset_minutes) * 60)
    }

    /// `"17-Jul-1996 02:44:25 -0700"`, quotes included; the day may be padded by a space.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let no_date = "the date is not valid";
        let two = |cursor: &mut Cursor<'_>, most: u32| match cursor.number()? {
            n if n <= most => Ok(i64::from(n)),
            _ => Err(SyntaxError(no_date)),
        };
        cursor.expect(b'"', no_date)?;
        cursor.take(b' ');
        let day = u8::try_from(cursor.number()?).unwrap_or(u8::MAX);
        let date = Date::parse_after_day(cursor, day)?;
        cursor.space()?;
        let hour = two(cursor, 23)?;
        cursor.expect(b':', no_date)?;
        let minute = two(cursor, 59)?;
        cursor.expect(b':', no_date)?;
        let second = two(cursor, 60)?;
        cursor.space()?;
        let offset_minutes = parse_zone(cursor)?;
        cursor.expect(b'"', no_date)?;
        let local = date.days() * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
        Ok(Self {
            unix: local - i64::from(offset_minutes) * 60,
            offset_minutes,
        })
    }
}

/// `+hhmm` or `-hhmm`, in minutes.
fn parse_zone(cursor: &mut Cursor<'_>) -> Parsed<i16> {
    let error = SyntaxError("the time zone is not valid");
    let negative = cursor.take(b'-');
    if !negative && !cursor.take(b'+') {
        return Err(error);
    }
    let digits = cursor.word(|b| b.is_ascii_digit(), error.0)?;
    let [h1, h2, m1, m2] = *digits else {
        return Err(error);
    };
    let value = |tens: u8, ones: u8| i16::from(tens - b'0') * 10 + i16::from(ones - b'0');
    let (hours, minutes) = (value(h1, h2), value(m1, m2));
    if hours > 23 || minutes > 59 {
        return Err(error);
    }
    let offset = hours * 60 + minutes;
    Ok(if negative { -offset } else { offset })
}

impl fmt::Display for DateTime {
    /// `17-Jul-1996 02:44:25 -0700`, the day padded by a space, without quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date();
        let second_of_day = self.local_seconds().rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (
            second_of_day / 3600,
            second_of_day / 60 % 60,
            second_of_day % 60,
        );
        let sign = if self.offset_minutes < 0 { '-' } else { '+' };
        let offset = self.offset_minutes.unsigned_abs();
        write!(
            f,
            "{:2}-{}-{:04} {hour:02}:{minute:02}:{second:02} {sign}{:02}{:02}",
            date.day,
            MONTHS[usize::from(date.month) - 1],
            date.year,
            offset / 60,
            offset % 60,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use proptest::prelude::*;

    fn date_time(text: &str) -> Parsed<DateTime> {
        DateTime::parse(&mut Cursor::new(text.as_bytes(), &Limits::default()))
    }

    fn date(text: &str) -> Parsed<Date> {
        Date::parse(&mut Cursor::new(text.as_bytes(), &Limits::default()))
    }

    #[test]
    fn the_example_of_the_rfc_goes_both_ways() {
        let moment = date_time("\"17-Jul-1996 02:44:25 -0700\"").expect("valid");
        assert_eq!(moment.unix(), 837_596_665);
        assert_eq!(DateTime::with_offset(837_596_665, -7 * 60), moment);
        assert_eq!(moment.to_string(), "17-Jul-1996 02:44:25 -0700");
        assert_eq!(
            DateTime::from_unix(0).to_string(),
            " 1-Jan-1970 00:00:00 +0000"
        );
        assert_eq!(
            date_time("\" 1-Jan-1970 00:00:00 +0000\""),
            Ok(DateTime::from_unix(0))
        );
    }

    #[test]
    fn days_that_are_not_are_refused() {
        for bad in [
            "30-Feb-2024",
            "29-Feb-2023",
            "0-Jan-2024",
            "1-Foo-2024",
            "1-Jan-0",
            "1-Jan-10000",
            "\"1-Jan-2024",
            "Jan-1-2024",
        ] {
            assert!(date(bad).is_err(), "{bad}");
        }
        assert_eq!(
            date("\"29-Feb-2024\""),
            Ok(Date::new(2024, 2, 29).expect("valid"))
        );
        for bad in [
            "\"17-Jul-1996 24:44:25 -0700\"",
            "\"17-Jul-1996 02:44:25 -07\"",
            "\"17-Jul-1996 02:44:25\"",
        ] {
            assert!(date_time(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_comes_back(unix in -62_135_596_800i64..253_402_300_800) {
            let moment = DateTime::from_unix(unix);
            prop_assert_eq!(date_time(&format!("\"{moment}\"")), Ok(moment));
            prop_assert_eq!(date(&moment.date().to_string()), Ok(moment.date()));
        }

        #[test]
        fn the_order_of_days_is_the_order_of_time(a in -100_000i64..100_000, b in -100_000i64..100_000) {
            prop_assert_eq!(a.cmp(&b), Date::from_days(a).cmp(&Date::from_days(b)));
            prop_assert_eq!(Date::from_days(a).days(), a);
        }

        #[test]
        fn no_time_panics(unix: i64) {
            let _ = DateTime::from_unix(unix).to_string();
        }
    }
}
