//! Section `[access]`.

use postino_config::SettingError;
use serde::{Deserialize, Serialize};

use crate::imap::ImapConfig;
use crate::pop3::Pop3Config;

/// Section `[access]`: how users get at their mail.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// IMAP.
    pub imap: ImapConfig,
    /// POP3.
    pub pop3: Pop3Config,
}

impl AccessConfig {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        self.imap.check()?;
        self.pop3.check()
    }
}
