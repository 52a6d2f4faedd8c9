//! Ports of 127.0.0.1 for servers that are told theirs before they start.

use std::io;
use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below what systems give to outgoing connections (from 32,768 on Linux): between the choice and the start of a server, and while it is down,
/// nobody is given one of these by chance.
const FIRST: u32 = 20_000;
/// Processes side by side take theirs from different blocks.
const BLOCK: u32 = 48;
const BLOCKS: u32 = 256;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port nobody listens on.
pub fn free_port() -> io::Result<u16> {
    let own = FIRST + (process::id() % BLOCKS) * BLOCK;
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..BLOCK {
        let n = NEXT.fetch_add(1, Ordering::Relaxed) % BLOCK;
        let port = u16::try_from(own + n).map_err(io::Error::other)?;
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
}
