//! What a load cost the server: processor time of its processes, and counters of its /metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Processor time that the processes below these (and themselves) used so far, children that
/// ended and were waited for included.
pub fn processor_time(roots: &[u32]) -> Result<Duration> {
    let table = processes()?;
    let mut tree: BTreeSet<u32> = roots.iter().copied().collect();
    loop {
        let more = table
            .iter()
            .filter(|(pid, p)| tree.contains(&p.parent) && !tree.contains(pid));
        let more: Vec<u32> = more.map(|(pid, _)| *pid).collect();
        if more.is_empty() {
            break;
        }
        tree.extend(more);
    }
    let ticks: u64 = tree
        .iter()
        .filter_map(|pid| table.get(pid))
        .map(|p| p.ticks)
        .sum();
    // USER_HZ is 100 on every Linux that Debian runs on.
    Ok(Duration::from_millis(ticks * 10))
}

struct Usage {
    parent: u32,
    ticks: u64,
}

fn processes() -> Result<BTreeMap<u32, Usage>> {
    let mut table = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that ended meanwhile has no file any more.
        if let Some(usage) = fs::read_to_string(entry.path().join("stat"))
            .ok()
            .and_then(usage)
        {
            table.insert(pid, usage);
        }
    }
    Ok(table)
}

/// Fields of proc(5) `stat` after the name in parentheses: 4 ppid, 14 utime, 15 stime, 16 cutime,
/// 17 cstime.
fn usage(stat: String) -> Option<Usage> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = (14..=17).map(number).sum::<Option<u64>>()?;
    Some(Usage {
        parent: u32::try_from(number(4)?).ok()?,
        ticks,
    })
}

/// GET of a page in plain HTTP: status and body.
pub async fn get(server: SocketAddr, path: &str) -> Result<(u16, String)> {
    let fetch = async {
        let mut stream = TcpStream::connect(server).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        anyhow::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = tokio::time::timeout(Duration::from_secs(20), fetch)
        .await
        .context(path.to_owned())??;
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("a status")?;
    let body = text
        .split_once("\r\n\r\n")
        .map(|(_, body)| body)
        .unwrap_or_default();
    Ok((status, body.to_owned()))
}

/// The sum of all samples of a metric in Prometheus' text format.
pub fn metric(page: &str, name: &str) -> Option<f64> {
    let samples = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.as_bytes().first()? {
            b' ' => rest,
            b'{' => rest.rsplit_once('}')?.1,
            _ => return None,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    let samples: Vec<f64> = samples.collect();
    (!samples.is_empty()).then(|| samples.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_labels() {
        let page = "# TYPE a counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_totals 9\n";
        assert_eq!(metric(page, "a_total"), Some(5.0));
        assert_eq!(metric(page, "b"), None);
    }

    #[test]
    fn this_process_has_used_time() -> Result<()> {
        let begin = std::time::Instant::now();
        while processor_time(&[std::process::id()])?.is_zero() {
            anyhow::ensure!(begin.elapsed() < Duration::from_secs(10), "none in 10 s");
        }
        Ok(())
    }
}
