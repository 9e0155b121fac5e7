//! Messages: listing and reading them.

use postino_proto::store::v1::*;
use tonic::Status;

use super::mailboxes::no_mailbox;
use super::pages::{self, End, Pages};
use super::{Context, body, convert};
use crate::db::{DbError, Family, Space};
use crate::model::mailbox::{self, MailboxRow};
use crate::model::message::{self, MessageRow as Row};
use crate::model::{Flow, Rows, email, last_u32};
use crate::raft::Group;
use crate::shards::broken;

/// Messages in one page of rows.
const ROWS_PAGE: usize = 1_000;
/// Octets of content after which a page of emails ends; the last email may go over it.
const EMAILS_PAGE: usize = 128 << 10;
/// Tombstones in one page.
const TOMBSTONES_PAGE: usize = 10_000;

/// One mailbox of an account.
#[derive(Clone, Copy)]
struct Place {
    account: u64,
    mailbox: u64,
}

impl Place {
    fn row(self, rows: &impl Rows, space: Space) -> Result<MailboxRow, Status> {
        let row = mailbox::find(rows, space, self.account, self.mailbox).map_err(broken)?;
        row.ok_or_else(no_mailbox)
    }

    /// Rows of messages in these ranges, as long as `each` goes on. Returns the UID at which it
    /// stopped; 0 at the end.
    fn visit(
        self,
        rows: &impl Rows,
        space: Space,
        uids: &[UidRange],
        each: &mut dyn FnMut(u32, Row) -> Result<Flow, DbError>,
    ) -> Result<u32, Status> {
        let mut stopped = 0;
        for range in uids {
            let range =
                message::between(space, self.account, self.mailbox, range.first, range.last);
            let visited = rows.visit(Family::Mailbox, &range, &mut |key, value| {
                let uid = last_u32(key)?;
                let flow = each(uid, Row::decode(value)?)?;
                if flow.is_break() {
                    stopped = uid;
                }
                Ok(flow)
            });
            visited.map_err(broken)?;
            if stopped != 0 {
                break;
            }
        }
        Ok(stopped)
    }
}

fn all_uids(ranges: Vec<UidRange>) -> Vec<UidRange> {
    match ranges.is_empty() {
        true => vec![UidRange {
            first: 1,
            last: u32::MAX,
        }],
        false => convert::uid_ranges(ranges),
    }
}

impl Context {
    pub(super) async fn messages(
        &self,
        request: ListMessagesRequest,
    ) -> Result<Pages<MessagePage>, Status> {
        let (group, account) = self.readable(request.account)?;
        let place = Place {
            account,
            mailbox: request.mailbox,
        };
        let uids = all_uids(request.uids);
        // The first page is read before the call is answered, so that a mailbox that is not there
        // is the call's own error.
        let (first, next) = message_page(self, &group, place, uids.clone()).await?;
        let context = self.clone();
        Ok(pages::stream(move |pages| async move {
            let (mut page, mut next) = (first, next);
            loop {
                pages.send(page).await?;
                if next == 0 {
                    return Ok::<(), End>(());
                }
                let rest = convert::from_uid(&uids, next);
                (page, next) = message_page(&context, &group, place, rest).await?;
            }
        }))
    }

    pub(super) async fn emails(
        &self,
        request: GetEmailsRequest,
    ) -> Result<Pages<EmailPage>, Status> {
        let (group, account) = self.readable(request.account)?;
        let place = Place {
            account,
            mailbox: request.mailbox,
        };
        let uids = all_uids(request.uids);
        let (first, next) = email_page(self, &group, place, uids.clone()).await?;
        let context = self.clone();
        Ok(pages::stream(move |pages| async move {
            let (mut page, mut next) = (first, next);
            loop {
                pages.send(page).await?;
                if next == 0 {
                    return Ok::<(), End>(());
                }
                let rest = convert::from_uid(&uids, next);
                (page, next) = email_page(&context, &group, place, rest).await?;
            }
        }))
    }

    pub(super) async fn read_octets(
        &self,
        request: ReadMessageRequest,
    ) -> Result<Pages<BodyChunk>, Status> {
        let (group, account) = self.readable(request.account)?;
        let read = self.read_account(&group, account, move |snapshot, space| {
            let key = message::message(space, account, request.mailbox, request.uid);
            let row = snapshot.get(Family::Mailbox, key).map_err(broken)?;
            let row = row.ok_or_else(|| Status::not_found("there is no such message"))?;
            let id = Row::decode(&row).map_err(broken)?.email;
            let email = email::find(snapshot, space, id).map_err(broken)?;
            email.ok_or_else(|| broken(DbError::corrupt("a message without its email")))
        });
        let email = read.await?;
        let content = convert::email_content(&email.content).map_err(broken)?;
        let segments = content.unwrap_or_default().segments;
        let octets = body::delivered(&segments, &email.body, request.offset, request.length)?;
        Ok(body::read(self, group.shard(), octets))
    }

    pub(super) async fn changes(
        &self,
        request: ListChangesRequest,
    ) -> Result<Pages<ChangePage>, Status> {
        let (group, account) = self.readable(request.account)?;
        let place = Place {
            account,
            mailbox: request.mailbox,
        };
        let start = self.read_account(&group, account, move |snapshot, space| {
            let row = mailbox::find(snapshot, space, place.account, place.mailbox);
            row.map_err(broken)
        });
        let Some(row) = start.await? else {
            let gone = ChangePage {
                mailbox_gone: true,
                highest_mod_seq: Some(0),
                ..ChangePage::default()
            };
            return Ok(Box::pin(tokio_stream::once(Ok(gone))));
        };
        let context = self.clone();
        Ok(pages::stream(move |pages| async move {
            let since = request.since_mod_seq;
            // What changes while the pages are read gets a higher mod-sequence than this one, and
            // is told with the next call.
            let upto = row.highest_mod_seq;
            let mut after = Some((since, u32::MAX));
            while let Some(from) = after {
                let page = change_page(&context, &group, place, from, upto).await?;
                after = page.1;
                if !page.0.changed.is_empty() {
                    pages.send(page.0).await?;
                }
            }
            let mut after = Some((since, u32::MAX));
            while let Some(from) = after {
                let page = tombstone_page(&context, &group, place, from, upto).await?;
                after = page.1;
                if !page.0.expunged.is_empty() {
                    pages.send(page.0).await?;
                }
            }
            let last = ChangePage {
                highest_mod_seq: Some(upto),
                uid_next: row.uid_next,
                ..ChangePage::default()
            };
            pages.send(last).await?;
            Ok::<(), End>(())
        }))
    }
}

async fn message_page(
    context: &Context,
    group: &Group,
    place: Place,
    uids: Vec<UidRange>,
) -> Result<(MessagePage, u32), Status> {
    let read = context.read_account(group, place.account, move |snapshot, space| {
        let mailbox = place.row(snapshot, space)?;
        let mut messages = Vec::new();
        let next = place.visit(snapshot, space, &uids, &mut |uid, row| {
            if messages.len() >= ROWS_PAGE {
                return Ok(Flow::Break(()));
            }
            messages.push(row.shown(uid, &mailbox));
            Ok(Flow::Continue(()))
        })?;
        Ok((MessagePage { messages }, next))
    });
    read.await
}

async fn email_page(
    context: &Context,
    group: &Group,
    place: Place,
    uids: Vec<UidRange>,
) -> Result<(EmailPage, u32), Status> {
    let read = context.read_account(group, place.account, move |snapshot, space| {
        place.row(snapshot, space)?;
        let (mut emails, mut octets) = (Vec::new(), 0);
        let next = place.visit(snapshot, space, &uids, &mut |uid, row| {
            if octets >= EMAILS_PAGE {
                return Ok(Flow::Break(()));
            }
            let Some(email) = email::find(snapshot, space, row.email)? else {
                return Err(DbError::corrupt("a message without its email"));
            };
            octets += email.content.len();
            let mut content = convert::email_content(&email.content)?;
            if let Some(content) = &mut content {
                content.segments.clear();
            }
            emails.push(UidEmail { uid, content });
            Ok(Flow::Continue(()))
        })?;
        Ok((EmailPage { emails }, next))
    });
    read.await
}

/// Mod-sequence and UID behind which the next page starts.
type After = Option<(u64, u32)>;

async fn change_page(
    context: &Context,
    group: &Group,
    place: Place,
    (mod_seq, uid): (u64, u32),
    upto: u64,
) -> Result<(ChangePage, After), Status> {
    let Place { account, mailbox } = place;
    let read = context.read_account(group, account, move |snapshot, space| {
        let mailbox_row = place.row(snapshot, space)?;
        let range = mailbox::changes(space, account, mailbox, mod_seq.saturating_sub(1));
        let range = range.after(mailbox::changed(space, account, mailbox, mod_seq, uid));
        let (mut changed, mut after) = (Vec::new(), None);
        let visited = snapshot.visit(Family::Change, &range, &mut |key, _| {
            let (mod_seq, uid) = mailbox::parse_change(key)?;
            if mod_seq > upto {
                return Ok(Flow::Break(()));
            }
            let key = message::message(space, account, mailbox, uid);
            if let Some(row) = snapshot.get(Family::Mailbox, key)? {
                changed.push(Row::decode(&row)?.shown(uid, &mailbox_row));
            }
            if changed.len() < ROWS_PAGE {
                return Ok(Flow::Continue(()));
            }
            after = Some((mod_seq, uid));
            Ok(Flow::Break(()))
        });
        visited.map_err(broken)?;
        let page = ChangePage {
            changed,
            ..ChangePage::default()
        };
        Ok((page, after))
    });
    read.await
}

async fn tombstone_page(
    context: &Context,
    group: &Group,
    place: Place,
    (mod_seq, uid): (u64, u32),
    upto: u64,
) -> Result<(ChangePage, After), Status> {
    let Place { account, mailbox } = place;
    let read = context.read_account(group, account, move |snapshot, space| {
        let range = mailbox::tombstones(space, account, mailbox, mod_seq.saturating_sub(1));
        let range = range.after(mailbox::expunged(space, account, mailbox, mod_seq, uid));
        let (mut expunged, mut after) = (Vec::new(), None);
        let visited = snapshot.visit(Family::Change, &range, &mut |key, value| {
            let (mod_seq, first) = mailbox::parse_change(key)?;
            if mod_seq > upto {
                return Ok(Flow::Break(()));
            }
            let last = last_u32(value)?;
            expunged.push(UidRange { first, last });
            if expunged.len() < TOMBSTONES_PAGE {
                return Ok(Flow::Continue(()));
            }
            after = Some((mod_seq, first));
            Ok(Flow::Break(()))
        });
        visited.map_err(broken)?;
        let page = ChangePage {
            expunged,
            ..ChangePage::default()
        };
        Ok((page, after))
    });
    read.await
}
