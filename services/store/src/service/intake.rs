//! Taking a body in: small ones are kept for the command that files them, large ones go ahead in
//! chunks, so that no body is ever held whole.

use bytes::{Bytes, BytesMut};
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::{BodySource, UploadChunkCommand};
use postino_proto::{Fault, FaultKind};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;

use super::Context;
use crate::raft::Group;

/// A body that is coming in.
pub(super) struct Intake {
    context: Context,
    group: Group,
    upload_id: String,
    waiting: Vec<Bytes>,
    waiting_octets: usize,
    octets: u64,
    chunks: u32,
    under_way: JoinSet<Result<(), Status>>,
}

/// A body that is in: the command's own part, and what was uploaded.
pub(super) struct Taken {
    /// Goes with the command.
    pub(super) body: Option<Bytes>,
    /// Says where the octets are.
    pub(super) source: BodySource,
    /// All of them.
    pub(super) octets: u64,
}

impl Intake {
    /// A body for a shard. `upload_id` names the upload, if there must be one; a random part makes
    /// each try another upload.
    pub(super) fn new(context: &Context, group: Group, upload_id: &str) -> Self {
        Self {
            context: context.clone(),
            group,
            upload_id: format!("{upload_id}.{:016x}", fastrand::u64(..)),
            waiting: Vec::new(),
            waiting_octets: 0,
            octets: 0,
            chunks: 0,
            under_way: JoinSet::new(),
        }
    }

    /// Octets so far.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// Takes the next octets. Waits while too much is under way.
    pub(super) async fn push(&mut self, chunk: Bytes) -> Result<(), Status> {
        self.octets += chunk.len() as u64;
        if self.octets > self.context.config.message_limit.get() {
            return Err(Fault::new(FaultKind::TooBig, "the message is over the size limit").into());
        }
        if chunk.is_empty() {
            return Ok(());
        }
        self.waiting_octets += chunk.len();
        self.waiting.push(chunk);
        let inline = self.context.config.inline_limit.as_usize();
        let chunk_size = self.context.config.chunk_size.as_usize();
        // Past the inline limit nothing is kept for the command.
        while self.waiting_octets >= chunk_size.max(inline + 1) {
            let next = self.cut(chunk_size);
            self.send(next).await?;
        }
        Ok(())
    }

    /// The first octets of what waits, up to `size`, in one piece.
    fn cut(&mut self, size: usize) -> Bytes {
        let size = size.min(self.waiting_octets);
        self.waiting_octets -= size;
        let mut piece = BytesMut::with_capacity(size);
        let mut used = 0;
        for chunk in &mut self.waiting {
            let part = chunk.split_to(chunk.len().min(size - piece.len()));
            piece.extend_from_slice(&part);
            if !chunk.is_empty() {
                break;
            }
            used += 1;
        }
        self.waiting.drain(..used);
        piece.freeze()
    }

    /// Proposes a chunk, and waits for an earlier one if enough are under way.
    async fn send(&mut self, chunk: Bytes) -> Result<(), Status> {
        let window = usize::try_from(self.context.config.upload_window).unwrap_or(usize::MAX);
        while self.under_way.len() >= window {
            self.join_one().await?;
        }
        let permits = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let memory = self.context.upload_memory.clone();
        let memory = memory.acquire_many_owned(permits).await;
        let memory = memory.map_err(crate::shards::internal)?;
        let command = UploadChunkCommand {
            upload_id: self.upload_id.clone(),
            number: self.chunks,
        };
        self.chunks += 1;
        let (context, group) = (self.context.clone(), self.group.clone());
        self.under_way.spawn(async move {
            let sent = send_chunk(&context, &group, command, chunk).await;
            drop(memory);
            sent
        });
        Ok(())
    }

    async fn join_one(&mut self) -> Result<(), Status> {
        match self.under_way.join_next().await {
            Some(joined) => joined.map_err(crate::shards::internal)?,
            None => Ok(()),
        }
    }

    /// Ends the body, with `prefix` put in front of it.
    pub(super) async fn finish(mut self, prefix: Bytes) -> Result<Taken, Status> {
        let inline = self.context.config.inline_limit.as_usize();
        let octets = self.octets + prefix.len() as u64;
        if self.chunks == 0 && prefix.len() + self.waiting_octets <= inline {
            return Ok(Taken::inline(self.joined(prefix)));
        }
        if prefix.len() > inline {
            return Err(Fault::new(FaultKind::TooBig, "the trace headers are too long").into());
        }
        let uploaded = self.octets;
        while self.waiting_octets > 0 {
            let next = self.cut(self.context.config.chunk_size.as_usize());
            self.send(next).await?;
        }
        while !self.under_way.is_empty() {
            self.join_one().await?;
        }
        Ok(Taken {
            source: BodySource {
                length: prefix.len() as u64,
                upload_id: self.upload_id,
                chunks: self.chunks,
                upload_octets: uploaded,
                ..BodySource::default()
            },
            body: (!prefix.is_empty()).then_some(prefix),
            octets,
        })
    }

    /// Prefix and what waits, in one piece.
    fn joined(&mut self, prefix: Bytes) -> Bytes {
        if prefix.is_empty() && self.waiting.len() == 1 {
            return self.waiting.pop().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(prefix.len() + self.waiting_octets);
        whole.extend_from_slice(&prefix);
        for chunk in self.waiting.drain(..) {
            whole.extend_from_slice(&chunk);
        }
        whole.freeze()
    }
}

impl Taken {
    fn inline(body: Bytes) -> Self {
        let octets = body.len() as u64;
        Self {
            source: BodySource {
                length: octets,
                ..BodySource::default()
            },
            body: (!body.is_empty()).then_some(body),
            octets,
        }
    }
}

/// Proposes one chunk until it is in. Repeating it is harmless: it has a number.
async fn send_chunk(
    context: &Context,
    group: &Group,
    command: UploadChunkCommand,
    chunk: Bytes,
) -> Result<(), Status> {
    let deadline = Instant::now() + context.config.upload_patience.get();
    loop {
        let kind = Kind::UploadChunk(command.clone());
        match context
            .shards
            .propose_following(group, kind, Some(chunk.clone()))
            .await
        {
            Ok(_) => return Ok(()),
            Err(status) if waits(&status) && group.has_room() && Instant::now() < deadline => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            // The letter itself was not submitted, whatever became of its chunks.
            Err(status) if is_unknown(&status) => {
                return Err(Fault::new(FaultKind::Overloaded, "an upload could not go on").into());
            }
            Err(status) => return Err(status),
        }
    }
}

fn is_unknown(status: &Status) -> bool {
    Fault::of(status).is_some_and(|fault| fault.kind == FaultKind::Unknown)
}

fn waits(status: &Status) -> bool {
    let fault = Fault::of(status);
    fault.is_some_and(|fault| matches!(fault.kind, FaultKind::Overloaded | FaultKind::Unknown))
}
