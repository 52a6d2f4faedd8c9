//! Ports of 127.0.0.1 for servers that are told theirs before they start.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below what systems give to outgoing connections (from 32,768 on Linux): between the choice and the start of a server, and while it is down,
/// nobody is given one of these by chance.
const FIRST: u32 = 20_000;
/// Each process takes its ports from a block of its own.
const BLOCK: u32 = 48;
const BLOCKS: u32 = 256;

static NEXT: AtomicU32 = AtomicU32::new(0);
/// The block of this process, and the lock that keeps others away from it as long as the process lives.
static OWN: OnceLock<Option<(u32, File)>> = OnceLock::new();

/// The first block nobody holds.
fn take_block() -> Option<(u32, File)> {
    (0..BLOCKS).find_map(|block| {
        let path = std::env::temp_dir().join(format!("relayer-ports-{block}.lock"));
        // A file of another user counts as taken.
        let file = File::create(path).ok()?;
        file.try_lock().ok()?;
        Some((FIRST + block * BLOCK, file))
    })
}

/// A port nobody listens on, and that no other process is given by this function.
pub fn free_port() -> io::Result<u16> {
    let Some((first, _)) = OWN.get_or_init(take_block) else {
        return Err(io::Error::other("all blocks of test ports are taken"));
    };
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..BLOCK {
        let n = NEXT.fetch_add(1, Ordering::Relaxed) % BLOCK;
        let port = u16::try_from(first + n).map_err(io::Error::other)?;
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_differ_are_free_and_lie_below_those_of_outgoing_connections() {
        let ports: Vec<u16> = (0..10).map(|_| free_port().unwrap()).collect();
        let mut distinct = ports.clone();
        distinct.dedup();
        assert_eq!(ports, distinct);
        assert!(ports.iter().all(|port| (20_000..32_768).contains(port)));
        for port in ports {
            let held = TcpListener::bind(("127.0.0.1", port)).unwrap();
            drop(held);
        }
    }

    #[test]
    fn two_processes_never_share_a_block() {
        let (mine, lock) = take_block().unwrap();
        let (other, _held) = take_block().unwrap();
        assert_ne!(mine, other);
        drop(lock);
    }
}
