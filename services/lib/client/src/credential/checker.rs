//! Checking passwords without letting them take the machine: so many hashes at once, so many
//! waiting, and a short memory of what was right.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordVerifier};
use argon2::{Algorithm, Argon2, Version};
use moka::sync::Cache;
use postino_config::AuthConfig;
use postino_proto::store::v1::Credential;
use postino_types::{AccountId, Secret};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::make::{CredentialError, hash};
use super::password::prepare;

/// The dearest stored hash that is computed, in KiB of memory and in passes over it: a record must
/// not be able to stop the process.
const DEAREST_KIB: u32 = 1024 * 1024;
const DEAREST_PASSES: u32 = 32;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right.
    Right,
    /// It is not, or there is nothing it could be right for.
    Wrong,
}

/// Why nothing was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Too many log-ins wait already, or this one waited too long.
    #[error("too many log-ins at the moment")]
    Busy,
    /// The record cannot be checked.
    #[error("the stored credential is not usable: {0}")]
    Record(String),
}

/// Checks passwords; clones share its limits and its memory.
#[derive(Clone)]
pub struct Checker(Arc<Inner>);

struct Inner {
    /// Hashes being computed.
    computing: Arc<Semaphore>,
    /// Log-ins in the queue or being computed.
    admitted: Semaphore,
    wait: Duration,
    /// Successes. Only a keyed hash is remembered, under a key that dies with the process.
    right: Cache<[u8; 32], ()>,
    key: [u8; 32],
    /// Hash of no password, for users who do not exist.
    decoy: String,
}

impl Checker {
    /// With the limits of the settings. Computes one hash: not for a task that must not block.
    pub fn new(config: &AuthConfig) -> Result<Self, CredentialError> {
        let random = |octets: &mut [u8]| {
            getrandom::fill(octets).map_err(|error| CredentialError::Random(error.to_string()))
        };
        let (mut key, mut unknown) = ([0; 32], [0; 32]);
        random(&mut key)?;
        random(&mut unknown)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let computing = match usize::try_from(config.concurrency) {
            Ok(0) | Err(_) => processors,
            Ok(concurrency) => concurrency,
        };
        let waiting = usize::try_from(config.waiting).unwrap_or(usize::MAX);
        let admitted = computing
            .saturating_add(waiting)
            .min(Semaphore::MAX_PERMITS);
        let right = Cache::builder()
            .max_capacity(config.cache_entries)
            .time_to_live(config.cache_ttl.get())
            .build();
        let decoy = hash(&blake3::hash(&unknown).to_hex(), &config.argon2)?;
        Ok(Self(Arc::new(Inner {
            computing: Arc::new(Semaphore::new(computing)),
            admitted: Semaphore::new(admitted),
            wait: config.wait.get(),
            right,
            key,
            decoy,
        })))
    }

    /// Checks a password against an account's credential. A success is remembered for a while,
    /// until the credential changes.
    pub async fn check(
        &self,
        account: AccountId,
        credential: &Credential,
        password: &Secret,
    ) -> Result<Verdict, CheckError> {
        let Some(password) = prepare(password) else {
            // No credential was made from such a password; the work is done nevertheless.
            return self
                .compute(&self.0.decoy, Zeroizing::default())
                .await
                .map(|_| Verdict::Wrong);
        };
        let memory = self.memory(account, credential, &password);
        if self.0.right.contains_key(&memory) {
            return Ok(Verdict::Right);
        }
        let verdict = self.compute(&credential.password_hash, password).await?;
        if verdict == Verdict::Right {
            self.0.right.insert(memory, ());
        }
        Ok(verdict)
    }

    /// Does the work of a check for a user who does not exist, so that nobody learns that.
    pub async fn check_nobody(&self, password: &Secret) -> Result<(), CheckError> {
        let password = prepare(password).unwrap_or_default();
        self.compute(&self.0.decoy, password).await.map(|_| ())
    }

    /// Under which key a success is remembered: it names the very record, so a new epoch or
    /// another hash never meets it.
    fn memory(&self, account: AccountId, credential: &Credential, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.key);
        hasher.update(&account.get().to_le_bytes());
        hasher.update(&credential.epoch.to_le_bytes());
        hasher.update(blake3::hash(credential.password_hash.as_bytes()).as_bytes());
        hasher.update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }

    async fn compute(
        &self,
        record: &str,
        password: Zeroizing<String>,
    ) -> Result<Verdict, CheckError> {
        let _admitted = self
            .0
            .admitted
            .try_acquire()
            .map_err(|_| CheckError::Busy)?;
        let turn = timeout(self.0.wait, Arc::clone(&self.0.computing).acquire_owned());
        let Ok(Ok(permit)) = turn.await else {
            return Err(CheckError::Busy);
        };
        let record = record.to_owned();
        let work = tokio::task::spawn_blocking(move || {
            // Held by the work, not by who waits for it: that one may be gone.
            let _permit = permit;
            verify(&record, &password)
        });
        work.await
            .unwrap_or_else(|error| Err(CheckError::Record(error.to_string())))
    }
}

fn verify(record: &str, password: &str) -> Result<Verdict, CheckError> {
    let unusable = |error: &dyn std::fmt::Display| CheckError::Record(error.to_string());
    let hash = PasswordHash::new(record).map_err(|error| unusable(&error))?;
    let params = argon2::Params::try_from(&hash).map_err(|error| unusable(&error))?;
    if params.m_cost() > DEAREST_KIB || params.t_cost() > DEAREST_PASSES {
        return Err(CheckError::Record("the hash is too expensive".to_owned()));
    }
    // Algorithm, version and cost come from the record.
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    match argon2.verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(Verdict::Right),
        Err(argon2::password_hash::Error::Password) => Ok(Verdict::Wrong),
        Err(error) => Err(unusable(&error)),
    }
}

#[cfg(test)]
mod tests {
    use postino_config::{Argon2Params, ByteSize};

    use super::*;
    use crate::credential::{Params, make};

    fn config() -> AuthConfig {
        let argon2 = Argon2Params {
            memory: ByteSize::kib(64),
            passes: 1,
            lanes: 1,
        };
        AuthConfig {
            argon2,
            scram: false,
            ..AuthConfig::default()
        }
    }

    fn credential(password: &str, epoch: u64) -> Credential {
        let made = make(&Secret::new(password), &Params::new(&config())).expect("made");
        Credential { epoch, ..made }
    }

    #[tokio::test]
    async fn right_is_right_and_remembered_until_the_credential_changes() {
        let checker = Checker::new(&config()).expect("made");
        let (account, old) = (AccountId::new(1), credential("old", 1));
        let password = Secret::new("old");
        assert_eq!(
            checker.check(account, &old, &password).await,
            Ok(Verdict::Right)
        );
        assert_eq!(
            checker.check(account, &old, &Secret::new("no")).await,
            Ok(Verdict::Wrong)
        );
        // Remembered: right although no hash could be computed now.
        let none = Arc::clone(&checker.0.computing).acquire_many_owned(
            u32::try_from(checker.0.computing.available_permits()).expect("few"),
        );
        let all = none.await.expect("open");
        assert_eq!(
            checker.check(account, &old, &password).await,
            Ok(Verdict::Right)
        );
        drop(all);
        let new = credential("new", 2);
        assert_eq!(
            checker.check(account, &new, &password).await,
            Ok(Verdict::Wrong)
        );
        // The same hash under a later epoch is not the same memory.
        let later = Credential {
            epoch: 3,
            ..old.clone()
        };
        assert!(
            !checker
                .0
                .right
                .contains_key(&checker.memory(account, &later, "old"))
        );
    }

    #[tokio::test]
    async fn what_cannot_be_a_password_is_wrong() {
        let checker = Checker::new(&config()).expect("made");
        let record = credential("x", 1);
        for password in ["", "\0", &"x".repeat(2000)] {
            let verdict = checker
                .check(AccountId::new(1), &record, &Secret::new(password))
                .await;
            assert_eq!(verdict, Ok(Verdict::Wrong), "{password:?}");
        }
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_so_is_the_wait() {
        let config = AuthConfig {
            concurrency: 1,
            waiting: 0,
            wait: postino_config::Duration::millis(1),
            ..config()
        };
        let checker = Checker::new(&config).expect("made");
        let record = credential("x", 1);
        let (account, password) = (AccountId::new(1), Secret::new("x"));
        let admitted = checker.0.admitted.try_acquire().expect("free");
        assert_eq!(
            checker.check(account, &record, &password).await,
            Err(CheckError::Busy)
        );
        drop(admitted);
        let turn = Arc::clone(&checker.0.computing)
            .try_acquire_owned()
            .expect("free");
        assert_eq!(
            checker.check(account, &record, &password).await,
            Err(CheckError::Busy)
        );
        drop(turn);
        assert_eq!(
            checker.check(account, &record, &password).await,
            Ok(Verdict::Right)
        );
    }

    #[tokio::test]
    async fn a_record_that_is_broken_or_too_dear_is_an_error() {
        let checker = Checker::new(&config()).expect("made");
        let dear = credential("x", 1)
            .password_hash
            .replace("m=64", "m=99999999");
        for hash in ["", "plain", "$6$abc$def", &dear] {
            let record = Credential {
                password_hash: hash.to_owned(),
                ..Credential::default()
            };
            let verdict = checker
                .check(AccountId::new(1), &record, &Secret::new("x"))
                .await;
            assert!(
                matches!(verdict, Err(CheckError::Record(_))),
                "{hash:?}: {verdict:?}"
            );
        }
    }
}
