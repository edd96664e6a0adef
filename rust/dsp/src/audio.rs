//! Samples as a file stores them, and the choice of a decoder by the bytes themselves, never by the suffix.

use crate::error::{Error, Remedy, Result};
use crate::{digest, flac, wav};

/// Most channels that are believed.
const MAX_CHANNELS: usize = 64;

/// Highest sample rate that is believed, Hz: above every audio interface, below every damaged header.
const MAX_RATE: u32 = 768_000;

/// Decoded samples, as stored: no resampling, no mixing.
#[derive(Debug, Clone, PartialEq)]
pub struct Audio {
    /// Sample rate, Hz.
    pub rate: u32,
    /// Number of channels, at least 1.
    pub channels: usize,
    /// Planar: all samples of channel 0, then of channel 1, ...; integers are scaled by 2^-(bits - 1).
    pub samples: Vec<f32>,
    /// The header promised more samples than the file holds.
    pub truncated: bool,
}

impl Audio {
    /// Decodes the bytes of a WAV or FLAC file.
    ///
    /// # Errors
    /// [`Error::Format`] for anything else, naming what it looks like; the decoders' own errors;
    /// [`Error::Content`] where there are no samples.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::decode_into(bytes, Vec::new())
    }

    /// The same, into the memory of `samples`.
    ///
    /// # Errors
    /// As [`Audio::decode`].
    pub fn decode_into(bytes: &[u8], samples: Vec<f32>) -> Result<Self> {
        let audio = match Kind::of(bytes) {
            Kind::Wav => wav::decode(bytes, samples)?,
            Kind::Flac { start } => flac::decode(&bytes[start..], samples)?,
            Kind::Other { what, remedy } => return Err(Error::format(what, remedy)),
        };
        if audio.samples.is_empty() {
            return Err(Error::content("it holds no samples", Remedy::CopyAgain));
        }
        Ok(audio)
    }

    /// Samples of each channel.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.samples.len() / self.channels
    }

    /// The samples of one channel.
    ///
    /// # Panics
    /// When there is no such channel.
    #[must_use]
    pub fn channel(&self, index: usize) -> &[f32] {
        let frames = self.frames();
        &self.samples[index * frames..][..frames]
    }

    /// The samples of one channel, on their own.
    ///
    /// # Panics
    /// When there is no such channel.
    #[must_use]
    pub fn into_channel(mut self, index: usize) -> Vec<f32> {
        let frames = self.frames();
        assert!(index < self.channels, "channel {index} of {}", self.channels);
        self.samples.truncate((index + 1) * frames);
        self.samples.drain(..index * frames);
        self.samples
    }

    /// The mean of all channels.
    #[must_use]
    pub fn into_mean(mut self) -> Vec<f32> {
        let frames = self.frames();
        let (mix, others) = self.samples.split_at_mut(frames);
        for channel in others.chunks_exact(frames.max(1)) {
            for (sum, sample) in mix.iter_mut().zip(channel) {
                *sum += sample;
            }
        }
        let share = 1.0 / self.channels as f32;
        mix.iter_mut().for_each(|sum| *sum *= share);
        self.into_channel(0)
    }

    /// XXH64 of the samples of all channels, planar, as little-endian float32.
    #[must_use]
    pub fn digest(&self) -> u64 {
        digest::xxh64(&self.samples)
    }
}

/// Refuses what no recorder writes.
pub(crate) fn check_header(rate: u32, channels: usize) -> Result<()> {
    if channels == 0 || channels > MAX_CHANNELS {
        return Err(Error::Header(format!(
            "the header says {channels} channels; 1 to {MAX_CHANNELS} are possible"
        )));
    }
    if rate == 0 || rate > MAX_RATE {
        return Err(Error::Header(format!("the header says {rate} Hz; 1 to {MAX_RATE} Hz are possible")));
    }
    Ok(())
}

/// What the first bytes say a file is.
#[derive(Debug, PartialEq)]
pub(crate) enum Kind {
    Wav,
    /// FLAC, its marker at byte `start` (behind an ID3 tag, or 0).
    Flac {
        start: usize,
    },
    Other {
        what: String,
        remedy: Remedy,
    },
}

impl Kind {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let starts = |magic: &[u8]| bytes.starts_with(magic);
        let id3 = id3_length(bytes);
        if starts(b"fLaC") || (id3 > 0 && bytes.get(id3..).is_some_and(|rest| rest.starts_with(b"fLaC"))) {
            return Self::Flac { start: id3 };
        }
        if (starts(b"RIFF") || starts(b"RF64") || starts(b"BW64"))
            && bytes.get(8..12).is_none_or(|form| form == b"WAVE")
        {
            return Self::Wav;
        }
        let foreign = FOREIGN_AUDIO.iter().find(|(at, magic, _)| holds(bytes, *at, magic));
        let (what, remedy) = if bytes.is_empty() {
            ("it is empty: 0 bytes".to_owned(), Remedy::CopyAgain)
        } else if id3 > 0 {
            (audio("an MP3 file"), Remedy::Convert)
        } else if let Some((_, _, name)) = foreign {
            (audio(name), Remedy::Convert)
        } else if let Some((_, name)) = NO_AUDIO.iter().find(|(magic, _)| starts(magic)) {
            (format!("it is no audio: it looks like {name}"), Remedy::LookInside)
        } else if is_text(bytes) {
            ("it is no audio: it looks like text".to_owned(), Remedy::LookInside)
        } else {
            ("it is no audio that is known: neither WAV nor FLAC".to_owned(), Remedy::LookInside)
        };
        Self::Other { what, remedy }
    }
}

fn audio(name: &str) -> String {
    format!("it looks like {name}; only WAV and FLAC are read")
}

/// Audio and video that ffmpeg converts: where the mark stands, the mark, what it is.
const FOREIGN_AUDIO: [(usize, &[u8], &str); 19] = [
    (4, b"ftyp", "an MP4 or M4A file"),
    (0, b"OggS", "an Ogg file (Vorbis or Opus)"),
    (0, &[0xFF, 0xFB], "an MP3 file"),
    (0, &[0xFF, 0xFA], "an MP3 file"),
    (0, &[0xFF, 0xF3], "an MP3 file"),
    (0, &[0xFF, 0xF2], "an MP3 file"),
    (0, &[0xFF, 0xF1], "an AAC file"),
    (0, &[0xFF, 0xF9], "an AAC file"),
    (0, b"RIFX", "a big-endian WAV file (RIFX)"),
    (0, b"riff\x2E\x91\xCF\x11", "a Wave64 file"),
    (8, b"AVI ", "an AVI film"),
    (8, b"AIFF", "an AIFF file"),
    (8, b"AIFC", "an AIFF file"),
    (0, b".snd", "an AU file"),
    (0, b"caff", "a CAF file"),
    (0, b"\x1A\x45\xDF\xA3", "a Matroska or WebM file"),
    (0, b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", "a Windows Media file"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"#!AMR", "an AMR file"),
];

/// Files that end up among recordings: mark, what it is.
const NO_AUDIO: [(&[u8], &str); 8] = [
    (b"\x93NUMPY", "a NumPy array (as a log-mel its name must end in .npy)"),
    (b"PK\x03\x04", "a zip archive: unpack it"),
    (b"\x1F\x8B", "a gzip archive: unpack it"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive: unpack it"),
    (b"%PDF", "a PDF document"),
    (b"<!DOCTYPE", "a web page: the download went wrong"),
    (b"<html", "a web page: the download went wrong"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with git lfs pull"),
];

fn holds(bytes: &[u8], at: usize, magic: &[u8]) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

/// Length of the ID3v2 tag at the start, 0 without one.
fn id3_length(bytes: &[u8]) -> usize {
    let Some(header) = bytes.first_chunk::<10>().filter(|header| header.starts_with(b"ID3")) else {
        return 0;
    };
    let size = header[6..].iter().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7F));
    let footer = if header[5] & 0x10 == 0 { 0 } else { 10 };
    10 + size + footer
}

/// UTF-8 without control characters, as far as one look goes.
fn is_text(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(512)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A character cut in two by the end of the look.
        Err(error) if error.error_len().is_none() => {
            match std::str::from_utf8(&head[..error.valid_up_to()]) {
                Ok(text) => text,
                Err(_) => return false,
            }
        }
        Err(_) => return false,
    };
    valid.chars().all(|c| !c.is_control() || c.is_whitespace())
}
