use bytes::BytesMut;
use postino_smtp::*;
#[test]
#[ignore]
fn speed() {
    let line = format!("{}\r\n", "x".repeat(76));
    let text = format!("Subject: x\r\n\r\n{}", line.repeat(13_000));
    for name in ["plain", "dots"] {
        let text = if name == "dots" {
            text.replace("\r\nxxxx", "\r\n..xx")
        } else {
            text.clone()
        };
        let t = std::time::Instant::now();
        let mut total = 0u64;
        for _ in 0..2000 {
            let mut r = DataReceiver::new(DataLimits::default());
            for c in text.as_bytes().chunks(65536) {
                let mut input = BytesMut::from(c);
                loop {
                    match r.receive(&mut input) {
                        DataEvent::Pending => break,
                        DataEvent::Chunk(b) => total += b.len() as u64,
                        _ => break,
                    }
                }
            }
        }
        println!(
            "{name}: {:.2} GB/s",
            total as f64 / t.elapsed().as_secs_f64() / 1e9
        );
    }
}
