//! The cluster's random id, as bytes and as text.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

/// A cluster's random id, which every message between its nodes names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId([u8; 16]);

/// Bytes or text that are no cluster id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a cluster id has 16 bytes, written as 32 hexadecimal digits")]
pub struct ClusterIdError;

impl ClusterId {
    /// A new one. Fails only if the system has no random source.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self(bytes))
    }

    /// The id with these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClusterIdError> {
        bytes.try_into().map(Self).map_err(|_| ClusterIdError)
    }

    /// Its bytes.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

impl FromStr for ClusterId {
    type Err = ClusterIdError;

    fn from_str(text: &str) -> Result<Self, ClusterIdError> {
        if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ClusterIdError);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| ClusterIdError)?;
        Ok(Self(number.to_be_bytes()))
    }
}
