//! What is stored beside a notification that is filed here, in its wire form.

use postino_message::{ByteRange, Delivery, Part, PartKind, Segment};
use postino_proto::mail::v1 as proto;

fn range(range: ByteRange) -> proto::Range {
    proto::Range {
        offset: range.start,
        length: range.len(),
    }
}

fn cut(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The wire form of a delivered message.
pub(crate) fn content(delivery: Delivery) -> proto::EmailContent {
    let Delivery { segments, email } = delivery;
    let segment = |segment: Segment| proto::Segment {
        piece: Some(match segment {
            Segment::Literal(octets) => proto::segment::Piece::Literal(octets),
            Segment::Range(kept) => proto::segment::Piece::Range(range(kept)),
        }),
    };
    proto::EmailContent {
        segments: segments.into_iter().map(segment).collect(),
        size: email.size,
        lines: cut(email.lines),
        header_size: email.header_size,
        envelope: email.envelope,
        body: email.body,
        bodystructure: email.bodystructure,
        parts: email.parts.into_iter().map(part).collect(),
        message_id: email.message_id,
        in_reply_to: email.in_reply_to,
        references: email.references,
        subject_base: email.subject_base,
        sent_seconds: email.sent_seconds,
        has_attachment: email.has_attachment,
    }
}

fn part(part: Part) -> proto::Part {
    let kind = match part.kind {
        PartKind::Leaf => proto::PartKind::Leaf,
        PartKind::Multipart => proto::PartKind::Multipart,
        PartKind::Message => proto::PartKind::Message,
    };
    proto::Part {
        path: part.path,
        header: Some(range(part.header)),
        body: Some(range(part.body)),
        encoding: part.encoding,
        content_type: part.content_type,
        charset: part.charset,
        lines: cut(part.lines),
        kind: kind.into(),
    }
}
