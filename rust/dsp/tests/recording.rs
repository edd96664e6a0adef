//! From a path to windows: what is refused and how, health, channels, the cut.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use asd_dsp::error::{Error, Result};
use asd_dsp::recording::{self, Buffers, Health, ReadOptions, Windows};
use common::{Folder, Wav};
use proptest::prelude::*;

const OPTIONS: ReadOptions = ReadOptions {
    sample_rate: 16_000,
    n_fft: 1024,
    clip_samples: 160_000,
    channel: Some(0),
    allow_upsampling: false,
};

fn read(folder: &Folder, bytes: &[u8], options: &ReadOptions) -> Result<(Windows, Health)> {
    recording::read(&folder.file("clip.wav", bytes), options)
}

fn scan(path: &Path) -> Health {
    recording::scan(path, Some(0), &mut Buffers::default()).unwrap()
}

/// Reason and hint, the folder's own name taken out of the hint.
fn refusal(folder: &Folder, path: &Path) -> (String, String) {
    let error = recording::read(path, &OPTIONS).unwrap_err();
    let folder = folder.path().to_str().unwrap();
    (error.to_string(), error.hint(path).replace(folder, "D"))
}

fn ramp(length: usize) -> Vec<f32> {
    (0..length).map(|n| n as f32 / 1_048_576.0).collect()
}

#[test]
fn what_is_no_readable_file_is_named() {
    let folder = Folder::new();
    let said = |reason: &str, hint: &str| (reason.to_owned(), hint.to_owned());
    let absent = folder.path().join("absent.wav");
    assert_eq!(refusal(&folder, &absent), said("there is no such file", "see what is there: ls D"));
    let below = folder.file("clip", b"").join("below.wav");
    assert_eq!(refusal(&folder, &below), said("there is no such file", "see what is there: ls D"));
    assert_eq!(refusal(&folder, folder.path()), said("it is a folder", "name the recordings in it: D/*.wav"));
    let (reason, _) = refusal(&folder, Path::new("/dev/null"));
    assert_eq!(reason, "it is no file but a device or a pipe");
}

#[test]
fn what_is_no_wav_or_flac_is_named_with_what_helps() {
    let folder = Folder::new();
    let check = |name: &str, bytes: &[u8], reason: &str, hint: &str| {
        assert_eq!(refusal(&folder, &folder.file(name, bytes)), (reason.to_owned(), hint.to_owned()));
    };
    let only = "only WAV and FLAC are read";
    check(
        "my clip.m4a",
        b"\0\0\0\x20ftypM4A \0\0\0\0",
        &format!("it looks like an MP4 or M4A file; {only}"),
        "convert it: ffmpeg -i 'D/my clip.m4a' -ac 1 -ar 16000 'D/my clip.wav'",
    );
    check(
        "it's.wav",
        b"ID3\x04\0\0\0\0\0\x0Aaaaaaaaaaa\xFF\xFB\x90\0",
        &format!("it looks like an MP3 file; {only}"),
        r"convert it: ffmpeg -i 'D/it'\''s.wav' -ac 1 -ar 16000 'D/it'\''s-pcm.wav'",
    );
    check(
        "a.ogg",
        b"OggS\0\x02",
        &format!("it looks like an Ogg file (Vorbis or Opus); {only}"),
        "convert it: ffmpeg -i D/a.ogg -ac 1 -ar 16000 D/a.wav",
    );
    check(
        "a.aif",
        b"FORM\0\0\0\0AIFFCOMM",
        &format!("it looks like an AIFF file; {only}"),
        "convert it: ffmpeg -i D/a.aif -ac 1 -ar 16000 D/a.wav",
    );
    check("empty.wav", b"", "it is empty: 0 bytes", "copy or record it again, or leave it out: D/empty.wav");
    check(
        "text.wav",
        "Späne, größer\n".as_bytes(),
        "it is no audio: it looks like text",
        "see what it is, and leave it out: file D/text.wav",
    );
    check(
        "page.wav",
        b"<!DOCTYPE html>",
        "it is no audio: it looks like a web page: the download went wrong",
        "see what it is, and leave it out: file D/page.wav",
    );
    check(
        "bytes.wav",
        &[0x80, 0, 1, 2, 3],
        "it is no audio that is known: neither WAV nor FLAC",
        "see what it is, and leave it out: file D/bytes.wav",
    );
}

#[test]
fn suffixes_do_not_matter() {
    let folder = Folder::new();
    let path = folder.file("clip.mp3", &Wav::pcm16(1, 16_000, &[1; 2000]).bytes());
    assert_eq!(recording::decode(&path).unwrap().frames(), 2000);
}

#[test]
fn health_is_what_was_recorded() {
    let folder = Folder::new();
    let mut samples = vec![0.5_f32; 32_000];
    samples[..16].fill(-1.0);
    samples[16..32].fill(1.0 - 1.0 / 32_768.0);
    let (_, health) = read(&folder, &Wav::float(1, 32_000, &samples).bytes(), &OPTIONS).unwrap();
    assert_eq!((health.rate, health.channels, health.seconds), (32_000, 1, 1.0));
    assert_eq!((health.peak, health.clipped, health.truncated), (1.0, 0.001, false));
    let energy: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    assert!((health.rms - (energy / 32_000.0).sqrt()).abs() < 1e-12);

    let silent = Wav::pcm16(1, 16_000, &[0; 16_000]);
    let health = scan(&folder.file("silent.wav", &silent.bytes()));
    assert_eq!((health.peak, health.rms, health.clipped), (0.0, 0.0, 0.0));

    let cut = Wav { data_size: Some(64_000), ..silent };
    assert!(scan(&folder.file("cut.wav", &cut.bytes())).truncated);
}

#[test]
fn the_digest_is_of_the_samples_and_of_all_channels() {
    let folder = Folder::new();
    let digest = |wav: Wav| scan(&folder.file("x.wav", &wav.bytes())).digest;
    let sixteen: Vec<i16> = (0..4000).map(|n| n * 7).collect();
    let floats: Vec<f32> = sixteen.iter().map(|&s| f32::from(s) / 32_768.0).collect();
    let mut other = sixteen.clone();
    other[3999] ^= 1; // the last sample of channel 1, which is not the one that is read
    assert_eq!(digest(Wav::pcm16(2, 16_000, &sixteen)), digest(Wav::float(2, 16_000, &floats)));
    assert_ne!(digest(Wav::pcm16(2, 16_000, &sixteen)), digest(Wav::pcm16(2, 16_000, &other)));
}

#[test]
fn a_channel_is_chosen_or_all_are_mixed() {
    let folder = Folder::new();
    let frames = [[0.25_f32, -1.0, 0.5]; 2000];
    let bytes = Wav::float(3, 16_000, frames.as_flattened()).bytes();
    let with = |channel| read(&folder, &bytes, &ReadOptions { channel, ..OPTIONS });
    for (channel, level) in [(Some(0), 0.25), (Some(1), -1.0), (Some(2), 0.5), (None, -0.25 / 3.0)] {
        let (windows, health) = with(channel).unwrap();
        assert!(windows.samples.iter().all(|sample| (sample - level).abs() < 1e-7));
        assert!((health.peak - f64::from(level).abs()).abs() < 1e-7);
    }
    assert_eq!(with(Some(1)).unwrap().1.clipped, 1.0);
    assert!((with(None).unwrap().1.clipped - 1.0 / 3.0).abs() < 1e-12);

    let error = with(Some(3)).unwrap_err();
    assert_eq!(error.to_string(), "it has no channel 3: 3 channels, counted from 0");
    assert_eq!(error.hint(Path::new("a.wav")), "take one of 0 to 2, or their mean");
}

#[test]
fn samples_that_are_no_numbers_are_found_on_the_channel_that_is_read() {
    let folder = Folder::new();
    let mut frames = [[0.1_f32, 0.1]; 16_000];
    let file = |frames: &[[f32; 2]]| Wav::float(2, 16_000, frames.as_flattened()).bytes();
    for (bad, named) in [
        (f32::NAN, "not a number (NaN)"),
        (-f32::NAN, "not a number (NaN)"),
        (f32::NEG_INFINITY, "infinite"),
        (1e20, "1e20, where 1 is full scale"),
    ] {
        frames[4000][1] = bad;
        frames[4001][1] = f32::NAN;
        let with = |channel| read(&folder, &file(&frames), &ReadOptions { channel, ..OPTIONS });
        assert!(with(Some(0)).is_ok());
        let error = with(Some(1)).unwrap_err();
        assert_eq!(error.to_string(), format!("its sample at 0.250 s is {named}"));
        assert!(matches!(with(None), Err(Error::Content { .. })));
    }
}

#[test]
fn lower_rates_are_read_only_when_asked_for() {
    let folder = Folder::new();
    let bytes = Wav::pcm16(1, 8_000, &[1000; 16_000]).bytes();
    let error = read(&folder, &bytes, &OPTIONS).unwrap_err();
    assert_eq!(error.to_string(), "its rate of 8000 Hz lies below the detector's 16000 Hz");
    assert!(error.hint(Path::new("a.wav")).ends_with(": --allow-upsampling"));
    let (windows, health) =
        read(&folder, &bytes, &ReadOptions { allow_upsampling: true, ..OPTIONS }).unwrap();
    assert_eq!((health.rate, windows.samples.len()), (8_000, 160_000));

    // A header's word for 1 Hz would turn these seconds into hours.
    let slow = Wav::pcm16(1, 1, &[1000; 16_000]).bytes();
    let error = read(&folder, &slow, &ReadOptions { allow_upsampling: true, ..OPTIONS }).unwrap_err();
    assert_eq!(error.to_string(), "cannot resample 1 Hz to 16000 Hz: at most a factor of 256");
}

#[test]
fn clips_shorter_than_one_frame_are_refused() {
    let folder = Folder::new();
    let error = read(&folder, &Wav::float(1, 48_000, &ramp(480)).bytes(), &OPTIONS).unwrap_err();
    assert_eq!(error.to_string(), "it lasts 0.010 s, and at least 0.064 s are needed");
    assert!(read(&folder, &Wav::float(1, 16_000, &ramp(1023)).bytes(), &OPTIONS).is_err());
    assert!(read(&folder, &Wav::float(1, 16_000, &ramp(1024)).bytes(), &OPTIONS).is_ok());
}

#[test]
fn one_window_up_to_one_and_a_half_clips() {
    let folder = Folder::new();
    let read = |length| read(&folder, &Wav::float(1, 16_000, &ramp(length)).bytes(), &OPTIONS).unwrap().0;
    for length in [160_000, 176_000, 240_000] {
        let windows = read(length);
        assert_eq!((windows.starts, windows.samples), (vec![0], ramp(160_000)));
    }
    let short = read(70_000);
    assert_eq!(short.starts, [0]);
    assert_eq!(short.samples, [ramp(70_000), ramp(70_000), ramp(20_000)].concat());

    assert_eq!(read(240_001).starts, [0, 80_000, 80_001]);
    assert_eq!(read(320_000).starts, [0, 80_000, 160_000]);
    let long = read(330_000);
    assert_eq!(long.starts, [0, 80_000, 160_000, 170_000]);
    assert_eq!(long.iter().len(), 4);
    assert_eq!(long.iter().last().unwrap(), &ramp(330_000)[170_000..]);
}

proptest! {
    #[test]
    fn windows_cover_every_sample_and_nothing_else(length in 1_usize..5000, clip in 1_usize..400) {
        let windows = Windows::cut(ramp(length), clip).unwrap();
        prop_assert!(windows.iter().all(|window| window.len() == clip));
        prop_assert!(windows.starts.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= (clip / 2).max(1)));
        prop_assert_eq!(windows.starts[0], 0);
        if length > clip + clip / 2 {
            prop_assert_eq!(windows.starts[windows.starts.len() - 1], length - clip);
            prop_assert_eq!(windows.samples.len(), length);
        } else {
            prop_assert_eq!(windows.starts.len(), 1);
            prop_assert!((0..clip).all(|n| windows.samples[n] == windows.samples[n % length]));
        }
    }

    #[test]
    fn no_file_makes_it_panic(bytes: Vec<u8>, wav: bool) {
        let folder = Folder::new();
        let head = if wav { Wav::float(1, 16_000, &[]).bytes() } else { Vec::new() };
        let _ = read(&folder, &[head, bytes].concat(), &ReadOptions { n_fft: 1, ..OPTIONS });
    }
}
