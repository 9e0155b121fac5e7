//! A connection with its buffers, for the driver of a sans-IO session.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::{ClientTls, ClientTlsError, Connection, TlsAcceptor, TlsError, Verification};

/// What one read takes at most.
const READ: usize = 16 * 1024;
/// What a buffer may hold on to beyond its content while its connection waits.
const SLACK: usize = 4 * 1024;

/// A connection, what came in and was not looked at yet, and what is still to go out.
///
/// An idle connection holds no buffer: octets are read into the stack and only then kept, and
/// empty buffers go back before a wait.
#[derive(Debug)]
pub struct Wire {
    connection: Connection,
    input: BytesMut,
    output: BytesMut,
}

impl Wire {
    /// A wire with empty buffers.
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            input: BytesMut::new(),
            output: BytesMut::new(),
        }
    }

    /// The connection: addresses, TLS.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What came in; take from its front what is used up.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// What is to go out; append to it, then [`flush`](Self::flush).
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Both buffers at once, for a machine that reads the one and writes the other.
    pub fn buffers(&mut self) -> (&mut BytesMut, &mut BytesMut) {
        (&mut self.input, &mut self.output)
    }

    /// Waits for octets and adds them to the input; 0 is the end. Dropping the wait loses nothing.
    pub async fn fill(&mut self) -> io::Result<usize> {
        self.release();
        let Self {
            connection, input, ..
        } = self;
        poll_fn(|cx| {
            // On the stack of this poll only: a connection that waits owns no buffer.
            let mut scratch = [const { MaybeUninit::<u8>::uninit() }; READ];
            let mut buffer = ReadBuf::uninit(&mut scratch);
            ready!(Pin::new(&mut *connection).poll_read(cx, &mut buffer))?;
            input.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }

    /// Sends all output. If the wait is dropped, what was not sent stays in the output.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            // write_buf takes from the front exactly what the socket took.
            if self.connection.write_buf(&mut self.output).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.connection.flush().await
    }

    /// Sends all output, then these octets without copying them.
    pub async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.flush().await?;
        self.connection.write_all(octets).await
    }

    /// Gives back what the buffers do not need.
    fn release(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            let slack = buffer.capacity() - buffer.len();
            if buffer.is_empty() || slack > SLACK {
                *buffer = BytesMut::from(&buffer[..]);
            }
        }
    }

    /// Server side of `STARTTLS`: sends the output, whose end is the go-ahead, throws away what the
    /// client sent ahead of the handshake, and shakes hands. The new wire's buffers are empty, so
    /// nothing that came in plain text can be taken for something that came under TLS
    /// (RFC 3207 section 4.2, RFC 3501 section 6.2.1, RFC 2595 section 4).
    pub async fn accept_tls(mut self, tls: &TlsAcceptor) -> Result<Self, TlsError> {
        self.flush().await?;
        if !self.input.is_empty() {
            tracing::debug!(
                octets = self.input.len(),
                "input before the TLS handshake discarded"
            );
        }
        tls.accept(self.connection).await.map(Self::new)
    }

    /// Client side of `STARTTLS`, after the server's go-ahead. Octets that the server sent after it
    /// are an error: somebody put them there.
    pub async fn connect_tls(
        mut self,
        tls: &ClientTls,
        verification: &Verification,
    ) -> Result<Self, ClientTlsError> {
        self.flush().await?;
        match self.input.is_empty() {
            true => tls
                .connect(self.connection, verification)
                .await
                .map(Self::new),
            false => Err(ClientTlsError::InjectedInput),
        }
    }

    /// Sends all output and closes, with TLS's own farewell first.
    pub async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        self.connection.shutdown().await
    }

    /// The connection alone; octets in the buffers are lost.
    pub fn into_connection(self) -> Connection {
        self.connection
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let client = TcpStream::connect(listener.local_addr().expect("address")).await;
        let (server, _) = listener.accept().await.expect("accepted");
        let connection = Connection::plain(server).expect("addresses");
        (Wire::new(connection), client.expect("connected"))
    }

    #[tokio::test]
    async fn what_is_written_arrives_and_an_idle_wire_holds_nothing() {
        let (mut wire, mut client) = pair().await;
        client.write_all(b"EHLO x\r\n").await.expect("written");
        assert_eq!(wire.fill().await.expect("read"), 8);
        assert_eq!(wire.input().split().as_ref(), b"EHLO x\r\n");
        wire.output().extend_from_slice(b"250 hi\r\n");
        wire.flush().await.expect("sent");
        let mut reply = [0; 8];
        client.read_exact(&mut reply).await.expect("read");
        assert_eq!(&reply, b"250 hi\r\n");
        {
            let waiting = wire.fill();
            tokio::select! {
                _ = waiting => panic!("nothing was sent"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!((wire.input.capacity(), wire.output.capacity()), (0, 0));
        drop(client);
        assert_eq!(wire.fill().await.expect("the end"), 0);
    }
}
