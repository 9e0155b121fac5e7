//! Whether the `From:` of a submitted letter is the user's.

use postino_message::{AddressItem, Structure, addresses};
use postino_smtp::server::Verdict;
use postino_types::Reply;

use super::Session;
use crate::config::FromCheck;

impl Session {
    /// Whether the `From:` of a submitted letter is the user's, if that is asked for
    /// (RFC 6409 section 6.1).
    pub(super) async fn check_from(&self, structure: &Structure) -> Result<(), Reply> {
        let (Some(user), FromCheck::Owned) = (&self.user, self.server.config.from_check) else {
            return Ok(());
        };
        for field in structure.fields().filter(|field| field.is("From")) {
            for address in from_addresses(&field.unfolded()) {
                let verdict = match address.parse() {
                    Ok(address) => self.check_owner(user.account, &address).await,
                    Err(_) => continue,
                };
                if let Verdict::Refuse(reply) = verdict {
                    return Err(reply);
                }
            }
        }
        Ok(())
    }
}

/// The addresses of a `From:` field as text.
fn from_addresses(value: &[u8]) -> Vec<String> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let address = |item| match item {
        AddressItem::Mailbox(mailbox) => {
            let domain = mailbox.domain.as_deref()?;
            Some(format!("{}@{}", text(&mailbox.local), text(domain)))
        }
        _ => None,
    };
    addresses(value).into_iter().filter_map(address).collect()
}
