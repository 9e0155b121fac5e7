//! The commands of the replicated log, as bytes and back.
//!
//! `proto/postino/store/v1/command.proto` lists them; `apply/` says what each one does.

use bytes::{BufMut, Bytes, BytesMut};
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{Command, CommandAnswer};
use prost::Message;

/// The version in front of each command. A change that an older replica would misread raises it.
const VERSION: u8 = 1;

/// Bytes that are no command of this version. The replica that meets them halts: it is older than
/// whoever wrote them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("a command of version {0:?}")]
    Version(Option<u8>),
    #[error("a command of a kind that this version does not know")]
    Kind,
    #[error(transparent)]
    Prost(#[from] prost::DecodeError),
}

/// A command's bytes.
pub(crate) fn encode(kind: Kind) -> Bytes {
    let command = Command { kind: Some(kind) };
    let mut bytes = BytesMut::with_capacity(1 + command.encoded_len());
    bytes.put_u8(VERSION);
    command
        .encode(&mut bytes)
        .expect("a buffer grows as far as it has to");
    bytes.freeze()
}

/// Reads what [`encode`] wrote, without copying the byte fields.
pub(crate) fn decode(bytes: Bytes) -> Result<Kind, CommandError> {
    match bytes.first() {
        Some(&VERSION) => {}
        version => return Err(CommandError::Version(version.copied())),
    }
    let command = Command::decode(bytes.slice(1..))?;
    command.kind.ok_or(CommandError::Kind)
}

/// An answer's bytes, which only this node's own service reads.
pub(crate) fn encode_answer(answer: Answer) -> Bytes {
    let answer = CommandAnswer {
        result: Some(answer),
    };
    answer.encode_to_vec().into()
}

/// Reads what [`encode_answer`] wrote.
pub(crate) fn decode_answer(bytes: Bytes) -> Result<Answer, CommandError> {
    CommandAnswer::decode(bytes)?
        .result
        .ok_or(CommandError::Kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_proto::store::v1 as proto;

    #[test]
    fn commands_are_golden() {
        let chunk = Kind::UploadChunk(proto::UploadChunkCommand {
            upload_id: "u".into(),
            number: 2,
        });
        assert_eq!(encode(chunk).as_ref(), b"\x01\x32\x05\x0a\x01u\x10\x02");
        let accept = Kind::Accept(proto::AcceptCommand {
            queue_id: "000304HMASW9NFZZZZZZZZZZ".into(),
            envelope: Bytes::from_static(b"E"),
            recipients: 1,
            local: vec![proto::DeliverTarget {
                recipient: 0,
                account: 7,
            }],
            email: Bytes::from_static(b"M"),
            email_size: 300,
            size: 280,
            trace: Bytes::from_static(b"T"),
            body: Some(proto::BodySource {
                length: 280,
                ..Default::default()
            }),
        });
        let golden = b"\x01\x0a\x34\x0a\x18000304HMASW9NFZZZZZZZZZZ\x12\x01E\x18\x01\x22\x02\x10\x07\x2a\x01M\x30\xac\x02\x38\x98\x02\x42\x01T\x4a\x03\x10\x98\x02";
        assert_eq!(encode(accept.clone()).as_ref(), golden);
        assert_eq!(decode(Bytes::from_static(golden)).unwrap(), accept);
    }

    #[test]
    fn what_this_version_does_not_know_is_an_error() {
        // Field 900 of the oneof, an empty message.
        let unknown = decode(Bytes::from_static(b"\x01\xa2\x38\x00"));
        assert!(matches!(unknown, Err(CommandError::Kind)));
        let newer = decode(Bytes::from_static(b"\x02"));
        assert!(matches!(newer, Err(CommandError::Version(Some(2)))));
        assert!(matches!(
            decode(Bytes::new()),
            Err(CommandError::Version(None))
        ));
    }
}
