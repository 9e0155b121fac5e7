//! openraft's runtime in tests: tokio's, but inside of a simulation the simulation's. Channels are
//! tokio's in both; they know no runtime.

use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use openraft::impls::TokioRuntime;
use openraft::{AsyncRuntime, OptionalSend};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::oneshot;

use super::executor::{self, Timer};

/// See the module.
#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

/// A moment of real or of virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Instant);

/// Longer than anything waits.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// Where virtual time begins.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

impl openraft::Instant for Moment {
    fn now() -> Self {
        match executor::current() {
            Some(executor) => Self(origin() + executor.now()),
            None => Self(tokio::time::Instant::now().into_std()),
        }
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, more: Duration) -> Self {
        // "Never" is a long time.
        Self(self.0 + more.min(NEVER))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, more: Duration) {
        *self = *self + more;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, less: Duration) -> Self {
        Self(self.0 - less)
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }
}

impl SubAssign<Duration> for Moment {
    fn sub_assign(&mut self, less: Duration) {
        self.0 -= less;
    }
}

/// A sleep of real or of virtual time.
pub(crate) enum Sleep {
    Real(Pin<Box<tokio::time::Sleep>>),
    Virtual(Timer),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.get_mut() {
            Self::Real(sleep) => sleep.as_mut().poll(context),
            Self::Virtual(timer) => Pin::new(timer).poll(context),
        }
    }
}

/// A future that is given up at a time.
pub(crate) struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

/// It was.
#[derive(Debug)]
pub(crate) struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too late")
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Late>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(value) = this.future.as_mut().poll(context) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(&mut this.sleep).poll(context).map(|()| Err(Late))
    }
}

/// A task that was spawned.
pub(crate) enum Handle<T> {
    Real(tokio::task::JoinHandle<T>),
    Virtual(oneshot::Receiver<T>),
}

/// Why it has no outcome.
#[derive(Debug)]
pub(crate) enum Lost {
    Real(tokio::task::JoinError),
    Virtual,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real(error) => error.fmt(f),
            Self::Virtual => f.write_str("the simulation has ended"),
        }
    }
}

impl<T> Future for Handle<T> {
    type Output = Result<T, Lost>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Real(handle) => Pin::new(handle).poll(context).map_err(Lost::Real),
            Self::Virtual(done) => Pin::new(done).poll(context).map_err(|_| Lost::Virtual),
        }
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = Lost;
    type JoinHandle<T: OptionalSend + 'static> = Handle<T>;
    type Sleep = Sleep;
    type Instant = Moment;
    type TimeoutError = Late;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Handle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let Some(executor) = executor::current() else {
            return Handle::Real(tokio::spawn(future));
        };
        let (sender, done) = oneshot::channel();
        executor.spawn(async move {
            // Whoever spawned it may not care.
            let _ = sender.send(future.await);
        });
        Handle::Virtual(done)
    }

    fn sleep(duration: Duration) -> Sleep {
        Self::sleep_until(<Moment as openraft::Instant>::now() + duration)
    }

    fn sleep_until(deadline: Moment) -> Sleep {
        if executor::is_simulated() {
            return Sleep::Virtual(Timer::new(deadline.0.saturating_duration_since(origin())));
        }
        let deadline = tokio::time::Instant::from_std(deadline.0);
        Sleep::Real(Box::pin(tokio::time::sleep_until(deadline)))
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Timeout<F> {
        Timeout {
            future: Box::pin(future),
            sleep: Self::sleep(duration),
        }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Moment,
        future: F,
    ) -> Timeout<F> {
        Timeout {
            future: Box::pin(future),
            sleep: Self::sleep_until(deadline),
        }
    }

    fn is_panic(error: &Lost) -> bool {
        matches!(error, Lost::Real(error) if error.is_panic())
    }

    fn thread_rng() -> SmallRng {
        let seed = executor::current().map_or_else(|| fastrand::u64(..), |now| now.draw());
        SmallRng::seed_from_u64(seed)
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
