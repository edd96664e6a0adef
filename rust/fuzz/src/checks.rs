//! Bytes -> a decoder -> what must hold of anything that it accepts. `asd-dsp`'s tests replay seeds and finds here.

use std::fs;
use std::path::Path;

use asd_dsp::audio::Audio;
use asd_dsp::recording::{self, Buffers, ReadOptions, Wave, Whole, Windows};
use asd_dsp::{flac, npy, wav};

/// A WAV file: by the decoder itself, and by the choice of a decoder.
pub fn wav(bytes: &[u8]) {
    if let Ok(audio) = wav::decode(bytes, Vec::new()) {
        check(&audio);
        assert!(audio.samples.len() <= bytes.len(), "a sample has at least a byte");
        const FLOAT: [u8; 2] = [3, 0];
        if !bytes.windows(2).any(|word| word == FLOAT) {
            check_integers(&audio);
        }
    }
    chosen(bytes);
}

/// A FLAC file, likewise; as it is and with its checksums set right.
pub fn flac(bytes: &[u8]) {
    let repaired = repaired(bytes);
    for bytes in [Some(bytes), repaired.as_deref()].into_iter().flatten() {
        if let Ok(audio) = flac::decode(bytes, Vec::new()) {
            check(&audio);
            check_integers(&audio);
        }
    }
    chosen(bytes);
}

/// A `.npy` file.
pub fn npy(bytes: &[u8]) {
    let Ok(stored) = npy::decode(bytes, 1.0) else { return };
    assert!(stored.rows > 0 && stored.columns > 1);
    assert_eq!(stored.values.len(), stored.rows * stored.columns);
    assert!(2 * stored.values.len() < bytes.len(), "a value has at least two bytes");
    assert!(stored.values.iter().all(|value| value.is_finite()));
    let halved = npy::decode(bytes, 0.5).expect("half of a log-mel is one");
    assert!(stored.values.iter().zip(&halved.values).all(|(one, half)| one * 0.5 == *half));
}

/// A file at `path`, read as a detector reads it: the mean of all channels at any rate, and the second channel; as a
/// whole and window by window.
pub fn recording(bytes: &[u8], path: &Path) {
    fs::write(path, bytes).expect("a place for the file");
    let mean = ReadOptions {
        sample_rate: 16_000,
        n_fft: 64,
        clip_samples: 100,
        channel: None,
        allow_upsampling: true,
    };
    let second = ReadOptions { channel: Some(1), allow_upsampling: false, ..mean };
    let mut buffers = Buffers::default();
    buffers.take_back(vec![f32::NAN; 77]);
    for options in [mean, second] {
        let read = recording::read(path, &options);
        stretches(path, &options, read.as_ref().ok().map(|(windows, _)| windows), &mut buffers);
        let whole = recording::whole(path, &options, &mut buffers);
        let (windows, health) = match (read, whole) {
            (Ok(read), Ok(whole)) => {
                assert_whole(&whole, &read.0);
                read
            }
            (read, whole) => {
                assert_eq!(
                    read.err(),
                    whole.err(),
                    "one is read, the other is not, or not for the same reason"
                );
                continue;
            }
        };
        assert!(windows.samples.iter().all(|sample| sample.is_finite()));
        assert!(windows.starts.is_sorted() && windows.starts[0] == 0);
        assert!(windows.starts.iter().all(|start| start + windows.clip <= windows.samples.len()));
        assert!(health.seconds > 0.0 && health.peak.is_finite() && health.rms <= health.peak * 1.000_001);
        assert!((0.0..=1.0).contains(&health.clipped));
    }
}

/// Windows read on their own are those of the recording. Of one that cannot be read, some may still be whole.
fn stretches(path: &Path, options: &ReadOptions, windows: Option<&Windows>, buffers: &mut Buffers) {
    let Some(windows) = windows else {
        let _either = recording::stretch(path, options, 0, buffers); // but no panic
        return;
    };
    let count = windows.starts.len();
    for window in [0, count / 2, count - 1] {
        let start = windows.starts[window];
        let stretch = recording::stretch(path, options, start, buffers);
        if let Some(wave) = stretch.expect("the recording can be read") {
            assert_eq!(bits(wave), bits(Wave::Float(&windows.samples[start..][..windows.clip])));
        }
    }
    for start in [windows.starts[count - 1] + 1, usize::MAX] {
        assert!(
            !matches!(recording::stretch(path, options, start, buffers), Ok(Some(_))),
            "there is no such window"
        );
    }
}

fn assert_whole(whole: &Whole, windows: &Windows) {
    assert_eq!((&whole.starts, whole.clip), (&windows.starts, windows.clip));
    assert_eq!(bits(whole.wave), bits(Wave::Float(&windows.samples)));
}

fn bits(wave: Wave) -> Vec<u32> {
    match wave {
        Wave::Float(wave) => wave.iter().map(|sample| sample.to_bits()).collect(),
        Wave::Int(wave) => wave.iter().map(|&sample| (f32::from(sample) / 32_768.0).to_bits()).collect(),
    }
}

/// By the choice of a decoder; into memory that held something else, the same comes.
fn chosen(bytes: &[u8]) {
    let fresh = Audio::decode(bytes);
    let again = Audio::decode_into(bytes, vec![f32::NAN; 77]);
    let (Ok(fresh), Ok(again)) = (&fresh, &again) else {
        assert_eq!(fresh.err(), again.err());
        return;
    };
    assert!(fresh.frames() > 0);
    check(fresh);
    assert_eq!((fresh.rate, fresh.channels, fresh.truncated), (again.rate, again.channels, again.truncated));
    assert_eq!(bits(Wave::Float(&fresh.samples)), bits(Wave::Float(&again.samples)));
}

fn check(audio: &Audio) {
    assert!((1..=64).contains(&audio.channels) && (1..=768_000).contains(&audio.rate));
    assert_eq!(audio.samples.len() % audio.channels, 0, "planes of one length");
    assert_eq!(audio.frames() * audio.channels, audio.samples.len());
}

fn check_integers(audio: &Audio) {
    assert!(audio.samples.iter().all(|sample| (-1.0..=1.0).contains(sample)), "integers fill [-1, 1]");
}

/// The FLAC file with all its frames as a single one whose checksums are right: otherwise hardly a change would come
/// further than to them.
pub fn repaired(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut file = bytes.to_vec();
    let mut at = 4;
    loop {
        let &[kind, a, b, c] = file.get(at..)?.first_chunk()?;
        at += 4 + u32::from_be_bytes([0, a, b, c]) as usize;
        if kind & 0x80 != 0 {
            break;
        }
    }
    let frame = file.get_mut(at..)?;
    let &[_, _, codes, _, number] = frame.first_chunk()?;
    let block = [(6, 1), (7, 2)].into_iter().find(|size| size.0 == codes >> 4);
    let rate = [(12, 1), (13, 2), (14, 2)].into_iter().find(|size| size.0 == codes & 15);
    let number = number.leading_ones().max(1) as usize;
    let header = 4 + number + block.map_or(0, |size| size.1) + rate.map_or(0, |size| size.1);
    let end = frame.len().checked_sub(2).filter(|&end| header < end)?;
    frame[header] = crc(&frame[..header], 8, 0x07) as u8;
    let sum = crc(&frame[..end], 16, 0x8005);
    frame[end..].copy_from_slice(&sum.to_be_bytes());
    Some(file)
}

fn crc(bytes: &[u8], width: u32, polynomial: u16) -> u16 {
    let top = 1 << (width - 1);
    let fold = |crc: u16, &byte: &u8| {
        (0..8).fold(crc ^ u16::from(byte) << (width - 8), |crc, _| {
            crc << 1 ^ if crc & top == 0 { 0 } else { polynomial }
        })
    };
    bytes.iter().fold(0, fold)
}
