//! Answers that come in pages: one page is read, sent, and then the next one, so that a slow
//! reader holds neither memory nor a snapshot.

use std::pin::Pin;

use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// A stream of answers.
pub(crate) type Pages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Where the pages go.
pub(super) struct Sender<T>(mpsc::Sender<Result<T, Status>>);

/// The reader has gone away.
pub(super) struct Gone;

impl<T> Sender<T> {
    /// Sends one page, when the reader has room for it.
    pub(super) async fn send(&self, page: T) -> Result<(), Gone> {
        self.0.send(Ok(page)).await.map_err(|_| Gone)
    }

    /// Waits until the reader goes away.
    pub(super) async fn closed(&self) {
        self.0.closed().await;
    }
}

/// Why a stream ends early.
pub(super) enum End {
    Gone,
    Failed(Status),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

/// Runs `work` beside the stream that it feeds.
pub(super) fn stream<T, W>(work: impl FnOnce(Sender<T>) -> W) -> Pages<T>
where
    T: Send + 'static,
    W: Future<Output = Result<(), End>> + Send + 'static,
{
    use tracing::Instrument;
    let (sender, receiver) = mpsc::channel(1);
    let failures = sender.clone();
    let work = work(Sender(sender));
    let work = async move {
        if let Err(End::Failed(status)) = work.await {
            // Nobody may be there any more to hear it.
            let _ = failures.send(Err(status)).await;
        }
    };
    tokio::spawn(work.in_current_span());
    Box::pin(ReceiverStream::new(receiver))
}
