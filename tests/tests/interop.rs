//! Other people's programs: swaks, curl and smtplib send; mbsync, curl, imaplib, poplib, getmail
//! read. What comes back is, octet for octet, what was sent, below the trace headers.

use std::fs;

use anyhow::{Context, Result};
use postino_tests::letter::{below_trace, fresh_id, letter};
use postino_tests::program::{python, run, run_with};
use postino_tests::{ALICE, BOB, PASSWORD, Postino, imap, smtp};

/// Waits for the one letter in Bob's INBOX, and compares it.
async fn arrived(postino: &Postino, sent: &[u8]) -> Result<Vec<u8>> {
    let inbox = imap::inbox(postino.imap(), BOB, PASSWORD, 1).await?;
    let stored = inbox.into_iter().next().context("a letter")?;
    assert_eq!(
        below_trace(&stored, sent).map(String::from_utf8_lossy),
        Some(String::from_utf8_lossy(sent))
    );
    Ok(stored)
}

/// A letter that trips careless programs: dots, eight-bit data, a long line, trailing spaces.
fn awkward() -> Vec<u8> {
    let mut message = letter(&fresh_id(), ALICE, BOB, 2000);
    message.extend_from_slice(b".\r\n..\r\n.leading dot\r\ntrailing space \r\n\r\n");
    message.extend_from_slice("Grüße, 8-bit ÿ\r\n".as_bytes());
    message.extend_from_slice(&[b'x'; 990]);
    message.extend_from_slice(b"\r\nend\r\n");
    message
}

#[tokio::test]
async fn swaks_sends_with_starttls_and_auth() -> Result<()> {
    let postino = Postino::start().await?;
    let message = letter(&fresh_id(), ALICE, BOB, 3000);
    let file = postino.data().with_extension("eml");
    // swaks ends what it was given with a line end of its own.
    fs::write(&file, message.strip_suffix(b"\r\n").context("a last line")?)?;
    let server = postino.address("submission").to_string();
    let data = format!("@{}", file.display());
    let arguments = [
        "--server",
        &server,
        "--from",
        ALICE,
        "--to",
        BOB,
        "--tls",
        "--auth",
        "PLAIN",
        "--auth-user",
        ALICE,
        "--auth-password",
        PASSWORD,
        "--data",
        &data,
        "--suppress-data",
    ];
    let output = run("swaks", &arguments).await?.success()?;
    assert!(output.contains("queued as"), "{output}");
    let stored = arrived(&postino, &message).await?;
    assert!(String::from_utf8_lossy(&stored).contains("with ESMTPSA"));
    Ok(())
}

#[tokio::test]
async fn curl_sends_over_tls_and_reads_by_imap_and_pop3() -> Result<()> {
    let postino = Postino::start().await?;
    let message = letter(&fresh_id(), ALICE, BOB, 3000);
    let user = format!("{ALICE}:{PASSWORD}");
    let url = format!("smtps://{}", postino.address("submissions"));
    let arguments = [
        "-sSk",
        "-u",
        &user,
        "--mail-from",
        ALICE,
        "--mail-rcpt",
        BOB,
        "-T",
        "-",
        &url,
    ];
    run_with("curl", &arguments, &message).await?.success()?;
    let stored = arrived(&postino, &message).await?;
    let user = format!("{BOB}:{PASSWORD}");
    for url in [
        format!("imap://{}/INBOX;MAILINDEX=1", postino.imap()),
        format!("imaps://{}/INBOX;MAILINDEX=1", postino.address("imaps")),
        format!("pop3://{}/1", postino.address("pop3")),
        format!("pop3s://{}/1", postino.address("pop3s")),
    ] {
        let output = run("curl", &["-sSk", "-u", &user, &url]).await?;
        assert_eq!(output.code, 0, "{url}: {}", output.stderr);
        assert_eq!(output.stdout, stored, "{url}");
    }
    Ok(())
}

#[tokio::test]
async fn smtplib_sends_imaplib_and_poplib_read() -> Result<()> {
    let postino = Postino::start().await?;
    let message = awkward();
    let (sent, read) = (
        postino.data().with_extension("eml"),
        postino.data().with_extension("out"),
    );
    fs::write(&sent, &message)?;
    let (sent, read_path) = (sent.to_string_lossy(), read.to_string_lossy());
    let send = "import smtplib,ssl,sys\n\
        f,port,who,pw,to=sys.argv[1:]\n\
        c=ssl.create_default_context();c.check_hostname=False;c.verify_mode=ssl.CERT_NONE\n\
        s=smtplib.SMTP('127.0.0.1',int(port));s.starttls(context=c);s.login(who,pw)\n\
        s.sendmail(who,[to],open(f,'rb').read(),mail_options=['BODY=8BITMIME']);s.quit()";
    let port = postino.address("submission").port().to_string();
    python(send, &[&sent, &port, ALICE, PASSWORD, BOB]).await?;
    let stored = arrived(&postino, &message).await?;

    let imaplib = "import imaplib,sys\n\
        f,port,who,pw=sys.argv[1:]\n\
        m=imaplib.IMAP4('127.0.0.1',int(port));m.starttls();m.login(who,pw);m.select('INBOX')\n\
        t,d=m.uid('FETCH','1:*','(BODY.PEEK[])');open(f,'wb').write(d[0][1]);m.logout()";
    let port = postino.imap().port().to_string();
    python(imaplib, &[&read_path, &port, BOB, PASSWORD]).await?;
    assert_eq!(fs::read(&read)?, stored);

    let poplib = "import poplib,sys\n\
        f,port,who,pw=sys.argv[1:]\n\
        p=poplib.POP3('127.0.0.1',int(port));p.user(who);p.pass_(pw)\n\
        r,l,o=p.retr(1);open(f,'wb').write(b''.join(x+b'\\r\\n' for x in l))\n\
        assert len(p.uidl()[1])==1 and p.top(1,0)[1];p.dele(1);p.quit()";
    let port = postino.address("pop3").port().to_string();
    python(poplib, &[&read_path, &port, BOB, PASSWORD]).await?;
    assert_eq!(fs::read(&read)?, stored);
    let mut after = imap::Imap::login(postino.imap(), BOB, PASSWORD).await?;
    assert_eq!(after.count("INBOX").await?, 0, "DELE and QUIT delete");
    Ok(())
}

/// A message without the header field that mbsync adds to know it again.
fn without_mark(text: &str) -> String {
    text.split_inclusive('\n')
        .filter(|line| !line.starts_with("X-TUID: "))
        .collect()
}

#[tokio::test]
async fn mbsync_copies_a_mailbox_both_ways() -> Result<()> {
    let postino = Postino::start().await?;
    let messages: Vec<Vec<u8>> = (0..5)
        .map(|n| letter(&fresh_id(), ALICE, BOB, 500 + n * 700))
        .collect();
    for message in &messages {
        smtp::send(postino.smtp(), ALICE, &[BOB], message).await?;
    }
    imap::inbox(postino.imap(), BOB, PASSWORD, 5).await?;
    let home = tempfile::tempdir()?;
    let dir = home.path().display();
    let configuration = format!(
        "IMAPAccount a\nHost 127.0.0.1\nPort {}\nUser {BOB}\nPass {PASSWORD}\nSSLType None\n\
         AuthMechs PLAIN\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nPath {dir}/mail/\n\
         Inbox {dir}/mail/INBOX\nSubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\n\
         Patterns *\nCreate Both\nExpunge Both\nSyncState {dir}/state-\n",
        postino.imap().port()
    );
    fs::write(home.path().join("rc"), configuration)?;
    fs::create_dir(home.path().join("mail"))?;
    let rc = home.path().join("rc").to_string_lossy().into_owned();
    run("mbsync", &["-c", &rc, "-a"]).await?.success()?;
    let mut found = Vec::new();
    for folder in ["INBOX/new", "INBOX/cur"] {
        for entry in fs::read_dir(home.path().join("mail").join(folder))? {
            found.push(without_mark(&fs::read_to_string(entry?.path())?));
        }
    }
    assert_eq!(found.len(), 5);
    for message in &messages {
        // A maildir has Unix line ends.
        let wanted = String::from_utf8_lossy(message).replace("\r\n", "\n");
        let there = found.iter().any(|text| text.ends_with(&wanted));
        assert!(there, "{wanted}");
    }
    for special in ["Drafts", "Sent", "Junk", "Trash"] {
        assert!(home.path().join("mail").join(special).is_dir(), "{special}");
    }
    // The other way: a message put into the maildir appears on the server.
    fs::write(
        home.path().join("mail/Sent/new/1.near"),
        "Subject: from near\n\nhello\n",
    )?;
    run("mbsync", &["-c", &rc, "-a"]).await?.success()?;
    let mut client = imap::Imap::login(postino.imap(), BOB, PASSWORD).await?;
    let sent = client.messages("Sent").await?;
    assert!(String::from_utf8_lossy(&sent[0]).contains("Subject: from near"));
    Ok(())
}

#[tokio::test]
async fn getmail_fetches_by_pop3() -> Result<()> {
    let postino = Postino::start().await?;
    let message = letter(&fresh_id(), ALICE, BOB, 3000);
    smtp::send(postino.smtp(), ALICE, &[BOB], &message).await?;
    imap::inbox(postino.imap(), BOB, PASSWORD, 1).await?;
    let home = tempfile::tempdir()?;
    let (dir, port) = (home.path().display(), postino.address("pop3").port());
    // getmail refuses to file mail as root, which the tests may be; to hand it over, it does not.
    let configuration = format!(
        "[retriever]\ntype = SimplePOP3Retriever\nserver = 127.0.0.1\nport = {port}\n\
         username = {BOB}\npassword = {PASSWORD}\n\n[destination]\ntype = MDA_external\n\
         path = /usr/bin/tee\narguments = (\"{dir}/message\",)\nallow_root_commands = true\n\n\
         [options]\ndelete = true\ndelivered_to = false\nreceived = false\n"
    );
    fs::write(home.path().join("rc"), configuration)?;
    let (dir, rc) = (dir.to_string(), home.path().join("rc"));
    run(
        "getmail",
        &["--getmaildir", &dir, "--rcfile", &rc.to_string_lossy()],
    )
    .await?
    .success()?;
    let text = fs::read_to_string(home.path().join("message"))?;
    assert!(
        text.ends_with(&String::from_utf8_lossy(&message).replace("\r\n", "\n")),
        "{text}"
    );
    let mut after = imap::Imap::login(postino.imap(), BOB, PASSWORD).await?;
    assert_eq!(after.count("INBOX").await?, 0, "getmail has deleted it");
    Ok(())
}

#[tokio::test]
async fn idle_is_pushed() -> Result<()> {
    let postino = Postino::start().await?;
    let mut client = imap::Imap::login(postino.imap(), BOB, PASSWORD).await?;
    client.ok("SELECT INBOX").await?;
    client.begin("IDLE").await?;
    assert!(client.line().await?.text.starts_with('+'));
    let message = letter(&fresh_id(), ALICE, BOB, 300);
    smtp::send(postino.smtp(), ALICE, &[BOB], &message).await?;
    loop {
        let line = client.line().await?;
        if line.text == "* 1 EXISTS" {
            break;
        }
    }
    client.send(b"DONE\r\n").await?;
    client.finish().await?;
    Ok(())
}
