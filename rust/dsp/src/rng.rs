//! Counter-based random streams: what is drawn for draw `position` is a function of (seed, position, view,
//! purpose) and of nothing else, so that no order of work and no number of threads can change it.
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
//! SC 2011). Key: the seed. Counter: words 0 and 1 the position, word 2 the view and the purpose, word 3 the block.

/// What a stream is for. Streams of different purposes have nothing in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Weight and partner of Log-mixup-exp.
    Mix = 0,
    /// Size and place of the Random Resize Crop.
    Crop = 1,
    /// The order of the clips of an epoch, which is the position; the group is the view.
    Order = 2,
}

/// The random numbers of one (seed, position, view, purpose), one after the other.
#[derive(Debug, Clone)]
pub struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Stream {
    /// The stream of `view` (below 2²⁴) of draw `position`, from its beginning.
    #[must_use]
    pub fn new(seed: u64, position: u64, view: u32, purpose: Purpose) -> Self {
        debug_assert!(view < 1 << 24);
        let [position_low, position_high] = halves(position);
        let counter = [position_low, position_high, view << 8 | purpose as u32, 0];
        Self { key: halves(seed), counter, block: [0; 4], used: 4 }
    }

    /// 32 uniform bits.
    pub fn bits(&mut self) -> u32 {
        if self.used == self.block.len() {
            self.block = philox(self.counter, self.key);
            // 2³² blocks: no draw comes near the end.
            self.counter[3] = self.counter[3].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform in [0, 1): a multiple of 2⁻⁵³, from two words, the high one first.
    pub fn unit(&mut self) -> f64 {
        let (high, low) = (u64::from(self.bits()), u64::from(self.bits()));
        ((high << 32 | low) >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0 .. `count`, without bias: the high word of bits · count, drawn again where the low word falls
    /// among the 2³² mod count values that would come once too often (Lemire, "Fast random integer generation in
    /// an interval", 2019). `count` is not 0.
    pub fn below(&mut self, count: u32) -> u32 {
        debug_assert!(count > 0);
        let surplus = count.wrapping_neg() % count;
        loop {
            let product = u64::from(self.bits()) * u64::from(count);
            let [low, high] = halves(product);
            if low >= surplus {
                return high;
            }
        }
    }
}

fn halves(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// Ten rounds of Philox4x32.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [low0, high0] = halves(u64::from(counter[0]) * 0xD251_1F53);
        let [low1, high1] = halves(u64::from(counter[2]) * 0xCD9E_8D57);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::{Purpose, Stream, philox};

    /// The known answers that come with the authors' library (Random123, `kat_vectors`).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(
            philox(pi, [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_stream_is_its_blocks_in_order() {
        let (seed, position) = (0x299f_31d0_a409_3822, 0x85a3_08d3_243f_6a88);
        let mut stream = Stream::new(seed, position, 7, Purpose::Crop);
        let drawn: Vec<u32> = (0..8).map(|_| stream.bits()).collect();
        let block = |i| philox([0x243f_6a88, 0x85a3_08d3, 7 << 8 | 1, i], [0xa409_3822, 0x299f_31d0]);
        assert_eq!(drawn, [block(0), block(1)].concat());
    }

    #[test]
    fn streams_differ_in_every_part_of_their_name() {
        let first = |seed, position, view, purpose| Stream::new(seed, position, view, purpose).unit();
        let all = [
            first(0, 0, 0, Purpose::Mix),
            first(1, 0, 0, Purpose::Mix),
            first(1 << 32, 0, 0, Purpose::Mix),
            first(0, 1, 0, Purpose::Mix),
            first(0, 1 << 32, 0, Purpose::Mix),
            first(0, 0, 1, Purpose::Mix),
            first(0, 0, 0, Purpose::Crop),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
    }

    /// Pearson's statistic against equal shares, in standard deviations of its own (it has mean and half its
    /// variance equal to cells − 1).
    fn deviation(counts: &[u32]) -> f64 {
        let total: u32 = counts.iter().sum();
        let expected = f64::from(total) / counts.len() as f64;
        let statistic: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        let freedom = (counts.len() - 1) as f64;
        (statistic - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn whole_numbers_and_fractions_are_uniform() {
        for count in [2_u32, 3, 7, 64, 1000] {
            let mut drawn = vec![0; count as usize];
            let mut share = vec![0; count as usize];
            for position in 0..u64::from(count) * 200 {
                let mut stream = Stream::new(5, position, 0, Purpose::Mix);
                drawn[stream.below(count) as usize] += 1;
                share[(stream.unit() * f64::from(count)) as usize] += 1;
            }
            assert!(deviation(&drawn).abs() < 4.0, "below({count}): {}", deviation(&drawn));
            assert!(deviation(&share).abs() < 4.0, "unit() in {count} parts: {}", deviation(&share));
        }
    }

    /// With count = 3·2³⁰ a plain product would give every third number twice as often.
    #[test]
    fn a_large_range_is_not_biased() {
        let count = 3_u32 << 30;
        let mut stream = Stream::new(11, 0, 0, Purpose::Mix);
        let mut thirds = [0; 3];
        for _ in 0..30_000 {
            thirds[(stream.below(count) % 3) as usize] += 1;
        }
        assert!(deviation(&thirds).abs() < 4.0, "{thirds:?}");
    }

    #[test]
    fn extremes_stay_inside() {
        let mut stream = Stream::new(u64::MAX, u64::MAX, (1 << 24) - 1, Purpose::Crop);
        for _ in 0..10_000 {
            assert_eq!(stream.below(1), 0);
            assert!(stream.below(u32::MAX) < u32::MAX);
            assert!((0.6..1.5).contains(&stream.between(0.6, 1.5)));
        }
    }
}
