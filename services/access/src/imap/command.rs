//! What each command does: one file per command.

pub(super) mod append;
pub(super) mod authenticate;
pub(super) mod capability;
pub(super) mod close;
pub(super) mod copy;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod enable;
pub(super) mod expunge;
pub(super) mod fetch;
pub(super) mod id;
pub(super) mod idle;
pub(super) mod list;
pub(super) mod login;
pub(super) mod logout;
pub(super) mod r#move;
pub(super) mod namespace;
pub(super) mod noop;
pub(super) mod rename;
pub(super) mod search;
pub(super) mod select;
pub(super) mod starttls;
pub(super) mod status;
pub(super) mod store;
pub(super) mod subscribe;
