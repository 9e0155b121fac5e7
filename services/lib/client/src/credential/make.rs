//! Making a credential from a password.

use std::num::NonZeroU32;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Version};
use bytes::Bytes;
use postino_config::{Argon2Params, AuthConfig, ByteSize};
use postino_proto::admin::v1::CredentialCost;
use postino_proto::store::v1::Credential;
use postino_types::Secret;

use super::password::prepare;
use super::scram;

/// Octets of salt (RFC 9106 section 4 recommends 16).
const SALT: usize = 16;

/// Why no credential can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The password is empty, longer than 1024 octets, or has characters that none may have.
    #[error("this password cannot be used: it is empty, too long, or has control characters")]
    Password,
    /// The cost is not one that argon2id knows.
    #[error("auth.argon2: {0}")]
    Cost(String),
    /// The system gave no random octets.
    #[error("no random octets: {0}")]
    Random(String),
}

/// What new credentials are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// The cost of the hash.
    pub argon2: Argon2Params,
    /// Iterations of the SCRAM keys; `None` makes none.
    pub scram_iterations: Option<NonZeroU32>,
}

impl Params {
    /// As the settings say.
    pub fn new(config: &AuthConfig) -> Self {
        let iterations = NonZeroU32::new(config.scram_iterations);
        Self {
            argon2: config.argon2.clone(),
            scram_iterations: iterations.filter(|_| config.scram),
        }
    }
}

impl From<CredentialCost> for Params {
    /// As a running system is set.
    fn from(cost: CredentialCost) -> Self {
        Self {
            argon2: Argon2Params {
                memory: ByteSize::bytes(cost.argon2_memory),
                passes: cost.argon2_passes,
                lanes: cost.argon2_lanes,
            },
            scram_iterations: NonZeroU32::new(cost.scram_iterations),
        }
    }
}

/// Makes the credential of a password. Takes as long as a hash: call it on a blocking thread. The
/// epoch is left to the store.
pub fn make(password: &Secret, params: &Params) -> Result<Credential, CredentialError> {
    let password = prepare(password).ok_or(CredentialError::Password)?;
    let mut credential = Credential {
        password_hash: hash(&password, &params.argon2)?,
        ..Credential::default()
    };
    if let Some(iterations) = params.scram_iterations {
        let salt = salt()?;
        let keys = scram::keys(&password, &salt, iterations);
        credential.has_scram = true;
        credential.scram_iterations = iterations.get();
        credential.scram_salt = Bytes::copy_from_slice(&salt);
        credential.scram_stored_key = Bytes::copy_from_slice(&keys.stored_key);
        credential.scram_server_key = Bytes::copy_from_slice(&keys.server_key);
    }
    Ok(credential)
}

/// An argon2id hash as a PHC string, with its parameters and salt.
pub(super) fn hash(password: &str, params: &Argon2Params) -> Result<String, CredentialError> {
    let cost = |error: &dyn std::fmt::Display| CredentialError::Cost(error.to_string());
    let kib = u32::try_from(params.memory.get() / 1024).map_err(|error| cost(&error))?;
    let argon_params = argon2::Params::new(kib, params.passes, params.lanes, None)
        .map_err(|error| cost(&error))?;
    let salt = SaltString::encode_b64(&salt()?).map_err(|error| cost(&error))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, argon_params)
        .hash_password(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| cost(&error))
}

fn salt() -> Result<[u8; SALT], CredentialError> {
    let mut salt = [0; SALT];
    match getrandom::fill(&mut salt) {
        Ok(()) => Ok(salt),
        Err(error) => Err(CredentialError::Random(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_has_what_is_switched_on_and_never_the_password() {
        let config = AuthConfig {
            argon2: Argon2Params {
                memory: postino_config::ByteSize::kib(64),
                passes: 1,
                lanes: 1,
            },
            ..AuthConfig::default()
        };
        let password = Secret::new("postino-dev");
        let credential = make(&password, &Params::new(&config)).expect("made");
        assert!(
            credential
                .password_hash
                .starts_with("$argon2id$v=19$m=64,t=1,p=1$")
        );
        assert!(credential.has_scram);
        assert_eq!(credential.scram_iterations, 4096);
        assert_eq!(
            (
                credential.scram_salt.len(),
                credential.scram_stored_key.len()
            ),
            (16, 32)
        );
        assert!(!format!("{credential:?}").contains("postino-dev"));
        let other = make(&password, &Params::new(&config)).expect("made");
        assert_ne!(credential.password_hash, other.password_hash);

        let without = Params {
            scram_iterations: None,
            ..Params::new(&config)
        };
        let credential = make(&password, &without).expect("made");
        assert!(!credential.has_scram && credential.scram_stored_key.is_empty());
    }

    #[test]
    fn bad_passwords_and_costs_are_refused() {
        let params = Params::new(&AuthConfig::default());
        assert_eq!(
            make(&Secret::new(""), &params),
            Err(CredentialError::Password)
        );
        let free = Params {
            argon2: Argon2Params {
                passes: 0,
                ..Argon2Params::default()
            },
            ..params
        };
        assert!(matches!(
            make(&Secret::new("x"), &free),
            Err(CredentialError::Cost(_))
        ));
    }
}
