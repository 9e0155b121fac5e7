//! The far end of remote delivery works by itself, so that a failure elsewhere is ours.

use anyhow::Result;
use postino_tests::dns::Dns;
use postino_tests::letter::{fresh_id, letter};
use postino_tests::postfix::Postfix;
use postino_tests::program::python;
use postino_tests::smtp;

#[tokio::test]
async fn postfix_files_a_letter_and_refuses_nobody() -> Result<()> {
    let postfix = Postfix::start("remote.test").await?;
    let (from, to) = ("a@sender.test", "b@remote.test");
    let message = letter(&fresh_id(), from, to, 3000);
    smtp::send(postfix.address(), from, &[to], &message).await?;
    let letters = postfix.wait_letters(1).await?;
    assert!(String::from_utf8_lossy(&letters[0]).contains("Subject: letter"));
    let refused = smtp::send(postfix.address(), from, &["nobody@remote.test"], &message).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("refused: 550")));
    Ok(())
}

#[tokio::test]
async fn the_name_server_answers() -> Result<()> {
    let dns = Dns::start(&[
        "remote.test. MX 10 mx.remote.test.",
        "mx.remote.test. A 127.0.0.9",
    ]);
    let dns = dns.await?;
    // A query in raw octets: id, flags RD, one question, "mx.remote.test", type A, class IN.
    let script = "import socket,sys\n\
        q=b'\\x12\\x34\\x01\\0\\0\\1\\0\\0\\0\\0\\0\\0\\2mx\\6remote\\4test\\0\\0\\1\\0\\1'\n\
        s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(10)\n\
        s.sendto(q,('127.0.0.1',int(sys.argv[1])));a=s.recv(512)\n\
        print('.'.join(str(b) for b in a[-4:]))";
    let answer = python(script, &[&dns.address().port().to_string()]).await?;
    assert_eq!(answer.trim(), "127.0.0.9");
    Ok(())
}
