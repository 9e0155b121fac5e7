//! `postino import`: files into the mailboxes of an account.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use postino_client::UploadError;
use postino_message::{Limits, Scanner, keep};
use postino_proto::convert;
use postino_proto::store::v1::{AppendBegin, AppendFinish, CreateMailboxRequest};
use postino_types::MailboxName;
use serde::Serialize;
use tempfile::SpooledTempFile;

use super::account::MailAccount;
use super::export::at;
use super::lines::{ToCrlf, convert_all};
use super::{Attributes, folder, maildir, mbox};
use crate::admin::{AdminError, output};
use crate::cli::Target;

/// Octets read and sent at once.
const BLOCK: usize = 64 << 10;
/// Messages up to this size wait in memory for their turn, larger ones in a file without a name.
const IN_MEMORY: usize = 1 << 20;
/// How many reasons are told; the number of messages always is.
const TOLD: usize = 20;

#[derive(Debug, Default, Serialize)]
struct Imported {
    mailboxes: u64,
    messages: u64,
    octets: u64,
}

/// A message on its way from a file into the store.
struct Letter {
    /// With CRLF.
    octets: SpooledTempFile,
    attributes: Attributes,
    /// The same text for the same message of the same file.
    source: String,
}

/// What is read: mailboxes and where their messages lie.
enum Source {
    Maildir(PathBuf),
    Mbox(PathBuf),
}

/// Files the messages of a Maildir, an mbox file, or a folder of either kind, in mailboxes of the
/// same names; the top folder's, or those of a single file, go into `top`. A message that cannot be
/// filed is told and left out, and then the command is refused.
pub(crate) async fn import(
    address: &str,
    path: &Path,
    top: &str,
    target: Target,
) -> Result<(), AdminError> {
    let account = MailAccount::find(&target, address).await?;
    let top: MailboxName = top
        .parse()
        .map_err(|error| AdminError::Input(format!("{top:?}: {error}")))?;
    let sources = sources(path, &top)?;
    if sources.is_empty() {
        let what = "neither a Maildir nor an mbox file was found";
        return Err(AdminError::Input(format!("{}: {what}", path.display())));
    }
    let known = account.mailboxes().await?;
    let mut known: Vec<String> = known.into_iter().map(|mailbox| mailbox.name).collect();
    let mut import = Import {
        account,
        imported: Imported::default(),
        refused: Vec::new(),
    };
    for (mailbox, source) in sources {
        if !known.contains(&mailbox.to_string()) {
            import.create(&mailbox).await?;
            known.push(mailbox.to_string());
        }
        import.mailbox(&mailbox, &source).await?;
    }
    import.end(target.json)
}

struct Import {
    account: MailAccount,
    imported: Imported,
    refused: Vec<String>,
}

impl Import {
    async fn create(&self, mailbox: &MailboxName) -> Result<(), AdminError> {
        let request = CreateMailboxRequest {
            account: Some(self.account.account),
            name: mailbox.to_string(),
            special_use: 0,
        };
        self.account.store.create_mailbox(request).await?;
        Ok(())
    }

    async fn mailbox(&mut self, mailbox: &MailboxName, source: &Source) -> Result<(), AdminError> {
        match source {
            Source::Maildir(folder) => {
                let found = maildir::messages(folder).map_err(|error| at(folder, &error))?;
                for message in found {
                    let letter = from_maildir(&message);
                    let letter = letter.map_err(|error| at(&message.path, &error))?;
                    self.file(mailbox, &message.path, letter).await?;
                }
            }
            Source::Mbox(file) => {
                let opened = File::open(file).map_err(|error| at(file, &error))?;
                let modified = modified_ms(&opened).map_err(|error| at(file, &error))?;
                let mut reader = mbox::Reader::new(BufReader::with_capacity(BLOCK, opened));
                let mut number = 0_u64;
                loop {
                    number += 1;
                    let mut octets = SpooledTempFile::new(IN_MEMORY);
                    let next = reader.next(&mut octets);
                    let Some(mut attributes) = next.map_err(|error| at(file, &error))? else {
                        break;
                    };
                    if attributes.arrived_ms == 0 {
                        attributes.arrived_ms = modified;
                    }
                    let letter = Letter {
                        octets,
                        attributes,
                        source: source_name(file, number, modified),
                    };
                    self.file(mailbox, file, letter).await?;
                }
            }
        }
        self.imported.mailboxes += 1;
        Ok(())
    }

    /// Files one message. What the store refuses for good is noted; what it cannot do now ends the
    /// import.
    async fn file(
        &mut self,
        mailbox: &MailboxName,
        from: &Path,
        mut letter: Letter,
    ) -> Result<(), AdminError> {
        let size = letter.octets.stream_position();
        let size = size.map_err(|error| at(from, &error))?;
        let begin = AppendBegin {
            account: Some(self.account.account),
            mailbox: mailbox.to_string(),
            size,
            upload_id: self.upload_id(mailbox, &letter.source),
        };
        match send(&self.account, begin, &mut letter).await {
            Ok(()) => {
                self.imported.messages += 1;
                self.imported.octets += size;
                Ok(())
            }
            Err(Failure::Local(error)) => Err(at(from, &error)),
            Err(Failure::Refused(reason)) => {
                self.refused.push(format!("{}: {reason}", from.display()));
                Ok(())
            }
            Err(Failure::Store(error)) => Err(error),
        }
    }

    /// The same for the same message, so that an import that broke off can be repeated: what the
    /// store still remembers (`store.appended_ttl`) is not filed twice.
    fn upload_id(&self, mailbox: &MailboxName, source: &str) -> String {
        let account = self.account.account.account;
        let name = format!("{account}\0{mailbox}\0{source}");
        format!("import-{}", blake3::hash(name.as_bytes()).to_hex())
    }

    fn end(self, json: bool) -> Result<(), AdminError> {
        let Imported {
            mailboxes,
            messages,
            ..
        } = self.imported;
        let sentence = format!(
            "{}: filed {messages} messages in {mailboxes} mailboxes",
            self.account.address
        );
        if self.refused.is_empty() {
            output::done(json, &sentence, &self.imported);
            return Ok(());
        }
        let mut text = format!("{sentence}; {} were refused", self.refused.len());
        for reason in self.refused.iter().take(TOLD) {
            text.push_str(&format!("\n{reason}"));
        }
        Err(AdminError::Input(text))
    }
}

enum Failure {
    /// The file could not be read.
    Local(io::Error),
    /// The message cannot be filed, now or later.
    Refused(String),
    /// The store could not do it.
    Store(AdminError),
}

async fn send(
    account: &MailAccount,
    begin: AppendBegin,
    letter: &mut Letter,
) -> Result<(), Failure> {
    let failed = |error: UploadError| match error {
        UploadError::NotAccepted(error) if !error.is_temporary() => {
            Failure::Refused(error.to_string())
        }
        error => Failure::Store(AdminError::Input(error.to_string())),
    };
    letter.octets.rewind().map_err(Failure::Local)?;
    let mut upload = account
        .store
        .append(begin)
        .map_err(|error| Failure::Store(error.into()))?;
    let mut scanner = Scanner::new(Limits::default());
    loop {
        let mut block = vec![0; BLOCK];
        let length = letter.octets.read(&mut block).map_err(Failure::Local)?;
        if length == 0 {
            break;
        }
        block.truncate(length);
        scanner.feed(&block);
        upload.chunk(Bytes::from(block)).await.map_err(failed)?;
    }
    let structure = scanner.finish();
    if structure.content.has_nul() {
        // No client could be given it: a literal consists of CHAR8 (RFC 3501 section 9).
        return Err(Failure::Refused("the message holds NUL".to_owned()));
    }
    let finish = AppendFinish {
        system_flags: convert::system_flag_bits(&letter.attributes.flags),
        keywords: convert::keywords(&letter.attributes.flags),
        internal_date_ms: letter.attributes.arrived_ms,
        internal_date_offset: 0,
        email: Some(keep(structure).into()),
    };
    upload.finish(finish).await.map_err(failed)?;
    Ok(())
}

fn from_maildir(message: &maildir::Found) -> io::Result<Letter> {
    let mut file = File::open(&message.path)?;
    let mut octets = SpooledTempFile::new(IN_MEMORY);
    let as_it_is = has_crlf(BufReader::with_capacity(BLOCK, &file))?;
    file.rewind()?;
    let mut reader = BufReader::with_capacity(BLOCK, &file);
    if as_it_is {
        io::copy(&mut reader, &mut octets)?;
    } else {
        let mut lines = ToCrlf::default();
        convert_all(&mut reader, &mut octets, |block, out| {
            lines.convert(block, out);
        })?;
    }
    let name = message.path.file_name().unwrap_or_default();
    // The name without its flags, which the owner may change between two tries.
    let name = name.to_string_lossy();
    let unique = name.split(":2,").next().unwrap_or_default();
    Ok(Letter {
        octets,
        attributes: message.attributes.clone(),
        source: source_name(&message.path.with_file_name(unique), 0, modified_ms(&file)?),
    })
}

/// Whether any line ends with CRLF: then the file is not one with LF.
fn has_crlf(mut reader: impl BufRead) -> io::Result<bool> {
    let mut after_cr = false;
    loop {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            return Ok(false);
        }
        for &octet in block {
            if after_cr && octet == b'\n' {
                return Ok(true);
            }
            after_cr = octet == b'\r';
        }
        let length = block.len();
        reader.consume(length);
    }
}

fn modified_ms(file: &File) -> io::Result<i64> {
    let since = file.metadata()?.modified()?.duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_else(|_| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default()
    });
    Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Names one message of one file.
fn source_name(path: &Path, number: u64, modified_ms: i64) -> String {
    let folder = path.parent().map(fs::canonicalize);
    let folder = folder.and_then(Result::ok).unwrap_or_default();
    let file = path.file_name().unwrap_or_default();
    format!("{}\0{number}\0{modified_ms}", folder.join(file).display())
}

/// What lies at `path`, by mailbox, INBOX first.
fn sources(path: &Path, top: &MailboxName) -> Result<Vec<(MailboxName, Source)>, AdminError> {
    let metadata = fs::metadata(path).map_err(|error| at(path, &error))?;
    if metadata.is_file() {
        return Ok(vec![(top.clone(), Source::Mbox(path.to_owned()))]);
    }
    let mut sources = Vec::new();
    walk(path, path, top, &mut sources)?;
    sources.sort_by_key(|(mailbox, _)| (!mailbox.is_inbox(), mailbox.clone()));
    Ok(sources)
}

fn walk(
    root: &Path,
    folder: &Path,
    top: &MailboxName,
    sources: &mut Vec<(MailboxName, Source)>,
) -> Result<(), AdminError> {
    let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
    let named = |path: &Path, name: Result<MailboxName, postino_types::MailboxNameError>| {
        name.map_err(|error| AdminError::Input(format!("{}: {error}", path.display())))
    };
    let is_maildir = |path: &Path| path.join("cur").is_dir() || path.join("new").is_dir();
    if is_maildir(folder) {
        let mailbox = match relative(folder) {
            path if path.as_os_str().is_empty() => top.clone(),
            path => named(folder, folder::mailbox_of(&path))?,
        };
        sources.push((mailbox, Source::Maildir(folder.to_owned())));
    }
    let entries = fs::read_dir(folder).map_err(|error| at(folder, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| at(folder, &error))?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().map_err(|error| at(&path, &error))?;
        // A link could lead anywhere, also back.
        if kind.is_dir() && !["cur", "new", "tmp"].map(Some).contains(&name.to_str()) {
            walk(root, &path, top, sources)?;
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "mbox") {
            let mailbox = named(&path, folder::mailbox_of_file(&relative(&path)))?;
            sources.push((mailbox, Source::Mbox(path)));
        }
    }
    Ok(())
}
