//! FLAC's subframes in all their forms. What an encoder would choose is given, whether it is wise or not.

use super::Bits;

/// How a subframe is coded. Where that does not fit its samples, they are put as they are.
#[derive(Debug, Clone)]
pub struct Coding {
    pub form: Form,
    /// Leave out the zeros that all samples end with.
    pub waste: bool,
    /// Rice parameters of 5 bits instead of 4.
    pub wide: bool,
    /// So many times are the samples halved into partitions, if they can be.
    pub partition_order: u32,
    /// What the Rice parameters lie above the best ones.
    pub excess: u32,
    /// A bit for each partition: no Rice code.
    pub escaped: u64,
}

#[derive(Debug, Clone)]
pub enum Form {
    Constant,
    Verbatim,
    /// The order, up to 4.
    Fixed(usize),
    Linear {
        /// In units of 2^-shift, that of the last sample first.
        weights: Vec<i64>,
        /// Bits of a weight, up to 15.
        precision: u32,
        shift: u32,
    },
}

impl Coding {
    /// Without any extras.
    pub fn of(form: Form) -> Self {
        Self { form, waste: false, wide: false, partition_order: 0, excess: 0, escaped: 0 }
    }

    /// Puts the subframe of `samples` of `width` bits each.
    pub fn put(&self, bits: &mut Bits, samples: &[i64], width: u32) {
        let zeros = samples.iter().map(|sample| sample.trailing_zeros()).min().unwrap();
        // Of digital silence no bit would be left.
        let wasted = if self.waste && zeros < width { zeros } else { 0 };
        let samples: Vec<i64> = samples.iter().map(|sample| sample >> wasted).collect();
        let width = width - wasted;
        let mut head = |kind: usize| {
            bits.put((kind as u64) << 1 | u64::from(wasted > 0), 8);
            bits.put(u64::from(wasted > 0), wasted);
        };
        let predictor = match &self.form {
            Form::Constant if samples.iter().all(|sample| *sample == samples[0]) => {
                head(0x00);
                return bits.put(samples[0] as u64, width);
            }
            Form::Fixed(order) => Some((0x08 + order, FIXED[*order], 0)),
            Form::Linear { weights, shift, .. } => Some((0x1F + weights.len(), weights.as_slice(), *shift)),
            Form::Constant | Form::Verbatim => None,
        };
        let predicted = predictor.and_then(|(kind, weights, shift)| {
            Some((kind, weights.len(), residuals(weights, shift, &samples)?))
        });
        let Some((kind, order, residuals)) = predicted else {
            head(0x01);
            return put_all(bits, &samples, width);
        };
        head(kind);
        put_all(bits, &samples[..order], width);
        if let Form::Linear { weights, precision, shift } = &self.form {
            bits.put(u64::from(precision - 1), 4);
            bits.put(u64::from(*shift), 5);
            put_all(bits, weights, *precision);
        }
        self.put_residuals(bits, order, &residuals);
    }

    fn put_residuals(&self, bits: &mut Bits, order: usize, residuals: &[i64]) {
        let block = order + residuals.len();
        let splits = |times: &u32| block.is_multiple_of(1 << times) && block >> times >= order;
        let times = (0..=self.partition_order).rfind(splits).unwrap();
        let most = residuals.iter().map(|&residual| fold(residual)).max().unwrap_or(0);
        let width = if self.wide || most >> 20 > 0 { 5 } else { 4 };
        bits.put(width - 4, 2);
        bits.put(u64::from(times), 4);
        let mut rest = residuals;
        for partition in 0..1 << times {
            let length = (block >> times) - if partition == 0 { order } else { 0 };
            let (now, later) = rest.split_at(length);
            rest = later;
            if self.escaped >> (partition % 64) & 1 == 1 {
                let most = now.iter().map(|&residual| fold(residual)).max().unwrap_or(0);
                let needed = u64::BITS - most.leading_zeros();
                bits.put(u64::MAX, width as u32);
                bits.put(u64::from(needed), 5);
                put_all(bits, now, needed);
            } else {
                self.put_rice(bits, width as u32, now);
            }
        }
    }

    fn put_rice(&self, bits: &mut Bits, width: u32, residuals: &[i64]) {
        let sum: u64 = residuals.iter().map(|&residual| fold(residual)).sum();
        let best = (sum / residuals.len().max(1) as u64).max(1).ilog2();
        let parameter = (best + self.excess).min((1 << width) - 2);
        bits.put(u64::from(parameter), width);
        for &residual in residuals {
            let code = fold(residual);
            (0..code >> parameter).for_each(|_| bits.put(0, 1));
            bits.put(1, 1);
            bits.put(code, parameter);
        }
    }
}

const FIXED: [&[i64]; 5] = [&[], &[1], &[2, -1], &[3, -3, 1], &[4, -6, 4, -1]];

/// What is left to say of all samples but the first; nothing where these are too few, or that is too large.
fn residuals(weights: &[i64], shift: u32, samples: &[i64]) -> Option<Vec<i64>> {
    let residual = |at: usize| {
        let before = samples[..at].iter().rev();
        let sum: i128 = weights.iter().zip(before).map(|(&w, &s)| i128::from(w) * i128::from(s)).sum();
        let residual = i128::from(samples[at]) - (sum >> shift);
        let fits = residual.abs() < 1 << 30;
        fits.then_some(residual as i64)
    };
    samples.get(weights.len()..)?;
    (weights.len()..samples.len()).map(residual).collect()
}

/// 0, -1, 1, -2, 2, ... -> 0, 1, 2, 3, 4, ...
fn fold(residual: i64) -> u64 {
    (residual << 1 ^ residual >> 63) as u64
}

fn put_all(bits: &mut Bits, values: &[i64], width: u32) {
    values.iter().for_each(|&value| bits.put(value as u64, width));
}
