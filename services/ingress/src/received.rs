//! The trace field that every letter gets (RFC 5321 section 4.4).

use std::net::{IpAddr, SocketAddr};

use postino_message::{DateTime, format_date};
use postino_net::TlsInfo;
use postino_smtp::server::Hello;
use postino_types::{Domain, QueueId};

/// What is known of the client of a letter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) hello: &'a Hello,
    pub(crate) tls: Option<&'a TlsInfo>,
    pub(crate) login: Login,
}

/// Whether the client had logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    None,
    User,
}

impl Client<'_> {
    /// How it spoke (RFC 3848).
    pub(crate) fn protocol(&self) -> &'static str {
        match (self.hello, self.tls.is_some(), self.login) {
            (Hello::Helo(_), ..) => "SMTP",
            (_, false, Login::None) => "ESMTP",
            (_, true, Login::None) => "ESMTPS",
            (_, false, Login::User) => "ESMTPA",
            (_, true, Login::User) => "ESMTPSA",
        }
    }
}

/// The field with its line end. `only_recipient` is named if there is just one: others must not
/// learn of each other (RFC 5321 section 7.2).
pub(crate) fn received_field(
    client: &Client<'_>,
    hostname: &Domain,
    id: QueueId,
    only_recipient: Option<&str>,
    unix_seconds: i64,
) -> String {
    let literal = match client.address.ip().to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        // RFC 5321 section 4.1.3.
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    };
    let tls = match client.tls {
        Some(tls) => format!(" ({} {})", tls.version, tls.cipher),
        None => String::new(),
    };
    let recipient = match only_recipient {
        Some(recipient) => format!("\r\n\tfor <{recipient}>"),
        None => String::new(),
    };
    let date = format_date(DateTime {
        seconds: unix_seconds,
        offset_minutes: 0,
    });
    format!(
        "Received: from {} ({literal})\r\n\tby {hostname} with {}{tls}\r\n\tid {id}{recipient};\r\n\t{date}\r\n",
        client.hello.name().as_str(),
        client.protocol(),
    )
}

#[cfg(test)]
mod tests {
    use postino_smtp::ClientName;
    use postino_types::ShardId;

    use super::*;

    #[test]
    fn the_field_says_who_where_how_and_when() {
        let hello = Hello::Ehlo(ClientName::new("client.example.com").expect("valid"));
        let tls = TlsInfo {
            version: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            server_name: None,
        };
        let mut client = Client {
            address: "192.0.2.1:4000".parse().expect("valid"),
            hello: &hello,
            tls: Some(&tls),
            login: Login::User,
        };
        let hostname = "mx.example.org".parse().expect("valid");
        let id = QueueId::mint(ShardId::new(1), 0, 0).expect("fits");
        assert_eq!(
            received_field(&client, &hostname, id, Some("bob@example.org"), 0),
            "Received: from client.example.com ([192.0.2.1])\r\n\
             \tby mx.example.org with ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n\
             \tid 000100000000000000000000\r\n\
             \tfor <bob@example.org>;\r\n\
             \tThu, 01 Jan 1970 00:00:00 +0000\r\n"
        );
        client.tls = None;
        client.address = "[2001:db8::1]:25".parse().expect("valid");
        let helo = Hello::Helo(ClientName::new("x").expect("valid"));
        client.hello = &helo;
        assert_eq!(
            received_field(&client, &hostname, id, None, 0),
            "Received: from x ([IPv6:2001:db8::1])\r\n\
             \tby mx.example.org with SMTP\r\n\
             \tid 000100000000000000000000;\r\n\
             \tThu, 01 Jan 1970 00:00:00 +0000\r\n"
        );
    }
}
