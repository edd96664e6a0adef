//! Bits out of bytes, the highest of each byte first, and the Rice codes that most bits of a FLAC file are.

use crate::simd::{Isa, Kernel, Simd};

/// Bytes that are read bit by bit. Whatever reads beyond the end is `None`.
#[derive(Clone, Copy)]
pub struct Bits<'a> {
    /// Bytes that have not entered the cache.
    bytes: &'a [u8],
    /// The next bits, the very next at the top. Behind those that count lie the bits that follow, or zeros.
    cache: u64,
    /// How many bits of the cache count, at most 63.
    held: u32,
    isa: Isa,
}

impl<'a> Bits<'a> {
    /// The most bits that can be taken at once.
    pub const MOST: u32 = 56;

    /// All bits of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, cache: 0, held: 0, isa: Isa::available()[0] }
    }

    /// The next `count` bits as a number, [`Bits::MOST`] at most.
    #[inline(always)]
    pub fn take(&mut self, count: u32) -> Option<u64> {
        debug_assert!(count <= Self::MOST, "{count} bits at once");
        self.fill();
        let value = self.cache >> 1 >> (63 - count);
        self.held = self.held.checked_sub(count)?;
        self.cache <<= count;
        Some(value)
    }

    /// The next `count` bits as a number in two's complement; no bits are 0.
    #[inline(always)]
    pub fn signed(&mut self, count: u32) -> Option<i64> {
        let value = self.take(count)?;
        Some((value << (63 - count) << 1) as i64 >> 1 >> (63 - count))
    }

    /// How many zeros stand before the next one, which is taken with them.
    pub fn unary(&mut self) -> Option<u64> {
        let mut before = 0;
        loop {
            self.fill();
            let zeros = self.cache.leading_zeros();
            if zeros < self.held {
                self.cache <<= zeros + 1;
                self.held -= zeros + 1;
                return Some(before + u64::from(zeros));
            }
            if self.held == 0 {
                return None;
            }
            before += u64::from(self.held);
            self.cache <<= self.held;
            self.held = 0;
        }
    }

    /// Numbers in Rice code: the quotient by 2^`parameter` in unary, then the remainder, then the sign.
    pub fn rice(&mut self, parameter: u32, values: &mut [i64]) -> Option<()> {
        self.isa.run(Rice { bits: self, parameter, values })
    }

    #[inline(always)]
    fn rice_groups<const N: usize>(&mut self, parameter: u32, values: &mut [i64]) -> Option<()> {
        let (groups, rest) = values.as_chunks_mut::<N>();
        // Only a copy of which no reference is taken stays in registers.
        let mut here = *self;
        for group in groups {
            if let Some(values) = here.rice_group(parameter) {
                *group = values;
            } else {
                *self = here;
                self.rice_singly(parameter, group)?;
                here = *self;
            }
        }
        *self = here;
        self.rice_singly(parameter, rest)
    }

    /// The next `N` codes, unless they are longer than what the cache holds: then none is taken.
    #[inline(always)]
    fn rice_group<const N: usize>(&mut self, parameter: u32) -> Option<[i64; N]> {
        self.fill();
        let (mut cache, mut length) = (self.cache, 0);
        let mut values = [0; N];
        for value in &mut values {
            // Shifts that are too long make nonsense of codes that are too long, and of nothing else.
            let quotient = cache.leading_zeros();
            let one_and_remainder = cache.wrapping_shl(quotient) >> (63 - parameter);
            *value = unfold((u64::from(quotient) << parameter) + one_and_remainder - (1 << parameter));
            length += quotient + 1 + parameter;
            cache = cache.wrapping_shl(quotient + 1 + parameter);
        }
        self.held = self.held.checked_sub(length)?;
        self.cache = cache;
        Some(values)
    }

    #[cold]
    #[inline(never)]
    fn rice_singly(&mut self, parameter: u32, values: &mut [i64]) -> Option<()> {
        for value in values {
            let quotient = self.unary()?;
            *value = unfold(quotient << parameter | self.take(parameter)?);
        }
        Some(())
    }

    /// Leaves at least [`Bits::MOST`] bits in the cache, unless the bytes end.
    #[inline(always)]
    fn fill(&mut self) {
        if let Some(next) = self.bytes.first_chunk() {
            self.cache |= u64::from_be_bytes(*next) >> self.held;
            self.bytes = &self.bytes[(63 - self.held as usize) / 8 % 8..];
            self.held |= Self::MOST;
        } else {
            let mut near_end = *self;
            near_end.fill_bytewise();
            *self = near_end;
        }
    }

    #[cold]
    #[inline(never)]
    fn fill_bytewise(&mut self) {
        while let [next, rest @ ..] = self.bytes
            && self.held < Self::MOST
        {
            self.cache |= u64::from(*next) << (56 - self.held);
            self.bytes = rest;
            self.held += 8;
        }
    }

    /// How many whole bytes are left, once the rest of a byte that was begun is gone; it must be zeros.
    pub fn bytes_left(mut self) -> Option<usize> {
        (self.take(self.held % 8)? == 0).then_some(self.bytes.len() + self.held as usize / 8)
    }
}

/// [`Bits::rice`] in plain Rust, compiled for the instruction set at hand: those for bits are worth a seventh.
struct Rice<'a, 'b> {
    bits: &'a mut Bits<'b>,
    parameter: u32,
    values: &'a mut [i64],
}

impl Kernel for Rice<'_, '_> {
    type Output = Option<()>;

    #[inline(always)]
    fn run<I: Simd>(self, _isa: I) -> Option<()> {
        let Self { bits, parameter, values } = self;
        // As many codes at once as come out of a full cache nearly always.
        match parameter {
            0..12 => bits.rice_groups::<4>(parameter, values),
            12..=24 => bits.rice_groups::<2>(parameter, values),
            _ => bits.rice_singly(parameter, values),
        }
    }
}

/// 0, 1, 2, 3, 4, ... -> 0, -1, 1, -2, 2, ...
#[inline(always)]
fn unfold(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
