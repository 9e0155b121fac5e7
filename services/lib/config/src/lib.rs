//! Configuration: typed, layered, documented, and strict.
//!
//! Values that have a unit say it ([`ByteSize`], [`Duration`]); secrets are named, never written
//! down ([`SecretRef`]); [`Layers`] puts defaults, file, environment and command line on top of
//! each other and refuses every key that nobody knows.

mod byte_size;
mod duration;
mod layers;
mod rule;
mod secret;
mod shared;

pub use byte_size::{ByteSize, ByteSizeError};
pub use duration::{Duration, DurationError};
pub use layers::{ConfigError, ENVIRONMENT_PREFIX, Layers};
pub use rule::{SettingError, check};
pub use secret::{SecretError, SecretRef};
pub use shared::{Argon2Params, AuthConfig, GrpcConfig, InsecureBind, PlaintextPolicy, TlsConfig};
