//! What a newcomer does: start, try the printed commands, use the command line, stop, start again.

use anyhow::{Context, Result};
use postino_tests::letter::{below_trace, fresh_id, letter};
use postino_tests::load::cost::{get, metric};
use postino_tests::program::{run, run_with};
use postino_tests::wait::{seconds, until};
use postino_tests::{ALICE, BOB, PASSWORD, Postino, imap, process, smtp};

#[tokio::test]
async fn the_printed_commands_work_as_printed() -> Result<()> {
    let postino = Postino::start().await?;
    let output = postino.output();
    let commands: Vec<&str> = output
        .lines()
        .map(str::trim)
        .filter(|line| line.contains("curl "))
        .collect();
    assert_eq!(commands.len(), 3, "{output}");
    run("bash", &["-c", commands[0]]).await?.success()?;
    let inbox = imap::inbox(postino.imap(), BOB, PASSWORD, 1).await?;
    assert!(String::from_utf8_lossy(&inbox[0]).contains("Hello, Bob!"));
    for command in &commands[1..] {
        let shown = run("bash", &["-c", command]).await?.success()?;
        assert!(shown.contains("Hello, Bob!"), "{command}: {shown}");
    }
    Ok(())
}

#[tokio::test]
async fn a_letter_survives_kill_and_restart_unchanged() -> Result<()> {
    let mut postino = Postino::start().await?;
    let message = letter(&fresh_id(), ALICE, BOB, 4000);
    let queue_id = smtp::send(postino.smtp(), ALICE, &[BOB], &message).await?;
    let before = imap::inbox(postino.imap(), BOB, PASSWORD, 1).await?;
    assert_eq!(below_trace(&before[0], &message), Some(message.as_slice()));
    let text = String::from_utf8_lossy(&before[0]).into_owned();
    assert!(
        text.starts_with(&format!("Return-Path: <{ALICE}>\r\n")),
        "{text}"
    );
    assert!(
        text.contains(&queue_id) && text.contains("with ESMTP\r\n"),
        "{text}"
    );

    postino.kill()?;
    postino.start_again().await?;
    assert_eq!(imap::inbox(postino.imap(), BOB, PASSWORD, 1).await?, before);
    postino.stop().await?;
    postino.start_again().await?;
    assert_eq!(imap::inbox(postino.imap(), BOB, PASSWORD, 1).await?, before);
    Ok(())
}

#[tokio::test]
async fn what_the_user_removed_stays_away() -> Result<()> {
    let mut postino = Postino::start().await?;
    postino.done(&["account", "remove", ALICE]).await?;
    postino.stop().await?;
    postino.start_again().await?;
    let list = postino.done(&["account", "list", "--json"]).await?;
    assert!(!list.contains(ALICE) && list.contains(BOB), "{list}");
    Ok(())
}

#[tokio::test]
async fn health_and_metrics() -> Result<()> {
    let postino = Postino::start().await?;
    let http = postino.address("http");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(http, path).await?.0, 200, "{path}");
    }
    let (_, before) = get(http, "/metrics").await?;
    let message = letter(&fresh_id(), ALICE, BOB, 100);
    smtp::send(postino.smtp(), ALICE, &[BOB], &message).await?;
    let (_, after) = get(http, "/metrics").await?;
    let syncs = |page: &str| metric(page, "postino_store_syncs_total");
    assert!(syncs(&after).context("the counter")? > syncs(&before).context("the counter")?);
    Ok(())
}

#[tokio::test]
async fn the_command_line_does_and_refuses() -> Result<()> {
    let postino = Postino::start().await?;
    postino.done(&["domain", "add", "second.test"]).await?;
    assert!(
        postino
            .done(&["domain", "list"])
            .await?
            .contains("second.test")
    );
    let binary = process::binary()?.to_string_lossy().into_owned();
    let data = postino.data().to_string_lossy().into_owned();
    let add = [
        "account",
        "add",
        "carol@second.test",
        "--password-stdin",
        "--data",
        &data,
    ];
    run_with(&binary, &add, b"first secret\n")
        .await?
        .success()?;
    // Refused: exit 1. Not understood: exit 2.
    assert_eq!(run_with(&binary, &add, b"x\n").await?.code, 1);
    assert_eq!(
        postino
            .command(&["domain", "remove", "second.test"])
            .await?
            .code,
        1
    );
    assert_eq!(postino.command(&["domain", "frobnicate"]).await?.code, 2);

    let accounts = postino.done(&["account", "list", "--json"]).await?;
    let accounts: serde_json::Value = serde_json::from_str(&accounts)?;
    let mut addresses = accounts
        .as_array()
        .context("a list")?
        .iter()
        .map(|a| &a["address"]);
    assert!(addresses.any(|address| address == "carol@second.test"));

    let passwd = [
        "account",
        "passwd",
        "carol@second.test",
        "--password-stdin",
        "--data",
        &data,
    ];
    run_with(&binary, &passwd, b"second\n").await?.success()?;
    imap::Imap::login(postino.imap(), "carol@second.test", "second").await?;

    let file = postino.data().with_extension("csv");
    std::fs::write(
        &file,
        "address,password\nd1@second.test,pw1\nd2@second.test,pw2\n",
    )?;
    postino
        .done(&["account", "import", &file.to_string_lossy()])
        .await?;
    imap::Imap::login(postino.imap(), "d2@second.test", "pw2").await?;
    assert_eq!(
        postino
            .command(&["account", "import", &file.to_string_lossy()])
            .await?
            .code,
        1
    );
    Ok(())
}

#[tokio::test]
async fn aliases_tags_and_accounts_that_come_again() -> Result<()> {
    let postino = Postino::start().await?;
    for alias in ["one@example.org", "two@example.org"] {
        postino.done(&["alias", "add", alias, BOB]).await?;
    }
    let message = letter(&fresh_id(), ALICE, "one@example.org", 500);
    let to = ["one@example.org", "two@example.org", "bob+tag@example.org"];
    smtp::send(postino.smtp(), ALICE, &to, &message).await?;
    let marker = letter(&fresh_id(), ALICE, BOB, 300);
    smtp::send(postino.smtp(), ALICE, &[BOB], &marker).await?;
    // The marker came later: what was to come of the first letter has come.
    let inbox = imap::inbox(postino.imap(), BOB, PASSWORD, 2).await?;
    assert_eq!(inbox.len(), 2, "two aliases of one mailbox give one copy");

    postino
        .done(&["alias", "remove", "one@example.org"])
        .await?;
    postino
        .done(&["alias", "remove", "two@example.org"])
        .await?;
    postino.done(&["account", "remove", BOB]).await?;
    // What the directory says is remembered for up to a second.
    let refused = async || {
        let refusal = smtp::send(postino.smtp(), ALICE, &[BOB], &message)
            .await
            .err()?;
        refusal.to_string().contains("550 5.1.1").then_some(())
    };
    until("the address is refused", seconds(5), refused).await?;
    let binary = process::binary()?.to_string_lossy().into_owned();
    let data = postino.data().to_string_lossy().into_owned();
    let add = ["account", "add", BOB, "--password-stdin", "--data", &data];
    run_with(&binary, &add, format!("{PASSWORD}\n").as_bytes())
        .await?
        .success()?;
    let known = async || imap::Imap::login(postino.imap(), BOB, PASSWORD).await.ok();
    let mut again = until("the new account logs in", seconds(10), known).await?;
    assert_eq!(
        again.count("INBOX").await?,
        0,
        "a new account has an empty mailbox"
    );
    Ok(())
}

#[tokio::test]
async fn settings_are_shown_checked_and_strict() -> Result<()> {
    let binary = process::binary()?.to_string_lossy().into_owned();
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("postino.toml");
    let path = file.to_string_lossy().into_owned();
    let defaults = run(&binary, &["config", "default"]).await?.success()?;
    std::fs::write(&file, &defaults)?;
    run(&binary, &["config", "check", "--config", &path])
        .await?
        .success()?;
    let unknown = [
        "config",
        "check",
        "--config",
        &path,
        "--set",
        "queue.nonsense=1",
    ];
    let refused = run(&binary, &unknown).await?;
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("queue.nonsense"),
        "{}",
        refused.stderr
    );
    Ok(())
}

#[tokio::test]
async fn output_that_nobody_reads_ends_a_command_quietly() -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let command = tokio::process::Command::new(process::binary()?)
        .args(["config", "default"])
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = tokio::time::timeout(seconds(30), command.wait_with_output()).await??;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    Ok(())
}

#[tokio::test]
async fn grpc_stays_on_loopback() -> Result<()> {
    let binary = process::binary()?.to_string_lossy().into_owned();
    let directory = tempfile::tempdir()?;
    let data = directory.path().to_string_lossy().into_owned();
    let open = [
        "serve",
        "--roles",
        "store",
        "--data",
        &data,
        "--admin",
        "0.0.0.0:0",
    ];
    let refused = run(&binary, &open).await?;
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("insecure"), "{}", refused.stderr);
    Ok(())
}
