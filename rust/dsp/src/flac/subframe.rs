//! A subframe -> the samples of a channel: a predictor, and what it did not foresee.
//!
//! Source: RFC 9639, section 9.2.

use super::bits::Bits;

/// The most samples that a predictor looks back at.
const MAX_ORDER: usize = 32;

/// Weights of the fixed predictors: polynomials through as many samples.
const FIXED: [&[i64]; 5] = [&[], &[1], &[2, -1], &[3, -3, 1], &[4, -6, 4, -1]];

/// Reads a subframe of `samples.len()` samples, each of `width` bits; `None` for one that no encoder writes.
pub fn read(bits: &mut Bits, width: u32, samples: &mut [i64]) -> Option<()> {
    const WASTED: u64 = 0x01;
    let head = bits.take(8)?;
    let wasted = if head & WASTED == 0 { 0 } else { bits.unary()? + 1 };
    let wasted = u32::try_from(wasted).ok().filter(|&wasted| wasted < width)?;
    let width = width - wasted;
    match (head & !WASTED) >> 1 {
        0x00 => samples.fill(bits.signed(width)?),
        0x01 => verbatim(bits, width, samples)?,
        kind @ 0x08..=0x0C => {
            let weights = FIXED[kind as usize - 0x08];
            verbatim(bits, width, samples.get_mut(..weights.len())?)?;
            residuals(bits, weights.len(), samples)?;
            predict(weights, 0, samples);
        }
        kind @ 0x20..=0x3F => linear(bits, width, kind as usize - 0x1F, samples)?,
        _ => return None,
    }
    if wasted > 0 {
        samples.iter_mut().for_each(|sample| *sample <<= wasted);
    }
    Some(())
}

/// Samples as they are.
fn verbatim(bits: &mut Bits, width: u32, samples: &mut [i64]) -> Option<()> {
    for sample in samples {
        *sample = bits.signed(width)?;
    }
    Some(())
}

/// Samples by a predictor of the encoder's own.
fn linear(bits: &mut Bits, width: u32, order: usize, samples: &mut [i64]) -> Option<()> {
    const NO_PRECISION: u64 = 15;
    verbatim(bits, width, samples.get_mut(..order)?)?;
    let precision = bits.take(4).filter(|&precision| precision != NO_PRECISION)? as u32 + 1;
    let shift = u32::try_from(bits.signed(5)?).ok()?;
    let mut weights = [0; MAX_ORDER];
    let weights = &mut weights[..order];
    verbatim(bits, precision, weights)?;
    residuals(bits, order, samples)?;
    predict(weights, shift, samples);
    Some(())
}

/// What the predictor did not foresee of all samples but the first `order`: partitions, each in a Rice code of its own.
fn residuals(bits: &mut Bits, order: usize, samples: &mut [i64]) -> Option<()> {
    let parameter_width = match bits.take(2)? {
        0 => 4,
        1 => 5,
        _ => return None,
    };
    let partition_order = bits.take(4)?;
    let length = samples.len() >> partition_order;
    if length << partition_order != samples.len() {
        return None;
    }
    let mut start = order;
    for end in (1..=1 << partition_order).map(|partition| partition * length) {
        let partition = samples.get_mut(start..end)?;
        let parameter = bits.take(parameter_width)? as u32;
        let escape = (1 << parameter_width) - 1;
        if parameter == escape {
            let width = bits.take(5)? as u32;
            verbatim(bits, width, partition)?;
        } else {
            bits.rice(parameter, partition)?;
        }
        start = end;
    }
    Some(())
}

/// Adds to each residual what the samples before it let expect: their sum by `weights`, that of the last sample
/// first, divided by 2^`shift`.
fn predict(weights: &[i64], shift: u32, samples: &mut [i64]) {
    macro_rules! of_order {
        ($($order:literal)*) => {
            match weights.len() {
                0 => {}
                $($order => predict_by::<$order>(weights, shift, samples),)*
                _ => predict_by_many(weights, shift, samples),
            }
        };
    }
    of_order!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// [`predict`] by `N` weights, which stay in registers with as many samples.
fn predict_by<const N: usize>(weights: &[i64], shift: u32, samples: &mut [i64]) {
    let (Some(weights), Some((first, rest))) =
        (weights.first_chunk::<N>(), samples.split_first_chunk_mut::<N>())
    else {
        return;
    };
    let mut before = *first;
    before.reverse();
    // The sum of all products but the last sample's, a step ahead: a sample waits for one product only.
    let product = |weight: usize, sample: i64| weights[weight].wrapping_mul(sample);
    let mut ahead = (1..N).fold(0, |sum: i64, i| sum.wrapping_add(product(i, before[i])));
    for sample in rest {
        let sum = (*sample << shift).wrapping_add(ahead).wrapping_add(product(0, before[0]));
        *sample = sum >> shift;
        ahead = (1..N).fold(0, |sum: i64, i| sum.wrapping_add(product(i, before[i - 1])));
        for i in (1..N).rev() {
            before[i] = before[i - 1];
        }
        before[0] = *sample;
    }
}

/// [`predict`] by any number of weights.
fn predict_by_many(weights: &[i64], shift: u32, samples: &mut [i64]) {
    for at in weights.len()..samples.len() {
        let (before, after) = samples.split_at_mut(at);
        let products =
            weights.iter().zip(before.iter().rev()).map(|(weight, sample)| weight.wrapping_mul(*sample));
        after[0] = after[0].wrapping_add(products.fold(0, i64::wrapping_add) >> shift);
    }
}
