//! Between the stored form of a message and the message crate's.

use postino_message::{ByteRange, Delivery, Email, Part, PartKind, Segment};

use crate::mail::v1 as proto;

fn from_range(range: ByteRange) -> proto::Range {
    proto::Range {
        offset: range.start,
        length: range.len(),
    }
}

fn to_range(range: Option<&proto::Range>) -> ByteRange {
    range.map_or(ByteRange::default(), |r| ByteRange::at(r.offset, r.length))
}

fn cut(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl From<Delivery> for proto::EmailContent {
    /// What is stored of a message that is filed.
    fn from(delivery: Delivery) -> Self {
        let Delivery { segments, email } = delivery;
        let segment = |segment: Segment| proto::Segment {
            piece: Some(match segment {
                Segment::Literal(octets) => proto::segment::Piece::Literal(octets),
                Segment::Range(range) => proto::segment::Piece::Range(from_range(range)),
            }),
        };
        Self {
            segments: segments.into_iter().map(segment).collect(),
            size: email.size,
            lines: cut(email.lines),
            header_size: email.header_size,
            envelope: email.envelope,
            body: email.body,
            bodystructure: email.bodystructure,
            parts: email.parts.into_iter().map(to_part).collect(),
            message_id: email.message_id,
            in_reply_to: email.in_reply_to,
            references: email.references,
            subject_base: email.subject_base,
            sent_seconds: email.sent_seconds,
            has_attachment: email.has_attachment,
        }
    }
}

fn to_part(part: Part) -> proto::Part {
    let kind = match part.kind {
        PartKind::Leaf => proto::PartKind::Leaf,
        PartKind::Multipart => proto::PartKind::Multipart,
        PartKind::Message => proto::PartKind::Message,
    };
    proto::Part {
        path: part.path,
        header: Some(from_range(part.header)),
        body: Some(from_range(part.body)),
        encoding: part.encoding,
        content_type: part.content_type,
        charset: part.charset,
        lines: cut(part.lines),
        kind: kind.into(),
    }
}

impl From<proto::EmailContent> for Email {
    /// A stored message, as its sections are found in.
    fn from(content: proto::EmailContent) -> Self {
        Self {
            size: content.size,
            lines: content.lines.into(),
            header_size: content.header_size,
            envelope: content.envelope,
            body: content.body,
            bodystructure: content.bodystructure,
            parts: content.parts.into_iter().map(from_part).collect(),
            message_id: content.message_id,
            in_reply_to: content.in_reply_to,
            references: content.references,
            subject_base: content.subject_base,
            sent_seconds: content.sent_seconds,
            has_attachment: content.has_attachment,
        }
    }
}

fn from_part(part: proto::Part) -> Part {
    let kind = match part.kind() {
        proto::PartKind::Multipart => PartKind::Multipart,
        proto::PartKind::Message => PartKind::Message,
        proto::PartKind::Leaf | proto::PartKind::Unspecified => PartKind::Leaf,
    };
    Part {
        header: to_range(part.header.as_ref()),
        body: to_range(part.body.as_ref()),
        path: part.path,
        encoding: part.encoding,
        content_type: part.content_type,
        charset: part.charset,
        lines: part.lines.into(),
        kind,
    }
}

#[cfg(test)]
mod tests {
    use postino_message::{Limits, Scanner, deliver};

    use super::*;

    #[test]
    fn a_message_comes_back_from_the_store() {
        let letter = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
            --b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n\r\ntwo\r\n--b--\r\n";
        let mut scanner = Scanner::new(Limits::default());
        scanner.feed(letter);
        let delivery = deliver(&scanner.finish(), b"", b"");
        let email = delivery.email.clone();
        assert!(email.parts.len() > 2);
        assert_eq!(Email::from(proto::EmailContent::from(delivery)), email);
    }
}
