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

/// What a mark for checksums starts with: the version, and the key of the field.
const MARK: [u8; 3] = [VERSION, 0x82, 0x04];

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

/// Whether a command is to be taken while the disk has little room: all but those that bring
/// something new. What makes room, and what settles what was done, must go on.
pub(crate) fn is_urgent(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::Accept(_)
            | Kind::UploadChunk(_)
            | Kind::Deliver(_)
            | Kind::Append(_)
            | Kind::CreateMailbox(_)
            | Kind::InitAccount(_)
            | Kind::CreateAccount(_)
            | Kind::AddDomain(_)
            | Kind::SetAlias(_)
            | Kind::BeginAccountMove(_)
            | Kind::OpenImport(_)
            | Kind::ImportEmail(_)
            | Kind::ImportRows(_)
    )
}

/// Whether a command is a mark for checksums: told by its first bytes, since every command that is
/// applied is asked.
pub(crate) fn is_mark(bytes: &[u8]) -> bool {
    bytes.starts_with(&MARK)
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
mod tests;
