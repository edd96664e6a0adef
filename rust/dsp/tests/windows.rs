//! A recording that was looked at before: whole and by stretches it is what the first look saw.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use asd_dsp::recording::{self, Buffers, ReadOptions, Wave};
use asd_dsp::simd::Sample;
use common::{Flac, Folder, Wav, noise};
use proptest::prelude::*;

const OPTIONS: ReadOptions = ReadOptions {
    sample_rate: 16_000,
    n_fft: 32,
    clip_samples: 100,
    channel: Some(0),
    allow_upsampling: false,
};

fn floats(wave: Wave<'_>) -> Vec<f32> {
    match wave {
        Wave::Float(samples) => samples.to_vec(),
        Wave::Int(samples) => samples.iter().map(|sample| sample.to_f32()).collect(),
    }
}

fn stretch(path: &Path, options: &ReadOptions, start: usize) -> asd_dsp::error::Result<Option<Vec<f32>>> {
    let mut buffers = Buffers::default();
    Ok(recording::stretch(path, options, start, &mut buffers)?.map(floats))
}

/// A file of noise: a WAV of any format for `kind` 0 to 5, else FLAC.
fn file(kind: usize, channels: u16, rate: u32, length: usize, before: usize) -> Vec<u8> {
    let mut next = noise(length as u64);
    let formats = [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)];
    let Some(&(tag, bits)) = formats.get(kind) else {
        let mut plane = || (0..length).map(|_| (next() as i64 >> 48) as i32).collect();
        let planes: Vec<Vec<i32>> = (0..channels).map(|_| plane()).collect();
        return Flac { block: 4096, ..Flac::new(rate, 16, &planes) }.bytes();
    };
    let mut sample = || (next() as i64 >> 32) as f64 / 2_147_483_648.0;
    let samples = (0..length * usize::from(channels)).map(|_| sample());
    let data = match (tag, bits) {
        (3, 32) => samples.flat_map(|x| (x as f32).to_le_bytes()).collect(),
        (3, _) => samples.flat_map(f64::to_le_bytes).collect(),
        _ => samples
            .flat_map(|x| ((x * 2_147_483_648.0) as i32).to_le_bytes()[4 - usize::from(bits) / 8..].to_vec())
            .collect(),
    };
    let before = if before > 0 { vec![(b"LIST".to_vec(), vec![7; before])] } else { Vec::new() };
    Wav { before, ..Wav::new(tag, bits, channels, rate, data) }.bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whole_and_stretches_are_what_read_gives(
        kind in 0_usize..7,
        channels in 1_u16..4,
        rate in prop::sample::select(vec![8_000_u32, 16_000, 16_000, 16_000, 22_050, 48_000]),
        length in 0_usize..700,
        before in prop::sample::select(vec![0_usize, 5, 9_000]),
        channel in prop::option::of(0_usize..4),
        clip_samples in 0_usize..200,
        allow_upsampling: bool,
        earlier in 0_usize..700,
    ) {
        let folder = Folder::new();
        let options = ReadOptions { channel, clip_samples, allow_upsampling, ..OPTIONS };
        let mut buffers = Buffers::default();
        // Whatever was read before leaves no trace.
        let other = folder.file("other", &file(1 + length % 3, channels, 16_000, earlier, 0));
        let _ = recording::whole(&other, &options, &mut buffers);
        let path = folder.file("clip", &file(kind, channels, rate, length, before));
        match (recording::read(&path, &options), recording::whole(&path, &options, &mut buffers)) {
            (Ok((windows, _)), Ok(whole)) => {
                prop_assert_eq!(matches!(whole.wave, Wave::Int(_)), kind == 1 && rate == 16_000 && (channels == 1 || channel.is_some()));
                prop_assert_eq!(&whole.starts, &windows.starts);
                prop_assert_eq!(whole.clip, windows.clip);
                prop_assert_eq!(floats(whole.wave), windows.samples.clone());
                let seekable = kind < 6 && rate == 16_000 && windows.starts.len() > 1;
                for (&start, window) in windows.starts.iter().zip(windows.iter()) {
                    let stretch = recording::stretch(&path, &options, start, &mut buffers).unwrap().map(floats);
                    prop_assert_eq!(stretch, seekable.then(|| window.to_vec()));
                }
            }
            (Err(read), Err(whole)) => prop_assert_eq!(read, whole),
            (read, whole) => prop_assert!(false, "{:?} but {:?}", read, whole),
        }
    }

    #[test]
    fn no_file_makes_them_panic(bytes: Vec<u8>, at in 0_usize..500, value: u8, start: usize, cut in 0_usize..2000) {
        let folder = Folder::new();
        let mut wav = file(1, 2, 16_000, 300, 0);
        let end = wav.len().min(cut);
        let at = at % wav.len();
        wav[at] = value;
        for content in [[&wav[..end.min(60)], &bytes].concat(), wav[..end].to_vec(), wav.clone()] {
            let path = folder.file("clip", &content);
            let _ = recording::whole(&path, &OPTIONS, &mut Buffers::default());
            let _ = stretch(&path, &OPTIONS, start % 1000);
            let _ = stretch(&path, &OPTIONS, start);
        }
    }
}

#[test]
fn a_file_that_changed_is_no_panic() {
    let folder = Folder::new();
    let path = folder.file("clip", &file(1, 1, 16_000, 500, 0));
    assert_eq!(stretch(&path, &OPTIONS, 400).unwrap().unwrap().len(), 100);
    let ends = "it has changed: it ends before the window that it had";
    assert_eq!(stretch(&path, &OPTIONS, 401).unwrap_err().to_string(), ends);
    assert_eq!(stretch(&path, &OPTIONS, usize::MAX).unwrap_err().to_string(), ends);

    folder.file("clip", &file(1, 1, 16_000, 300, 0));
    assert_eq!(stretch(&path, &OPTIONS, 400).unwrap_err().to_string(), ends);
    folder.file("clip", &file(1, 1, 16_000, 150, 0));
    assert_eq!(stretch(&path, &OPTIONS, 400).unwrap(), None);
    folder.file("clip", &file(1, 1, 48_000, 500, 0));
    assert_eq!(stretch(&path, &OPTIONS, 400).unwrap(), None);
    folder.file("clip", &file(6, 1, 16_000, 500, 0));
    assert_eq!(stretch(&path, &OPTIONS, 400).unwrap(), None);
    folder.file("clip", b"RIFF");
    assert!(stretch(&path, &OPTIONS, 400).is_err());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(stretch(&path, &OPTIONS, 400).unwrap_err().to_string(), "there is no such file");
}

#[test]
fn what_is_no_number_is_refused_where_it_is_heard() {
    let folder = Folder::new();
    let mut samples = vec![0.5_f32; 16_000];
    samples[8_000] = f32::NAN;
    let path = folder.file("clip", &Wav::float(1, 16_000, &samples).bytes());
    let nan = "its sample at 0.500 s is not a number (NaN)";
    let error = recording::whole(&path, &OPTIONS, &mut Buffers::default()).unwrap_err();
    assert_eq!(error.to_string(), nan);
    assert_eq!(stretch(&path, &OPTIONS, 7_950).unwrap_err().to_string(), nan);
    assert!(stretch(&path, &OPTIONS, 8_001).unwrap().is_some());
}
