//! What a node does when its disk does not give back what was written: RocksDB finds a checksum that
//! does not fit. Nothing of it is served, and nothing on this disk can be trusted to heal it: what
//! was written to another node can. So the process ends, and the next start puts the database aside
//! and comes back as a new node that takes this one's place, if it has been told whom to ask
//! (`store.join`), and the others do without it.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::identity;

/// Says in the database's directory that it is damaged, and how.
const MARK: &str = "damaged";

/// Waits for damage of the database in a directory, and writes it down. Returns whether there is
/// any: when the database is closed there will be none.
pub(crate) async fn found(mut damage: watch::Receiver<Option<String>>, database: &Path) -> bool {
    let found = damage.wait_for(Option::is_some).await;
    let Ok(Some(what)) = found.map(|found| found.clone()) else {
        return false;
    };
    tracing::error!(what, "the disk is damaged");
    if let Err(error) = mark(database, &what) {
        tracing::error!(%error, "that the disk is damaged could not be written down");
    }
    true
}

fn mark(database: &Path, what: &str) -> io::Result<()> {
    fs::write(database.join(MARK), format!("{what}\n"))?;
    File::open(database.join(MARK))?.sync_all()?;
    File::open(database)?.sync_all()
}

/// What was found to be damaged when the node last ran.
pub(crate) fn known(database: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(database.join(MARK)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts the database and the node's identity aside; nothing is deleted. The directory is as if the
/// node had never been.
pub(crate) fn set_aside(directory: &Path, database: &Path) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.unwrap_or_default().as_secs();
    let aside = directory.join(format!("damaged-{seconds}"));
    fs::create_dir(&aside)?;
    // The database, and with it the mark, goes last: until then the next start does this again.
    identity::set_aside(directory, &aside)?;
    fs::rename(database, aside.join("db"))?;
    File::open(directory)?.sync_all()?;
    tracing::warn!(aside = %aside.display(), "the damaged database was put aside");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, DbSettings};
    use crate::identity::Identity;

    #[test]
    fn what_is_put_aside_is_kept_and_its_place_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let (directory, path) = (directory.path(), directory.path().join("db"));
        let open = || Db::open(&path, &DbSettings::default()).unwrap();
        let identity = Identity::first(4).unwrap();
        identity.store(&open(), directory).unwrap();
        assert_eq!(known(&path).unwrap(), None);
        mark(&path, "a block does not fit").unwrap();
        assert_eq!(
            known(&path).unwrap().as_deref(),
            Some("a block does not fit")
        );

        set_aside(directory, &path).unwrap();
        assert_eq!(known(&path).unwrap(), None);
        assert_eq!(Identity::load(&open(), directory).unwrap(), None);
        let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
        let aside = entries.map(|entry| entry.path()).find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("damaged-")
        });
        let aside = aside.expect("nothing is deleted");
        let kept = Db::open(&aside.join("db"), &DbSettings::default()).unwrap();
        assert_eq!(Identity::load(&kept, &aside).unwrap(), Some(identity));
    }
}
