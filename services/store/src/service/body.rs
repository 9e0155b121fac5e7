//! Reading bodies: a piece at a time, from wherever the parts lie.

use bytes::Bytes;
use postino_proto::mail::v1::{Segment, segment::Piece};
use postino_proto::store::v1::BodyChunk;
use postino_types::ShardId;
use tonic::Status;

use super::Context;
use super::pages::{self, End, Pages};
use crate::db::{DbError, Family, Read};
use crate::model::email::BodyPart;
use crate::raft::BodyRef;
use crate::shards::broken;

/// From here on a piece is one of many, which would drive everything else out of the cache.
const LARGE: u64 = 64 << 10;

/// Octets to be read, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Octets {
    Literal(Bytes),
    Stored(BodyPart),
}

/// The range of a body from `offset`, `length` octets at most.
pub(super) fn slice(body: &[BodyPart], offset: u64, length: u64) -> Vec<BodyPart> {
    let end = offset.saturating_add(length);
    let mut found = Vec::new();
    let mut at = 0_u64;
    for part in body {
        let part_end = at + part.length;
        let (from, to) = (offset.max(at), end.min(part_end));
        if from < to {
            found.push(BodyPart {
                offset: part.offset + (from - at),
                length: to - from,
                ..*part
            });
        }
        at = part_end;
    }
    found
}

/// The range of a delivered message, which is `segments` of the accepted `body`. A `length` of 0
/// reaches to the end.
pub(super) fn delivered(
    segments: &[Segment],
    body: &[BodyPart],
    offset: u64,
    length: u64,
) -> Result<Vec<Octets>, Status> {
    let end = match length {
        0 => u64::MAX,
        length => offset.saturating_add(length),
    };
    let mut found = Vec::new();
    let mut at = 0_u64;
    for segment in segments {
        let piece = segment.piece.as_ref();
        let piece = piece.ok_or_else(|| broken(DbError::corrupt("a segment of an email")))?;
        let segment_length = match piece {
            Piece::Literal(literal) => literal.len() as u64,
            Piece::Range(range) => range.length,
        };
        let segment_end = at.saturating_add(segment_length);
        let (from, to) = (offset.max(at), end.min(segment_end));
        if from < to {
            let (skip, take) = (from - at, to - from);
            match piece {
                Piece::Literal(literal) => found.push(Octets::Literal(cut(literal, skip, take))),
                Piece::Range(range) => {
                    let parts = slice(body, range.offset.saturating_add(skip), take);
                    found.extend(parts.into_iter().map(Octets::Stored));
                }
            }
        }
        at = segment_end;
    }
    Ok(found)
}

fn cut(bytes: &Bytes, skip: u64, take: u64) -> Bytes {
    let length = bytes.len();
    let start = usize::try_from(skip).unwrap_or(length).min(length);
    let end = usize::try_from(skip + take).unwrap_or(length).min(length);
    bytes.slice(start..end)
}

/// Streams octets of a shard's bodies.
pub(super) fn read(context: &Context, shard: ShardId, octets: Vec<Octets>) -> Pages<BodyChunk> {
    let context = context.clone();
    pages::stream(move |pages| async move {
        for piece in octets {
            let data = match piece {
                Octets::Literal(literal) => literal,
                Octets::Stored(part) => read_part(&context, shard, part).await?,
            };
            pages.send(BodyChunk { data }).await?;
        }
        Ok::<(), End>(())
    })
}

pub(super) async fn read_part(
    context: &Context,
    shard: ShardId,
    part: BodyPart,
) -> Result<Bytes, Status> {
    let look = context.shards.look(shard, move |snapshot, space| {
        let body = BodyRef {
            shard,
            index: part.index,
            number: part.number,
        };
        let key = body.key(space);
        let stored = match part.length >= LARGE {
            true => snapshot.get_once(Family::Bodies, key),
            false => Read::get(snapshot, Family::Bodies, key),
        };
        let stored = stored.map_err(broken)?;
        // The last reference went since the caller looked: another session's EXPUNGE, say.
        let removed = || Status::not_found("the message was removed meanwhile");
        let stored = stored.ok_or_else(removed)?;
        let end = part.offset.saturating_add(part.length);
        match end <= stored.len() as u64 {
            true => Ok(cut(&stored, part.offset, part.length)),
            false => Err(broken(DbError::corrupt("a body that state refers to"))),
        }
    });
    look.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_proto::mail::v1::Range;

    fn part(index: u64, offset: u64, length: u64) -> BodyPart {
        BodyPart {
            index,
            number: 0,
            offset,
            length,
        }
    }

    #[test]
    fn a_slice_crosses_parts() {
        let body = [part(1, 5, 10), part(2, 0, 10), part(3, 0, 10)];
        assert_eq!(slice(&body, 0, 30), body);
        assert_eq!(
            slice(&body, 8, 15),
            [part(1, 13, 2), part(2, 0, 10), part(3, 0, 3)]
        );
        assert_eq!(slice(&body, 30, 5), []);
    }

    #[test]
    fn a_delivered_message_is_literals_and_ranges() {
        let segment = |piece| Segment { piece: Some(piece) };
        let range = |offset, length| segment(Piece::Range(Range { offset, length }));
        let literal = Bytes::from_static(b"Return-Path: <>\r\n");
        let segments = [
            segment(Piece::Literal(literal.clone())),
            range(0, 4),
            range(10, 6),
        ];
        let body = [part(1, 0, 12), part(2, 0, 4)];
        let all = delivered(&segments, &body, 0, 0).unwrap();
        assert_eq!(
            all,
            [
                Octets::Literal(literal.clone()),
                Octets::Stored(part(1, 0, 4)),
                Octets::Stored(part(1, 10, 2)),
                Octets::Stored(part(2, 0, 4)),
            ]
        );
        let middle = delivered(&segments, &body, 15, 5).unwrap();
        assert_eq!(
            middle,
            [
                Octets::Literal(literal.slice(15..)),
                Octets::Stored(part(1, 0, 3)),
            ]
        );
    }
}
