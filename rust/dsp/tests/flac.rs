//! FLAC: every width, damaged frames, missing ends.
#![allow(clippy::unwrap_used)]

mod common;

use asd_dsp::audio::Audio;
use common::{Flac, noise};
use proptest::prelude::*;

const RATE: u32 = 16_000;

fn signal(bits: u32, channels: usize, length: usize) -> Vec<Vec<i32>> {
    let mut next = noise(u64::from(bits) + channels as u64);
    let mut plane = || (0..length).map(|_| (next() as i64 >> (64 - bits)) as i32).collect();
    (0..channels).map(|_| plane()).collect()
}

#[test]
fn integers_are_scaled_by_their_full_scale() {
    for bits in [8, 12, 16, 20, 24] {
        for channels in [1, 2, 3, 8] {
            let planes = signal(bits, channels, 200);
            let audio = Audio::decode(&Flac::new(RATE, bits, &planes).bytes()).unwrap();
            assert_eq!((audio.rate, audio.channels, audio.truncated), (RATE, channels, false));
            let scale = (1_u32 << (bits - 1)) as f32;
            let expected: Vec<f32> = planes.concat().iter().map(|&s| s as f32 / scale).collect();
            assert_eq!(audio.samples, expected, "{bits} bits, {channels} channels");
        }
    }
}

#[test]
fn flac_and_wav_of_the_same_sound_have_the_same_digest() {
    let planes = signal(16, 1, 500);
    let samples: Vec<i16> = planes[0].iter().map(|&s| s as i16).collect();
    let flac = Audio::decode(&Flac::new(RATE, 16, &planes).bytes()).unwrap();
    let wav = Audio::decode(&common::Wav::pcm16(1, RATE, &samples).bytes()).unwrap();
    assert_eq!(flac.digest(), wav.digest());
}

#[test]
fn metadata_is_skipped_unread() {
    let planes = signal(16, 1, 300);
    let flac = Flac::new(RATE, 16, &planes);
    let expected = Audio::decode(&flac.bytes()).unwrap();
    // A vorbis comment and a picture of nonsense, then padding as the last block.
    let blocks = b"\x04\0\0\x05\xFF\xFF\xFF\xFF\xFF\x06\0\0\x03abc\x81\0\0\x02\0\0";
    let tagged = [flac.header(false), blocks.to_vec(), flac.frames()].concat();
    assert_eq!(Audio::decode(&tagged).unwrap(), expected);

    let behind_id3 = [b"ID3\x04\0\0\0\0\x01\x02".to_vec(), vec![0; 130], flac.bytes()].concat();
    assert_eq!(Audio::decode(&behind_id3).unwrap(), expected);
}

#[test]
fn an_id3v1_tag_at_the_end_is_no_sound() {
    let planes = signal(16, 1, 300);
    let mut bytes = Flac::new(RATE, 16, &planes).bytes();
    let expected = Audio::decode(&bytes).unwrap();
    bytes.extend([b"TAG".as_slice(), &[0xFF; 125]].concat());
    assert_eq!(Audio::decode(&bytes).unwrap(), expected);
}

#[test]
fn a_stream_of_unknown_length_is_read_to_its_end() {
    let planes = signal(16, 2, 300);
    let flac = Flac { total: 0, ..Flac::new(RATE, 16, &planes) };
    let whole = flac.bytes();
    assert_eq!(Audio::decode(&whole).unwrap().frames(), 300);
    let error = Audio::decode(&whole[..whole.len() - 9]).unwrap_err();
    assert_eq!(error.to_string(), format!("the FLAC stream is damaged at {:.2} s", 256.0 / f64::from(RATE)));
}

#[test]
fn a_stream_that_ends_early_says_where() {
    let planes = signal(16, 1, 6400);
    let whole = Flac { block: 1600, ..Flac::new(RATE, 16, &planes) }.bytes();
    let half = Audio::decode(&whole[..whole.len() / 2 + 100]).unwrap_err();
    assert_eq!(half.to_string(), "the FLAC stream is damaged or ends at 0.20 s; its header says 0.40 s");

    let promising = Flac { block: 1600, total: 32_000, ..Flac::new(RATE, 16, &planes) }.bytes();
    let error = Audio::decode(&promising).unwrap_err();
    assert_eq!(error.to_string(), "the FLAC stream is damaged or ends at 0.40 s; its header says 2.00 s");

    let denying = Flac { block: 1600, total: 3200, ..Flac::new(RATE, 16, &planes) }.bytes();
    let error = Audio::decode(&denying).unwrap_err();
    assert_eq!(error.to_string(), "the FLAC stream is damaged or ends at 0.40 s; its header says 0.20 s");
}

#[test]
fn a_damaged_frame_says_where() {
    let planes = signal(16, 1, 6400);
    let mut bytes = Flac { block: 1600, ..Flac::new(RATE, 16, &planes) }.bytes();
    let third = bytes.len() / 2 + 700;
    bytes[third] ^= 0x10;
    let error = Audio::decode(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "the FLAC stream is damaged at 0.20 s");
}

#[test]
fn a_frame_that_is_missing_or_doubled_says_where() {
    let planes = signal(16, 1, 6400);
    for total in [0, 6400] {
        let flac = Flac { block: 1600, total, ..Flac::new(RATE, 16, &planes) };
        let frames = flac.frames();
        let (first, rest) = frames.split_at(frames.len() / 4);
        let (second, rest) = rest.split_at(frames.len() / 4);
        for broken in [[first, rest, &[]], [first, first, second]] {
            let error = Audio::decode(&[flac.header(true), broken.concat()].concat()).unwrap_err();
            assert_eq!(error.to_string(), "the FLAC stream is damaged at 0.10 s");
        }
    }
}

#[test]
fn a_frame_of_other_channels_is_damage() {
    let (one, two) = (signal(16, 1, 64), signal(16, 2, 64));
    let frames = Flac::new(RATE, 16, &one).frames();
    let error = Audio::decode(&[Flac::new(RATE, 16, &two).header(true), frames].concat()).unwrap_err();
    assert!(error.to_string().contains("0.00 s"), "{error}");
}

/// Frames of digital silence, `bits` wide.
fn silence(bits: u32, channels: usize, block: u16, frames: u64) -> Vec<u8> {
    let planes = vec![Vec::new(); channels];
    let flac = Flac { block, total: 0, ..Flac::new(RATE, bits, &planes) };
    let constant = vec![0; 1 + bits as usize / 8].repeat(channels);
    let frames = (0..frames).flat_map(|number| flac.frame_of(number, block, &constant));
    [flac.header(true), frames.collect()].concat()
}

#[test]
fn long_silence_is_decoded_in_every_usual_block() {
    for (block, frames) in [(1152, 128), (4096, 128), (4608, 128), (16_384, 100)] {
        for channels in [1, 2, 8] {
            let audio = Audio::decode(&silence(16, channels, block, frames)).unwrap();
            assert_eq!((audio.channels, audio.frames()), (channels, usize::from(block) * frames as usize));
            assert!(audio.samples.iter().all(|&sample| sample == 0.0));
        }
    }
}

#[test]
fn a_small_stream_cannot_take_gigabytes() {
    // 2.5 KB would be 0.2 GB, and so on; as good as all of it is left undecoded.
    let error = Audio::decode(&silence(8, 8, u16::MAX, 100)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the FLAC stream is no recording: its first 286 bytes make 5767080 samples"
    );
    assert_eq!(error.hint("a.flac".as_ref()), "leave it out: a.flac");
}

#[test]
fn headers_that_stop_too_early_say_so() {
    let planes = signal(16, 1, 100);
    let flac = Flac::new(RATE, 16, &planes);
    let whole = flac.bytes();
    for length in 4..42 {
        let error = Audio::decode(&whole[..length]).unwrap_err().to_string();
        assert_eq!(error, format!("the FLAC header is cut off: the file ends after {length} bytes"));
    }
    let error = Audio::decode(&whole[..42]).unwrap_err().to_string();
    assert_eq!(error, "it holds no samples: the FLAC file ends after its header");
    let error = Audio::decode(&whole[..45]).unwrap_err().to_string();
    assert_eq!(error, "the FLAC file holds a header and no whole frame");
}

proptest! {
    #[test]
    fn every_flipped_bit_of_a_frame_is_found(at in 0_usize..100_000, bit in 0_u32..8) {
        let planes = signal(16, 1, 200);
        let flac = Flac::new(RATE, 16, &planes);
        let (header, mut frames) = (flac.header(true), flac.frames());
        let at = at % frames.len();
        frames[at] ^= 1 << bit;
        prop_assert!(Audio::decode(&[header, frames].concat()).is_err());
    }

    #[test]
    fn every_cut_is_found(at in 0_usize..100_000) {
        let planes = signal(24, 2, 200);
        let whole = Flac::new(RATE, 24, &planes).bytes();
        let at = at % whole.len();
        prop_assert!(Audio::decode(&whole[..at]).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, info: [u8; 34], known: bool) {
        let planes = signal(16, 1, 10);
        let mut head = Flac::new(RATE, 16, &planes).header(true);
        if !known {
            head[8..].copy_from_slice(&info);
        }
        let _ = Audio::decode(&[head, bytes].concat());
    }

    #[test]
    fn no_change_of_a_file_makes_it_panic(changes in prop::collection::vec((0_usize..2000, any::<u8>()), 1..20)) {
        let planes = signal(16, 2, 200);
        let mut bytes = Flac::new(RATE, 16, &planes).bytes();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let _ = Audio::decode(&bytes);
    }

    #[test]
    fn no_frame_with_right_checksums_makes_it_panic(kind: u8, payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let planes = signal(16, 2, 64);
        let flac = Flac::new(RATE, 16, &planes);
        let frame = flac.frame_of(0, 64, &[vec![kind], payload].concat());
        let _ = Audio::decode(&[flac.header(true), frame].concat());
    }
}
