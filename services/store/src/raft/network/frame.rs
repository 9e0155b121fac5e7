//! Frames: what waits for a peer, sent together.

use futures::Stream;
use postino_proto::raft::v1 as proto;
use prost::Message as _;
use tokio::sync::mpsc;

/// Messages in one frame.
const MESSAGES: usize = 256;

/// Bytes after which a frame is full; the message that fills it still goes along.
const BYTES: usize = 1 << 20;

/// The frames of one direction: the hello, then whatever arrives at the queue.
/// The transport asks for the next frame when it has sent the last one, so frames
/// grow with the traffic.
pub(super) fn frames(
    hello: proto::Hello,
    queue: mpsc::Receiver<proto::Message>,
) -> impl Stream<Item = proto::Frame> + Send + 'static {
    futures::stream::unfold((Some(hello), queue), |(hello, mut queue)| async move {
        if let Some(hello) = hello {
            let frame = proto::Frame {
                hello: Some(hello),
                messages: Vec::new(),
            };
            return Some((frame, (None, queue)));
        }
        let first = queue.recv().await?;
        // Whatever became ready together with the first message goes with it.
        tokio::task::yield_now().await;
        let mut bytes = first.encoded_len();
        let mut messages = vec![first];
        while messages.len() < MESSAGES && bytes < BYTES {
            let Ok(next) = queue.try_recv() else { break };
            bytes += next.encoded_len();
            messages.push(next);
        }
        let frame = proto::Frame {
            hello: None,
            messages,
        };
        Some((frame, (None, queue)))
    })
}
