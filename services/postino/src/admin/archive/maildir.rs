//! A folder of a Maildir: <https://cr.yp.to/proto/maildir.html>. Keywords are kept as Dovecot does
//! it: letters `a` to `z`, named in the file `dovecot-keywords`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postino_types::{Flag, FlagSet, Uid};

use super::Attributes;
use super::lines::{ToLf, convert_all};

/// The system flags and their letters, in the order in which letters must stand.
const LETTERS: [(char, Flag); 5] = [
    ('D', Flag::Draft),
    ('F', Flag::Flagged),
    ('R', Flag::Answered),
    ('S', Flag::Seen),
    ('T', Flag::Deleted),
];
/// Names of keywords, by letter.
const KEYWORDS: &str = "dovecot-keywords";
const BLOCK: usize = 64 << 10;

/// The keywords of a folder, by letter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keywords(Vec<Option<Flag>>);

impl Keywords {
    /// Most keywords that have a letter.
    const MOST: usize = 26;

    /// Reads them from a folder; none if it has no such file.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let text = match fs::read(folder.join(KEYWORDS)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut keywords = Self::default();
        for line in String::from_utf8_lossy(&text).lines() {
            let Some((number, name)) = line.split_once(' ') else {
                continue;
            };
            match number.parse::<usize>() {
                Ok(number) if number < Self::MOST => {
                    let needed = keywords.0.len().max(number + 1);
                    keywords.0.resize(needed, None);
                    keywords.0[number] = name.parse().ok();
                }
                _ => {}
            }
        }
        Ok(keywords)
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        let mut text = String::new();
        for (number, flag) in self.0.iter().enumerate() {
            if let Some(flag) = flag {
                text.push_str(&format!("{number} {flag}\n"));
            }
        }
        match text.is_empty() {
            true => Ok(()),
            false => fs::write(folder.join(KEYWORDS), text),
        }
    }

    fn flag(&self, letter: char) -> Option<Flag> {
        let number = u32::from(letter).checked_sub(u32::from('a'))?;
        self.0.get(number as usize)?.clone()
    }

    /// The letter of a keyword, which gets one if any is left.
    fn letter(&mut self, flag: &Flag) -> Option<char> {
        let known = self.0.iter().position(|known| known.as_ref() == Some(flag));
        let number = match known {
            Some(number) => number,
            None if self.0.len() < Self::MOST => {
                self.0.push(Some(flag.clone()));
                self.0.len() - 1
            }
            None => return None,
        };
        char::from_u32(u32::from('a') + u32::try_from(number).ok()?)
    }
}

/// The flags that a file's name tells, after `:2,`.
pub(super) fn flags_of(file_name: &str, keywords: &Keywords) -> FlagSet {
    let Some((_, letters)) = file_name.rsplit_once(":2,") else {
        return FlagSet::new();
    };
    let flag = |letter| {
        let system = LETTERS.iter().find(|(of, _)| *of == letter);
        system.map_or_else(|| keywords.flag(letter), |(_, flag)| Some(flag.clone()))
    };
    letters.chars().filter_map(flag).collect()
}

/// A folder that is being written.
pub(super) struct Folder {
    path: PathBuf,
    keywords: Keywords,
    /// Keywords that found no letter: one for each message that had one.
    lost_keywords: u64,
}

/// A message that is being written, into `tmp` first.
pub(super) struct Draft {
    path: PathBuf,
    /// As the store has it; line ends are converted once all of them are known.
    raw: BufWriter<File>,
    lines: ToLf,
    /// Reused for each chunk.
    converted: Vec<u8>,
}

impl Folder {
    /// Makes a folder, which must not be there.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for part in ["cur", "new", "tmp"] {
            builder.create(path.join(part))?;
        }
        Ok(Self {
            path,
            keywords: Keywords::default(),
            lost_keywords: 0,
        })
    }

    /// Marks the folder as one below the top of a Maildir++.
    pub(super) fn mark_subfolder(&self) -> io::Result<()> {
        File::create(self.path.join("maildirfolder")).map(drop)
    }

    /// Begins a message.
    pub(super) fn begin(&self, uid: Uid) -> io::Result<Draft> {
        let path = self.path.join("tmp").join(format!("raw.{uid}"));
        Ok(Draft {
            raw: BufWriter::new(create(&path)?),
            path,
            lines: ToLf::default(),
            converted: Vec::new(),
        })
    }

    /// Ends a message: from now on it is there, with all its octets on disk.
    pub(super) fn finish(
        &mut self,
        uid: Uid,
        draft: Draft,
        attributes: &Attributes,
    ) -> io::Result<()> {
        let Draft {
            path: raw_path,
            raw,
            lines,
            mut converted,
        } = draft;
        let exact = lines.finish(&mut converted);
        let mut raw = raw.into_inner().map_err(io::IntoInnerError::into_error)?;
        let size = raw.stream_position()?;
        let (file, path) = match exact {
            true => {
                let path = self.path.join("tmp").join(format!("lf.{uid}"));
                let mut file = create(&path)?;
                let mut source = File::open(&raw_path)?;
                convert(&mut source, &mut file)?;
                fs::remove_file(&raw_path)?;
                (file, path)
            }
            // As it is: what reads it takes CRLF, and only so can it come back unchanged.
            false => (raw, raw_path),
        };
        let arrived = Duration::from_millis(u64::try_from(attributes.arrived_ms).unwrap_or(0));
        file.set_modified(SystemTime::UNIX_EPOCH + arrived)?;
        file.sync_all()?;
        let on_disk = file.metadata()?.len();
        let (letters, lost) = self.letters(&attributes.flags);
        self.lost_keywords += lost;
        let (seconds, micros) = (arrived.as_secs(), arrived.subsec_micros());
        let name = format!("{seconds}.M{micros}U{uid}.postino,S={on_disk},W={size}:2,{letters}");
        fs::rename(path, self.path.join("cur").join(name))
    }

    fn letters(&mut self, flags: &FlagSet) -> (String, u64) {
        let system = LETTERS.iter().filter(|(_, flag)| flags.contains(flag));
        let mut letters: String = system.map(|(letter, _)| *letter).collect();
        let mut keywords = Vec::new();
        let mut lost = 0;
        for flag in flags.iter().filter(|flag| matches!(flag, Flag::Keyword(_))) {
            match self.keywords.letter(flag) {
                Some(letter) => keywords.push(letter),
                None => lost += 1,
            }
        }
        keywords.sort_unstable();
        letters.extend(keywords);
        (letters, lost)
    }

    /// Ends the folder. Returns how many keywords were lost because all letters were taken.
    pub(super) fn close(self) -> io::Result<u64> {
        self.keywords.write(&self.path)?;
        for part in ["cur", "."] {
            File::open(self.path.join(part))?.sync_all()?;
        }
        Ok(self.lost_keywords)
    }
}

impl Draft {
    /// Adds octets.
    pub(super) fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        // Only to know whether it can be undone.
        self.converted.clear();
        self.lines.convert(chunk, &mut self.converted);
        self.raw.write_all(chunk)
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

fn convert(source: &mut impl Read, sink: &mut impl Write) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(BLOCK, source);
    let (mut lines, mut out) = (ToLf::default(), Vec::new());
    convert_all(&mut reader, sink, |block, out| lines.convert(block, out))?;
    lines.finish(&mut out);
    sink.write_all(&out)
}

/// A message in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its file.
    pub(super) path: PathBuf,
    /// What its name and its time tell.
    pub(super) attributes: Attributes,
}

/// The messages of a folder, in the order of their names: the oldest first.
pub(super) fn messages(folder: &Path) -> io::Result<Vec<Found>> {
    let keywords = Keywords::read(folder)?;
    let mut found = Vec::new();
    for part in ["cur", "new"] {
        let entries = match fs::read_dir(folder.join(part)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let metadata = fs::metadata(entry.path())?;
            if name.starts_with('.') || !metadata.is_file() {
                continue;
            }
            let since = metadata.modified()?.duration_since(UNIX_EPOCH);
            let arrived_ms = since.map_or(0, |since| since.as_millis());
            found.push(Found {
                path: entry.path(),
                attributes: Attributes {
                    flags: flags_of(&name, &keywords),
                    arrived_ms: i64::try_from(arrived_ms).unwrap_or(i64::MAX),
                },
            });
        }
    }
    found.sort_by_cached_key(|found| {
        let name = found.path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let seconds = name.split('.').next().and_then(|text| text.parse().ok());
        (
            seconds.unwrap_or(u64::MAX),
            found.attributes.arrived_ms,
            name,
        )
    });
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> FlagSet {
        let flags = text.split_whitespace().map(|flag| flag.parse().unwrap());
        flags.collect()
    }

    fn written(octets: &[u8], attributes: &Attributes) -> (tempfile::TempDir, Found) {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::create(dir.path().join("m")).unwrap();
        let uid = Uid::new(7).unwrap();
        let mut draft = folder.begin(uid).unwrap();
        for chunk in octets.chunks(3) {
            draft.write(chunk).unwrap();
        }
        folder.finish(uid, draft, attributes).unwrap();
        assert_eq!(folder.close().unwrap(), 0);
        let mut found = messages(&dir.path().join("m")).unwrap();
        assert_eq!(found.len(), 1);
        (dir, found.remove(0))
    }

    #[test]
    fn a_message_is_found_as_it_was_written() {
        let attributes = Attributes {
            flags: flags("\\Seen \\Deleted \\Draft $work $forwarded"),
            arrived_ms: 1_700_000_000_123,
        };
        let (_dir, found) = written(b"Subject: x\r\n\r\nhello\r\n", &attributes);
        assert_eq!(found.attributes, attributes);
        let name = found.path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "1700000000.M123000U7.postino,S=18,W=21:2,DSTab");
        assert_eq!(fs::read(&found.path).unwrap(), b"Subject: x\n\nhello\n");
    }

    #[test]
    fn odd_line_ends_are_left_alone() {
        let odd = b"a: b\r\n\r\nbare\nlf\r\n";
        let (_dir, found) = written(odd, &Attributes::default());
        assert_eq!(fs::read(&found.path).unwrap(), odd);
    }

    #[test]
    fn the_27th_keyword_is_lost_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::create(dir.path().join("m")).unwrap();
        let many: Vec<String> = (0..27).map(|n| format!("k{n}")).collect();
        let (letters, lost) = folder.letters(&flags(&many.join(" ")));
        assert_eq!(letters, ('a'..='z').collect::<String>());
        assert_eq!(lost, 1);
    }

    #[test]
    fn names_of_other_programs_are_read() {
        let none = Keywords::default();
        assert_eq!(flags_of("1.2.host:2,FS", &none), flags("\\Flagged \\Seen"));
        assert_eq!(flags_of("1.2.host:2,Pa", &none), FlagSet::new());
        assert_eq!(flags_of("1.2.host", &none), FlagSet::new());
    }
}
