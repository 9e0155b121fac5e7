//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one, and says so: every client, and every file
/// of the database, takes one. The soft limit of 1024 that systems hand out is for programs that
/// use `select`.
pub(super) fn raise_limit() {
    let before = getrlimit(Resource::Nofile);
    // None is without limit.
    let shown = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |n| n.to_string());
    let (from, to) = (shown(before.current), shown(before.maximum));
    match setrlimit(Resource::Nofile, raised(before)) {
        Ok(()) => tracing::info!(from, to, "limit of open files"),
        Err(error) => tracing::warn!(from, to, %error, "the limit of open files stays as it is"),
    }
}

fn raised(limit: Rlimit) -> Rlimit {
    Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let low = Rlimit {
            current: Some(before.maximum.unwrap_or(u64::MAX).min(256)),
            ..before
        };
        setrlimit(Resource::Nofile, low).expect("a process may lower its limit");
        raise_limit();
        assert_eq!(getrlimit(Resource::Nofile), raised(before));
    }
}
