//! How much of a letter is looked into.

/// Bounds of the [`Scanner`](crate::Scanner). What lies beyond them is passed over, never refused:
/// the letter keeps every octet, only its structure is told less finely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets kept of the letter's own header. Fields past them are not looked at, but for
    /// `Received` and `Return-Path`, which are counted to the header's end.
    pub top_header: usize,
    /// Octets kept of one MIME part's header.
    pub part_header: usize,
    /// Octets kept of the headers of all MIME parts together.
    pub part_headers: usize,
    /// Levels of multiparts and messages inside each other.
    pub depth: usize,
    /// MIME parts, the letter itself included.
    pub parts: usize,
    /// `Return-Path` fields that are found, runs of them counting once.
    pub return_paths: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            top_header: 1 << 20,
            part_header: 64 << 10,
            part_headers: 1 << 20,
            depth: 32,
            parts: 1000,
            return_paths: 100,
        }
    }
}
