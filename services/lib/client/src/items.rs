//! Streams that come from a service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::time::{Instant, Sleep};
use tonic::Streaming;

use crate::CallError;
use crate::retry::{Verdict, judge};

/// The items of a stream, under a deadline for each. It ends after its first error; the caller
/// subscribes again, or reads again from where it stands.
pub struct Items<T> {
    inner: Option<Streaming<T>>,
    patience: Duration,
    silence: Pin<Box<Sleep>>,
}

impl<T> Items<T> {
    /// `patience` is how long the service may be silent.
    pub(crate) fn new(inner: Streaming<T>, patience: Duration) -> Self {
        let silence = Box::pin(tokio::time::sleep(patience));
        Self {
            inner: Some(inner),
            patience,
            silence,
        }
    }
}

impl<T> Stream for Items<T> {
    type Item = Result<T, CallError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(inner) = this.inner.as_mut() else {
            return Poll::Ready(None);
        };
        let error = match Pin::new(inner).poll_next(cx) {
            Poll::Ready(Some(Ok(item))) => {
                this.silence.as_mut().reset(Instant::now() + this.patience);
                return Poll::Ready(Some(Ok(item)));
            }
            Poll::Ready(Some(Err(status))) => match judge(&status) {
                Verdict::Final(error) => error,
                Verdict::Busy(fault) | Verdict::Moving(fault) => fault.into(),
                Verdict::NodeDown(text) | Verdict::Lost(text) => CallError::Unavailable(text),
                Verdict::Elsewhere(_) => CallError::Unavailable("the leader changed".to_owned()),
            },
            Poll::Ready(None) => {
                this.inner = None;
                return Poll::Ready(None);
            }
            Poll::Pending => match this.silence.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => CallError::Unavailable("the stream fell silent".to_owned()),
            },
        };
        this.inner = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl<T> std::fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Items")
            .field("open", &self.inner.is_some())
            .finish_non_exhaustive()
    }
}
