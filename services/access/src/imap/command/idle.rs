//! `IDLE` (RFC 2177): changes are told as they happen.

use postino_imap::response::{self, Condition};
use postino_imap::{Event, Expunges};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, Span};

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::notify;
use crate::imap::session::{Session, Stage};
use crate::store_error::StoreError;

/// What ended one wait.
enum Woken {
    /// The client said something.
    Event(Event),
    /// The account has changed.
    Changed,
    /// It is time for a sign of life.
    KeepAlive,
    /// The process stops.
    Draining,
}

pub(in crate::imap) async fn run(session: &mut Session) -> Outcome {
    response::put_continuation(session.link.out(), "idling");
    session.link.receiver().expect_line();
    // What happened before the watch began.
    tell(session).await?;
    let keepalive = session.server.config.idle_keepalive.get();
    let deadline = Instant::now() + session.silence();
    loop {
        // Before the wait, since sending must not be dropped half-way.
        session.link.flush().await?;
        match wait(session, deadline, Instant::now() + keepalive).await? {
            Woken::Event(Event::Line(line)) if line.eq_ignore_ascii_case(b"DONE") => {
                return Ok(Done::new("done"));
            }
            Woken::Event(_) => return Err(Failure::bad("DONE was expected")),
            Woken::Changed => {
                let span = notify_span(session);
                tell(session).instrument(span).await?;
            }
            Woken::KeepAlive => {
                response::put_untagged(session.link.out(), Condition::Ok, None, "still here");
            }
            Woken::Draining => {
                let code = postino_imap::response::ResponseCode::Unavailable;
                return Err(Failure::Bye(
                    Some(code),
                    "the server is going down, come back",
                ));
            }
        }
    }
}

async fn wait(
    session: &mut Session,
    deadline: Instant,
    keepalive: Instant,
) -> Result<Woken, Failure> {
    let silence = deadline.saturating_duration_since(Instant::now());
    let shutdown = session.server.shutdown.clone();
    let changed = changed(&mut session.stage);
    tokio::select! {
        biased;
        event = session.link.event(silence) => Ok(Woken::Event(event?)),
        () = changed => Ok(Woken::Changed),
        () = shutdown.begun() => Ok(Woken::Draining),
        () = sleep_until(keepalive) => Ok(Woken::KeepAlive),
    }
}

/// Waits until the account has changed since the selected mailbox was read; without one, for ever.
async fn changed(stage: &mut Stage) {
    match stage {
        Stage::Selected(user, selected) => user.watch.beyond(selected.heard).await,
        _ => std::future::pending().await,
    }
}

/// A span of its own for each push: it may tell of many letters, and is linked to the trace of
/// each that is known.
fn notify_span(session: &Session) -> Span {
    let span = tracing::info_span!("imap.notify", postino.account = tracing::field::Empty,);
    if let Stage::Selected(user, selected) = &session.stage {
        span.record("postino.account", user.store.id().get());
        user.watch.link_letters(selected.heard, &span);
    }
    span
}

async fn tell(session: &mut Session) -> Result<(), Failure> {
    if !matches!(session.stage, Stage::Selected(..)) {
        return Ok(());
    }
    match notify::synchronise(session, Expunges::Tell).await {
        Err(Failure::Store(StoreError::Unavailable(reason))) => {
            // The change stream will break, too, and its coming back is a reason to read again.
            tracing::debug!(reason, "changes could not be read");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            Ok(())
        }
        other => other,
    }
}
