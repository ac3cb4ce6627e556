//! Random samples of candidates, the same on every machine for the same seed.

/// Random numbers by SplitMix64 (Steele, Lea & Flood, OOPSLA 2014): good enough to draw samples.
pub(crate) struct Sampling {
    state: u64,
    /// Candidates in a sample.
    size: usize,
}

impl Sampling {
    pub fn new(size: usize, seed: u64) -> Self {
        Self { state: seed, size }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Some of the candidates without repetition (all if there are no more), by Fisher and Yates.
    pub fn of(&mut self, mut candidates: Vec<usize>) -> Vec<usize> {
        let n = candidates.len();
        for i in 0..self.size.min(n) {
            // the high part of a product: uniform to 2⁻⁶⁴ n
            let offset = (u128::from(self.next()) * (n - i) as u128) >> 64;
            candidates.swap(i, i + offset as usize);
        }
        candidates.truncate(self.size);
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_no_repetition_and_reach_all() {
        let mut sampling = Sampling::new(3, 7);
        let mut seen = [0; 10];
        for _ in 0..1000 {
            let mut sample = sampling.of((0..10).collect());
            sample.iter().for_each(|&c| seen[c] += 1);
            sample.sort_unstable();
            sample.dedup();
            assert_eq!(sample.len(), 3);
        }
        // 300 each, with a standard deviation of √(1000 · 0.3 · 0.7) = 14.5
        assert!(seen.iter().all(|n| (230..370).contains(n)), "{seen:?}");
        assert_eq!(Sampling::new(5, 1).of(vec![4, 2]).len(), 2);
    }
}
