//! The ways between stores: whatever one store opens to another goes through here, and fares as the
//! weather on each way is. The kernel can drop packets but not hold them back, so this does.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::schedule::Ways;

/// Octets that travel together.
const PIECE: usize = 16 * 1024;
/// Pieces that may be on a way at once, for each connection.
const PIECES: usize = 128;

/// How bytes fare at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weather {
    /// They go on at once.
    #[default]
    Fine,
    /// They go on after so long, each piece after up to half as long again.
    Slow(Duration),
    /// They wait for better weather.
    Still,
    /// They are lost; a connection that lost some is reset once the weather is better.
    Lost,
}

/// The way from one store to another.
#[derive(Debug, Default)]
struct Way {
    weather: watch::Sender<Weather>,
    resets: watch::Sender<u64>,
    octets: AtomicU64,
}

type All = BTreeMap<(usize, usize), Arc<Way>>;

/// The proxy of all ways. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    ways: All,
    _listening: JoinSet<()>,
}

/// Where what one store sends to another comes in.
pub fn port(from: usize, to: usize) -> u16 {
    20_000 + 100 * from as u16 + to as u16
}

impl Proxy {
    /// Listens at an address for each way between so many stores; `find` says where a store is, once
    /// that is known.
    pub async fn start(
        seed: u64,
        stores: usize,
        at: Ipv4Addr,
        find: impl Fn(usize) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Result<Self> {
        let pairs = (1..=stores).flat_map(|from| (1..=stores).map(move |to| (from, to)));
        let pairs = pairs.filter(|(from, to)| from != to);
        let ways: All = pairs.map(|pair| (pair, Arc::default())).collect();
        let find = Arc::new(find);
        let mut listening = JoinSet::new();
        for (&(from, to), forth) in &ways {
            let address = (at, port(from, to));
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("{address:?}"))?;
            let (forth, back) = (Arc::clone(forth), Arc::clone(&ways[&(to, from)]));
            let find = Arc::clone(&find);
            let mut random = Rng::with_seed(seed ^ u64::from(port(from, to)));
            listening.spawn(async move {
                let mut open = JoinSet::new();
                loop {
                    let Ok((near, _)) = listener.accept().await else {
                        continue;
                    };
                    while open.try_join_next().is_some() {}
                    let ways = (Arc::clone(&forth), Arc::clone(&back));
                    open.spawn(connection(near, find(to), ways, random.fork()));
                }
            });
        }
        Ok(Self {
            ways,
            _listening: listening,
        })
    }

    fn each(&self, ways: Ways) -> impl Iterator<Item = &Way> {
        let all = self.ways.iter();
        all.filter_map(move |((from, to), way)| ways.has(*from, *to).then_some(&**way))
    }

    /// Changes the weather on some ways.
    pub fn set(&self, ways: Ways, weather: Weather) {
        for way in self.each(ways) {
            way.weather.send_replace(weather);
        }
    }

    /// Resets all connections that use some of these ways.
    pub fn reset(&self, ways: Ways) {
        for way in self.each(ways) {
            way.resets.send_modify(|count| *count += 1);
        }
    }

    /// The ways that no octet went.
    pub fn unused(&self) -> Vec<(usize, usize)> {
        let is_unused = |way: &Way| way.octets.load(Ordering::Relaxed) == 0;
        let unused = self.ways.iter().filter(|(_, way)| is_unused(way));
        unused.map(|(pair, _)| *pair).collect()
    }
}

/// What one store opened to another, until it ends.
async fn connection(
    mut near: TcpStream,
    address: Option<SocketAddr>,
    (forth, back): (Arc<Way>, Arc<Way>),
    mut random: Rng,
) {
    let far = match address {
        Some(address) => TcpStream::connect(address).await.ok(),
        None => None,
    };
    let Some(mut far) = far else {
        let _ = near.set_zero_linger();
        return;
    };
    let (mut forth_resets, mut back_resets) = (forth.resets.subscribe(), back.resets.subscribe());
    let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
    let ended = {
        let (from_near, to_near) = near.split();
        let (from_far, to_far) = far.split();
        let (one, other) = (random.fork(), random.fork());
        let both = async {
            tokio::try_join!(
                pump(from_near, to_far, &forth, one),
                pump(from_far, to_near, &back, other)
            )
        };
        tokio::select! {
            ended = both => ended.is_ok(),
            _ = forth_resets.changed() => false,
            _ = back_resets.changed() => false,
        }
    };
    if !ended {
        let (_, _) = (near.set_zero_linger(), far.set_zero_linger());
    }
}

/// Carries what comes in on to the other side, in order, until its end.
async fn pump(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    way: &Way,
    random: Rng,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::try_join!(
        take(from, sender, way, random),
        bring(to, receiver, way.weather.subscribe())
    )?;
    Ok(())
}

/// A piece, and when it arrives; an empty one is the end.
type Piece = (Instant, Vec<u8>);

async fn take(
    mut from: impl AsyncRead + Unpin,
    sender: mpsc::Sender<Piece>,
    way: &Way,
    mut random: Rng,
) -> io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE];
        let length = from.read(&mut piece).await?;
        piece.truncate(length);
        way.octets.fetch_add(length as u64, Ordering::Relaxed);
        let delay = match *way.weather.borrow() {
            Weather::Slow(delay) => delay.mul_f64(1.0 + random.f64() / 2.0),
            _ => Duration::ZERO,
        };
        let piece = (Instant::now() + delay, piece);
        if sender.send(piece).await.is_err() || length == 0 {
            return Ok(());
        }
    }
}

async fn bring(
    mut to: impl AsyncWrite + Unpin,
    mut pieces: mpsc::Receiver<Piece>,
    weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let torn = || io::Error::from(io::ErrorKind::ConnectionReset);
    let mut has_lost = false;
    loop {
        let piece = tokio::select! {
            piece = pieces.recv() => piece,
            _ = until(weather.clone(), |now| now != Weather::Lost), if has_lost => None,
        };
        let (due, piece) = piece.ok_or_else(torn)?;
        sleep_until(due).await;
        match until(weather.clone(), |now| now != Weather::Still).await {
            Weather::Lost => has_lost = true,
            _ if has_lost => return Err(torn()),
            _ if piece.is_empty() => return to.shutdown().await,
            _ => to.write_all(&piece).await?,
        }
        // The end was lost with it.
        if has_lost && piece.is_empty() {
            until(weather.clone(), |now| now != Weather::Lost).await;
            return Err(torn());
        }
    }
}

/// The weather, once it is like this.
async fn until(mut weather: watch::Receiver<Weather>, is: impl Fn(Weather) -> bool) -> Weather {
    let now = weather.wait_for(|now| is(*now)).await;
    // Without a sender there is no way any more.
    now.map_or(Weather::Lost, |now| *now)
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;
    use tokio::time::timeout;

    use super::*;
    use crate::wait::seconds;

    const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

    /// What store 1 opened to store 2, both ends of it.
    struct Pair {
        proxy: Proxy,
        one: TcpStream,
        two: TcpStream,
    }

    async fn pair(from: usize, to: usize) -> Result<Pair> {
        let listener = TcpListener::bind((HERE, 0)).await?;
        let address = listener.local_addr()?;
        let mut ways = All::new();
        for pair in [(from, to), (to, from)] {
            ways.insert(pair, Arc::default());
        }
        let entry = TcpListener::bind((HERE, 0)).await?;
        let one = TcpStream::connect(entry.local_addr()?).await?;
        let (near, _) = entry.accept().await?;
        let both = (
            Arc::clone(&ways[&(from, to)]),
            Arc::clone(&ways[&(to, from)]),
        );
        let mut listening = JoinSet::new();
        listening.spawn(connection(near, Some(address), both, Rng::with_seed(1)));
        let (two, _) = listener.accept().await?;
        let proxy = Proxy {
            ways,
            _listening: listening,
        };
        Ok(Pair { proxy, one, two })
    }

    async fn arrives(from: &mut TcpStream, to: &mut TcpStream, word: &[u8]) -> Result<Duration> {
        let start = Instant::now();
        from.write_all(word).await?;
        let mut read = vec![0; word.len()];
        timeout(seconds(5), to.read_exact(&mut read)).await??;
        ensure!(read == word, "{read:?}");
        Ok(start.elapsed())
    }

    #[tokio::test]
    async fn bytes_go_both_ways_to_the_end_and_are_counted() -> Result<()> {
        let mut pair = pair(1, 2).await?;
        assert_eq!(pair.proxy.unused(), [(1, 2), (2, 1)]);
        arrives(&mut pair.one, &mut pair.two, b"there").await?;
        arrives(&mut pair.two, &mut pair.one, &[7; 300_000]).await?;
        assert_eq!(pair.proxy.unused(), []);
        pair.one.shutdown().await?;
        assert_eq!(pair.two.read(&mut [0]).await?, 0);
        // The other way is still open.
        arrives(&mut pair.two, &mut pair.one, b"last").await?;
        Ok(())
    }

    #[tokio::test]
    async fn slow_is_one_way_and_keeps_the_order() -> Result<()> {
        let mut pair = pair(1, 2).await?;
        let delay = Duration::from_millis(120);
        pair.proxy.set(Ways::One(1, 2), Weather::Slow(delay));
        for word in [&b"first"[..], b"second"] {
            let took = arrives(&mut pair.one, &mut pair.two, word).await?;
            assert!(took >= delay, "{took:?}");
        }
        let took = arrives(&mut pair.two, &mut pair.one, b"back").await?;
        assert!(took < delay, "{took:?}");
        Ok(())
    }

    #[tokio::test]
    async fn what_is_held_back_comes_when_the_weather_is_fine() -> Result<()> {
        let mut pair = pair(1, 2).await?;
        pair.proxy.set(Ways::From(1), Weather::Still);
        let one = &mut pair.one;
        one.write_all(b"late").await?;
        let early = timeout(Duration::from_millis(150), pair.two.peek(&mut [0])).await;
        assert!(early.is_err(), "it came through");
        arrives(&mut pair.two, one, b"back").await?;
        pair.proxy.set(Ways::From(1), Weather::Fine);
        let mut read = [0; 4];
        timeout(seconds(5), pair.two.read_exact(&mut read)).await??;
        assert_eq!(&read, b"late");
        Ok(())
    }

    #[tokio::test]
    async fn a_connection_that_lost_bytes_is_reset_and_never_has_a_gap() -> Result<()> {
        let mut pair = pair(1, 2).await?;
        pair.proxy.set(Ways::To(2), Weather::Lost);
        pair.one.write_all(b"lost").await?;
        arrives(&mut pair.two, &mut pair.one, b"back").await?;
        pair.proxy.set(Ways::To(2), Weather::Fine);
        let _ = pair.one.write_all(b"after").await;
        let read = timeout(seconds(5), pair.two.read(&mut [0; 9])).await?;
        let kind = read.map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::ConnectionReset));
        Ok(())
    }

    #[tokio::test]
    async fn a_reset_reaches_both_ends() -> Result<()> {
        let mut pair = pair(1, 2).await?;
        arrives(&mut pair.one, &mut pair.two, b"there").await?;
        pair.proxy.reset(Ways::Around(2));
        for end in [&mut pair.one, &mut pair.two] {
            let read = timeout(seconds(5), end.read(&mut [0; 9])).await?;
            let kind = read.map_err(|error| error.kind());
            assert_eq!(kind, Err(io::ErrorKind::ConnectionReset));
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_refuses() -> Result<()> {
        let at = Ipv4Addr::new(127, 77, 0, 1);
        let _proxy = Proxy::start(1, 2, at, |_| None).await?;
        let mut stream = TcpStream::connect((at, port(1, 2))).await?;
        let read = timeout(seconds(5), stream.read(&mut [0; 9])).await?;
        assert_eq!(
            read.map_err(|error| error.kind()),
            Err(io::ErrorKind::ConnectionReset)
        );
        Ok(())
    }
}
