//! A path -> the samples a detector hears: read, decode, choose the channel, look at its health, resample, cut.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

pub use crate::audio::Audio;
use crate::error::{Error, Remedy, Result};
use crate::resample::resample;

/// How a recording is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Rate of the samples that come back, Hz.
    pub sample_rate: u32,
    /// Fewest samples (after resampling) that can be analysed.
    pub n_fft: usize,
    /// Length of a window, samples at `sample_rate`.
    pub clip_samples: usize,
    /// The channel to read, from 0; `None` is the mean of all.
    pub channel: Option<usize>,
    /// Accept recordings whose rate lies below `sample_rate`.
    pub allow_upsampling: bool,
}

/// What a recording is like, before resampling, on the channel that is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    /// Sample rate of the file, Hz.
    pub rate: u32,
    /// Channels in the file.
    pub channels: usize,
    /// Length, seconds.
    pub seconds: f64,
    /// Largest magnitude; 1 is full scale.
    pub peak: f64,
    /// Root mean square; 1 is full scale.
    pub rms: f64,
    /// Share (0 to 1) of the samples at full scale, |x| >= 1 - 2^-15; where channels are mixed, among the
    /// samples of all channels.
    pub clipped: f64,
    /// The header promised more samples than the file holds.
    pub truncated: bool,
    /// [`Audio::digest`]: equal for the same sound in another file or lossless format.
    pub digest: u64,
}

/// A recording at the detector's rate, and where its windows start.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// Mono samples at [`ReadOptions::sample_rate`].
    pub samples: Vec<f32>,
    /// First sample of every window, ascending, at least one.
    pub starts: Vec<usize>,
    /// Length of every window, samples.
    pub clip: usize,
}

impl Windows {
    /// The windows, in order, `clip` samples each.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.starts.iter().map(|&start| &self.samples[start..start + self.clip])
    }

    /// Cuts a recording into windows of `clip` samples.
    ///
    /// Up to 1.5 · `clip` it is one window: its beginning or, if shorter, itself repeated. Longer ones have a
    /// window every `clip` / 2, and one that ends at the end.
    ///
    /// # Errors
    /// [`Error::Argument`] for windows of no length.
    pub fn cut(mut samples: Vec<f32>, clip: usize) -> Result<Self> {
        if clip == 0 || samples.is_empty() {
            return Err(Error::Argument("windows need a length, and samples to fill them".to_owned()));
        }
        let length = samples.len();
        if length <= clip.saturating_add(clip / 2) {
            samples.truncate(clip);
            while samples.len() < clip {
                samples.extend_from_within(..length.min(clip - samples.len()));
            }
            return Ok(Self { samples, starts: vec![0], clip });
        }
        let last = length - clip;
        let mut starts: Vec<usize> = (0..last).step_by((clip / 2).max(1)).collect();
        starts.push(last);
        Ok(Self { samples, starts, clip })
    }
}

/// Reads, decodes, resamples and cuts one recording.
///
/// # Errors
/// Everything that can be wrong with a file; [`Error::hint`] says what helps.
pub fn read(path: &Path, options: &ReadOptions) -> Result<(Windows, Health)> {
    let audio = decode(path)?;
    let (wave, health) = listen(audio, options.channel)?;
    let (rate, wanted) = (health.rate, options.sample_rate);
    if rate < wanted && !options.allow_upsampling {
        let reason = format!("its rate of {rate} Hz lies below the detector's {wanted} Hz");
        return Err(Error::content(reason, Remedy::AllowUpsampling));
    }
    let samples = if rate == wanted {
        wave
    } else {
        resample(&wave, rate, wanted).map_err(|error| Error::content(error.to_string(), Remedy::LeaveOut))?
    };
    if samples.len() < options.n_fft.max(1) {
        let needed = options.n_fft as f64 / f64::from(wanted);
        let reason = format!("it lasts {:.3} s, and at least {needed:.3} s are needed", health.seconds);
        return Err(Error::content(reason, Remedy::LeaveOut));
    }
    Ok((Windows::cut(samples, options.clip_samples)?, health))
}

/// Decodes one recording and says what it is like.
///
/// # Errors
/// Everything that can be wrong with a file; [`Error::hint`] says what helps.
pub fn scan(path: &Path, channel: Option<usize>) -> Result<Health> {
    listen(decode(path)?, channel).map(|(_, health)| health)
}

/// Decodes one recording as it is stored: all channels, its own rate, samples as they are.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`], [`Error::Header`], or [`Error::Content`] where it holds no samples.
pub fn decode(path: &Path) -> Result<Audio> {
    let kind = fs::metadata(path).map_err(|error| refused(&error))?.file_type();
    if kind.is_dir() {
        return Err(Error::io("it is a folder", Remedy::NameFiles));
    }
    if !kind.is_file() {
        return Err(Error::io("it is no file but a device or a pipe", Remedy::LeaveOut));
    }
    Audio::decode(&fs::read(path).map_err(|error| refused(&error))?)
}

/// The operating system's refusal in plain words.
fn refused(error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Error::io("there is no such file", Remedy::CheckPath)
        }
        ErrorKind::PermissionDenied => Error::io("you are not allowed to read it", Remedy::GrantAccess),
        _ => Error::io(format!("it cannot be read: {error}"), Remedy::CopyAgain),
    }
}

/// The channel asked for, and its health.
fn listen(audio: Audio, channel: Option<usize>) -> Result<(Vec<f32>, Health)> {
    let (rate, channels, truncated) = (audio.rate, audio.channels, audio.truncated);
    if let Some(channel) = channel.filter(|&channel| channel >= channels) {
        let plural = if channels == 1 { "" } else { "s" };
        let reason = format!("it has no channel {channel}: {channels} channel{plural}, counted from 0");
        return Err(Error::content(reason, Remedy::ChooseChannel(channels)));
    }
    let digest = audio.digest();
    // A mixture of clipped channels no longer shows it.
    let mixed_clipped = channel.is_none().then(|| Level::of(&audio.samples).clipped);
    let wave = match channel {
        Some(channel) => audio.into_channel(channel),
        None => audio.into_mean(),
    };
    let level = Level::of(&wave);
    level.check(&wave, rate)?;
    let health = Health {
        rate,
        channels,
        seconds: wave.len() as f64 / f64::from(rate),
        peak: f64::from(level.peak),
        rms: level.rms,
        clipped: mixed_clipped.unwrap_or(level.clipped),
        truncated,
        digest,
    };
    Ok((wave, health))
}

/// How loud a signal is.
struct Level {
    /// Largest magnitude, above every number when there is a NaN.
    peak: f32,
    /// Root mean square.
    rms: f64,
    /// Share of the samples at full scale.
    clipped: f64,
}

impl Level {
    fn of(wave: &[f32]) -> Self {
        // Without the sign, the bits of floats are ordered as the numbers are, infinity and then NaN above all.
        const MAGNITUDE: u32 = 0x7FFF_FFFF;
        const LANES: usize = 8;
        const FULL_SCALE: u32 = (1.0 - 1.0 / 32_768.0_f32).to_bits();
        let (mut peak, mut energy, mut clipped) = (0, 0.0, 0);
        for block in wave.chunks(4096) {
            let (mut peaks, mut counts, mut sums) = ([0_u32; LANES], [0_u32; LANES], [0.0_f64; LANES]);
            let (stripes, rest) = block.as_chunks::<LANES>();
            let mut last = [0.0; LANES];
            last[..rest.len()].copy_from_slice(rest);
            for stripe in stripes.iter().chain([&last]) {
                for lane in 0..LANES {
                    let magnitude = stripe[lane].to_bits() & MAGNITUDE;
                    peaks[lane] = peaks[lane].max(magnitude);
                    counts[lane] += u32::from(magnitude >= FULL_SCALE);
                    sums[lane] += f64::from(stripe[lane]) * f64::from(stripe[lane]);
                }
            }
            peak = peaks.into_iter().fold(peak, u32::max);
            energy += sums.iter().sum::<f64>();
            clipped += counts.iter().sum::<u32>() as usize;
        }
        Self {
            peak: f32::from_bits(peak),
            rms: (energy / wave.len() as f64).sqrt(),
            clipped: clipped as f64 / wave.len() as f64,
        }
    }

    /// Refuses samples that no computation survives, naming the first one's second.
    fn check(&self, wave: &[f32], rate: u32) -> Result<()> {
        /// 240 dB above full scale: the powers of a spectrum still fit float32, and no recorder comes near.
        const LOUDEST: f32 = 1e12;
        if self.peak <= LOUDEST {
            return Ok(());
        }
        let unusable = |sample: &f32| sample.is_nan() || sample.abs() > LOUDEST;
        let at = wave.iter().position(unusable).unwrap_or(0);
        let what = match wave[at] {
            x if x.is_nan() => "not a number (NaN)".to_owned(),
            x if x.is_infinite() => "infinite".to_owned(),
            x => format!("{x:e}, where 1 is full scale"),
        };
        let second = at as f64 / f64::from(rate);
        Err(Error::content(format!("its sample at {second:.3} s is {what}"), Remedy::LeaveOut))
    }
}

/// SHIM
#[derive(Clone, Copy)]
pub enum Wave<'a> {
    /// f
    Float(&'a [f32]),
    /// i
    Int(&'a [i16]),
}
/// SHIM
#[derive(Default)]
pub struct Buffers {
    f: Vec<f32>,
}
/// SHIM
pub struct Whole<'a> {
    /// w
    pub wave: Wave<'a>,
    /// s
    pub starts: Vec<usize>,
    /// c
    pub clip: usize,
}
impl<'a> Whole<'a> {
    /// w
    pub fn window(&self, index: usize) -> Wave<'a> {
        let range = self.starts[index]..self.starts[index] + self.clip;
        match self.wave {
            Wave::Float(wave) => Wave::Float(&wave[range]),
            Wave::Int(wave) => Wave::Int(&wave[range]),
        }
    }
}
/// SHIM
pub fn whole<'b>(path: &Path, options: &ReadOptions, buffers: &'b mut Buffers) -> Result<Whole<'b>> {
    let (w, _) = read(path, options)?;
    buffers.f = w.samples;
    Ok(Whole { wave: Wave::Float(&buffers.f), starts: w.starts, clip: w.clip })
}
/// SHIM
pub fn stretch<'b>(_: &Path, _: &ReadOptions, _: usize, _: &'b mut Buffers) -> Result<Option<Wave<'b>>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_in_plain_words() {
        let denied = refused(&ErrorKind::PermissionDenied.into());
        assert_eq!(denied.to_string(), "you are not allowed to read it");
        assert_eq!(denied.hint(Path::new("a b.wav")), "allow reading it: chmod u+r 'a b.wav'");
        let broken = refused(&io::Error::other("input/output error"));
        assert_eq!(broken.to_string(), "it cannot be read: input/output error");
    }
}
