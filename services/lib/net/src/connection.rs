//! One connection with a mail client or server, in plain text or TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// What TLS agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, as IANA names it.
    pub cipher: String,
    /// The name that the client asked for (RFC 6066 section 3).
    pub server_name: Option<String>,
}

impl TlsInfo {
    fn new(common: &rustls::CommonState, server_name: Option<&str>) -> Self {
        let version = match common.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLS",
        };
        let suite = common.negotiated_cipher_suite();
        let cipher = suite.and_then(|suite| suite.suite().as_str().map(str::to_owned));
        Self {
            version,
            // rustls spells TLS 1.3 suites TLS13_…; IANA says TLS_….
            cipher: cipher.unwrap_or_default().replacen("TLS13_", "TLS_", 1),
            server_name: server_name.map(str::to_owned),
        }
    }
}

/// The stream below. TLS state is large, so it lives apart: a connection in plain text is small.
#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Server(Box<server::TlsStream<TcpStream>>),
    Client(Box<client::TlsStream<TcpStream>>),
}

/// A connection, which is read and written like any stream.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: SocketAddr,
    local: SocketAddr,
    tls: Option<Box<TlsInfo>>,
}

impl Connection {
    /// A connection in plain text, with the addresses of its socket.
    pub fn plain(stream: TcpStream) -> io::Result<Self> {
        let (peer, local) = (
            canonical(stream.peer_addr()?),
            canonical(stream.local_addr()?),
        );
        Ok(Self::with_addresses(stream, peer, local))
    }

    /// A connection whose addresses a proxy has told.
    pub(crate) fn with_addresses(stream: TcpStream, peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            stream: Stream::Plain(stream),
            peer,
            local,
            tls: None,
        }
    }

    /// The other side's address; behind a trusted proxy, that of its client.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Our address, as the other side reached it.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// What TLS agreed on; `None` in plain text.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_deref()
    }

    /// The socket, to start TLS on; `None` if it has TLS already.
    pub(crate) fn into_plain(self) -> Option<(TcpStream, SocketAddr, SocketAddr)> {
        match self.stream {
            Stream::Plain(stream) => Some((stream, self.peer, self.local)),
            Stream::Server(_) | Stream::Client(_) => None,
        }
    }

    pub(crate) fn server_tls(
        stream: server::TlsStream<TcpStream>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Self {
        let (_, session) = stream.get_ref();
        let tls = Some(Box::new(TlsInfo::new(session, session.server_name())));
        Self {
            stream: Stream::Server(Box::new(stream)),
            peer,
            local,
            tls,
        }
    }

    pub(crate) fn client_tls(
        stream: client::TlsStream<TcpStream>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Self {
        let tls = Some(Box::new(TlsInfo::new(stream.get_ref().1, None)));
        Self {
            stream: Stream::Client(Box::new(stream)),
            peer,
            local,
            tls,
        }
    }
}

/// An IPv4 address that came through an IPv6 socket is an IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Server(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Client(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::Server(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::Client(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Server(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Client(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Server(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Client(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Stream::Server(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Stream::Client(stream) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
