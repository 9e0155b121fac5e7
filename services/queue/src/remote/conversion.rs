//! What goes out of a letter: its own octets, or a seven-bit form of them for a server that takes no
//! others (RFC 6152 section 3).

use bytes::Bytes;
use futures::StreamExt;
use postino_message::seven_bit::{Conversion, Converter, NotConvertible, Survey};
use postino_message::{Limits, Scanner};
use postino_smtp::BodyKind;

use super::{Parcel, Remote};
use crate::ports::CallError;

/// What goes to one server.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// Octets.
    pub(super) size: u64,
    /// What the server is told of them. A letter that cannot be converted stays eight-bit, which the
    /// client then refuses for the server.
    pub(super) kind: BodyKind,
    conversion: Option<Conversion>,
}

/// Why there is no converted letter.
enum NoConversion {
    /// There can be none.
    Never(NotConvertible),
    /// The spool cannot be read now.
    Now(CallError),
}

impl Remote {
    /// What of a letter goes to a server that takes eight-bit data, or does not.
    pub(super) async fn content(
        &self,
        parcel: &Parcel,
        takes_eight_bit: bool,
    ) -> Result<Content, CallError> {
        let kind = match parcel.eight_bit {
            true => BodyKind::EightBitMime,
            false => BodyKind::SevenBit,
        };
        let as_it_is = Content {
            size: parcel.size,
            kind,
            conversion: None,
        };
        if takes_eight_bit || !parcel.eight_bit {
            return Ok(as_it_is);
        }
        match self.convert(parcel).await {
            Ok(converted) => Ok(converted),
            Err(NoConversion::Never(NotConvertible)) => Ok(as_it_is),
            Err(NoConversion::Now(error)) => Err(error),
        }
    }

    /// Reads the letter thrice, since it is not kept: what it is made of, what has to be converted, and
    /// how large that becomes.
    async fn convert(&self, parcel: &Parcel) -> Result<Content, NoConversion> {
        let mut scanner = Scanner::new(Limits::default());
        self.read(parcel, |chunk| {
            scanner.feed(chunk);
            Ok(())
        })
        .await?;
        let mut survey = Survey::new(&scanner.finish());
        self.read(parcel, |chunk| {
            survey.feed(chunk);
            Ok(())
        })
        .await?;
        let conversion = survey.finish();
        let mut content = Content {
            size: 0,
            kind: BodyKind::SevenBit,
            conversion: Some(conversion),
        };
        let mut writer = content.writer();
        let mut size = 0;
        self.read(parcel, |chunk| {
            size += writer.next(chunk.clone())?.len() as u64;
            Ok(())
        })
        .await?;
        content.size = size + writer.finish().len() as u64;
        Ok(content)
    }

    async fn read(
        &self,
        parcel: &Parcel,
        mut take: impl FnMut(&Bytes) -> Result<(), NotConvertible>,
    ) -> Result<(), NoConversion> {
        let chunks = self.store.body(parcel.id, 0, 0).await;
        let mut chunks = chunks.map_err(NoConversion::Now)?;
        while let Some(chunk) = chunks.next().await {
            take(&chunk.map_err(NoConversion::Now)?).map_err(NoConversion::Never)?;
        }
        Ok(())
    }
}

impl Content {
    /// Turns the letter's octets into these.
    pub(super) fn writer(&self) -> Writer {
        Writer(self.conversion.as_ref().map(Converter::new))
    }
}

/// Writes what goes out, chunk by chunk.
pub(super) struct Writer(Option<Converter>);

impl Writer {
    /// What the next chunk of the letter becomes.
    pub(super) fn next(&mut self, chunk: Bytes) -> Result<Bytes, NotConvertible> {
        let Some(converter) = &mut self.0 else {
            return Ok(chunk);
        };
        let mut out = Vec::with_capacity(chunk.len());
        converter.feed(&chunk, &mut out)?;
        Ok(out.into())
    }

    /// What is left at the letter's end.
    pub(super) fn finish(self) -> Bytes {
        let mut out = Vec::new();
        if let Some(converter) = self.0 {
            converter.finish(&mut out);
        }
        out.into()
    }
}
