//! Writing a letter anew, segment by segment.

use super::body::BodyEncoder;
use super::header::HeaderRewriter;
use super::{Action, Conversion, NotConvertible, within};

/// Converts a letter that comes in chunks, cut anywhere; the result does not depend on the cuts.
pub struct Converter {
    conversion: Conversion,
    /// The current segment.
    current: usize,
    work: Work,
    offset: u64,
}

enum Work {
    Copy,
    Header(HeaderRewriter),
    Body(BodyEncoder),
}

impl Work {
    fn of(action: Action) -> Self {
        match action {
            Action::Copy => Self::Copy,
            Action::Header(encoding, mime) => Self::Header(HeaderRewriter::new(encoding, mime)),
            Action::Body(encoding) => Self::Body(BodyEncoder::new(encoding)),
        }
    }
}

impl Converter {
    /// A converter at the first octet of the letter that was surveyed.
    pub fn new(conversion: &Conversion) -> Self {
        let first = conversion.0.first();
        Self {
            conversion: conversion.clone(),
            current: 0,
            work: Work::of(first.map_or(Action::Copy, |segment| segment.action)),
            offset: 0,
        }
    }

    /// Takes the next octets, and appends what they become: at most about three times as many.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), NotConvertible> {
        let (start, end) = (self.offset, self.offset + chunk.len() as u64);
        self.offset = end;
        while let Some(segment) = self.conversion.0.get(self.current) {
            let octets = within(segment.range, start, chunk);
            match &mut self.work {
                Work::Body(encoder) => encoder.feed(octets, out),
                _ if !octets.is_ascii() => return Err(NotConvertible),
                Work::Header(rewriter) => rewriter.feed(octets, out),
                Work::Copy => out.extend_from_slice(octets),
            }
            if segment.range.end > end {
                break;
            }
            self.current += 1;
            let next = self.conversion.0.get(self.current);
            let work = Work::of(next.map_or(Action::Copy, |segment| segment.action));
            finish(std::mem::replace(&mut self.work, work), out);
        }
        Ok(())
    }

    /// Appends what is left at the letter's end.
    pub fn finish(self, out: &mut Vec<u8>) {
        finish(self.work, out);
    }
}

fn finish(work: Work, out: &mut Vec<u8>) {
    match work {
        Work::Copy => {}
        Work::Header(rewriter) => rewriter.finish(out),
        Work::Body(encoder) => encoder.finish(out),
    }
}
