//! A small seeded generator (SplitMix64), so that every workload and every failure can be repeated from one number.
//!
//! Not for secrets. The sequence of a seed is part of the testkit's contract: `app::verify` replays it.

/// See the module.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// An independent generator for a place named by several numbers, e.g. seed and transaction.
    pub fn of(parts: &[u64]) -> Rng {
        let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
        for part in parts {
            rng.0 = rng.next_u64() ^ part;
        }
        Rng(rng.next_u64())
    }

    /// The seed of a test: `HIGHWATER_SEED` where set, else the default; printed, so that a failure names it.
    pub fn for_test(default: u64) -> Rng {
        let given = std::env::var("HIGHWATER_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or(default);
        println!("HIGHWATER_SEED={seed}");
        Rng(seed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`, which is above 0. The bias is below 2^-32 for the limits of tests.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "nothing is below 0");
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// From `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// Random bytes.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
        bytes
    }

    /// Bytes that compress about as well as what applications store: runs of a few symbols between random ones.
    pub fn text(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(n + 16);
        while bytes.len() < n {
            match self.one_in(4) {
                true => bytes.extend(self.next_u64().to_le_bytes()),
                false => bytes.extend_from_slice(self.pick(WORDS).as_bytes()),
            }
        }
        bytes.truncate(n);
        bytes
    }
}

const WORDS: &[&str] =
    &["{\"id\":", "\"name\":\"", "highwater ", "\",\"time\":", "2026-01-", "null,", "true,", "},{"];

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn the_sequence_of_a_seed_is_fixed() {
        let mut rng = Rng::new(0);
        assert_eq!([rng.next_u64(), rng.next_u64()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
        assert_ne!(Rng::of(&[1, 2]).next_u64(), Rng::of(&[2, 1]).next_u64());
    }

    #[test]
    fn values_stay_in_their_bounds() {
        let mut rng = Rng::new(7);
        assert!((0..1000).all(|_| rng.below(3) < 3));
        assert!((0..1000).all(|_| (5..=6).contains(&rng.range(5, 6))));
        let mut items: Vec<_> = (0..100).collect();
        rng.shuffle(&mut items);
        assert!(items != (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        assert_eq!((rng.bytes(13).len(), rng.text(1001).len()), (13, 1001));
    }
}
