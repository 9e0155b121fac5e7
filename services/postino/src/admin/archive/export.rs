//! `postino export`: the mail of an account into files.

use std::fs;
use std::io;
use std::path::Path;

use futures::StreamExt;
use postino_proto::convert;
use postino_proto::store::v1::{ListMessagesRequest, MailboxState, MessageRow, ReadMessageRequest};
use postino_types::{MailboxName, Uid};
use serde::Serialize;

use super::account::MailAccount;
use super::{Attributes, Format, folder, maildir, mbox};
use crate::admin::{AdminError, output};
use crate::cli::Target;

#[derive(Debug, Default, Serialize)]
struct Exported {
    mailboxes: u64,
    messages: u64,
    octets: u64,
    /// Flags that found no place in the format.
    lost_keywords: u64,
    /// Messages that come back with other line ends than they have.
    inexact: u64,
}

/// One mailbox, as it is written.
enum Sink {
    Maildir(maildir::Folder),
    Mbox(mbox::Writer),
}

/// Writes every mailbox of an account below `directory`, which must be empty or not be there.
/// What is on disk when it ends is on disk for good.
pub(crate) async fn export(
    address: &str,
    directory: &Path,
    format: Format,
    target: Target,
) -> Result<(), AdminError> {
    let account = MailAccount::find(&target, address).await?;
    make_empty(directory).map_err(|error| at(directory, &error))?;
    let mut exported = Exported::default();
    let mut mailboxes = account.mailboxes().await?;
    // INBOX first: it makes the top of a Maildir++.
    mailboxes.sort_by_key(|mailbox| (mailbox.name != "INBOX", mailbox.name.clone()));
    for mailbox in mailboxes {
        export_mailbox(&account, &mailbox, directory, format, &mut exported).await?;
    }
    let sentence = format!(
        "{}: {} messages of {} mailboxes are in {}{}{}",
        account.address,
        exported.messages,
        exported.mailboxes,
        directory.display(),
        match exported.lost_keywords {
            0 => String::new(),
            lost => format!("; {lost} keywords had no letter left and are lost"),
        },
        match exported.inexact {
            0 => String::new(),
            odd => format!("; {odd} messages have line ends that this format cannot keep"),
        },
    );
    output::done(target.json, &sentence, &exported);
    Ok(())
}

fn make_empty(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    match fs::read_dir(directory)?.next() {
        None => Ok(()),
        Some(_) => Err(io::Error::other("the directory is not empty")),
    }
}

async fn export_mailbox(
    account: &MailAccount,
    mailbox: &MailboxState,
    directory: &Path,
    format: Format,
    exported: &mut Exported,
) -> Result<(), AdminError> {
    let broken = |what: String| AdminError::Input(format!("mailbox {:?}: {what}", mailbox.name));
    let name: MailboxName = mailbox
        .name
        .parse()
        .map_err(|error: postino_types::MailboxNameError| broken(error.to_string()))?;
    let mut sink = Sink::open(directory, &name, format).map_err(|error| at(directory, &error))?;
    let request = ListMessagesRequest {
        account: Some(account.account),
        mailbox: mailbox.mailbox,
        uids: Vec::new(),
    };
    let mut pages = account.store.list_messages(request).await?;
    while let Some(page) = pages.next().await {
        for row in page?.messages {
            let exact = export_message(account, mailbox, &row, &mut sink).await?;
            exported.messages += 1;
            exported.octets += row.size;
            exported.inexact += u64::from(!exact);
        }
    }
    exported.mailboxes += 1;
    exported.lost_keywords += sink.close().map_err(|error| at(directory, &error))?;
    Ok(())
}

/// Copies one message. Returns whether it can be read back as it is.
async fn export_message(
    account: &MailAccount,
    mailbox: &MailboxState,
    row: &MessageRow,
    sink: &mut Sink,
) -> Result<bool, AdminError> {
    let failed = |what: &dyn std::fmt::Display| {
        AdminError::Input(format!(
            "mailbox {:?}, UID {}: {what}",
            mailbox.name, row.uid
        ))
    };
    let uid = Uid::new(row.uid).map_err(|error| failed(&error))?;
    let attributes = Attributes {
        flags: convert::flag_set(row.system_flags, &row.keywords)
            .map_err(|error| failed(&error))?,
        arrived_ms: row.internal_date_ms,
    };
    let mut message = sink
        .begin(uid, &attributes)
        .map_err(|error| failed(&error))?;
    let mut octets = 0;
    if row.size > 0 {
        let request = ReadMessageRequest {
            account: Some(account.account),
            mailbox: mailbox.mailbox,
            uid: row.uid,
            offset: 0,
            length: 0,
        };
        let mut chunks = account.store.read_message(request).await?;
        while let Some(chunk) = chunks.next().await {
            let data = chunk?.data;
            octets += data.len() as u64;
            sink.write(&mut message, &data)
                .map_err(|error| failed(&error))?;
        }
    }
    if octets != row.size {
        return Err(failed(&format!("{octets} of {} octets came", row.size)));
    }
    sink.finish(uid, message, &attributes)
        .map_err(|error| failed(&error))
}

impl Sink {
    fn open(directory: &Path, name: &MailboxName, format: Format) -> io::Result<Self> {
        match format {
            Format::Maildir => {
                let folder = maildir::Folder::create(directory.join(folder::maildir_folder(name)))?;
                if !name.is_inbox() {
                    folder.mark_subfolder()?;
                }
                Ok(Self::Maildir(folder))
            }
            Format::Mbox => {
                mbox::Writer::create(&directory.join(folder::mbox_file(name))).map(Self::Mbox)
            }
        }
    }

    fn begin(&mut self, uid: Uid, attributes: &Attributes) -> io::Result<Option<maildir::Draft>> {
        match self {
            Self::Maildir(folder) => folder.begin(uid).map(Some),
            Self::Mbox(writer) => {
                writer.begin(attributes.clone());
                Ok(None)
            }
        }
    }

    fn write(&mut self, draft: &mut Option<maildir::Draft>, chunk: &[u8]) -> io::Result<()> {
        match (self, draft) {
            (Self::Mbox(writer), _) => writer.write(chunk),
            (Self::Maildir(_), Some(draft)) => draft.write(chunk),
            (Self::Maildir(_), None) => Ok(()),
        }
    }

    fn finish(
        &mut self,
        uid: Uid,
        draft: Option<maildir::Draft>,
        attributes: &Attributes,
    ) -> io::Result<bool> {
        match (self, draft) {
            (Self::Mbox(writer), _) => writer.finish(),
            (Self::Maildir(folder), Some(draft)) => {
                folder.finish(uid, draft, attributes).map(|()| true)
            }
            (Self::Maildir(_), None) => Ok(true),
        }
    }

    fn close(self) -> io::Result<u64> {
        match self {
            Self::Maildir(folder) => folder.close(),
            Self::Mbox(writer) => writer.close().map(|()| 0),
        }
    }
}

pub(super) fn at(path: &Path, error: &io::Error) -> AdminError {
    AdminError::Input(format!("{}: {error}", path.display()))
}
