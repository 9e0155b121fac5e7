//! Replies.

/// A response code (RFC 2449 section 8, RFC 3206).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// The credentials do not fit.
    Auth,
    /// The maildrop is locked.
    InUse,
    /// A fault that may pass.
    SysTemp,
}

impl Code {
    fn text(self) -> &'static str {
        match self {
            Self::Auth => "[AUTH] ",
            Self::InUse => "[IN-USE] ",
            Self::SysTemp => "[SYS/TEMP] ",
        }
    }
}

/// Octets that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Output {
    octets: Vec<u8>,
}

impl Output {
    pub(super) fn len(&self) -> usize {
        self.octets.len()
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.octets)
    }

    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    pub(super) fn ok(&mut self, text: &str) {
        self.write(&["+OK ", text]);
    }

    pub(super) fn error(&mut self, code: Option<Code>, text: &str) {
        self.write(&["-ERR ", code.map_or("", Code::text), text]);
    }

    /// A challenge without content (RFC 5034 section 4).
    pub(super) fn challenge(&mut self) {
        self.write(&["+ "]);
    }

    /// The lines of a multi-line response and its end. None of them starts with a dot.
    pub(super) fn lines<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        for line in lines {
            self.write(&[line]);
        }
        self.write(&["."]);
    }

    pub(super) fn write(&mut self, pieces: &[&str]) {
        for piece in pieces {
            self.octets.extend_from_slice(piece.as_bytes());
        }
        self.octets.extend_from_slice(b"\r\n");
    }
}
