//! WAV: every sample format, every shape of header, and headers that lie.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use asd_dsp::audio::Audio;
use asd_dsp::error::Error;
use common::{Wav, noise};
use proptest::prelude::*;

fn decode(wav: &Wav) -> Audio {
    Audio::decode(&wav.bytes()).unwrap()
}

fn reason(bytes: &[u8]) -> String {
    Audio::decode(bytes).unwrap_err().to_string()
}

#[test]
fn integers_are_scaled_by_their_full_scale() {
    let eight = decode(&Wav::new(1, 8, 1, 8000, vec![0, 1, 127, 128, 129, 255]));
    assert_eq!(eight.samples, [-1.0, -127.0 / 128.0, -1.0 / 128.0, 0.0, 1.0 / 128.0, 127.0 / 128.0]);

    let sixteen = decode(&Wav::pcm16(1, 8000, &[i16::MIN, -1, 0, 1, i16::MAX]));
    assert_eq!(sixteen.samples, [-1.0, -1.0 / 32768.0, 0.0, 1.0 / 32768.0, 32767.0 / 32768.0]);

    let bytes = vec![0, 0, 0x80, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF, 0x7F];
    let twenty_four = decode(&Wav::new(1, 24, 1, 8000, bytes));
    let unit = 1.0 / 8_388_608.0;
    assert_eq!(twenty_four.samples, [-1.0, -unit, unit, 1.0 - unit]);

    // 2^31 - 1 and 2^24 + 1 have no float32: they go to the nearest, ties to even.
    let values = [i32::MIN, -1, (1 << 24) + 1, i32::MAX];
    let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let thirty_two = decode(&Wav::new(1, 32, 1, 8000, data));
    assert_eq!(thirty_two.samples, [-1.0, -1.0 / 2_147_483_648.0, 1.0 / 128.0, 1.0]);
}

#[test]
fn floats_come_as_they_are() {
    let values = [0.0_f32, -0.0, 1.5, -3.25e-12, f32::MIN_POSITIVE / 2.0];
    let bits = |samples: &[f32]| samples.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&decode(&Wav::float(1, 8000, &values)).samples), bits(&values));

    let data = [0.1_f64, -1e-60].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(bits(&decode(&Wav::new(3, 64, 1, 8000, data)).samples), bits(&[0.1, -0.0]));
}

#[test]
fn channels_are_taken_apart() {
    for channels in [1_u16, 2, 3, 8, 64] {
        let mut next = noise(u64::from(channels));
        let samples: Vec<i16> = (0..channels * 50).map(|_| next() as i16).collect();
        let audio = decode(&Wav::pcm16(channels, 48_000, &samples));
        assert_eq!((audio.channels, audio.frames(), audio.rate), (usize::from(channels), 50, 48_000));
        for c in 0..audio.channels {
            for (t, &sample) in audio.channel(c).iter().enumerate() {
                assert_eq!(sample, f32::from(samples[t * audio.channels + c]) / 32768.0);
            }
        }
    }
}

#[test]
fn extensible_rf64_and_bw64_headers_are_read() {
    let plain = Wav::pcm16(2, 16_000, &[1, -2, 3, -4]);
    let expected = decode(&plain);
    assert_eq!(decode(&Wav { extensible: true, ..plain.clone() }), expected);
    assert_eq!(decode(&plain.clone().into_rf64(b"RF64")), expected);
    assert_eq!(decode(&plain.clone().into_rf64(b"BW64")), expected);

    let mut cut = plain.into_rf64(b"RF64");
    cut.data.truncate(4);
    assert_eq!(decode(&cut).samples, [1.0 / 32768.0, -2.0 / 32768.0]);
    assert!(decode(&cut).truncated);
}

#[test]
fn unknown_chunks_are_skipped_with_their_padding() {
    let mut wav = Wav::pcm16(1, 16_000, &[5, 6, 7]);
    let expected = decode(&wav);
    wav.before = vec![(b"JUNK".to_vec(), vec![b'd'; 7]), (b"bext".to_vec(), vec![1; 602])];
    wav.after = b"LIST\x04\0\0\0INFO".to_vec();
    assert_eq!(decode(&wav), expected);
}

#[test]
fn sizes_are_promises() {
    let wav = Wav::pcm16(1, 16_000, &[1, 2, 3]);
    let expected = decode(&wav);
    assert!(!expected.truncated);

    let promising = decode(&Wav { data_size: Some(1000), ..wav.clone() });
    assert_eq!((promising.samples, promising.truncated), (expected.samples.clone(), true));

    for (data_size, riff_size) in
        [(u32::MAX, u32::MAX), (0, 0), (0, u32::MAX), (0, 36), (0x7FFF_F000, 0x7FFF_F024)]
    {
        let streamed = Wav { data_size: Some(data_size), riff_size: Some(riff_size), ..wav.clone() };
        assert_eq!(decode(&streamed), expected, "{data_size:#x} {riff_size:#x}");
    }

    let mut ragged = Wav::pcm16(2, 16_000, &[1, 2, 3]);
    ragged.data.push(9);
    assert_eq!(decode(&ragged).samples, [1.0 / 32768.0, 2.0 / 32768.0]);
}

#[test]
fn a_true_size_of_zero_is_no_stream() {
    let mut wav = Wav::pcm16(1, 16_000, &[]);
    wav.after = b"LIST\x04\0\0\0INFO".to_vec();
    assert_eq!(reason(&wav.bytes()), "it holds no samples");
}

#[test]
fn headers_that_cannot_be_true_are_named() {
    let good = Wav::pcm16(2, 16_000, &[1, 2]);
    let cases = [
        (Wav { channels: 0, block: 0, ..good.clone() }, "the header says 0 channels; 1 to 64 are possible"),
        (
            Wav { channels: 65, block: 130, ..good.clone() },
            "the header says 65 channels; 1 to 64 are possible",
        ),
        (Wav { rate: 0, ..good.clone() }, "the header says 0 Hz; 1 to 768000 Hz are possible"),
        (
            Wav { rate: 3_000_000_000, ..good.clone() },
            "the header says 3000000000 Hz; 1 to 768000 Hz are possible",
        ),
        (Wav { bits: 0, ..good.clone() }, "the WAV header says 0 bits a sample"),
        (
            Wav { block: 2, ..good },
            "the WAV header contradicts itself: 2 x 16 bits, yet 2 bytes for all channels",
        ),
    ];
    for (wav, expected) in cases {
        let error = Audio::decode(&wav.bytes()).unwrap_err();
        assert!(matches!(error, Error::Header(_)), "{error:?}");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn other_sample_formats_name_the_command_that_converts_them() {
    for (tag, bits, name) in [
        (0x0002, 4, "Microsoft ADPCM"),
        (0x0006, 8, "A-law"),
        (0x0007, 8, "mu-law"),
        (0x0011, 4, "IMA ADPCM"),
        (0x0055, 0, "MPEG audio"),
        (0x1234, 16, "the sample format 0x1234"),
        (1, 12, "12-bit integers"),
        (3, 16, "16-bit floats"),
    ] {
        let error = Audio::decode(&Wav::new(tag, bits, 1, 8000, vec![0; 8]).bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("a WAV file of {name}; only PCM and float are read"));
        assert_eq!(
            error.hint(Path::new("a/clip.wav")),
            "convert it: ffmpeg -i a/clip.wav -ac 1 -ar 16000 a/clip-pcm.wav"
        );
    }
    let mut big_endian = Wav::pcm16(1, 8000, &[1]).bytes();
    big_endian[3] = b'X';
    assert_eq!(reason(&big_endian), "it looks like a big-endian WAV file (RIFX); only WAV and FLAC are read");
}

#[test]
fn headers_that_stop_too_early_say_so() {
    let whole = Wav::pcm16(1, 16_000, &[1, 2, 3]).bytes();
    for length in 4..44 {
        let said = reason(&whole[..length]);
        let cut = format!("the WAV header is cut off: the file ends after {length} bytes");
        let between_chunks = [
            "the WAV header has no fmt chunk",
            "the WAV file has no data chunk: it holds a header and no samples",
        ];
        assert!(said == cut || between_chunks.contains(&said.as_str()), "{length}: {said}");
    }
    assert_eq!(reason(&whole[..44]), "it holds no samples");

    let mut nameless = whole.clone();
    nameless[12..16].copy_from_slice(b"fmtX");
    assert_eq!(reason(&nameless), "the WAV header has no fmt chunk");
    let short = [&whole[..12], b"fmt \x08\0\0\0\x01\0\x01\0\x80\x3e\0\0", &whole[36..]].concat();
    assert_eq!(reason(&short), "the fmt chunk of the WAV header has 8 bytes, fewer than 16");
}

proptest! {
    #[test]
    fn any_sixteen_bit_file_comes_back(channels in 1_u16..9, frames in 1_usize..200, rate in 1_u32..768_001, extensible: bool) {
        let mut next = noise(frames as u64);
        let samples: Vec<i16> = (0..usize::from(channels) * frames).map(|_| next() as i16).collect();
        let audio = decode(&Wav { extensible, ..Wav::pcm16(channels, rate, &samples) });
        prop_assert_eq!((audio.rate, audio.frames(), audio.truncated), (rate, frames, false));
        for (i, &sample) in samples.iter().enumerate() {
            let (t, c) = (i / audio.channels, i % audio.channels);
            prop_assert_eq!(audio.channel(c)[t], f32::from(sample) / 32768.0);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes: Vec<u8>, magic in 0_usize..4) {
        let magic: &[u8] = [&b"RIFF\xFF\0\0\0WAVEfmt "[..], b"RF64\xFF\xFF\xFF\xFFWAVEds64", b"RIFF", b""][magic];
        bytes.splice(..0, magic.iter().copied());
        let _ = Audio::decode(&bytes);
    }

    #[test]
    fn no_change_of_a_header_makes_it_panic(at in 0_usize..80, value: u8, more in 0_usize..80, other: u8, rf64: bool) {
        let mut wav = Wav { extensible: true, ..Wav::pcm16(2, 16_000, &[1, 2, 3, 4]) };
        if rf64 {
            wav = wav.into_rf64(b"RF64");
        }
        let mut bytes = wav.bytes();
        let length = bytes.len();
        bytes[at % length] = value;
        bytes[more % length] = other;
        if let Ok(audio) = Audio::decode(&bytes) {
            prop_assert!(audio.samples.len() <= length && audio.samples.len() % audio.channels == 0);
        }
    }

    #[test]
    fn a_cut_file_is_an_error_or_says_truncated(length in 0_usize..100) {
        let bytes = Wav::pcm16(1, 16_000, &[7; 28]).bytes();
        if let Ok(audio) = Audio::decode(&bytes[..length]) {
            prop_assert_eq!(audio.truncated, length < 100);
            prop_assert_eq!(audio.samples.len(), (length - 44) / 2);
        }
    }
}
