//! XXH64 of samples: two recordings with equal digests hold the same sound, whatever their names and formats.

const PRIME_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME_4: u64 = 0x85EB_CA77_C2B2_AE63;
const PRIME_5: u64 = 0x27D4_EB2F_1656_67C5;

/// XXH64 (seed 0) of the samples as little-endian float32, on every machine the same.
///
/// Source: the xxHash fast digest algorithm, specification 0.1.1.
#[must_use]
pub fn xxh64(samples: &[f32]) -> u64 {
    let (stripes, tail) = samples.as_chunks::<8>();
    let mut hash = if stripes.is_empty() {
        PRIME_5
    } else {
        let mut lanes = [PRIME_1.wrapping_add(PRIME_2), PRIME_2, 0, PRIME_1.wrapping_neg()];
        for stripe in stripes {
            for (lane, pair) in lanes.iter_mut().zip(stripe.as_chunks::<2>().0) {
                *lane = round(*lane, word(*pair));
            }
        }
        merged(lanes)
    };
    hash = hash.wrapping_add(4 * samples.len() as u64);
    let (pairs, last) = tail.as_chunks::<2>();
    for &pair in pairs {
        hash = (hash ^ round(0, word(pair))).rotate_left(27).wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
    }
    for sample in last {
        hash ^= u64::from(sample.to_bits()).wrapping_mul(PRIME_1);
        hash = hash.rotate_left(23).wrapping_mul(PRIME_2).wrapping_add(PRIME_3);
    }
    avalanche(hash)
}

fn word([low, high]: [f32; 2]) -> u64 {
    u64::from(low.to_bits()) | u64::from(high.to_bits()) << 32
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1)
}

fn merged(lanes: [u64; 4]) -> u64 {
    let mut hash = lanes
        .iter()
        .zip([1, 7, 12, 18])
        .fold(0_u64, |sum, (lane, bits)| sum.wrapping_add(lane.rotate_left(bits)));
    for lane in lanes {
        hash = (hash ^ round(0, lane)).wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
    }
    hash
}

fn avalanche(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes 0, 1, 2, ... read as float32, and the digests that the reference implementation gives them.
    #[test]
    fn equals_the_reference_implementation() {
        let samples = |n: usize| -> Vec<f32> {
            let bytes: Vec<u8> = (0..4 * n).map(|i| i as u8).collect();
            bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
        };
        for (n, digest) in REFERENCE {
            assert_eq!(xxh64(&samples(n)), digest, "{n} samples");
        }
    }

    const REFERENCE: [(usize, u64); 10] = [
        (0, 0xEF46_DB37_51D8_E999),
        (1, 0xFFCE_D860_4453_CC1E),
        (2, 0x884A_1736_14B8_1B8D),
        (3, 0x424A_F23F_1F08_DCA5),
        (7, 0x1424_BB04_E9F1_64FF),
        (8, 0xCBF5_9C51_16FF_32B4),
        (9, 0xDDE0_EF85_E3AE_F05C),
        (16, 0xF7C6_7301_DB67_13F0),
        (31, 0xF02D_4882_3B7D_5E8D),
        (1000, 0x03B2_95E5_694E_2162),
    ];
}
