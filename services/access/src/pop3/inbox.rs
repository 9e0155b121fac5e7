//! The maildrop: an account's INBOX.

use postino_message::ByteRange;
use postino_pop3::{Maildrop, Message};
use postino_proto::store::v1::{BodyChunk, UidRange};
use postino_types::{MailboxName, Uid, UidValidity};

use crate::account::{Incoming, MailAccount};
use crate::store_error::StoreError;

/// Runs of UIDs that one call removes at most.
const BATCH: usize = 1000;

/// INBOX of the account that is logged in.
pub(super) struct Inbox {
    account: MailAccount,
    mailbox: u64,
}

impl Inbox {
    /// Opens INBOX and lists its messages as they are now.
    pub(super) async fn open(account: MailAccount) -> Result<(Self, Maildrop), StoreError> {
        let state = account.open_mailbox(&MailboxName::inbox(), false).await?;
        let broken = |what: &str| StoreError::Broken(format!("INBOX has {what}"));
        let validity = UidValidity::new(state.uid_validity);
        let validity = validity.map_err(|_| broken("no UIDVALIDITY"))?;
        let mut messages = Vec::new();
        let mut pages = account.stream_messages(state.mailbox, Vec::new()).await?;
        while let Some(page) = pages.message().await? {
            for row in page.messages {
                let uid = Uid::new(row.uid).map_err(|_| broken("a message without UID"))?;
                messages.push(Message {
                    uid,
                    size: row.size,
                });
            }
        }
        let inbox = Self {
            account,
            mailbox: state.mailbox,
        };
        Ok((inbox, Maildrop::new(validity, messages)))
    }

    /// The octets of a message from an offset on; there must be some.
    pub(super) async fn read(
        &self,
        message: Message,
        offset: u64,
    ) -> Result<Incoming<BodyChunk>, StoreError> {
        let range = ByteRange::new(offset, message.size);
        self.account
            .read_message(self.mailbox, message.uid, range)
            .await
    }

    /// Removes messages for good, whatever their flags. `uids` ascend. Doing it twice is doing it
    /// once: a UID is never used again.
    pub(super) async fn remove(&self, uids: &[Uid]) -> Result<(), StoreError> {
        for batch in runs(uids).chunks(BATCH) {
            self.account
                .remove_messages(self.mailbox, batch.to_vec())
                .await?;
        }
        Ok(())
    }
}

/// Ascending UIDs as runs.
fn runs(uids: &[Uid]) -> Vec<UidRange> {
    let mut runs: Vec<UidRange> = Vec::new();
    for uid in uids.iter().map(|uid| uid.get()) {
        match runs.last_mut() {
            Some(run) if run.last.checked_add(1) == Some(uid) => run.last = uid,
            _ => runs.push(UidRange {
                first: uid,
                last: uid,
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_run() {
        let uids: Vec<Uid> = [1, 2, 3, 7, 9, 10]
            .into_iter()
            .map(|uid| Uid::new(uid).expect("not 0"))
            .collect();
        let runs: Vec<_> = runs(&uids)
            .into_iter()
            .map(|run| (run.first, run.last))
            .collect();
        assert_eq!(runs, [(1, 3), (7, 7), (9, 10)]);
    }
}
