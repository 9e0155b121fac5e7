//! Handing over a message whose octets come bit by bit: to the spool, or to a mailbox.
//!
//! A small one is kept until it is whole; then handing it over is one repeatable call. A large one
//! is streamed as it comes, once: it is not in memory, and its sender can send it again.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use postino_proto::store::v1::accept_request::Step as AcceptStep;
use postino_proto::store::v1::append_request::Step as AppendStep;
use postino_proto::store::v1::mail_store_client::MailStoreClient;
use postino_proto::store::v1::spool_client::SpoolClient;
use postino_proto::store::v1::{
    AcceptBegin, AcceptFinish, AcceptRequest, AcceptResponse, Account, AppendBegin, AppendFinish,
    AppendRequest, AppendResponse, ResolveAcceptRequest,
};
use postino_types::{Permanence, QueueId, ShardId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};
use tracing::Instrument;

use crate::retry::Repeat;
use crate::store::{MOVES, StoreClient};
use crate::{CallError, Channel};

/// Chunks under way to the store.
const UNDER_WAY: usize = 2;

/// Why a message was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Certainly not: it may be handed over again, also elsewhere.
    #[error(transparent)]
    NotAccepted(CallError),
    /// It may have been. Repeating is safe under the same id only.
    #[error("whether the message was accepted is not known: {0}")]
    Unknown(String),
}

/// Why a letter was not accepted.
pub type AcceptError = UploadError;

impl From<CallError> for UploadError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unknown(text) => Self::Unknown(text),
            error => Self::NotAccepted(error),
        }
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// What is handed over, and to whom.
pub trait Kind: Clone + Send + Sync + 'static {
    /// A step of the stream.
    type Request: Send + 'static;
    /// What comes at the end.
    type Finish: Clone + Send + Sync + 'static;
    /// What the store says.
    type Response: Send + 'static;

    /// The account that it is for, if it is for one.
    #[doc(hidden)]
    fn account(&mut self) -> Option<&mut Account> {
        None
    }
    #[doc(hidden)]
    fn begin(&self) -> Self::Request;
    #[doc(hidden)]
    fn chunk(octets: Bytes) -> Self::Request;
    #[doc(hidden)]
    fn finish(finish: Self::Finish) -> Self::Request;
    #[doc(hidden)]
    fn call<S>(channel: Channel, max: usize, steps: S) -> Answer<Self::Response>
    where
        S: Stream<Item = Self::Request> + Send + 'static;
    /// Asks what became of one whose answer was lost.
    #[doc(hidden)]
    fn resolve(
        &self,
        client: &StoreClient,
    ) -> impl Future<Output = Resolved<Self::Response>> + Send;
}

/// What became of a message whose answer was lost.
#[doc(hidden)]
pub enum Resolved<T> {
    /// It was accepted.
    Accepted(T),
    /// It was not, and cannot be any more.
    GivenUp,
    /// The store did not say: asking again may help.
    NotYet,
    /// Nobody can tell.
    Never,
}

/// A message on its way. Dropping it before [`finish`](Self::finish) hands nothing over.
pub struct Upload<K: Kind> {
    client: StoreClient,
    shard: ShardId,
    kind: K,
    state: State<K>,
}

/// A letter on its way into the spool.
pub type AcceptUpload = Upload<LetterUpload>;
/// A message on its way into a mailbox.
pub type AppendUpload = Upload<MessageUpload>;

enum State<K: Kind> {
    Kept {
        chunks: Vec<Bytes>,
        octets: u64,
    },
    Flowing {
        steps: mpsc::Sender<K::Request>,
        answer: Attempt<K::Response>,
    },
    Broken(CallError),
}

/// The one attempt of a large message, which runs beside its sender.
struct Attempt<T>(JoinHandle<Result<T, CallError>>);

impl<T> Drop for Attempt<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<K: Kind> Upload<K> {
    fn new(client: StoreClient, shard: ShardId, kind: K) -> Self {
        Self {
            client,
            shard,
            kind,
            state: State::Kept {
                chunks: Vec::new(),
                octets: 0,
            },
        }
    }

    /// Adds octets. Waits while the store takes no more. After an error nothing is handed over.
    pub async fn chunk(&mut self, octets: Bytes) -> Result<(), UploadError> {
        if octets.is_empty() {
            return Ok(());
        }
        if let State::Kept {
            chunks,
            octets: kept,
        } = &mut self.state
        {
            *kept += u64::try_from(octets.len()).unwrap_or(u64::MAX);
            chunks.push(octets);
            if *kept <= self.client.config().replay_limit.get() {
                return Ok(());
            }
            let chunks = std::mem::take(chunks);
            // The stream goes out once, so it had better go to the leader.
            self.client.locate(self.shard).await;
            self.state = self.flow();
            for chunk in chunks {
                self.send(K::chunk(chunk)).await?;
            }
            return Ok(());
        }
        self.send(K::chunk(octets)).await
    }

    /// Ends the message and waits until the store has it.
    pub async fn finish(mut self, finish: K::Finish) -> Result<K::Response, UploadError> {
        if let State::Kept { chunks, .. } = &mut self.state {
            let chunks = std::mem::take(chunks);
            return self.replay(&chunks, finish).await;
        }
        self.send(K::finish(finish)).await?;
        // The stream ends behind the finish.
        let State::Flowing { steps, mut answer } = self.state else {
            return Err(CallError::Unavailable("the upload is broken".to_owned()).into());
        };
        drop(steps);
        let deadline = Instant::now() + self.client.config().upload_timeout.get();
        let error = match timeout_at(deadline, &mut answer.0).await {
            Ok(Ok(Ok(response))) => return Ok(response),
            Ok(Ok(Err(error))) => error,
            Ok(Err(error)) => CallError::Unknown(error.to_string()),
            Err(_) => CallError::Unknown("no answer in time".to_owned()),
        };
        if !error.is_unknown() {
            // The octets are gone; the next message goes where the account lives.
            if let Some(account) = self.kind.account() {
                self.client.learn(account.account, &error);
            }
            return Err(error.into());
        }
        loop {
            match self.kind.resolve(&self.client).await {
                Resolved::Accepted(response) => return Ok(response),
                Resolved::GivenUp => {
                    let text = "the letter was not accepted".to_owned();
                    return Err(CallError::Unavailable(text).into());
                }
                Resolved::NotYet if Instant::now() < deadline => {}
                Resolved::NotYet | Resolved::Never => return Err(error.into()),
            }
        }
    }

    /// A whole small message, as often as it takes.
    async fn replay(
        &mut self,
        chunks: &[Bytes],
        finish: K::Finish,
    ) -> Result<K::Response, UploadError> {
        let mut moves = 0;
        loop {
            let error = match self.replay_once(chunks, &finish).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            moves += 1;
            if !self.follow(&error) || moves > MOVES {
                return Err(error.into());
            }
        }
    }

    /// Whether an error says that the account has moved; the message goes to its new shard then.
    fn follow(&mut self, error: &CallError) -> bool {
        let Some(account) = self.kind.account() else {
            return false;
        };
        let moved = self.client.learn(account.account, error);
        self.shard = self.client.home(account);
        moved
    }

    async fn replay_once(
        &self,
        chunks: &[Bytes],
        finish: &K::Finish,
    ) -> Result<K::Response, CallError> {
        let (max, limits) = (self.client.max_message(), self.client.quick());
        let accepted = self
            .client
            .call(self.shard, Repeat::Always, limits, |channel, _| {
                let mut steps = Vec::with_capacity(chunks.len() + 2);
                steps.push(self.kind.begin());
                steps.extend(chunks.iter().cloned().map(K::chunk));
                steps.push(K::finish(finish.clone()));
                K::call(channel, max, futures::stream::iter(steps))
            });
        accepted.await
    }

    /// Begins the one attempt of a large message.
    fn flow(&self) -> State<K> {
        let (steps, receiver) = mpsc::channel(UNDER_WAY);
        let (client, shard, max) = (self.client.clone(), self.shard, self.client.max_message());
        // The stream can be taken once: a second attempt finds it gone and ends the call.
        let stream = std::sync::Mutex::new(Some(ReceiverStream::new(receiver)));
        let begin = self.kind.clone();
        let attempt = async move {
            let mut limits = client.slow();
            // The sender may be slow; each of its chunks and the end have deadlines of their own.
            limits.call = std::time::Duration::from_secs(24 * 3600);
            limits.attempt = limits.call;
            let attempt = |channel, _| {
                let mut stream = stream
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                match stream.take() {
                    Some(chunks) => {
                        let begin = futures::stream::iter([begin.begin()]);
                        K::call(channel, max, futures::StreamExt::chain(begin, chunks))
                    }
                    None => Box::pin(async { Err(Status::aborted("the leader changed")) }),
                }
            };
            client
                .call(shard, Repeat::Unsubmitted, limits, attempt)
                .await
        };
        let attempt = postino_telemetry::in_current_role(attempt.in_current_span());
        State::Flowing {
            steps,
            answer: Attempt(tokio::spawn(attempt)),
        }
    }

    async fn send(&mut self, step: K::Request) -> Result<(), UploadError> {
        let limit = self.client.config().upload_timeout.get();
        let error = match &mut self.state {
            State::Flowing { steps, answer } => {
                match tokio::time::timeout(limit, steps.send(step)).await {
                    Ok(Ok(())) => return Ok(()),
                    // The attempt is over before the message is: it says why.
                    Ok(Err(_)) => match (&mut answer.0).await {
                        Ok(Err(CallError::Unknown(text))) => CallError::Unavailable(text),
                        Ok(Err(error)) => error,
                        Ok(Ok(_)) | Err(_) => {
                            CallError::Unavailable("the store ended the upload".to_owned())
                        }
                    },
                    Err(_) => CallError::Unavailable("the store takes nothing".to_owned()),
                }
            }
            State::Broken(error) => error.clone(),
            State::Kept { .. } => CallError::Unavailable("the upload has not begun".to_owned()),
        };
        // No finish was sent, so nothing is accepted, whatever happened.
        self.state = State::Broken(error.clone());
        Err(UploadError::NotAccepted(error))
    }
}

/// An upload into the spool.
#[derive(Debug, Clone)]
pub struct LetterUpload {
    queue_id: QueueId,
    size_hint: u64,
}

impl Upload<LetterUpload> {
    pub(crate) fn of_letter(client: StoreClient, queue_id: QueueId, size_hint: u64) -> Self {
        Self::new(
            client,
            queue_id.shard(),
            LetterUpload {
                queue_id,
                size_hint,
            },
        )
    }

    /// The id the letter will be known by.
    pub fn queue_id(&self) -> QueueId {
        self.kind.queue_id
    }
}

impl Kind for LetterUpload {
    type Request = AcceptRequest;
    type Finish = AcceptFinish;
    type Response = AcceptResponse;

    fn begin(&self) -> AcceptRequest {
        let begin = AcceptBegin {
            queue_id: self.queue_id.to_string(),
            size_hint: self.size_hint,
        };
        AcceptRequest {
            step: Some(AcceptStep::Begin(begin)),
        }
    }

    fn chunk(octets: Bytes) -> AcceptRequest {
        AcceptRequest {
            step: Some(AcceptStep::Chunk(octets)),
        }
    }

    fn finish(finish: AcceptFinish) -> AcceptRequest {
        AcceptRequest {
            step: Some(AcceptStep::Finish(finish)),
        }
    }

    fn call<S>(channel: Channel, max: usize, steps: S) -> Answer<AcceptResponse>
    where
        S: Stream<Item = AcceptRequest> + Send + 'static,
    {
        let stub = SpoolClient::new(channel);
        let mut stub = stub
            .max_decoding_message_size(max)
            .max_encoding_message_size(max);
        Box::pin(async move { stub.accept(steps).await.map(Response::into_inner) })
    }

    async fn resolve(&self, client: &StoreClient) -> Resolved<AcceptResponse> {
        let request = ResolveAcceptRequest {
            queue_id: self.queue_id.to_string(),
        };
        match client.resolve_accept(request).await {
            Ok(resolved) => match resolved.accepted {
                Some(response) => Resolved::Accepted(response),
                None => Resolved::GivenUp,
            },
            Err(error) if error.permanence() == Permanence::Temporary => Resolved::NotYet,
            Err(_) => Resolved::Never,
        }
    }
}

/// An upload into a mailbox.
#[derive(Debug, Clone)]
pub struct MessageUpload(AppendBegin);

impl Upload<MessageUpload> {
    pub(crate) fn of_message(client: StoreClient, mut begin: AppendBegin) -> Self {
        let account = begin.account.get_or_insert_default();
        let shard = client.home(account);
        Self::new(client, shard, MessageUpload(begin))
    }
}

impl Kind for MessageUpload {
    type Request = AppendRequest;
    type Finish = AppendFinish;
    type Response = AppendResponse;

    fn account(&mut self) -> Option<&mut Account> {
        self.0.account.as_mut()
    }

    fn begin(&self) -> AppendRequest {
        AppendRequest {
            step: Some(AppendStep::Begin(self.0.clone())),
        }
    }

    fn chunk(octets: Bytes) -> AppendRequest {
        AppendRequest {
            step: Some(AppendStep::Chunk(octets)),
        }
    }

    fn finish(finish: AppendFinish) -> AppendRequest {
        AppendRequest {
            step: Some(AppendStep::Finish(finish)),
        }
    }

    fn call<S>(channel: Channel, max: usize, steps: S) -> Answer<AppendResponse>
    where
        S: Stream<Item = AppendRequest> + Send + 'static,
    {
        let stub = MailStoreClient::new(channel);
        let mut stub = stub
            .max_decoding_message_size(max)
            .max_encoding_message_size(max);
        Box::pin(async move { stub.append(steps).await.map(Response::into_inner) })
    }

    async fn resolve(&self, _: &StoreClient) -> Resolved<AppendResponse> {
        Resolved::Never
    }
}
