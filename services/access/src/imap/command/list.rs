//! `LIST` and `LSUB` (RFC 3501 sections 6.3.8 and 6.3.9, RFC 3348, RFC 6154).

use std::collections::{BTreeMap, BTreeSet};

use postino_imap::Pattern;
use postino_imap::command::{List, ListKind};
use postino_imap::response::{self, ListAttribute, ResponseCode};
use postino_proto::store::v1::{ListMailboxesResponse, SpecialUse};
use postino_types::SEPARATOR;

use crate::imap::failure::{Done, Failure, Outcome};
use crate::imap::session::Session;

/// Octets of reference and pattern together: twice the longest name is more than any pattern
/// needs, and matching takes time in proportion to it.
const MAX_PATTERN: usize = 1024;

pub(in crate::imap) async fn run(session: &mut Session, list: List) -> Outcome {
    if list.pattern.is_empty() {
        // Asks for the separator and the root of the reference.
        let out = session.link.out();
        response::put_list(out, list.kind, &[ListAttribute::NoSelect], "");
        return Ok(Done::new("done"));
    }
    if list.reference.len() + list.pattern.len() > MAX_PATTERN {
        return Err(Failure::no(ResponseCode::Limit, "the pattern is too long"));
    }
    let subscriptions = list.kind == ListKind::Lsub;
    let mailboxes = session.store()?.list_mailboxes(subscriptions).await?;
    let pattern = Pattern::new(&list.reference, &list.pattern, SEPARATOR);
    let found = match list.kind {
        ListKind::List => listed(&mailboxes, &pattern),
        ListKind::Lsub => subscribed(&mailboxes, &pattern),
    };
    for (name, attributes) in found {
        response::put_list(session.link.out(), list.kind, &attributes, &name);
        session.link.pace().await?;
    }
    Ok(Done::new("done"))
}

type Found = BTreeMap<String, Vec<ListAttribute>>;

/// The names above a name.
fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices(SEPARATOR).map(|(at, _)| &name[..at])
}

/// Mailboxes that match, and names above mailboxes that are none themselves.
fn listed(mailboxes: &ListMailboxesResponse, pattern: &Pattern) -> Found {
    let names = || mailboxes.mailboxes.iter().map(|m| m.name.as_str());
    let parents: BTreeSet<&str> = names().flat_map(ancestors).collect();
    let children = |name: &str| match parents.contains(name) {
        true => ListAttribute::HasChildren,
        false => ListAttribute::HasNoChildren,
    };
    let mut found = Found::new();
    for parent in parents.iter().filter(|name| pattern.matches(name)) {
        let attributes = vec![ListAttribute::NoSelect, ListAttribute::HasChildren];
        found.insert((*parent).to_owned(), attributes);
    }
    for mailbox in mailboxes
        .mailboxes
        .iter()
        .filter(|m| pattern.matches(&m.name))
    {
        let special_use = SpecialUse::try_from(mailbox.special_use).ok();
        let special_use = special_use.and_then(SpecialUse::known);
        let mut attributes = vec![children(&mailbox.name)];
        attributes.extend(special_use.map(ListAttribute::SpecialUse));
        found.insert(mailbox.name.clone(), attributes);
    }
    found
}

/// Subscribed names that match, whether they exist or not. With `%`, a name that is not subscribed
/// but has a subscribed name below it is told as `\Noselect` (section 6.3.9).
fn subscribed(mailboxes: &ListMailboxesResponse, pattern: &Pattern) -> Found {
    let names: BTreeSet<&str> = mailboxes.subscribed.iter().map(String::as_str).collect();
    let exists: BTreeSet<&str> = mailboxes
        .mailboxes
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    let mut found = Found::new();
    for name in names.iter().copied() {
        if pattern.matches(name) {
            let attributes = match exists.contains(name) {
                true => vec![],
                false => vec![ListAttribute::NoSelect],
            };
            found.insert(name.to_owned(), attributes);
        } else if let Some(parent) = ancestors(name).find(|name| pattern.matches(name))
            && !names.contains(parent)
        {
            found.insert(parent.to_owned(), vec![ListAttribute::NoSelect]);
        }
    }
    found
}

/// The name of a mailbox, for tests that build them.
#[cfg(test)]
fn mailbox(name: &str, special_use: SpecialUse) -> postino_proto::store::v1::MailboxState {
    let name: postino_types::MailboxName = name.parse().expect("a valid name");
    postino_proto::store::v1::MailboxState {
        name: name.to_string(),
        special_use: special_use.into(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> ListMailboxesResponse {
        ListMailboxesResponse {
            mailboxes: vec![
                mailbox("INBOX", SpecialUse::Unspecified),
                mailbox("Sent", SpecialUse::Sent),
                mailbox("a/b/c", SpecialUse::Unspecified),
                mailbox("a/x", SpecialUse::Unspecified),
            ],
            subscribed: vec!["INBOX".into(), "a/x".into(), "gone".into()],
        }
    }

    fn names(found: &Found) -> Vec<&str> {
        found.keys().map(String::as_str).collect()
    }

    #[test]
    fn list_shows_mailboxes_and_what_is_above_them() {
        let found = listed(&account(), &Pattern::new("", "%", '/'));
        assert_eq!(names(&found), ["INBOX", "Sent", "a"]);
        assert_eq!(
            found["a"],
            [ListAttribute::NoSelect, ListAttribute::HasChildren]
        );
        assert_eq!(
            found["Sent"],
            [
                ListAttribute::HasNoChildren,
                ListAttribute::SpecialUse(postino_types::SpecialUse::Sent)
            ]
        );
        let found = listed(&account(), &Pattern::new("a/", "*", '/'));
        assert_eq!(names(&found), ["a/b", "a/b/c", "a/x"]);
    }

    #[test]
    fn lsub_shows_subscriptions_and_with_percent_their_parents() {
        let found = subscribed(&account(), &Pattern::new("", "*", '/'));
        assert_eq!(names(&found), ["INBOX", "a/x", "gone"]);
        assert_eq!(found["gone"], [ListAttribute::NoSelect]);
        let found = subscribed(&account(), &Pattern::new("", "%", '/'));
        assert_eq!(names(&found), ["INBOX", "a", "gone"]);
        assert_eq!(found["a"], [ListAttribute::NoSelect]);
    }
}
