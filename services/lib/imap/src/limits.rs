//! What a client may send at most.

/// Bounds of the parser. Every number is a setting of the access service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a command without its literals. RFC 7162 section 4 asks for 8192 at least; sets
    /// of UIDs make long lines.
    pub line: usize,
    /// Octets of all literals of one command, the message of `APPEND` not counted.
    pub literals: usize,
    /// Octets of the message of one `APPEND`.
    pub message: u64,
    /// How deep lists and search keys nest.
    pub depth: usize,
    /// Elements of one command: list members, search keys, fetch items.
    pub arguments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: 64 * 1024,
            literals: 64 * 1024,
            message: 64 * 1024 * 1024,
            depth: 32,
            arguments: 4096,
        }
    }
}
