//! A path -> the samples a detector hears: read, decode, choose the channel, look at its health, resample, cut.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::mem;
use std::path::Path;

pub use crate::audio::Audio;
use crate::audio::Kind;
use crate::error::{Error, Remedy, Result};
use crate::resample::resample;
use crate::simd::{Isa, Kernel, Simd};
use crate::wav::Layout;

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
        let starts = cut(&mut samples, clip)?;
        Ok(Self { samples, starts, clip })
    }
}

/// Samples as the log-mel kernel takes them: those of 16 bits stay so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wave<'a> {
    /// float32; 1 is full scale.
    Float(&'a [f32]),
    /// int16; 32768 is full scale.
    Int(&'a [i16]),
}

/// The windows of a recording in borrowed memory: window i is `wave[starts[i]..][..clip]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole<'a> {
    /// Mono samples at [`ReadOptions::sample_rate`].
    pub wave: Wave<'a>,
    /// First sample of every window, ascending, at least one.
    pub starts: Vec<usize>,
    /// Length of every window, samples.
    pub clip: usize,
}

impl<'a> Whole<'a> {
    /// Window `index`.
    ///
    /// # Panics
    /// When there is no such window.
    #[must_use]
    pub fn window(&self, index: usize) -> Wave<'a> {
        let window = self.starts[index]..self.starts[index] + self.clip;
        match self.wave {
            Wave::Float(wave) => Wave::Float(&wave[window]),
            Wave::Int(wave) => Wave::Int(&wave[window]),
        }
    }
}

/// Buffers of one thread, reused from file to file.
#[derive(Default)]
pub struct Buffers {
    pub(crate) bytes: Vec<u8>,
    ints: Vec<i16>,
    floats: Vec<f32>,
}

impl Buffers {
    /// Takes the memory of samples that nobody needs any more.
    pub fn take_back(&mut self, samples: Vec<f32>) {
        self.floats = samples;
    }

    /// Lets go of what a long recording left behind.
    pub fn trim(&mut self) {
        const KEPT: usize = 64 << 20;
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        if self.ints.capacity() > KEPT / size_of::<i16>() {
            self.ints = Vec::new();
        }
        if self.floats.capacity() > KEPT / size_of::<f32>() {
            self.floats = Vec::new();
        }
    }
}

/// Reads, decodes, resamples and cuts one recording.
///
/// # Errors
/// Everything that can be wrong with a file; [`Error::hint`] says what helps.
pub fn read(path: &Path, options: &ReadOptions) -> Result<(Windows, Health)> {
    read_with(path, options, &mut Buffers::default())
}

/// The same; the samples are in memory of `buffers`, which [`Buffers::take_back`] takes.
///
/// # Errors
/// As [`read`].
pub fn read_with(path: &Path, options: &ReadOptions, buffers: &mut Buffers) -> Result<(Windows, Health)> {
    let audio = Source::open(path)?.decode(&mut buffers.bytes, mem::take(&mut buffers.floats))?;
    let (wave, health) = listen(audio, options.channel)?;
    let samples = at_wanted_rate(wave, health.rate, options)?;
    Ok((Windows::cut(samples, options.clip_samples)?, health))
}

/// The recording's windows without a look at its health: the same samples as [`read`] gives, for a recording that
/// was looked at before. 16-bit WAV at the wanted rate stays int16, unless channels are to be mixed.
///
/// # Errors
/// As [`read`].
pub fn whole<'b>(path: &Path, options: &ReadOptions, buffers: &'b mut Buffers) -> Result<Whole<'b>> {
    buffers.trim();
    let Buffers { bytes, ints, floats } = buffers;
    Source::open(path)?.read(bytes)?;
    let clip = options.clip_samples;
    if pcm16(bytes, options, ints)? {
        check_length(ints.len(), ints.len(), options.sample_rate, options)?;
        let starts = cut(ints, clip)?;
        return Ok(Whole { wave: Wave::Int(ints), starts, clip });
    }
    let audio = Audio::decode_into(bytes, mem::take(floats))?;
    let rate = audio.rate;
    let wave = heard(audio, options.channel)?;
    Level::of(&wave).check(&wave, 0, rate)?;
    *floats = at_wanted_rate(wave, rate, options)?;
    let starts = cut(floats, clip)?;
    Ok(Whole { wave: Wave::Float(floats), starts, clip })
}

/// Only the window that starts at sample `start`, the same samples as [`read`] gives, without reading the rest.
/// `None` unless the file is a WAV at the wanted rate that has more than one window.
///
/// # Errors
/// As [`read`], as far as header and window go (a NaN elsewhere is not seen); [`Error::Content`] where the file ends
/// before the window does.
pub fn stretch<'b>(
    path: &Path,
    options: &ReadOptions,
    start: usize,
    buffers: &'b mut Buffers,
) -> Result<Option<Wave<'b>>> {
    buffers.trim();
    let Buffers { bytes, ints, floats } = buffers;
    let mut source = Source::open(path)?;
    let Some(mut layout) = source.wav_layout(bytes)? else { return Ok(None) };
    let (frames, clip, rate) = (layout.frames(), options.clip_samples, layout.rate);
    if rate != options.sample_rate || clip == 0 || is_one_window(frames, clip) {
        return Ok(None);
    }
    check_channel(layout.channels, options.channel)?;
    check_length(frames, frames, rate, options)?;
    if frames - clip < start {
        return Err(shrunk());
    }
    source.read_part(layout.data.start + start * layout.block(), clip * layout.block(), bytes)?;
    layout.data = 0..bytes.len();
    if let Some(channel) = only_channel(layout.channels, options.channel)
        && layout.pcm16(bytes, channel, ints)
    {
        return Ok(Some(Wave::Int(ints)));
    }
    *floats = heard(layout.decode(bytes, mem::take(floats)), options.channel)?;
    Level::of(floats).check(floats, start, rate)?;
    Ok(Some(Wave::Float(floats)))
}

/// Decodes one recording and says what it is like.
///
/// # Errors
/// Everything that can be wrong with a file; [`Error::hint`] says what helps.
pub fn scan(path: &Path, channel: Option<usize>, buffers: &mut Buffers) -> Result<Health> {
    let audio = Source::open(path)?.decode(&mut buffers.bytes, mem::take(&mut buffers.floats))?;
    let (wave, health) = listen(audio, channel)?;
    buffers.take_back(wave);
    Ok(health)
}

/// Decodes one recording as it is stored: all channels, its own rate, samples as they are.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`], [`Error::Header`], or [`Error::Content`] where it holds no samples.
pub fn decode(path: &Path) -> Result<Audio> {
    Source::open(path)?.decode(&mut Vec::new(), Vec::new())
}

/// A file that is open.
pub struct Source {
    file: File,
    /// Bytes that it had when it was opened.
    pub length: u64,
}

impl Source {
    /// Opens a file that can be read from its beginning to its end.
    ///
    /// # Errors
    /// [`Error::Io`] for anything else, before a pipe could make it wait.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|error| refused(&error))?;
        if metadata.is_dir() {
            return Err(Error::io("it is a folder", Remedy::NameFiles));
        }
        if !metadata.is_file() {
            return Err(Error::io("it is no file but a device or a pipe", Remedy::LeaveOut));
        }
        let file = File::open(path).map_err(|error| refused(&error))?;
        Ok(Self { file, length: metadata.len() })
    }

    /// Decodes all of it: the file passes through `bytes`, the samples take the memory of `samples`.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode(mut self, bytes: &mut Vec<u8>, samples: Vec<f32>) -> Result<Audio> {
        self.read(bytes)?;
        Audio::decode_into(bytes, samples)
    }

    /// All bytes from where the file stands, instead of what `bytes` held.
    pub(crate) fn read(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.clear();
        self.file.read_to_end(bytes).map_err(|error| refused(&error))?;
        Ok(())
    }

    /// `length` bytes from byte `at` on, instead of what `bytes` held.
    fn read_part(&mut self, at: usize, length: usize, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.resize(length, 0);
        let result = self.file.seek(SeekFrom::Start(at as u64)).and_then(|_| self.file.read_exact(bytes));
        result.map_err(
            |error| if error.kind() == ErrorKind::UnexpectedEof { shrunk() } else { refused(&error) },
        )
    }

    /// Where the samples are, from as few bytes as it takes; `None` for no WAV.
    fn wav_layout(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Layout>> {
        /// More than nearly all headers.
        const HEAD: usize = 4096;
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        self.read_part(0, HEAD.min(length), bytes)?;
        if Kind::of(bytes) != Kind::Wav {
            return Ok(None);
        }
        if let Some(layout) = Layout::within(bytes, length)? {
            return Ok(Some(layout));
        }
        self.read_part(0, length, bytes)?;
        Layout::of(bytes).map(Some)
    }
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

/// The file is shorter than it was when somebody looked.
fn shrunk() -> Error {
    Error::content("it has changed: it ends before the window that it had", Remedy::CopyAgain)
}

/// The int16 samples of a file that has them at the wanted rate; `false` for any other, and for one that is wrong.
fn pcm16(bytes: &[u8], options: &ReadOptions, samples: &mut Vec<i16>) -> Result<bool> {
    if Kind::of(bytes) != Kind::Wav {
        return Ok(false);
    }
    let layout = Layout::of(bytes)?;
    let channel = only_channel(layout.channels, options.channel).filter(|&channel| channel < layout.channels);
    let as_wanted = layout.rate == options.sample_rate && layout.frames() > 0;
    Ok(as_wanted && channel.is_some_and(|channel| layout.pcm16(bytes, channel, samples)))
}

/// The channel asked for, where its samples are those of the file: the mean of one channel is that channel.
fn only_channel(channels: usize, channel: Option<usize>) -> Option<usize> {
    if channels == 1 { channel.or(Some(0)) } else { channel }
}

fn check_channel(channels: usize, channel: Option<usize>) -> Result<()> {
    let Some(channel) = channel.filter(|&channel| channel >= channels) else { return Ok(()) };
    let plural = if channels == 1 { "" } else { "s" };
    let reason = format!("it has no channel {channel}: {channels} channel{plural}, counted from 0");
    Err(Error::content(reason, Remedy::ChooseChannel(channels)))
}

/// The channel asked for, or the mean of all.
fn heard(audio: Audio, channel: Option<usize>) -> Result<Vec<f32>> {
    check_channel(audio.channels, channel)?;
    Ok(match channel {
        Some(channel) => audio.into_channel(channel),
        None => audio.into_mean(),
    })
}

/// The samples at [`ReadOptions::sample_rate`], if there are enough of them.
fn at_wanted_rate(wave: Vec<f32>, rate: u32, options: &ReadOptions) -> Result<Vec<f32>> {
    let wanted = options.sample_rate;
    if rate < wanted && !options.allow_upsampling {
        let reason = format!("its rate of {rate} Hz lies below the detector's {wanted} Hz");
        return Err(Error::content(reason, Remedy::AllowUpsampling));
    }
    let stored = wave.len();
    let samples = if rate == wanted {
        wave
    } else {
        resample(&wave, rate, wanted).map_err(|error| Error::content(error.to_string(), Remedy::LeaveOut))?
    };
    check_length(samples.len(), stored, rate, options)?;
    Ok(samples)
}

/// Refuses fewer than `n_fft` samples; the file has `stored` of them at `rate` Hz.
fn check_length(samples: usize, stored: usize, rate: u32, options: &ReadOptions) -> Result<()> {
    if samples >= options.n_fft.max(1) {
        return Ok(());
    }
    let seconds = stored as f64 / f64::from(rate);
    let needed = options.n_fft as f64 / f64::from(options.sample_rate);
    let reason = format!("it lasts {seconds:.3} s, and at least {needed:.3} s are needed");
    Err(Error::content(reason, Remedy::LeaveOut))
}

fn is_one_window(length: usize, clip: usize) -> bool {
    length <= clip.saturating_add(clip / 2)
}

/// [`Windows::cut`]: the starts of the windows.
fn cut<S: Copy>(samples: &mut Vec<S>, clip: usize) -> Result<Vec<usize>> {
    if clip == 0 || samples.is_empty() {
        return Err(Error::Argument("windows need a length, and samples to fill them".to_owned()));
    }
    let length = samples.len();
    if is_one_window(length, clip) {
        samples.truncate(clip);
        while samples.len() < clip {
            samples.extend_from_within(..length.min(clip - samples.len()));
        }
        return Ok(vec![0]);
    }
    let last = length - clip;
    let mut starts: Vec<usize> = (0..last).step_by((clip / 2).max(1)).collect();
    starts.push(last);
    Ok(starts)
}

/// The channel asked for, and its health.
fn listen(audio: Audio, channel: Option<usize>) -> Result<(Vec<f32>, Health)> {
    check_channel(audio.channels, channel)?;
    let (rate, channels, truncated, digest) = (audio.rate, audio.channels, audio.truncated, audio.digest());
    // A mixture of clipped channels no longer shows it.
    let mixed_clipped = channel.is_none().then(|| Level::of(&audio.samples).clipped);
    let wave = heard(audio, channel)?;
    let level = Level::of(&wave);
    level.check(&wave, 0, rate)?;
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
        let Sums { peak, energy, clipped } = Isa::available()[0].run(Measure(wave));
        Self {
            peak: f32::from_bits(peak),
            rms: (energy / wave.len() as f64).sqrt(),
            clipped: clipped as f64 / wave.len() as f64,
        }
    }

    /// Refuses samples that no computation survives, naming the first one's second; `first` samples are before them.
    fn check(&self, wave: &[f32], first: usize, rate: u32) -> Result<()> {
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
        let second = (first + at) as f64 / f64::from(rate);
        Err(Error::content(format!("its sample at {second:.3} s is {what}"), Remedy::LeaveOut))
    }
}

/// What a [`Level`] is made of.
#[derive(Default)]
struct Sums {
    /// Bits of the largest magnitude.
    peak: u32,
    energy: f64,
    /// Samples at full scale.
    clipped: usize,
}

/// One pass over a signal; the sums are the same bits on every instruction set.
struct Measure<'a>(&'a [f32]);

impl Kernel for Measure<'_> {
    type Output = Sums;

    #[inline(always)]
    fn run<I: Simd>(self, _isa: I) -> Sums {
        // Without the sign, the bits of floats are ordered as the numbers are, infinity and then NaN above all.
        const MAGNITUDE: u32 = 0x7FFF_FFFF;
        const LANES: usize = 32;
        const FULL_SCALE: u32 = (1.0 - 1.0 / 32_768.0_f32).to_bits();
        let mut all = Sums::default();
        for block in self.0.chunks(4096) {
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
            all.peak = peaks.into_iter().fold(all.peak, u32::max);
            all.energy += sums.iter().sum::<f64>();
            all.clipped += counts.iter().sum::<u32>() as usize;
        }
        all
    }
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

    #[test]
    fn levels_are_the_same_bits_on_every_instruction_set() {
        let wave: Vec<f32> = (0..10_007).map(|n| (n as f32 * 0.37).sin() * 1.01).collect();
        let sums = Isa::available().into_iter().map(|isa| {
            let Sums { peak, energy, clipped } = isa.run(Measure(&wave));
            (peak, energy.to_bits(), clipped)
        });
        let sums: Vec<_> = sums.collect();
        assert!(sums.iter().all(|other| *other == sums[0]));
        assert_eq!(sums[0].2, wave.iter().filter(|x| x.abs() >= 1.0 - 1.0 / 32_768.0).count());
    }
}
