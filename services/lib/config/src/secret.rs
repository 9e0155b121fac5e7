//! Where a secret is to be read from; the secret itself is in no configuration.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use postino_types::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a secret cannot be had. Never holds the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The text names no source.
    #[error("a secret is \"file:PATH\" or \"env:NAME\", never the secret itself")]
    Form,
    /// The file cannot be read.
    #[error("secret file {path:?}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What reading it said.
        error: std::io::Error,
    },
    /// The variable is not set, or is not UTF-8.
    #[error("environment variable {0:?} is not set to a text")]
    Environment(String),
}

/// The place of a secret: `file:/path` or `env:NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// A file; one final line end does not belong to the secret.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
}

impl SecretRef {
    /// Reads the secret.
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => {
                    let text = text.strip_suffix('\n').unwrap_or(&text);
                    Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
                }
                Err(error) => Err(SecretError::File {
                    path: path.clone(),
                    error,
                }),
            },
            Self::Environment(name) => match std::env::var(name) {
                Ok(text) => Ok(Secret::new(text)),
                Err(_) => Err(SecretError::Environment(name.clone())),
            },
        }
    }
}

impl FromStr for SecretRef {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Environment(name.to_owned())),
            _ => Err(SecretError::Form),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Environment(name) => write!(f, "env:{name}"),
        }
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_its_file_without_the_line_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "hunter2\r\n").expect("written");
        let reference: SecretRef = format!("file:{}", path.display()).parse().expect("valid");
        assert_eq!(reference.read().expect("read").expose(), "hunter2");
        assert_eq!(
            reference.to_string().parse::<SecretRef>().expect("valid"),
            reference
        );
        let missing = SecretRef::File(folder.path().join("none")).read();
        assert!(matches!(missing, Err(SecretError::File { .. })));
    }

    #[test]
    fn a_secret_written_down_is_refused_and_not_repeated() {
        let error = "hunter2".parse::<SecretRef>().expect_err("no source");
        assert!(!error.to_string().contains("hunter2"));
        assert!("env:".parse::<SecretRef>().is_err());
        let unset = SecretRef::Environment("POSTINO_TEST_UNSET".into()).read();
        assert!(matches!(unset, Err(SecretError::Environment(_))));
    }
}
