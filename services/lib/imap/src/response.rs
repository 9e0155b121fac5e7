//! What a server says.
//!
//! All writers append to a byte vector that the caller sends when it is large enough; the content
//! of a long literal does not pass through here, only its announcement.

mod code;
mod fetch;
mod status;
mod untagged;

pub use code::{ResponseCode, UidSet};
pub use fetch::{FetchWriter, Recent};
pub use status::{Condition, put_bye, put_continuation, put_greeting, put_tagged, put_untagged};
pub use untagged::{
    ListAttribute, put_capability, put_enabled, put_exists, put_expunge, put_flags, put_id,
    put_list, put_mailbox_status, put_namespace, put_recent, put_search,
};

#[cfg(test)]
mod tests;
