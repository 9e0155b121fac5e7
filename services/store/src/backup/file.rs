//! The file of a shard: a line that names the format, then parts, each behind its length.
//!
//! | octets | what                                              |
//! |--------|---------------------------------------------------|
//! | 16     | `postino shard 1` and LF                          |
//! | 4      | the length of a part, big-endian                  |
//! | …      | `postino.admin.v1.ShardPart`: head, rows …, end   |

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use postino_proto::admin::v1::ShardPart;
use prost::Message;

use super::BackupError;

/// What a file starts with.
const MAGIC: &[u8] = b"postino shard 1\n";

/// The largest part: far above what a node sends, so that a damaged length takes no memory.
const LARGEST: usize = 256 << 20;

const BUFFER: usize = 1 << 20;

/// Writes a file.
pub(super) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// What a file has become.
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

impl Writer {
    /// Starts a file that is not there yet.
    pub(super) fn create(path: PathBuf) -> Result<Self, BackupError> {
        let file = File::options().write(true).create_new(true).open(&path);
        let file = file.map_err(BackupError::io(&path))?;
        let mut writer = Self {
            path,
            file: BufWriter::with_capacity(BUFFER, file),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    /// Adds a part.
    pub(super) fn write(&mut self, part: &ShardPart) -> Result<(), BackupError> {
        let part = part.encode_to_vec();
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        self.put(&length.to_be_bytes())?;
        self.put(&part)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(BackupError::io(&self.path))
    }

    /// Ends it; its content is durable when this returns.
    pub(super) fn finish(self) -> Result<Written, BackupError> {
        let io = BackupError::io(&self.path);
        let file = self.file.into_inner();
        let synced = file
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all());
        synced.map_err(io)?;
        Ok(Written {
            bytes: self.bytes,
            blake3: self.hasher.finalize().to_hex().to_string(),
        })
    }
}

/// Reads a file.
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, BackupError> {
        let file = File::open(path).map_err(BackupError::io(path))?;
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(BUFFER, file),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        };
        let mut magic = [0; MAGIC.len()];
        reader.fill(&mut magic)?;
        match magic == MAGIC {
            true => Ok(reader),
            false => Err(reader.damaged("it is no file of a shard")),
        }
    }

    /// The next part; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<ShardPart>, BackupError> {
        use std::io::BufRead;
        let rest = self.file.fill_buf().map_err(BackupError::io(&self.path))?;
        if rest.is_empty() {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > LARGEST {
            return Err(self.damaged("a part is too long"));
        }
        let mut part = vec![0; length];
        self.fill(&mut part)?;
        match ShardPart::decode(bytes::Bytes::from(part)) {
            Ok(part) => Ok(Some(part)),
            Err(error) => Err(self.damaged(error)),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), BackupError> {
        let read = self.file.read_exact(buffer);
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged("it is cut short"),
            _ => BackupError::io(&self.path)(error),
        })?;
        self.hasher.update(buffer);
        self.bytes += buffer.len() as u64;
        Ok(())
    }

    /// What was read so far.
    pub(super) fn read(&self) -> Written {
        Written {
            bytes: self.bytes,
            blake3: self.hasher.finalize().to_hex().to_string(),
        }
    }

    /// That the file is not what it should be.
    pub(super) fn damaged(&self, what: impl std::fmt::Display) -> BackupError {
        BackupError::damaged(&self.path, what)
    }
}
