//! FLAC bytes -> samples: the frames are told apart here, symphonia decodes each. Whatever is not as the encoder
//! left it (a damaged frame, a missing one, a missing end) is an error that names the second.

use std::panic;

use symphonia::core::audio::{Audio as _, GenericAudioBufferRef};
use symphonia::core::checksum::{Crc8Ccitt, Crc16Ansi};
use symphonia::core::codecs::audio::well_known::CODEC_ID_FLAC;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::io::Monitor;
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};
use symphonia::default::codecs::FlacDecoder;

use crate::audio::{Audio, check_header};
use crate::error::{Error, Remedy, Result};
use crate::pool;

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
    // The library must not bring a whole run down with one hostile file.
    panic::catch_unwind(|| Stream::new(info, frames)?.decode(samples))
        .unwrap_or_else(|_| Err(Error::Header("the FLAC stream is damaged beyond reading".to_owned())))
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
    decoder: FlacDecoder,
    rate: u32,
    channels: usize,
    /// Samples of each channel, where the encoder knew.
    total: Option<u64>,
}

impl<'a> Stream<'a> {
    fn new(info: [u8; INFO], frames: &'a [u8]) -> Result<Self> {
        let mut parameters = AudioCodecParameters::new();
        parameters.for_codec(CODEC_ID_FLAC).with_extra_data(Box::new(info));
        let decoder = FlacDecoder::try_new(&parameters, &AudioDecoderOptions::default())
            .map_err(|error| Error::Header(format!("the FLAC header is broken: {error}")))?;
        let rate = decoder.codec_params().sample_rate.unwrap_or(0);
        let channels = decoder.codec_params().channels.as_ref().map_or(0, |channels| channels.count());
        check_header(rate, channels)?;
        // The last 36 of the bits before the MD5 sum.
        let total = info[13..18].iter().fold(0, |total, &byte| total << 8 | u64::from(byte)) & 0xF_FFFF_FFFF;
        Ok(Self { frames, decoder, rate, channels, total: (total > 0).then_some(total) })
    }

    /// The samples of every frame, none left out.
    fn decode(mut self, samples: Vec<f32>) -> Result<Audio> {
        if headers(self.frames, 0).next().is_none() {
            return Err(Error::Header("the FLAC file holds a header and no whole frame".to_owned()));
        }
        let mut planes = self.planes(samples);
        let (mut rest, mut frames, mut done) = (self.frames, 0, 0);
        while !rest.is_empty() {
            pool::check()?;
            let Some(end) = FrameHeader::parse(rest)
                .filter(|header| header.number == if header.by_sample { done } else { frames })
                .filter(|header| header.channels == self.channels)
                .and_then(|header| end_of_frame(header, rest))
            else {
                return Err(self.broken(done, rest));
            };
            let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, &rest[..end]);
            let Ok(GenericAudioBufferRef::S32(frame)) = self.decoder.decode_ref(&packet) else {
                return Err(damaged(done, self.rate));
            };
            let next = done + frame.frames() as u64;
            check_expansion(next * self.channels as u64, self.frames.len() - rest.len() + end)?;
            for (channel, plane) in planes.iter_mut().enumerate() {
                let samples = frame.plane(channel).unwrap_or(&[]);
                // Every width is shifted up to 32 bits, so one scale serves all, exactly up to 24 bits.
                plane.extend(samples.iter().map(|&sample| sample as f32 / 2_147_483_648.0));
            }
            (frames, done, rest) = (frames + 1, next, &rest[end..]);
        }
        if self.total.is_some_and(|total| total != done) {
            return Err(self.broken(done, rest));
        }
        let mut planes = planes.into_iter();
        let mut samples = planes.next().unwrap_or_default();
        planes.for_each(|plane| samples.extend(plane));
        Ok(Audio { rate: self.rate, channels: self.channels, samples, truncated: false })
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
            Some(total) if headers(rest, 1).next().is_none() => {
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

/// Length of the frame at the start of `bytes`: its checksum is right, and the next frame or nothing follows.
fn end_of_frame(header: FrameHeader, bytes: &[u8]) -> Option<usize> {
    let ends = headers(bytes, 1).filter(|(_, next)| next.by_sample == header.by_sample).map(|(at, _)| at);
    let (mut checksum, mut at) = (Crc16Ansi::new(0), 0);
    // Of data and their checksum the checksum is 0.
    ends.chain([bytes.len()]).find(|&end| {
        checksum.process_buf_bytes(&bytes[at..end]);
        at = end;
        checksum.crc() == 0
    })
}

/// Where frames seem to begin, from byte `from` on.
fn headers(bytes: &[u8], from: usize) -> impl Iterator<Item = (usize, FrameHeader)> {
    syncs(bytes, from).filter_map(|at| Some((at, FrameHeader::parse(&bytes[at..])?)))
}

/// Where the 15 bits stand that every frame begins with, from byte `from` on.
fn syncs(bytes: &[u8], from: usize) -> impl Iterator<Item = usize> {
    const BLOCK: usize = 128;
    let is_sync = |pair: (&u8, &u8)| (*pair.0 == 0xFF) & (*pair.1 & 0xFE == 0xF8);
    let blocks = (from..bytes.len().saturating_sub(1)).step_by(BLOCK);
    blocks.flat_map(move |start| {
        let end = (start + BLOCK).min(bytes.len() - 1);
        let pairs = || bytes[start..end].iter().zip(&bytes[start + 1..=end]);
        // Without an early end the compiler looks at 16 bytes at once, and few blocks have any.
        let any = pairs().fold(false, |any, pair| any | is_sync(pair));
        let positions = any.then(|| pairs().enumerate().filter(move |&(_, pair)| is_sync(pair)));
        positions.into_iter().flatten().map(move |(at, _)| start + at)
    })
}

/// What a frame says about itself.
#[derive(Clone, Copy)]
struct FrameHeader {
    /// Where frames differ in length they are numbered by their first samples.
    by_sample: bool,
    number: u64,
    channels: usize,
}

impl FrameHeader {
    /// The header that `bytes` begin with, if there is one and its checksum is right.
    ///
    /// Source: RFC 9639, section 9.1.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let [0xFF, sync @ (0xF8 | 0xF9), sizes, kinds, first, ..] = *bytes else { return None };
        let channels = match kinds >> 4 {
            alone @ 0..8 => usize::from(alone) + 1,
            8..11 => 2,
            _ => return None,
        };
        // The number is coded as UTF-8 codes characters, in up to 7 bytes.
        let (more, bits) = match first.leading_ones() {
            0 => (0, first),
            ones @ 2..8 => (ones as usize - 1, first & (0x7F >> ones)),
            _ => return None,
        };
        let number =
            bytes.get(5..5 + more)?.iter().fold(u64::from(bits), |n, byte| n << 6 | u64::from(byte & 0x3F));
        let length = match sizes >> 4 {
            0 => return None,
            6 => 1,
            7 => 2,
            _ => 0,
        };
        let rate = match sizes & 0x0F {
            12 => 1,
            13 | 14 => 2,
            15 => return None,
            _ => 0,
        };
        let mut checksum = Crc8Ccitt::new(0);
        checksum.process_buf_bytes(bytes.get(..5 + more + length + rate + 1)?);
        (checksum.crc() == 0).then_some(Self { by_sample: sync & 1 == 1, number, channels })
    }
}
