//! `postino queue`.

use futures::StreamExt;
use postino_proto::admin::v1::{
    ListQueueRequest, ReleaseQueueRequest, RetryQueueRequest, ShowLetterRequest,
};
use postino_proto::store::v1::{Letter, RecipientState, RecipientStatus};
use serde::Serialize;

use super::{AdminError, output};
use crate::cli::{QueueAction, Target};

/// What `queue list` and `cluster status` say after a restore.
pub(crate) const HELD: &str =
    "since a restore, nothing leaves for other servers until: postino queue release";

/// A letter, as `queue list` and `queue show` print it.
#[derive(Serialize)]
struct Row {
    queue_id: String,
    sender: String,
    size: u64,
    accepted_ms: u64,
    /// Recipients that are not settled.
    pending: Vec<String>,
    recipients: Vec<Recipient>,
    /// What is for other servers waits for "queue release", since a restore.
    held: bool,
}

#[derive(Serialize)]
struct Recipient {
    address: String,
    original: String,
    status: &'static str,
    attempts: u32,
    next_attempt_ms: u64,
    last_attempt_ms: u64,
    last_reply: String,
    last_remote: String,
}

pub(crate) async fn run(action: QueueAction, target: Target) -> Result<(), AdminError> {
    let admin = target.admin()?;
    match action {
        QueueAction::List => {
            let mut pages = admin.list_queue(ListQueueRequest {}).await?;
            let mut rows = Vec::new();
            while let Some(page) = pages.next().await {
                rows.extend(page?.letters.into_iter().map(row));
            }
            output::rows(
                target.json,
                &["queue_id", "sender", "size", "pending"],
                &rows,
            );
            if rows.iter().any(|row| row.held) {
                eprintln!("{HELD}");
            }
        }
        QueueAction::Show { queue_id } => {
            let answer = admin.show_letter(ShowLetterRequest { queue_id }).await?;
            let letter = answer.letter.map(row);
            let letter = letter.ok_or_else(|| AdminError::Input("no such letter".into()))?;
            show(target.json, &letter);
        }
        QueueAction::Release => {
            let answer = admin.release_queue(ReleaseQueueRequest {}).await?;
            let result = serde_json::json!({ "letters": answer.letters });
            let sentence = format!("released; {} letters are due now", answer.letters);
            output::done(target.json, &sentence, &result);
        }
        QueueAction::Retry { queue_id } => {
            let queue_id = queue_id.unwrap_or_default();
            let answer = admin.retry_queue(RetryQueueRequest { queue_id }).await?;
            let result = serde_json::json!({ "letters": answer.letters });
            output::done(
                target.json,
                &format!("{} letters are due now", answer.letters),
                &result,
            );
        }
    }
    Ok(())
}

fn show(json: bool, letter: &Row) {
    if json {
        return output::done(true, "", letter);
    }
    output::line(&format_args!(
        "{} from <{}>, {} octets",
        letter.queue_id, letter.sender, letter.size
    ));
    let columns = [
        "address",
        "status",
        "attempts",
        "next_attempt_ms",
        "last_remote",
        "last_reply",
    ];
    output::rows(false, &columns, &letter.recipients);
}

fn row(letter: Letter) -> Row {
    let envelope = letter.envelope.unwrap_or_default();
    let states = letter.recipients.iter();
    let recipients: Vec<Recipient> = states
        .filter_map(|state| recipient(&envelope.recipients, state))
        .collect();
    let unsettled = recipients
        .iter()
        .filter(|recipient| recipient.status == "pending");
    Row {
        pending: unsettled
            .map(|recipient| recipient.address.clone())
            .collect(),
        queue_id: letter.queue_id,
        sender: envelope.reverse_path,
        size: letter.size,
        accepted_ms: envelope.accepted_ms,
        held: letter.remote_held,
        recipients,
    }
}

fn recipient(
    all: &[postino_proto::mail::v1::Recipient],
    state: &RecipientState,
) -> Option<Recipient> {
    let recipient = all.get(usize::try_from(state.recipient).ok()?)?;
    Some(Recipient {
        address: recipient.address.clone(),
        original: recipient.original.clone(),
        status: match state.status() {
            RecipientStatus::Unspecified | RecipientStatus::Pending => "pending",
            RecipientStatus::Delivered => "delivered",
            RecipientStatus::Bounced => "bounced",
        },
        attempts: state.attempts,
        next_attempt_ms: state.next_attempt_ms,
        last_attempt_ms: state.last_attempt_ms,
        last_reply: state.last_reply.clone(),
        last_remote: state.last_remote.clone(),
    })
}
