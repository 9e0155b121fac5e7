//! `postino export` and `postino import`: mail leaves as files that Python's mailbox module reads,
//! and comes back octet for octet, with its flags and its times.

use anyhow::{Context, Result};
use postino_tests::imap::Imap;
use postino_tests::letter::{fresh_id, letter};
use postino_tests::program::python;
use postino_tests::{ALICE, BOB, PASSWORD, Postino};

/// Mailboxes with names that file systems and formats find hard.
const MAILBOXES: [&str; 4] = ["INBOX", "Archive/2026", "a.b", ".hidden"];
const FLAGS: &str = "\\Seen \\Flagged $work";
const DATE: &str = "14-Nov-2023 22:13:20 +0000";

/// A letter whose body looks like mbox's own lines.
fn tricky() -> Vec<u8> {
    let mut message = letter(&fresh_id(), ALICE, BOB, 1000);
    message.extend_from_slice(
        b"\r\nFrom me\r\n>From you\r\n\r\nFrom nobody Thu Jan  1 00:00:01 1970\r\n",
    );
    message.extend_from_slice("Grüße\r\n".as_bytes());
    message
}

/// One letter in each mailbox of Alice.
async fn fill(postino: &Postino) -> Result<Vec<Vec<u8>>> {
    let mut imap = Imap::login(postino.imap(), ALICE, PASSWORD).await?;
    let mut letters = Vec::new();
    for mailbox in MAILBOXES {
        if mailbox != "INBOX" {
            imap.ok(&format!("CREATE \"{mailbox}\"")).await?;
        }
        let message = tricky();
        imap.begin(&format!(
            "APPEND \"{mailbox}\" ({FLAGS}) \"{DATE}\" {{{}+}}",
            message.len()
        ))
        .await?;
        imap.send(&message).await?;
        imap.send(b"\r\n").await?;
        let response = imap.finish().await?;
        anyhow::ensure!(response.tagged.contains("OK"), "{}", response.tagged);
        letters.push(message);
    }
    Ok(letters)
}

/// What a mailbox of Bob's holds: flags and dates as FETCH shows them, and the octets.
async fn held(postino: &Postino, mailbox: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let mut imap = Imap::login(postino.imap(), BOB, PASSWORD).await?;
    imap.ok(&format!("EXAMINE \"{mailbox}\"")).await?;
    let response = imap
        .ok("FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])")
        .await?;
    let fetched = response.untagged.into_iter();
    let fetched = fetched.filter(|line| line.text.contains(" FETCH "));
    fetched
        .map(|line| {
            Ok((
                line.text,
                line.literals.into_iter().next().context("a body")?,
            ))
        })
        .collect()
}

async fn assert_held_once(postino: &Postino, letters: &[Vec<u8>]) -> Result<()> {
    for (mailbox, letter) in MAILBOXES.iter().zip(letters) {
        let held = held(postino, mailbox).await?;
        let [(attributes, octets)] = held.as_slice() else {
            panic!("{mailbox}: {} messages", held.len());
        };
        assert_eq!(
            String::from_utf8_lossy(octets),
            String::from_utf8_lossy(letter),
            "{mailbox}"
        );
        for part in FLAGS.split(' ').chain([DATE]) {
            assert!(attributes.contains(part), "{part}: {attributes}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_maildir_goes_out_and_comes_back() -> Result<()> {
    let postino = Postino::start().await?;
    let letters = fill(&postino).await?;
    let directory = postino.data().with_extension("maildir");
    let path = directory.to_string_lossy();
    postino.done(&["export", ALICE, &path]).await?;

    let read = "import mailbox,sys\n\
        box=mailbox.Maildir(sys.argv[1],create=False)\n\
        print(len(box),sorted(box.list_folders()))\n\
        for key,m in box.iteritems(): print(m.get_flags()[:2], m.get_date())";
    let python_sees = python(read, &[&path]).await?;
    assert!(
        python_sees.starts_with("1 ['&AC4-hidden', 'Archive', 'Archive.2026', 'Drafts',"),
        "{python_sees}"
    );
    assert!(python_sees.contains("'a&AC4-b'"), "{python_sees}");
    assert!(python_sees.contains("FS 1700000000"), "{python_sees}");

    // Not into what is there already.
    let again = postino.command(&["export", ALICE, &path]).await?;
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("not empty"), "{}", again.stderr);

    postino.done(&["import", BOB, &path]).await?;
    assert_held_once(&postino, &letters).await?;
    // A repetition, as after a broken import, files nothing twice.
    postino.done(&["import", BOB, &path]).await?;
    assert_held_once(&postino, &letters).await
}

#[tokio::test]
async fn an_mbox_tree_goes_out_and_comes_back() -> Result<()> {
    let postino = Postino::start().await?;
    let letters = fill(&postino).await?;
    let directory = postino.data().with_extension("mbox");
    let path = directory.to_string_lossy();
    postino
        .done(&["export", ALICE, &path, "--format", "mbox"])
        .await?;
    let read = "import mailbox,sys\n\
        for name in ('INBOX','Archive/2026'):\n\
        \x20 box=mailbox.mbox(sys.argv[1]+'/'+name+'.mbox',create=False)\n\
        \x20 print(len(box),box[0].get_flags(),box[0].get_from())";
    let python_sees = python(read, &[&path]).await?;
    let line = "1 ROF MAILER-DAEMON Tue Nov 14 22:13:20 2023\n";
    assert_eq!(python_sees, line.repeat(2));
    postino.done(&["import", BOB, &path]).await?;
    assert_held_once(&postino, &letters).await
}

#[tokio::test]
async fn a_foreign_mbox_is_filed_where_it_is_asked_for() -> Result<()> {
    let postino = Postino::start().await?;
    let file = postino.data().with_extension("mbox");
    let path = file.to_string_lossy();
    let write = "import mailbox,sys\n\
        box=mailbox.mbox(sys.argv[1])\n\
        for n in range(3):\n\
        \x20 m=mailbox.mboxMessage('Subject: %d\\n\\nFrom here\\n' % n); m.set_flags('RA'); box.add(m)\n\
        box.flush()";
    python(write, &[&path]).await?;
    let told = postino
        .done(&["import", BOB, &path, "--mailbox", "Old/Mail", "--json"])
        .await?;
    assert!(told.contains("\"messages\": 3"), "{told}");
    let held = held(&postino, "Old/Mail").await?;
    assert_eq!(held.len(), 3);
    for (n, (attributes, octets)) in held.iter().enumerate() {
        let octets = String::from_utf8_lossy(octets);
        assert!(octets.starts_with(&format!("Subject: {n}\r\n")), "{octets}");
        assert!(octets.ends_with("\r\n\r\nFrom here\r\n"), "{octets:?}");
        assert!(attributes.contains("\\Seen") && attributes.contains("\\Answered"));
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_moved_is_told() -> Result<()> {
    let postino = Postino::start().await?;
    let nothing = postino.data().with_extension("nothing");
    std::fs::create_dir(&nothing)?;
    let path = nothing.to_string_lossy();
    for (arguments, why) in [
        (
            vec!["export", "nobody@example.org", &path],
            "no such account",
        ),
        (vec!["export", "nobody", &path], "nobody"),
        (vec!["import", BOB, &path], "neither a Maildir nor an mbox"),
        (vec!["import", BOB, "/nonexistent"], "/nonexistent"),
        (
            vec!["import", BOB, &path, "--mailbox", "a//b"],
            "empty level",
        ),
    ] {
        let refused = postino.command(&arguments).await?;
        assert_eq!(refused.code, 1, "{arguments:?}");
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    Ok(())
}
