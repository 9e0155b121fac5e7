//! How fast letters are scanned: MB/s for some kinds of content.
use postino_message::{Limits, Scanner};
use std::time::Instant;

fn main() {
    let base64 = format!(
        "{}\r\n",
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0"
    )
    .repeat(1 << 18);
    for (name, head, body) in [
        ("plain", "Subject: x\r\n\r\n", base64.as_str()),
        (
            "multipart",
            "Content-Type: multipart/mixed; boundary=bbbbbbbbbbbbb\r\n\r\n--bbbbbbbbbbbbb\r\n\r\n",
            base64.as_str(),
        ),
        (
            "dashes",
            "Content-Type: multipart/mixed; boundary=bbbbbbbbbbbbb\r\n\r\n--bbbbbbbbbbbbb\r\n\r\n",
            &"--bbbb----bb\r\n".repeat(1 << 20),
        ),
        (
            "short lines",
            "Content-Type: multipart/mixed; boundary=bbbbbbbbbbbbb\r\n\r\n--bbbbbbbbbbbbb\r\n\r\n",
            &"\r\n".repeat(1 << 22),
        ),
        (
            "all header",
            "",
            &"A: bcdefghijklmnopqrstuvwxyz\r\n".repeat(1 << 19),
        ),
    ] {
        let letter = format!("{head}{body}");
        let start = Instant::now();
        let mut scanner = Scanner::new(Limits::default());
        for chunk in letter.as_bytes().chunks(16 << 10) {
            scanner.feed(chunk);
        }
        let parts = scanner.finish().parts.len();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{name}: {:.0} MB/s ({parts} parts)",
            letter.len() as f64 / 1e6 / seconds
        );
    }
    let small = format!(
        "From: a@b\r\nTo: c@d\r\nSubject: hello\r\nDate: Tue, 24 Nov 2026 14:32:18 +0000\r\nMessage-ID: <a@b>\r\n\r\n{}",
        &base64[..10240]
    );
    let start = Instant::now();
    for _ in 0..20_000 {
        let mut scanner = Scanner::new(Limits::default());
        scanner.feed(small.as_bytes());
        let delivery = postino_message::deliver(
            &scanner.finish(),
            b"Received: x\r\n",
            b"Return-Path: <a@b>\r\n",
        );
        std::hint::black_box(delivery);
    }
    println!(
        "10 KiB letter, scan and deliver: {:.1} us",
        start.elapsed().as_secs_f64() * 50.0
    );
}
