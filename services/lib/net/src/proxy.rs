//! The PROXY protocol, versions 1 and 2: a trusted proxy tells who its client is.

use std::io;
use std::net::SocketAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest header of version 1, with its line end.
const LONGEST_LINE: usize = 107;
/// The longest header of version 2 that is read; real ones have some hundred octets.
const LONGEST: usize = 4096;
/// Enough of version 2 to know its length.
const START: usize = 16;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxied {
    /// Client and the address it came to.
    Client(SocketAddr, SocketAddr),
    /// The proxy speaks for itself, such as for a health check, or does not know.
    Local,
}

/// Reads the header off a new connection, and not an octet more.
pub(crate) async fn read_header(stream: &mut TcpStream) -> io::Result<Proxied> {
    let mut header = [0; LONGEST];
    let mut length = 0;
    while let Some(want) = next_read(&header[..length])? {
        stream
            .read_exact(&mut header[length..length + want])
            .await?;
        length += want;
    }
    parse(&header[..length])
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a PROXY header")
}

/// How many octets certainly still belong to the header; `None` once it is whole. Nothing behind
/// it may be taken, and version 1 does not say how long it is: that comes octet by octet.
fn next_read(header: &[u8]) -> io::Result<Option<usize>> {
    let (whole, longest) = match header {
        // "PROXY UNKNOWN\r\n" is shorter than the start of version 2.
        [] => return Ok(Some(12)),
        line if line.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) => match line.ends_with(b"\r\n") {
            true => return Ok(None),
            false => (line.len() + 1, LONGEST_LINE),
        },
        start if !start.starts_with(v2::PROTOCOL_PREFIX) => return Err(invalid()),
        start if start.len() < START => (START, LONGEST),
        start => (
            START + usize::from(u16::from_be_bytes([start[14], start[15]])),
            LONGEST,
        ),
    };
    match whole {
        whole if whole > longest => Err(invalid()),
        whole => Ok(Some(whole - header.len()).filter(|want| *want > 0)),
    }
}

fn parse(header: &[u8]) -> io::Result<Proxied> {
    let result = HeaderResult::parse(header);
    match result {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(a) => Proxied::Client(
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            ),
            v1::Addresses::Tcp6(a) => Proxied::Client(
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            ),
            v1::Addresses::Unknown => Proxied::Local,
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(a)) => Proxied::Client(
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            ),
            (v2::Command::Proxy, v2::Addresses::IPv6(a)) => Proxied::Client(
                (a.source_address, a.source_port).into(),
                (a.destination_address, a.destination_port).into(),
            ),
            _ => Proxied::Local,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn read(sent: &[u8]) -> (io::Result<Proxied>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mut client = TcpStream::connect(listener.local_addr().expect("address"))
            .await
            .expect("connected");
        client.write_all(sent).await.expect("written");
        drop(client);
        let (mut server, _) = listener.accept().await.expect("accepted");
        let proxied = read_header(&mut server).await;
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.expect("read");
        (proxied, rest)
    }

    fn client() -> Proxied {
        let address = |text: &str| text.parse().expect("an address");
        Proxied::Client(address("192.0.2.7:4711"), address("198.51.100.1:25"))
    }

    #[tokio::test]
    async fn both_versions_are_read_and_nothing_behind_them() {
        let (proxied, rest) =
            read(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\nEHLO x\r\n").await;
        assert_eq!(proxied.expect("valid"), client());
        assert_eq!(rest, b"EHLO x\r\n");
        let (proxied, rest) = read(b"PROXY UNKNOWN\r\nQUIT\r\n").await;
        assert_eq!(proxied.expect("valid"), Proxied::Local);
        assert_eq!(rest, b"QUIT\r\n");
        let second =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\0\x19NOOP";
        let (proxied, rest) = read(second).await;
        assert_eq!(proxied.expect("valid"), client());
        assert_eq!(rest, b"NOOP");
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0NOOP";
        let (proxied, rest) = read(local).await;
        assert_eq!(proxied.expect("valid"), Proxied::Local);
        assert_eq!(rest, b"NOOP");
    }

    #[tokio::test]
    async fn what_is_no_header_is_an_error() {
        for bad in [
            &b"EHLO client.example.org\r\n"[..],
            b"PROXY TCP4 1.2.3.4\r\n more than enough octets to read",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            b"PROXY",
        ] {
            assert!(read(bad).await.0.is_err(), "{bad:?}");
        }
    }
}
