//! WAV bytes -> samples: RIFF, RF64 and BW64, plain and extensible, PCM 8 to 32 bits and float 32 and 64.
//!
//! Integers are scaled by 2^-(bits - 1), so every format equals what libsndfile reads as float32, bit for bit.
//! Sizes in the header are promises: what counts is the bytes that are there.

use crate::audio::{Audio, check_header};
use crate::error::{Error, Remedy, Result};

const PCM: u16 = 0x0001;
const IEEE_FLOAT: u16 = 0x0003;
const EXTENSIBLE: u16 = 0xFFFE;

/// Bytes 2.. of the two families of sub-format GUIDs whose first two bytes are a format tag: Microsoft's and
/// the ambisonic one.
const GUID_TAILS: [[u8; 14]; 2] = [
    [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71],
    [0, 0, 0x21, 0x07, 0xD3, 0x11, 0x86, 0x44, 0xC8, 0xC1, 0xCA, 0, 0, 0],
];

/// Decodes a whole WAV file.
///
/// # Errors
/// [`Error::Header`] where the header is cut off, incomplete or cannot be true; [`Error::Format`] for samples
/// that are neither PCM nor float.
pub fn decode(bytes: &[u8]) -> Result<Audio> {
    let chunks = Chunks::find(bytes)?;
    let format = Format::parse(chunks.format)?;
    Ok(Audio {
        rate: format.rate,
        channels: format.channels,
        samples: format.encoding.planar(chunks.data, format.channels),
        truncated: chunks.truncated,
    })
}

/// The two chunks that matter.
struct Chunks<'a> {
    format: &'a [u8],
    data: &'a [u8],
    /// The header promised more data than there is.
    truncated: bool,
}

impl<'a> Chunks<'a> {
    fn find(bytes: &'a [u8]) -> Result<Self> {
        let Some(riff_size) = u32_at(bytes, 4) else {
            return Err(cut_off(bytes));
        };
        // A header written before the recording ended, into a pipe, cannot know the sizes.
        let sized = riff_size != u32::MAX && u64::from(riff_size) + 9 >= bytes.len() as u64;
        let (mut format, mut data, mut size64) = (None, None, None);
        let mut at = 12;
        while at < bytes.len() && (format.is_none() || data.is_none()) {
            let (Some(id), Some(size)) = (bytes.get(at..at + 4), u32_at(bytes, at + 4)) else {
                break;
            };
            let rest = &bytes[at + 8..];
            let mut size = u64::from(size);
            if id == b"data" {
                if size == u64::from(u32::MAX) {
                    size = size64.unwrap_or(size);
                }
                let unknown = is_placeholder(size) || (size == 0 && !sized);
                let held = if unknown { rest } else { clamped(rest, size) };
                data = Some((held, !unknown && size > held.len() as u64));
                size = size.max(held.len() as u64);
            } else if id == b"fmt " && size <= rest.len() as u64 {
                format = Some(clamped(rest, size));
            } else if id == b"ds64" && size <= rest.len() as u64 {
                size64 = u64_at(clamped(rest, size), 8);
            }
            let step = size.saturating_add(size & 1).saturating_add(8);
            at = usize::try_from(step).map_or(usize::MAX, |step| at.saturating_add(step));
        }
        match (format, data) {
            (Some(format), Some((data, truncated))) => Ok(Self { format, data, truncated }),
            // The next chunk would start beyond the end (or has less than a header): the file stops too early.
            _ if at != bytes.len() && data.is_none() => Err(cut_off(bytes)),
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
#[derive(Clone, Copy)]
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

    /// Interleaved bytes -> planar samples; an incomplete last frame is left out.
    fn planar(self, data: &[u8], channels: usize) -> Vec<f32> {
        match self {
            Self::U8 => planar(data, channels, |[b]| (f32::from(b) - 128.0) / 128.0),
            Self::I16 => planar(data, channels, |b| f32::from(i16::from_le_bytes(b)) / 32_768.0),
            Self::I24 => planar(data, channels, |[a, b, c]| {
                (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0
            }),
            Self::I32 => planar(data, channels, |b| i32::from_le_bytes(b) as f32 / 2_147_483_648.0),
            Self::F32 => planar(data, channels, f32::from_le_bytes),
            Self::F64 => planar(data, channels, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

fn planar<const W: usize>(data: &[u8], channels: usize, sample: impl Fn([u8; W]) -> f32) -> Vec<f32> {
    let (words, _) = data.as_chunks::<W>();
    let words = &words[..words.len() - words.len() % channels];
    if channels == 1 {
        return words.iter().map(|&word| sample(word)).collect();
    }
    let mut samples = Vec::with_capacity(words.len());
    for channel in 0..channels {
        samples.extend(words.iter().skip(channel).step_by(channels).map(|&word| sample(word)));
    }
    samples
}

/// Sizes that writers put down when they cannot know: all ones, and SoX's and arecord's "as much as fits".
fn is_placeholder(size: u64) -> bool {
    matches!(size, 0x7FFF_F000..=0x8000_0000 | 0xFFFF_F000..=0xFFFF_FFFF | u64::MAX)
}

fn clamped(bytes: &[u8], size: u64) -> &[u8] {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    &bytes[..size.min(bytes.len())]
}

fn cut_off(bytes: &[u8]) -> Error {
    header(format!("the WAV header is cut off: the file ends after {} bytes", bytes.len()))
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
