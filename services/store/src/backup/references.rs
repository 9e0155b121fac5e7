//! Whether every body that a row refers to is there.
//!
//! Rows come before bodies, and bodies in order of their place, so what was noted of the rows is
//! sorted once and then compared one by one. A shard may have more references than should be in
//! memory at once; then they are gone through in windows of places, with a pass over the file each.

use bytes::Bytes;

use crate::db::{DbError, Family};
use crate::model::email::{self, EmailRow};
use crate::model::spool::{self, BodyPart, LetterRow};
use crate::model::{decode, last_u32, last_u64};

/// References held at once: 24 bytes each.
const AT_ONCE: usize = 4 << 20;

/// Where a body lies: log index, number in the entry.
pub(super) type Place = (u64, u32);

/// References of one window of places, and then the bodies that are there.
pub(super) struct References {
    limit: usize,
    /// The window: from here, and below there.
    from: Place,
    below: Option<Place>,
    /// Places, with the length that the body must have at least.
    wanted: Vec<(Place, u64)>,
    next: Option<usize>,
}

impl References {
    /// The first window.
    pub(super) fn new() -> Self {
        Self::window((0, 0), AT_ONCE)
    }

    fn window(from: Place, limit: usize) -> Self {
        Self {
            limit,
            from,
            below: None,
            wanted: Vec::new(),
            next: None,
        }
    }

    /// The next window, if there were more references than fit.
    pub(super) fn following(&self) -> Option<Self> {
        self.below.map(|from| Self::window(from, self.limit))
    }

    /// Takes a row, in the order of a shard's file. An error says which body is missing.
    pub(super) fn row(&mut self, family: Family, key: &[u8], value: &Bytes) -> Result<(), String> {
        let broken = |error: DbError| format!("a row of family {}: {error}", family.name());
        if family == Family::Bodies {
            return self.body(place(key).map_err(broken)?, value.len() as u64);
        }
        for part in parts(family, key, value).map_err(broken)? {
            self.note(&part);
        }
        Ok(())
    }

    fn note(&mut self, part: &BodyPart) {
        let place = (part.index, part.number);
        if part.length == 0 || place < self.from || self.below.is_some_and(|below| place >= below) {
            return;
        }
        let end = part.offset.saturating_add(part.length);
        self.wanted.push((place, end));
        if self.wanted.len() < self.limit {
            return;
        }
        self.sort();
        if self.wanted.len() > self.limit / 2 {
            let (below, _) = self.wanted[self.limit / 2];
            self.wanted.truncate(self.limit / 2);
            self.below = Some(below);
        }
    }

    /// In order, one reference per body: the one that reaches furthest.
    fn sort(&mut self) {
        self.wanted.sort_unstable();
        self.wanted.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = later.1;
            }
            same
        });
    }

    fn body(&mut self, place: Place, length: u64) -> Result<(), String> {
        let mut at = self.sorted();
        if let Some((wanted, end)) = self.wanted.get(at) {
            if *wanted < place {
                return Err(missing(*wanted));
            }
            if *wanted == place {
                if length < *end {
                    return Err(format!("the body at {place:?} is too short"));
                }
                at += 1;
            }
        }
        self.next = Some(at);
        Ok(())
    }

    /// Whether something refers to the body at this place; `None` if that is for the next window to
    /// say. Asked in the order of places, after the last row.
    pub(super) fn wants(&mut self, place: Place) -> Option<bool> {
        if self.below.is_some_and(|below| place >= below) {
            return None;
        }
        self.sorted();
        let found = self
            .wanted
            .binary_search_by_key(&place, |(wanted, _)| *wanted);
        Some(found.is_ok())
    }

    fn sorted(&mut self) -> usize {
        match self.next {
            Some(next) => next,
            None => {
                self.sort();
                self.next = Some(0);
                0
            }
        }
    }

    /// After the last row: an error if a body did not come.
    pub(super) fn end(&mut self) -> Result<(), String> {
        let at = self.sorted();
        match self.wanted.get(at) {
            Some((wanted, _)) => Err(missing(*wanted)),
            None => Ok(()),
        }
    }
}

fn missing((index, number): Place) -> String {
    format!("the body of log entry {index}, number {number}, is missing")
}

/// The place in the key of a body.
pub(super) fn place(key: &[u8]) -> Result<Place, DbError> {
    let number = last_u32(key)?;
    Ok((last_u64(&key[..key.len() - 4])?, number))
}

/// What a row refers to.
fn parts(family: Family, key: &[u8], value: &Bytes) -> Result<Vec<BodyPart>, DbError> {
    Ok(match (family, key.first()) {
        (Family::Spool, Some(&spool::LETTER)) => decode::<LetterRow>(value.clone())?.body,
        (Family::Spool, Some(&spool::CHUNK)) => vec![decode(value.clone())?],
        (Family::Email, Some(&email::EMAIL)) => decode::<EmailRow>(value.clone())?.body,
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: u64, length: u64) -> BodyPart {
        BodyPart {
            index,
            number: 1,
            offset: 2,
            length,
        }
    }

    /// Goes through all windows; the number of windows.
    fn check(limit: usize, parts: &[BodyPart], bodies: &[(u64, u64)]) -> Result<usize, String> {
        let mut window = References::window((0, 0), limit);
        for count in 1.. {
            parts.iter().for_each(|part| window.note(part));
            for (index, length) in bodies {
                window.body((*index, 1), *length)?;
            }
            window.end()?;
            match window.following() {
                Some(next) => window = next,
                None => return Ok(count),
            }
        }
        unreachable!("windows come to an end")
    }

    #[test]
    fn every_body_must_be_there_and_long_enough() {
        let parts = [part(9, 5), part(3, 5), part(3, 8), part(5, 1)];
        let bodies = [(3, 10), (4, 1), (5, 3), (9, 7)];
        assert_eq!(check(100, &parts, &bodies), Ok(1));
        assert!(check(100, &parts, &bodies[1..]).is_err());
        assert!(check(100, &parts, &bodies[..3]).is_err());
        assert!(check(100, &parts, &[(3, 9), (5, 3), (9, 7)]).is_err());
        assert_eq!(check(100, &[], &bodies), Ok(1));
    }

    #[test]
    fn more_references_than_fit_take_more_passes() {
        let parts: Vec<BodyPart> = (0..100).rev().map(|index| part(index, 1)).collect();
        let mut bodies: Vec<(u64, u64)> = (0..100).map(|index| (index, 3)).collect();
        assert!(check(8, &parts, &bodies).unwrap() > 10);
        bodies.remove(97);
        let missing = check(8, &parts, &bodies).unwrap_err();
        assert!(missing.contains("entry 97"), "{missing}");
    }
}
