//! What the measured etcd holds: few large values, as Secrets and manifests are, or very many small ones, as Events and Leases.

use anyhow::Result;
use testkit::etcd::Cluster;

pub(super) const UID: &str = "0c9d51aa-5b1e-4f6e-8a57-70c2c1b2a3d4";

/// How much, and in what pieces.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) keys: usize,
    /// Bytes of a value.
    pub(super) value: usize,
}

/// Bytes of a transaction: below etcd's limit of 1.5 MiB for a request.
const TRANSACTION: usize = 1 << 20;
/// Puts of a transaction, as `testkit` allows them.
const PUTS: usize = 4_000;

impl Load {
    /// Large values of so many bytes in all.
    pub(super) fn large(bytes: u64) -> Load {
        let value = 16 << 10;
        Load { keys: (bytes / value as u64) as usize, value }
    }

    /// Small ones.
    pub(super) fn many(keys: usize) -> Load {
        Load { keys, value: 160 }
    }

    /// Fills a cluster through its own API.
    pub(super) fn fill(self, cluster: &Cluster) -> Result<()> {
        cluster.fill(UID, 100);
        let mut rng = 0x9e37_79b9_7f4a_7c15_u64;
        let each = (TRANSACTION / (self.value + 80)).min(PUTS);
        for from in (0..self.keys).step_by(each) {
            let lines: String = (from..(from + each).min(self.keys))
                .map(|key| format!("put /registry/secrets/bench/s{key:08} {}\n", text(&mut rng, self.value)))
                .collect();
            cluster.ctl(&["txn"], &format!("\n{lines}\n\n"));
        }
        Ok(())
    }
}

/// Half as random as it is long, as base64 and hex in manifests are.
fn text(rng: &mut u64, length: usize) -> String {
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        *rng ^= *rng << 13;
        *rng ^= *rng >> 7;
        *rng ^= *rng << 17;
        text.push_str(&format!("{rng:016x}"));
    }
    text
}
