//! FLAC bytes -> samples, through symphonia. What it skips in silence (damaged frames, a missing end) is an
//! error here that names the second.

use std::io::{Cursor, ErrorKind, Read};
use std::panic;

use symphonia::core::audio::{Audio as _, GenericAudioBufferRef};
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as StreamError;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::default::codecs::FlacDecoder;
use symphonia::default::formats::FlacReader;

use crate::audio::{Audio, check_header};
use crate::error::{Error, Remedy, Result};
use crate::pool;

/// `fLaC`, the header of a block, and the STREAMINFO block, which must come first.
const HEAD: usize = 4 + 4 + 34;

/// Decodes a whole FLAC file, its marker first.
///
/// # Errors
/// [`Error::Header`] where the header is cut off or cannot be true; [`Error::Content`] where a frame is damaged
/// (each carries a checksum), the stream is empty, or it does not hold as many samples as its header says.
pub fn decode(bytes: &[u8]) -> Result<Audio> {
    let (head, frames) = split(without_id3v1(bytes))?;
    if frames.is_empty() {
        return Err(Error::content(
            "it holds no samples: the FLAC file ends after its header",
            Remedy::CopyAgain,
        ));
    }
    // The library must not bring a whole run down with one hostile file.
    panic::catch_unwind(|| decode_frames(head, frames))
        .unwrap_or_else(|_| Err(Error::Header("the FLAC stream is damaged beyond reading".to_owned())))
}

/// The 128 bytes of an ID3v1 tag at the end would pass for a part of the last frame.
fn without_id3v1(bytes: &[u8]) -> &[u8] {
    match bytes.split_last_chunk::<128>() {
        Some((before, tag)) if tag.starts_with(b"TAG") => before,
        _ => bytes,
    }
}

/// The STREAMINFO block as the only one of its file, and the frames behind all blocks: pictures, tags and seek
/// tables, whole or damaged, are none of our business.
fn split(bytes: &[u8]) -> Result<([u8; HEAD], &[u8])> {
    const LAST: u8 = 0x80;
    let cut_off =
        || Error::Header(format!("the FLAC header is cut off: the file ends after {} bytes", bytes.len()));
    let mut head = *bytes.first_chunk::<HEAD>().ok_or_else(cut_off)?;
    let mut at = 4;
    loop {
        let [kind, size @ ..] = *bytes.get(at..).and_then(<[u8]>::first_chunk::<4>).ok_or_else(cut_off)?;
        at += 4 + size.iter().fold(0, |size, &byte| size << 8 | usize::from(byte));
        if kind & LAST != 0 {
            break;
        }
    }
    head[4] |= LAST;
    Ok((head, bytes.get(at..).ok_or_else(cut_off)?))
}

fn decode_frames(head: [u8; HEAD], frames: &[u8]) -> Result<Audio> {
    let source = ReadOnlySource::new(Cursor::new(head).chain(frames));
    let stream = MediaSourceStream::new(Box::new(source), Default::default());
    let mut reader = FlacReader::try_new(stream, FormatOptions::default()).map_err(broken_header)?;
    let (parameters, total) = match reader.tracks() {
        [track] => (track.codec_params.clone(), track.num_frames),
        _ => (None, None),
    };
    let Some(CodecParameters::Audio(parameters)) = parameters else {
        return Err(Error::Header("the FLAC file has no audio track".to_owned()));
    };
    let rate = parameters.sample_rate.unwrap_or(0);
    let channels = parameters.channels.as_ref().map_or(0, |channels| channels.count());
    check_header(rate, channels)?;
    let mut decoder =
        FlacDecoder::try_new(&parameters, &AudioDecoderOptions::default()).map_err(broken_header)?;
    let planes = planes(&mut reader, &mut decoder, Promise { rate, channels, total, bytes: frames.len() })?;
    Ok(Audio { rate, channels, samples: planes.concat(), truncated: false })
}

/// What the stream must hold.
struct Promise {
    rate: u32,
    channels: usize,
    /// Samples of each channel, where the encoder knew.
    total: Option<u64>,
    /// Bytes of all frames.
    bytes: usize,
}

/// The samples of each channel, every frame accounted for.
fn planes(reader: &mut FlacReader<'_>, decoder: &mut FlacDecoder, promise: Promise) -> Result<Vec<Vec<f32>>> {
    // A header may promise terabytes: reserve what a file of this size usually holds, at most.
    let usual = 16 * promise.bytes / promise.channels;
    let reserve = promise.total.map_or(0, |total| usize::try_from(total).unwrap_or(usize::MAX).min(usual));
    let mut planes = vec![Vec::with_capacity(reserve); promise.channels];
    let (mut done, mut bytes) = (0_u64, 0_usize);
    let seconds = |samples: u64| samples as f64 / f64::from(promise.rate);
    let damaged = |done: u64| {
        Error::content(format!("the FLAC stream is damaged at {:.2} s", seconds(done)), Remedy::CopyAgain)
    };
    loop {
        pool::check()?;
        let packet = match reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(StreamError::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(_) => return Err(damaged(done)),
        };
        if u64::try_from(packet.pts.get()) != Ok(done) {
            return Err(damaged(done));
        }
        let Ok(GenericAudioBufferRef::S32(frame)) = decoder.decode(&packet) else {
            return Err(damaged(done));
        };
        for (channel, plane) in planes.iter_mut().enumerate() {
            let samples = frame.plane(channel).ok_or_else(|| damaged(done))?;
            // Every width is shifted up to 32 bits, so one scale serves all, exactly up to 24 bits.
            plane.extend(samples.iter().map(|&sample| sample as f32 / 2_147_483_648.0));
        }
        done += frame.frames() as u64;
        bytes += packet.data.len();
    }
    match promise.total {
        Some(total) if done != total => {
            let (there, said) = (seconds(done), seconds(total));
            let reason =
                format!("the FLAC stream is damaged or ends at {there:.2} s; its header says {said:.2} s");
            Err(Error::content(reason, Remedy::CopyAgain))
        }
        None if bytes < promise.bytes => Err(damaged(done)),
        _ => Ok(planes),
    }
}

fn broken_header(error: StreamError) -> Error {
    Error::Header(match error {
        StreamError::IoError(_) => "the FLAC file holds a header and no whole frame".to_owned(),
        other => format!("the FLAC header is broken: {other}"),
    })
}
