//! Names of mailboxes as names of files.

use std::path::{Component, Path, PathBuf};

use postino_imap::utf7;
use postino_types::{MailboxName, MailboxNameError};

/// A full stop inside a level: in Maildir++ it separates levels, and modified UTF-7 never writes
/// a printable character this way, so nothing else looks like it.
const FULL_STOP: &str = "&AC4-";

/// The folder of a mailbox in a Maildir++, relative to the top: levels joined by full stops, in
/// modified UTF-7.
pub(super) fn maildir_folder(mailbox: &MailboxName) -> String {
    if mailbox.is_inbox() {
        return String::new();
    }
    let level = |level: &str| {
        let parts: Vec<String> = level.split('.').map(utf7::encode).collect();
        parts.join(FULL_STOP)
    };
    let levels: Vec<String> = mailbox.as_str().split('/').map(level).collect();
    format!(".{}", levels.join("."))
}

/// The mailbox of a folder, from its path below the top. Reads Maildir++ (`.Archive.2026`) and
/// plain trees of folders (`Archive/2026`) alike.
pub(super) fn mailbox_of(path: &Path) -> Result<MailboxName, MailboxNameError> {
    let mut levels = Vec::new();
    for component in path.components() {
        let Component::Normal(name) = component else {
            continue;
        };
        let name = name.to_string_lossy();
        match name.strip_prefix('.') {
            Some(folders) => levels.extend(folders.split('.').map(decode)),
            None => levels.push(decode(&name)),
        }
    }
    match levels.is_empty() {
        true => Ok(MailboxName::inbox()),
        false => levels.join("/").parse(),
    }
}

/// A level; one that is no modified UTF-7 is taken as it stands.
fn decode(level: &str) -> String {
    let parts: Result<Vec<String>, _> = level.split(FULL_STOP).map(utf7::decode).collect();
    match parts {
        Ok(parts) => parts.join("."),
        Err(_) => level.to_owned(),
    }
}

/// The file of a mailbox in a tree of mbox files, relative to the top. A level that would be
/// hidden, or no name at all, gets an underscore in front.
pub(super) fn mbox_file(mailbox: &MailboxName) -> PathBuf {
    let level = |level: &str| match level.starts_with('.') {
        true => format!("_{level}"),
        false => level.to_owned(),
    };
    let levels: Vec<String> = mailbox.as_str().split('/').map(level).collect();
    PathBuf::from(format!("{}.mbox", levels.join("/")))
}

/// The mailbox of an mbox file, from its path below the top.
pub(super) fn mailbox_of_file(path: &Path) -> Result<MailboxName, MailboxNameError> {
    let path = path.with_extension("");
    let level = |component: Component<'_>| {
        let name = component.as_os_str().to_string_lossy().into_owned();
        match name.strip_prefix('_') {
            Some(hidden) if hidden.starts_with('.') => hidden.to_owned(),
            _ => name,
        }
    };
    let levels: Vec<String> = path.components().map(level).collect();
    levels.join("/").parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MailboxName {
        text.parse().unwrap()
    }

    #[test]
    fn maildir_folders_go_both_ways() {
        for (mailbox, folder) in [
            ("INBOX", ""),
            ("Sent", ".Sent"),
            ("Archive/2026", ".Archive.2026"),
            ("a.b/c", ".a&AC4-b.c"),
            ("Entwürfe", ".Entw&APw-rfe"),
            ("ü.ä", ".&APw-&AC4-&AOQ-"),
            ("R&D", ".R&-D"),
            ("INBOX/x", ".INBOX.x"),
        ] {
            assert_eq!(maildir_folder(&name(mailbox)), folder);
            assert_eq!(mailbox_of(Path::new(folder)), Ok(name(mailbox)), "{folder}");
        }
    }

    #[test]
    fn foreign_folders_are_read() {
        assert_eq!(mailbox_of(Path::new("Inbox")), Ok(MailboxName::inbox()));
        assert_eq!(mailbox_of(Path::new("Lists/Rust")), Ok(name("Lists/Rust")));
        assert_eq!(mailbox_of(Path::new(".Entwürfe")), Ok(name("Entwürfe")));
        assert_eq!(mailbox_of(Path::new(".A & B")), Ok(name("A & B")));
        assert!(mailbox_of(Path::new(".a..b")).is_err());
    }

    #[test]
    fn mbox_files_go_both_ways() {
        for (mailbox, file) in [
            ("INBOX", "INBOX.mbox"),
            ("Archive/2026.1", "Archive/2026.1.mbox"),
            (".hidden/x", "_.hidden/x.mbox"),
            ("../x", "_../x.mbox"),
            ("_a", "_a.mbox"),
        ] {
            assert_eq!(mbox_file(&name(mailbox)), Path::new(file));
            assert_eq!(mailbox_of_file(Path::new(file)), Ok(name(mailbox)));
        }
    }
}
