//! What lies in a socket: bytes that were written into it and that the other side has not acknowledged.
//!
//! The SDK's client shows which connection a request took, by its two addresses, and not the socket. The kernel lists the queues of all
//! connections of its network namespace by these addresses, so that they are looked up there, without a file descriptor (`/proc/net/tcp`,
//! column `tx_queue`: what `SIOCOUTQ` would answer). Where that list cannot be read nobody knows, and `None` says so.

use std::net::{IpAddr, SocketAddr};

/// Bytes that the peer of a connection has not acknowledged; `None` where that cannot be seen.
pub(super) fn unacknowledged(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let table = if local.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    // Memory of the kernel, not a disk.
    find(&std::fs::read_to_string(table).ok()?, local, remote)
}

/// `sl: local remote state tx_queue:rx_queue …`, numbers in hexadecimal.
fn find(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let (local, remote) = (listed(local), listed(remote));
    let mut rows = table.lines().map(str::split_ascii_whitespace);
    let mut row = rows.find(|row| {
        let mut row = row.clone().skip(1);
        row.next() == Some(&local) && row.next() == Some(&remote)
    })?;
    let (queued, _) = row.nth(4)?.split_once(':')?;
    u64::from_str_radix(queued, 16).ok()
}

/// An address as it stands there: groups of four bytes as numbers of this machine, the port as a number.
fn listed(address: SocketAddr) -> String {
    let group = |bytes: &[u8]| {
        u32::from_ne_bytes(bytes.try_into().expect("the chunks of 4 and 16 bytes have four each"))
    };
    let groups =
        |bytes: &[u8]| bytes.chunks(4).map(|four| format!("{:08X}", group(four))).collect::<String>();
    let ip = match address.ip() {
        IpAddr::V4(ip) => groups(&ip.octets()),
        IpAddr::V6(ip) => groups(&ip.octets()),
    };
    format!("{ip}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    /// The bytes that nobody reads are seen, in both families.
    #[test]
    fn what_nobody_has_taken_is_seen() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else {
                println!("SKIP: no {host} here");
                continue;
            };
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            assert_eq!(unacknowledged(local, remote), Some(0), "{host}");
            stream.set_nonblocking(true).unwrap();
            let mut written = 0;
            while let Ok(n) = stream.write(&[0; 4096]) {
                written += n as u64;
            }
            let looks: Vec<u64> = (0..20).map(|_| unacknowledged(local, remote).unwrap()).collect();
            assert!(
                looks.iter().all(|queued| (1..=written).contains(queued)),
                "{host}: {looks:?} of {written}"
            );
            // Nobody reads: nothing moves, but for an acknowledgement that comes 40 ms later and a probe or two.
            let moves = looks.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(moves < 10 && looks.is_sorted_by(|before, after| before >= after), "{host}: {looks:?}");
            assert_eq!(unacknowledged(local, local), None, "no such connection");
        }
    }

    #[test]
    fn other_rows_are_not_ours() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
                     0: 0100007F:B197 00000000:0000 0A 00000001:00000000 00:00000000 00000000     0\n   \
                     1: 0100007F:8DB0 0100007F:B197 01 00045800:00000000 01:00000014 00000000     0\n";
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let expected = cfg!(target_endian = "little").then_some(0x45800);
        assert_eq!(find(table, at(0x8db0), at(0xb197)), expected);
        assert_eq!(find(table, at(0xb197), at(0x8db0)), None);
        assert_eq!(find("", at(1), at(2)), None);
    }
}
