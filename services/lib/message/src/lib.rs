//! Letters: RFC 5322 headers and MIME, read as a stream, and what IMAP asks about them.
//!
//! The [`Scanner`] reads a letter once, as it arrives, and keeps its header blocks and offsets
//! only; [`deliver`] turns the [`Structure`] it found into an [`Email`]: everything that is stored
//! beside the octets, in the wire form that FETCH answers with. Nothing here reads a clock, a
//! random source or a socket, and no input is an error: a broken letter gets a defensible
//! structure, since by then it has been accepted.

mod address;
mod body_structure;
mod compose;
mod content;
mod date;
pub mod decode;
pub mod dsn;
mod email;
mod envelope;
mod filter;
mod header;
mod limits;
mod message_id;
mod range;
mod scan;
mod search;
mod section;
pub mod seven_bit;
mod subject;
mod wire;

pub use address::{AddressItem, Mailbox, addresses};
pub use compose::{MissingFields, date_field, message_id_field, missing_fields, return_path_field};
pub use content::{ContentType, Disposition, Parameter, PartFields};
pub use date::{DateTime, format_date, parse_date};
pub use email::{Delivery, Email, Part, PartKind, Segment, deliver, keep};
pub use envelope::EnvelopeFields;
pub use filter::{FieldFilter, FieldSelection, filter_fields};
pub use header::{Field, Fields, fields, first_field};
pub use limits::Limits;
pub use message_id::message_ids;
pub use range::ByteRange;
pub use scan::{Content, Kind, ScannedPart, Scanner, Structure};
pub use search::Searcher;
pub use section::{Located, Section, SectionText, locate};
pub use subject::base_subject;
