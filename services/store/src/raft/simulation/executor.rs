//! One thread, virtual time, and one seed: which task goes on next is drawn, and time passes only
//! when none can.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use fastrand::Rng;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// What runs in this thread.
pub(super) struct Executor {
    now: Cell<Duration>,
    chance: RefCell<Rng>,
    next_task: Cell<u64>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    /// Tasks that can go on. A set, since tokio's channels wake those who wait for them in an order
    /// that they draw themselves.
    ready: Arc<Mutex<BTreeSet<u64>>>,
    next_timer: Cell<u64>,
    timers: RefCell<BTreeMap<(Duration, u64), Waker>>,
}

/// Wakes a task.
struct Awakening {
    task: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for Awakening {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap().insert(self.task);
    }
}

/// The executor of this thread; `None` outside of a simulation.
pub(super) fn current() -> Option<Rc<Executor>> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Whether this thread is a simulation.
pub(crate) fn is_simulated() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}

/// Runs a future, and all that it spawns, until it is done. What it left goes.
pub(super) fn run<T: Send + 'static>(
    seed: u64,
    main: impl Future<Output = T> + Send + 'static,
) -> T {
    let executor = Rc::new(Executor {
        now: Cell::default(),
        chance: RefCell::new(Rng::with_seed(seed)),
        next_task: Cell::default(),
        tasks: RefCell::default(),
        ready: Arc::default(),
        next_timer: Cell::default(),
        timers: RefCell::default(),
    });
    let guard = Guard::new(Rc::clone(&executor));
    let outcome = Arc::new(Mutex::new(None));
    let done = Arc::clone(&outcome);
    executor.spawn(async move {
        let value = main.await;
        *done.lock().unwrap() = Some(value);
    });
    let value = loop {
        if let Some(value) = outcome.lock().unwrap().take() {
            break value;
        }
        if !executor.step() {
            panic!("everything waits, and nothing will come");
        }
    };
    drop(guard);
    value
}

/// Makes an executor the current one of this thread for as long as it lives.
struct Guard;

impl Guard {
    fn new(executor: Rc<Executor>) -> Self {
        let before = CURRENT.with(|current| current.borrow_mut().replace(executor));
        assert!(before.is_none(), "one simulation at a time in a thread");
        Self
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Tasks are dropped while the executor is still there: they hold timers.
        if let Some(executor) = current() {
            let tasks = std::mem::take(&mut *executor.tasks.borrow_mut());
            drop(tasks);
        }
        CURRENT.with(|current| current.borrow_mut().take());
    }
}

impl Executor {
    /// Virtual time since the start.
    pub(super) fn now(&self) -> Duration {
        self.now.get()
    }

    /// The next random number.
    pub(super) fn draw(&self) -> u64 {
        self.chance.borrow_mut().u64(..)
    }

    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let task = self.next_task.replace(self.next_task.get() + 1);
        self.tasks.borrow_mut().insert(task, Box::pin(future));
        self.ready.lock().unwrap().insert(task);
    }

    /// Goes one step on; `false` if nothing can.
    fn step(&self) -> bool {
        let task = {
            let mut ready = self.ready.lock().unwrap();
            let drawn = match ready.len() {
                0 => None,
                count => ready.iter().nth(self.chance.borrow_mut().usize(..count)),
            };
            let drawn = drawn.copied();
            drawn.inspect(|task| {
                ready.remove(task);
            })
        };
        let Some(task) = task else {
            let Some(((due, _), waker)) = self.timers.borrow_mut().pop_first() else {
                return false;
            };
            self.now.set(due.max(self.now.get()));
            waker.wake();
            return true;
        };
        // Out of the map while it runs, since it may spawn others.
        let Some(mut future) = self.tasks.borrow_mut().remove(&task) else {
            return true;
        };
        let waker = Waker::from(Arc::new(Awakening {
            task,
            ready: Arc::clone(&self.ready),
        }));
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => drop(future),
            Poll::Pending => {
                self.tasks.borrow_mut().insert(task, future);
            }
        }
        true
    }
}

/// Ready once virtual time has come so far.
#[derive(Debug)]
pub(crate) struct Timer {
    due: Duration,
    /// Its place among the timers, once it is there.
    number: Option<u64>,
}

impl Timer {
    pub(super) fn new(due: Duration) -> Self {
        Self { due, number: None }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(executor) = current() else {
            return Poll::Pending;
        };
        if executor.now() >= self.due {
            return Poll::Ready(());
        }
        let number = *self
            .number
            .get_or_insert_with(|| executor.next_timer.replace(executor.next_timer.get() + 1));
        let mut timers = executor.timers.borrow_mut();
        timers.insert((self.due, number), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let (Some(number), Some(executor)) = (self.number, current()) {
            executor.timers.borrow_mut().remove(&(self.due, number));
        }
    }
}
