//! FLAC bytes -> samples, by RFC 9639. Whatever is not as the encoder left it (a damaged frame, a missing one, a missing end) is an error that names the second.

mod bits;
mod crc;
mod frame;
mod subframe;

use crate::audio::{Audio, check_header};
use crate::error::{Error, Remedy, Result};
use crate::pool;

use frame::{Frame, Header};

/// `fLaC` and the header of the first block, which must be STREAMINFO.
const BEFORE_INFO: usize = 4 + 4;

/// Bytes of the STREAMINFO block.
const INFO: usize = 34;

/// Most samples of all channels that a byte of frames is believed to hold, beside [`FREE`].
///
/// A frame of digital silence is all header, and no encoder makes it longer than it must. No stream of 16 bits in
/// blocks of up to 16384, the longest that FLAC's streamable subset allows, holds more: 8 such channels take 32 bytes
/// (6 of header, 3 a channel, 2 of checksum). libFLAC's blocks of 4096 come to 990, ffmpeg's of 4608 to 1120.
const PER_BYTE: u64 = 4096;

/// Samples of all channels that are believed in any case.
const FREE: u64 = 4 << 20;

/// Decodes a whole FLAC file, its marker first, into the memory of `samples`.
///
/// # Errors
/// [`Error::Header`] where the header is cut off or cannot be true; [`Error::Content`] where a frame is damaged
/// (each carries a checksum), the stream is empty, it does not hold as many samples as its header says, or it holds
/// gigabytes in a few kilobytes.
pub fn decode(bytes: &[u8], samples: Vec<f32>) -> Result<Audio> {
    let (info, frames) = split(without_id3v1(bytes))?;
    if frames.is_empty() {
        return Err(Error::content(
            "it holds no samples: the FLAC file ends after its header",
            Remedy::CopyAgain,
        ));
    }
    Stream::new(info, frames)?.decode(samples)
}

/// The 128 bytes of an ID3v1 tag at the end would pass for a part of the last frame.
fn without_id3v1(bytes: &[u8]) -> &[u8] {
    match bytes.split_last_chunk::<128>() {
        Some((before, tag)) if tag.starts_with(b"TAG") => before,
        _ => bytes,
    }
}

/// The STREAMINFO block, and the frames behind all blocks: pictures, tags and seek tables, whole or damaged, are
/// none of our business.
fn split(bytes: &[u8]) -> Result<([u8; INFO], &[u8])> {
    const LAST: u8 = 0x80;
    let cut_off =
        || Error::Header(format!("the FLAC header is cut off: the file ends after {} bytes", bytes.len()));
    let info = *bytes.get(BEFORE_INFO..).and_then(<[u8]>::first_chunk).ok_or_else(cut_off)?;
    let mut at = 4;
    loop {
        let [kind, size @ ..] = *bytes.get(at..).and_then(<[u8]>::first_chunk::<4>).ok_or_else(cut_off)?;
        let size = size.iter().fold(0, |size, &byte| size << 8 | usize::from(byte));
        if at == 4 && (kind & !LAST, size) != (0, INFO) {
            return Err(Error::Header("the FLAC header does not begin with its STREAMINFO block".to_owned()));
        }
        at += 4 + size;
        if kind & LAST != 0 {
            break;
        }
    }
    Ok((info, bytes.get(at..).ok_or_else(cut_off)?))
}

/// Frames to be decoded, and what they must hold.
struct Stream<'a> {
    frames: &'a [u8],
    rate: u32,
    channels: usize,
    /// Bits of a sample.
    width: u32,
    /// The most samples of a channel that a frame has.
    longest: usize,
    /// The frames are numbered by their first samples: the first frame says so.
    by_sample: bool,
    /// Samples of each channel, where the encoder knew.
    total: Option<u64>,
}

impl<'a> Stream<'a> {
    /// Source: RFC 9639, section 8.2.
    fn new(info: [u8; INFO], frames: &'a [u8]) -> Result<Self> {
        let broken = |what: String| Err(Error::Header(format!("the FLAC header says {what}")));
        let blocks = [0, 2].map(|at| usize::from(u16::from_be_bytes([info[at], info[at + 1]])));
        if blocks[0] < 16 || blocks[1] < blocks[0] {
            return broken(format!("blocks of {} to {} samples", blocks[0], blocks[1]));
        }
        // 20 bits of rate, 3 of channels, 5 of width, 36 of total; then the MD5 sum.
        let fields = info[10..18].iter().fold(0, |fields, &byte| fields << 8 | u64::from(byte));
        let (rate, channels) = ((fields >> 44) as u32, (fields >> 41 & 0x07) as usize + 1);
        check_header(rate, channels)?;
        let (width, total) = ((fields >> 36 & 0x1F) as u32 + 1, fields & 0xF_FFFF_FFFF);
        if width < 4 {
            return broken(format!("{width} bits a sample; 4 to 32 are possible"));
        }
        let by_sample = frames.get(1).is_some_and(|sync| sync & 1 == 1);
        let total = (total > 0).then_some(total);
        Ok(Self { frames, rate, channels, width, longest: blocks[1], by_sample, total })
    }

    /// The samples of every frame, none left out.
    fn decode(&self, samples: Vec<f32>) -> Result<Audio> {
        if !has_headers(self.frames, 0) {
            return Err(Error::Header("the FLAC file holds a header and no whole frame".to_owned()));
        }
        let (mut planes, mut scratch) = (self.planes(samples), Vec::new());
        let (mut rest, mut frames, mut done) = (self.frames, 0, 0);
        while !rest.is_empty() {
            pool::check()?;
            let broken = || self.broken(done, rest);
            let header =
                Header::parse(rest).filter(|header| self.fits(header, frames, done)).ok_or_else(broken)?;
            let frame = Frame::read(&header, rest, self.width, &mut scratch).ok_or_else(broken)?;
            let next = done + header.block as u64;
            check_expansion(next * self.channels as u64, self.frames.len() - rest.len() + frame.length)?;
            frame.append_to(&mut planes).ok_or_else(|| damaged(done, self.rate))?;
            (frames, done, rest) = (frames + 1, next, &rest[frame.length..]);
        }
        if self.total.is_some_and(|total| total != done) {
            return Err(self.broken(done, rest));
        }
        let mut planes = planes.into_iter();
        let mut samples = planes.next().unwrap_or_default();
        planes.for_each(|plane| samples.extend(plane));
        Ok(Audio { rate: self.rate, channels: self.channels, samples, truncated: false })
    }

    /// Whether it is the header of the frame that comes after so many frames, of so many samples `done`.
    fn fits(&self, header: &Header, frames: u64, done: u64) -> bool {
        header.by_sample == self.by_sample
            && header.number == if header.by_sample { done } else { frames }
            && header.channels() == self.channels
            && header.block <= self.longest
    }

    /// A buffer for each channel, the first made of `samples`, with room for what is to come.
    fn planes(&self, mut samples: Vec<f32>) -> Vec<Vec<f32>> {
        // A header may promise terabytes: reserve what a file of this size usually holds, at most.
        let usual = 16 * self.frames.len() / self.channels;
        let length = self.total.map_or(0, |total| usize::try_from(total).unwrap_or(usize::MAX).min(usual));
        samples.clear();
        samples.reserve(length * self.channels);
        let others = (1..self.channels).map(|_| Vec::with_capacity(length));
        [samples].into_iter().chain(others).collect()
    }

    /// No frame, or not the one that belongs there, after `done` samples.
    fn broken(&self, done: u64, rest: &[u8]) -> Error {
        match self.total {
            Some(total) if total != done && !has_headers(rest, 1) => {
                let (there, said) = (seconds(done, self.rate), seconds(total, self.rate));
                let reason = format!(
                    "the FLAC stream is damaged or ends at {there:.2} s; its header says {said:.2} s"
                );
                Error::content(reason, Remedy::CopyAgain)
            }
            _ => damaged(done, self.rate),
        }
    }
}

/// Refuses the `samples` of all channels that `bytes` of frames make, where that is no recording any more.
fn check_expansion(samples: u64, bytes: usize) -> Result<()> {
    if samples <= FREE + PER_BYTE * bytes as u64 {
        return Ok(());
    }
    let reason = format!("the FLAC stream is no recording: its first {bytes} bytes make {samples} samples");
    Err(Error::content(reason, Remedy::LeaveOut))
}

fn damaged(done: u64, rate: u32) -> Error {
    let second = seconds(done, rate);
    Error::content(format!("the FLAC stream is damaged at {second:.2} s"), Remedy::CopyAgain)
}

fn seconds(samples: u64, rate: u32) -> f64 {
    samples as f64 / f64::from(rate)
}

/// Whether frames seem to begin from byte `from` on.
fn has_headers(bytes: &[u8], from: usize) -> bool {
    (from..bytes.len()).any(|at| Header::parse(&bytes[at..]).is_some())
}
