//! Golden bytes of what the store keeps of a letter without looking into it: a later version reads
//! what an earlier one wrote. The bytes are another implementation's.

use postino_proto::mail::v1::{
    EmailContent, Envelope, LocalTarget, Origin, Part, PartKind, Range, Recipient, ReturnContent,
    Segment, TraceContext, segment,
};
use prost::Message;

fn check<M: Message + Default + PartialEq + std::fmt::Debug>(message: M, hex: &str) {
    let written: String = message
        .encode_to_vec()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    assert_eq!(written, hex);
    let digits: Vec<char> = hex.chars().collect();
    let octet =
        |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).expect("hexadecimal");
    let octets: Vec<u8> = digits.chunks(2).map(octet).collect();
    assert_eq!(M::decode(&octets[..]).expect("golden"), message);
}

#[test]
fn envelopes_are_golden() {
    let recipient = Recipient {
        address: "c@d".into(),
        original: "e@f".into(),
        local: Some(LocalTarget {
            account: 1,
            shard: 2,
        }),
        orcpt: "o".into(),
    };
    let origin = Origin {
        client_address: "x".into(),
        helo: "h".into(),
        protocol: "p".into(),
        authenticated_account: 4,
        authenticated_address: "g@h".into(),
        ingress: "n".into(),
    };
    let envelope = Envelope {
        reverse_path: "a@b".into(),
        recipients: vec![recipient],
        eight_bit: true,
        smtputf8: true,
        envelope_id: "i".into(),
        return_content: ReturnContent::Full.into(),
        accepted_ms: 7,
        origin: Some(origin),
        message_id: "<m>".into(),
    };
    check(
        envelope,
        "0a0361406212130a0363406412036540661a040801100222016f180120012a0169300238\
         0742130a01781201681a017020042a0367406832016e4a033c6d3e",
    );
}

#[test]
fn trace_contexts_are_golden() {
    let trace = TraceContext {
        traceparent: "p".into(),
        tracestate: "s".into(),
    };
    check(trace, "0a0170120173");
}

#[test]
fn contents_are_golden() {
    let range = |offset, length| Range { offset, length };
    let segment = |piece| Segment { piece: Some(piece) };
    let part = Part {
        path: vec![1, 2],
        header: Some(range(1, 2)),
        body: Some(range(3, 4)),
        encoding: "e".into(),
        content_type: "t/s".into(),
        charset: "c".into(),
        lines: 7,
        kind: PartKind::Multipart.into(),
    };
    let content = EmailContent {
        segments: vec![
            segment(segment::Piece::Literal("L".into())),
            segment(segment::Piece::Range(range(1, 2))),
        ],
        size: 2,
        lines: 3,
        header_size: 4,
        envelope: "E".into(),
        body: "B".into(),
        bodystructure: "S".into(),
        parts: vec![part],
        message_id: "<m>".into(),
        in_reply_to: "<i>".into(),
        references: vec!["<r>".into()],
        subject_base: "s".into(),
        sent_seconds: Some(-1),
        has_attachment: true,
    };
    check(
        content,
        "0a030a014c0a061204080110021002180320042a01453201423a0153421f0a020102120408\
         0110021a04080310042201652a03742f73320163380740024a033c6d3e52033c693e5a033c\
         723e62017368ffffffffffffffffff017001",
    );
}
