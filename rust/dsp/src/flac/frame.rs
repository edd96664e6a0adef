//! A frame -> the samples of all channels.
//!
//! Source: RFC 9639, section 9.

use super::bits::Bits;
use super::{crc, subframe};

/// What a frame says about itself.
#[derive(Clone, Copy)]
pub struct Header {
    /// Where frames differ in length they are numbered by their first samples.
    pub by_sample: bool,
    pub number: u64,
    /// Samples of each channel.
    pub block: usize,
    channels: Channels,
    /// Bits of a sample, where they do not stand in STREAMINFO alone.
    width: Option<u32>,
    /// Bytes of the header.
    length: usize,
}

/// What the subframes hold.
#[derive(Clone, Copy, PartialEq)]
enum Channels {
    /// A channel each.
    Apart(usize),
    LeftSide,
    SideRight,
    MidSide,
}

impl Header {
    /// The header that `bytes` begin with, if there is one and its checksum is right.
    ///
    /// Source: RFC 9639, section 9.1.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [0xFF, sync @ (0xF8 | 0xF9), sizes, kinds, first, ..] = *bytes else { return None };
        let channels = match kinds >> 4 {
            last @ 0..8 => Channels::Apart(usize::from(last) + 1),
            8 => Channels::LeftSide,
            9 => Channels::SideRight,
            10 => Channels::MidSide,
            _ => return None,
        };
        let width = match kinds & 0x0F {
            0x0 => None,
            0x2 => Some(8),
            0x4 => Some(12),
            0x8 => Some(16),
            0xA => Some(20),
            0xC => Some(24),
            0xE => Some(32),
            _ => return None,
        };
        // The number is coded as UTF-8 codes characters, in up to 7 bytes.
        let (more, bits) = match first.leading_ones() {
            0 => (0, first),
            ones @ 2..8 => (ones as usize - 1, first & (0x7F >> ones)),
            _ => return None,
        };
        let number = bytes.get(5..5 + more)?;
        let number = number.iter().fold(u64::from(bits), |n, byte| n << 6 | u64::from(byte & 0x3F));
        let after_number = 5 + more;
        let (block, more) = match (sizes >> 4, bytes.get(after_number..)?) {
            (1, _) => (192, 0),
            (n @ 2..6, _) => (144 << n, 0),
            (6, &[last, ..]) => (usize::from(last) + 1, 1),
            (7, &[high, low, ..]) => (usize::from(u16::from_be_bytes([high, low])) + 1, 2),
            (n @ 8.., _) => (1 << n, 0),
            _ => return None,
        };
        let rate = match sizes & 0x0F {
            12 => 1,
            13 | 14 => 2,
            15 => return None,
            _ => 0,
        };
        let length = after_number + more + rate + 1;
        let is_sound = crc::HEADER.of(bytes.get(..length)?) == 0;
        is_sound.then_some(Self { by_sample: sync & 1 == 1, number, block, channels, width, length })
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        match self.channels {
            Channels::Apart(channels) => channels,
            _ => 2,
        }
    }
}

/// A frame whose checksum is right, its samples still as the subframes hold them.
pub struct Frame<'a> {
    channels: Channels,
    width: u32,
    /// Subframe after subframe.
    samples: &'a [i64],
    /// Bytes of the whole frame.
    pub length: usize,
}

impl<'a> Frame<'a> {
    /// Reads the frame that `bytes` begin with by way of `scratch`; `width` are the bits of a sample if it does not
    /// say so itself. `None` where it is damaged.
    pub fn read(header: &Header, bytes: &[u8], width: u32, scratch: &'a mut Vec<i64>) -> Option<Self> {
        const CHECKSUM: usize = 2;
        let width = header.width.unwrap_or(width);
        scratch.resize(header.block * header.channels(), 0);
        let mut bits = Bits::new(&bytes[header.length..]);
        for (index, samples) in scratch.chunks_exact_mut(header.block).enumerate() {
            let is_side = match header.channels {
                Channels::Apart(_) => false,
                Channels::SideRight => index == 0,
                Channels::LeftSide | Channels::MidSide => index == 1,
            };
            subframe::read(&mut bits, width + u32::from(is_side), samples)?;
        }
        let length = bytes.len() - bits.bytes_left()?.checked_sub(CHECKSUM)?;
        let is_sound = crc::FRAME.of(&bytes[..length]) == 0;
        is_sound.then_some(Self { channels: header.channels, width, samples: scratch, length })
    }

    /// Appends the samples to the planes, one for each channel; `None` where one has more bits than it may.
    pub fn append_to(&self, planes: &mut [Vec<f32>]) -> Option<()> {
        let block = self.samples.len() / planes.len();
        let (first, second) = self.samples.split_at(block);
        let pairs = || first.iter().zip(second);
        match (self.channels, planes) {
            (Channels::LeftSide, [left, right]) => {
                self.append(first.iter().copied(), left)?;
                self.append(pairs().map(|(left, side)| left.wrapping_sub(*side)), right)
            }
            (Channels::SideRight, [left, right]) => {
                self.append(pairs().map(|(side, right)| right.wrapping_add(*side)), left)?;
                self.append(second.iter().copied(), right)
            }
            (Channels::MidSide, [left, right]) => {
                // Of the sum of both channels, the last bit is that of their difference.
                let right_of = |(mid, side): (&i64, &i64)| mid.wrapping_sub(side >> 1);
                self.append(pairs().map(|pair| right_of(pair).wrapping_add(*pair.1)), left)?;
                self.append(pairs().map(right_of), right)
            }
            (_, planes) => planes
                .iter_mut()
                .zip(self.samples.chunks_exact(block))
                .try_for_each(|(plane, samples)| self.append(samples.iter().copied(), plane)),
        }
    }

    /// Appends samples, scaled by 2^-(width - 1), in a loop that compiles to vectors.
    fn append(&self, samples: impl Iterator<Item = i64>, plane: &mut Vec<f32>) -> Option<()> {
        let half = 1_i64 << (self.width - 1);
        let scale = 1.0 / half as f32;
        let mut bits = 0;
        plane.extend(samples.map(|sample| {
            bits |= sample.wrapping_add(half);
            sample as i32 as f32 * scale
        }));
        (bits >> self.width == 0).then_some(())
    }
}
