//! WAV bytes -> samples: RIFF, RF64 and BW64, plain and extensible, PCM 8 to 32 bits and float 32 and 64.
//!
//! Integers are scaled by 2^-(bits - 1), so every format equals what libsndfile reads as float32, bit for bit.
//! Sizes in the header are promises: what counts is the bytes that are there.

use std::ops::Range;

use crate::audio::{Audio, check_header};
use crate::error::{Error, Remedy, Result};
use crate::simd::{Isa, Kernel, Simd};

const PCM: u16 = 0x0001;
const IEEE_FLOAT: u16 = 0x0003;
const EXTENSIBLE: u16 = 0xFFFE;

/// Bytes 2.. of the two families of sub-format GUIDs whose first two bytes are a format tag: Microsoft's and
/// the ambisonic one.
const GUID_TAILS: [[u8; 14]; 2] = [
    [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71],
    [0, 0, 0x21, 0x07, 0xD3, 0x11, 0x86, 0x44, 0xC8, 0xC1, 0xCA, 0, 0, 0],
];

/// Decodes a whole WAV file into the memory of `samples`.
///
/// # Errors
/// [`Error::Header`] where the header is cut off, incomplete or cannot be true; [`Error::Format`] for samples
/// that are neither PCM nor float.
pub fn decode(bytes: &[u8], samples: Vec<f32>) -> Result<Audio> {
    Ok(Layout::of(bytes)?.decode(bytes, samples))
}

/// Where a WAV file has its samples, and how they are stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Sample rate, Hz.
    pub rate: u32,
    /// Number of channels, at least 1.
    pub channels: usize,
    /// Bytes of the samples, whole frames only.
    pub data: Range<usize>,
    encoding: Encoding,
    truncated: bool,
}

impl Layout {
    /// Reads the header of a whole file.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let layout = Self::within(bytes, bytes.len())?;
        layout.ok_or_else(|| cut_off(bytes.len()))
    }

    /// Reads the header of a file of `length` bytes from its beginning `head`; `None` where the header is longer.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn within(head: &[u8], length: usize) -> Result<Option<Self>> {
        let Some(Chunks { format, mut data, truncated }) = Chunks::find(head, length)? else {
            return Ok(None);
        };
        let Format { encoding, channels, rate } = Format::parse(format)?;
        data.end -= data.len() % (channels * encoding.bytes());
        Ok(Some(Self { rate, channels, data, encoding, truncated }))
    }

    /// Samples of each channel.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.data.len() / self.block()
    }

    /// Bytes of one sample of all channels.
    #[must_use]
    pub fn block(&self) -> usize {
        self.channels * self.encoding.bytes()
    }

    /// Decodes the file that the header was read from, into the memory of `samples`.
    ///
    /// # Panics
    /// When `bytes` end before [`Layout::data`] does.
    #[must_use]
    pub fn decode(&self, bytes: &[u8], mut samples: Vec<f32>) -> Audio {
        samples.clear();
        self.encoding.planar(&bytes[self.data.clone()], self.channels, &mut samples);
        Audio { rate: self.rate, channels: self.channels, samples, truncated: self.truncated }
    }

    /// The int16 samples of one channel of the file that the header was read from, instead of what `samples` held;
    /// `false` where its samples are no such.
    ///
    /// # Panics
    /// When `bytes` end before [`Layout::data`] does, or there is no such channel.
    pub fn pcm16(&self, bytes: &[u8], channel: usize, samples: &mut Vec<i16>) -> bool {
        assert!(channel < self.channels, "channel {channel} of {}", self.channels);
        let is_pcm16 = matches!(self.encoding, Encoding::I16);
        if is_pcm16 {
            samples.clear();
            let data = &bytes[self.data.clone()];
            unpack(data, self.channels, channel..channel + 1, samples, i16::from_le_bytes);
        }
        is_pcm16
    }
}

/// The two chunks that matter.
struct Chunks<'a> {
    format: &'a [u8],
    data: Range<usize>,
    /// The header promised more data than there is.
    truncated: bool,
}

impl<'a> Chunks<'a> {
    /// `None` where the chunks lie beyond `head`, with which a file of `length` bytes begins.
    fn find(head: &'a [u8], length: usize) -> Result<Option<Self>> {
        let Some(riff_size) = u32_at(head, 4) else {
            return Err(cut_off(length));
        };
        // A header written before the recording ended, into a pipe, cannot know the sizes.
        let sized = riff_size != u32::MAX && u64::from(riff_size) + 9 >= length as u64;
        let (mut format, mut data, mut size64) = (None, None, None);
        let mut at = 12;
        while at < length && (format.is_none() || data.is_none()) {
            let (Some(id), Some(size)) = (head.get(at..at + 4), u32_at(head, at + 4)) else {
                if length - at >= 8 {
                    return Ok(None);
                }
                break;
            };
            let rest = length - at - 8;
            let mut size = u64::from(size);
            let chunk = |size: u64| head.get(at + 8..)?.get(..usize::try_from(size).ok()?);
            if id == b"data" {
                if size == u64::from(u32::MAX) {
                    size = size64.unwrap_or(size);
                }
                let unknown = is_placeholder(size) || (size == 0 && !sized);
                let held = if unknown { rest } else { usize::try_from(size).unwrap_or(rest).min(rest) };
                data = Some((at + 8..at + 8 + held, !unknown && size > held as u64));
                size = size.max(held as u64);
            } else if (id == b"fmt " || id == b"ds64") && size <= rest as u64 {
                let Some(chunk) = chunk(size) else { return Ok(None) };
                if id == b"fmt " {
                    format = Some(chunk);
                } else {
                    size64 = u64_at(chunk, 8);
                }
            }
            let step = size.saturating_add(size & 1).saturating_add(8);
            at = usize::try_from(step).map_or(usize::MAX, |step| at.saturating_add(step));
        }
        match (format, data) {
            (Some(format), Some((data, truncated))) => Ok(Some(Self { format, data, truncated })),
            // The next chunk would start beyond the end (or has less than a header): the file stops too early.
            (_, None) if at != length => Err(cut_off(length)),
            (None, _) => Err(header("the WAV header has no fmt chunk")),
            (_, None) => Err(header("the WAV file has no data chunk: it holds a header and no samples")),
        }
    }
}

/// What the `fmt ` chunk says.
struct Format {
    encoding: Encoding,
    channels: usize,
    rate: u32,
}

impl Format {
    fn parse(chunk: &[u8]) -> Result<Self> {
        let (Some(tag), Some(channels), Some(rate), Some(block), Some(bits)) =
            (u16_at(chunk, 0), u16_at(chunk, 2), u32_at(chunk, 4), u16_at(chunk, 12), u16_at(chunk, 14))
        else {
            let size = chunk.len();
            return Err(header(format!("the fmt chunk of the WAV header has {size} bytes, fewer than 16")));
        };
        let (channels, block) = (usize::from(channels), usize::from(block));
        check_header(rate, channels)?;
        let encoding = Encoding::of(sample_format(tag, chunk)?, bits)?;
        if block != channels * encoding.bytes() {
            return Err(header(format!(
                "the WAV header contradicts itself: {channels} x {bits} bits, yet {block} bytes for all channels"
            )));
        }
        Ok(Self { encoding, channels, rate })
    }
}

/// The format tag, taken out of the GUID of an extensible header.
fn sample_format(tag: u16, chunk: &[u8]) -> Result<u16> {
    if tag != EXTENSIBLE {
        return Ok(tag);
    }
    let (Some(tag), Some(tail)) = (u16_at(chunk, 24), chunk.get(26..40)) else {
        return Err(header("the extensible WAV header is too short"));
    };
    if GUID_TAILS.iter().any(|known| known == tail) {
        return Ok(tag);
    }
    Err(Error::format("an extensible WAV file of an unknown sample format", Remedy::Convert))
}

/// How one sample is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Encoding {
    U8,
    I16,
    I24,
    I32,
    F32,
    F64,
}

impl Encoding {
    fn of(tag: u16, bits: u16) -> Result<Self> {
        let unsupported = |what: String| {
            Err(Error::format(format!("a WAV file of {what}; only PCM and float are read"), Remedy::Convert))
        };
        match (tag, bits) {
            (PCM, 8) => Ok(Self::U8),
            (PCM, 16) => Ok(Self::I16),
            (PCM, 24) => Ok(Self::I24),
            (PCM, 32) => Ok(Self::I32),
            (IEEE_FLOAT, 32) => Ok(Self::F32),
            (IEEE_FLOAT, 64) => Ok(Self::F64),
            (PCM | IEEE_FLOAT, 0) => Err(header("the WAV header says 0 bits a sample")),
            (PCM, _) => unsupported(format!("{bits}-bit integers")),
            (IEEE_FLOAT, _) => unsupported(format!("{bits}-bit floats")),
            (0x0002, _) => unsupported("Microsoft ADPCM".to_owned()),
            (0x0006, _) => unsupported("A-law".to_owned()),
            (0x0007, _) => unsupported("mu-law".to_owned()),
            (0x0011, _) => unsupported("IMA ADPCM".to_owned()),
            (0x0031, _) => unsupported("GSM 6.10".to_owned()),
            (0x0050 | 0x0055, _) => unsupported("MPEG audio".to_owned()),
            (0x0160..=0x0163, _) => unsupported("Windows Media audio".to_owned()),
            _ => unsupported(format!("the sample format 0x{tag:04x}")),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Interleaved bytes -> planar samples behind those that are there.
    fn planar(self, data: &[u8], channels: usize, out: &mut Vec<f32>) {
        let all = 0..channels;
        match self {
            Self::U8 => unpack(data, channels, all, out, |[b]| (f32::from(b) - 128.0) / 128.0),
            Self::I16 => unpack(data, channels, all, out, |b| f32::from(i16::from_le_bytes(b)) / 32_768.0),
            Self::I24 => unpack(data, channels, all, out, |[a, b, c]| {
                (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0
            }),
            Self::I32 => {
                unpack(data, channels, all, out, |b| i32::from_le_bytes(b) as f32 / 2_147_483_648.0);
            }
            Self::F32 => unpack(data, channels, all, out, f32::from_le_bytes),
            Self::F64 => unpack(data, channels, all, out, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

/// Appends the samples of the channels `wanted`, one channel after the other.
fn unpack<const W: usize, T>(
    data: &[u8],
    channels: usize,
    wanted: Range<usize>,
    out: &mut Vec<T>,
    sample: impl Fn([u8; W]) -> T,
) {
    let (words, _) = data.as_chunks::<W>();
    out.reserve(words.len() / channels * wanted.len());
    Isa::available()[0].run(Unpack { words, channels, wanted, out, sample });
}

/// A plain loop, compiled for the instruction set at hand.
struct Unpack<'a, const W: usize, T, F> {
    words: &'a [[u8; W]],
    channels: usize,
    wanted: Range<usize>,
    out: &'a mut Vec<T>,
    sample: F,
}

impl<const W: usize, T, F: Fn([u8; W]) -> T> Kernel for Unpack<'_, W, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Simd>(self, _isa: I) {
        let Self { words, channels, wanted, out, sample } = self;
        if channels == 1 {
            out.extend(words.iter().map(|&word| sample(word)));
            return;
        }
        for channel in wanted {
            out.extend(words.chunks_exact(channels).map(|frame| sample(frame[channel])));
        }
    }
}

/// Sizes that writers put down when they cannot know: all ones, and SoX's and arecord's "as much as fits".
fn is_placeholder(size: u64) -> bool {
    matches!(size, 0x7FFF_F000..=0x8000_0000 | 0xFFFF_F000..=0xFFFF_FFFF | u64::MAX)
}

fn cut_off(length: usize) -> Error {
    header(format!("the WAV header is cut off: the file ends after {length} bytes"))
}

fn header(reason: impl Into<String>) -> Error {
    Error::Header(reason.into())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|&b| u16::from_le_bytes(b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|&b| u32::from_le_bytes(b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|&b| u64::from_le_bytes(b))
}
