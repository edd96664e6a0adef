//! FLAC frames: every form that an encoder may give them comes back as the samples that went in; what none may write
//! is damage, even where all checksums are right.
#![allow(clippy::unwrap_used)]

mod common;

use asd_dsp::audio::Audio;
use asd_dsp::error::Result;
use common::subframe::{Coding, Form};
use common::{Bits, Flac, Head, noise};
use proptest::prelude::*;

const RATE: u32 = 16_000;

/// A channel whose samples are put by hand.
const NOTHING: &[Vec<i32>] = &[Vec::new()];

/// Codes of pairs of channels, beside 0 to 7 for one to eight of them.
const LEFT_SIDE: u8 = 8;
const SIDE_RIGHT: u8 = 9;
const MID_SIDE: u8 = 10;

fn channels_of(code: u8) -> usize {
    if code < LEFT_SIDE { usize::from(code) + 1 } else { 2 }
}

/// What the subframes hold, and the bits of its samples.
fn stored(code: u8, planes: &[Vec<i64>], width: u32) -> Vec<(Vec<i64>, u32)> {
    if code < LEFT_SIDE {
        return planes.iter().map(|plane| (plane.clone(), width)).collect();
    }
    let pairs = || planes[0].iter().zip(&planes[1]);
    let side = (pairs().map(|(left, right)| left - right).collect(), width + 1);
    let mid = pairs().map(|(left, right)| (left + right) >> 1).collect();
    match code {
        LEFT_SIDE => vec![(planes[0].clone(), width), side],
        SIDE_RIGHT => vec![side, (planes[1].clone(), width)],
        _ => vec![(mid, width), side],
    }
}

fn scaled(planes: &[Vec<i64>], width: u32) -> Vec<f32> {
    planes.concat().iter().map(|&sample| sample as f32 / (1_u64 << (width - 1)) as f32).collect()
}

/// Samples of `width` bits, of which the last `zeros` are none.
fn sound(kind: u32, seed: u64, width: u32, zeros: u32, length: usize) -> Vec<i64> {
    let mut next = noise(seed);
    let full = (1_i64 << (width - 1)) - 1;
    let mut any = move |bits: u32| next() as i64 >> (64 - bits);
    let constant = any(width);
    let mut walk = 0_i64;
    let samples = (0..length).map(|n| match kind {
        0 => any(width),
        1 => [full, -full - 1][any(1).unsigned_abs() as usize],
        2 => constant,
        3 if any(6) != 0 => 0,
        3 => any(width),
        4 => ((n as f64 * 0.1).sin() * full as f64) as i64,
        _ => {
            walk = (walk + any(4)).clamp(-full - 1, full);
            walk
        }
    });
    samples.map(|sample| sample >> zeros << zeros).collect()
}

prop_compose! {
    fn linear()(
        order in 1_usize..=32,
        precision in 1_u32..=15,
        shift in 0_u32..=15,
        seed: u64,
    ) -> Form {
        let mut next = noise(seed);
        // The last sample tells most.
        let weights = (0..order).map(|n| next() as i64 >> (64 - precision) >> n.min(20)).collect();
        Form::Linear { weights, precision, shift: shift.max(precision.saturating_sub(3)) }
    }
}

prop_compose! {
    fn coding()(
        form in prop_oneof![
            Just(Form::Constant),
            Just(Form::Verbatim),
            (0_usize..=4).prop_map(Form::Fixed),
            linear(),
            linear(),
        ],
        waste: bool,
        wide: bool,
        partition_order in 0_u32..=6,
        excess in 0_u32..=3,
        escaped in prop_oneof![Just(0), any::<u64>()],
    ) -> Coding {
        Coding { form, waste, wide, partition_order, excess, escaped }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_coding_gives_the_samples_back(
        width in prop_oneof![4_u32..=32, Just(16), Just(24), Just(32)],
        code in 0_u8..=MID_SIDE,
        kinds in prop::array::uniform8(0_u32..=5),
        zeros in prop_oneof![Just(0), 0_u32..=12],
        seed: u64,
        codings in prop::collection::vec(coding(), 1..4),
        block in prop_oneof![16_u16..=600, Just(64), Just(192), Just(256)],
        length in 1_usize..=700,
        by_sample: bool,
        states_width: bool,
        rate in 0_u8..15,
    ) {
        let plane = |n: usize| sound(kinds[n], seed ^ n as u64, width, zeros.min(width - 1), length);
        let planes: Vec<_> = (0..channels_of(code)).map(plane).collect();
        let unused = vec![Vec::new(); planes.len()];
        let flac = Flac { block, total: length as u64, ..Flac::new(RATE, width, &unused) };
        let width_code = [8, 12, 0, 16, 20, 24, 32].iter().position(|&known| known == width);
        let mut file = flac.header(true);
        let mut codings = codings.iter().cycle();
        for (number, start) in (0..length).step_by(usize::from(block)).enumerate() {
            let here: Vec<_> = planes.iter().map(|p| p[start..length.min(start + usize::from(block))].to_vec()).collect();
            let mut bits = Bits::default();
            for (samples, width) in stored(code, &here, width) {
                codings.next().unwrap().put(&mut bits, &samples, width);
            }
            let head = Head {
                by_sample,
                size: if here[0].len() <= 256 { 6 } else { 7 },
                rate,
                channels: code,
                width: width_code.filter(|_| states_width).map_or(0, |code| 2 * (code as u8 + 1)),
                ..Head::new(if by_sample { start } else { number } as u64, here[0].len() as u16, 1)
            };
            file.extend(head.frame(&bits.bytes));
        }
        let audio = Audio::decode(&file).unwrap();
        prop_assert_eq!((audio.rate, audio.channels), (RATE, planes.len()));
        prop_assert_eq!(audio.samples, scaled(&planes, width));
    }
}

/// A stream of one frame.
fn alone(width: u32, head: Head, subframes: &[u8]) -> Vec<u8> {
    let unused = vec![Vec::new(); channels_of(head.channels)];
    let flac = Flac { block: head.samples.max(16), total: 0, ..Flac::new(RATE, width, &unused) };
    [flac.header(true), head.frame(subframes)].concat()
}

#[test]
fn the_difference_of_32_bits_has_33() {
    let (low, high) = (i64::from(i32::MIN), i64::from(i32::MAX));
    let planes = [vec![low, high, -1, low, high, 0, 5], vec![high, low, 0, low, high, -1, -6]];
    for code in [LEFT_SIDE, SIDE_RIGHT, MID_SIDE] {
        for form in [Form::Verbatim, Form::Fixed(0)] {
            let mut bits = Bits::default();
            for (samples, width) in stored(code, &planes, 32) {
                Coding::of(form.clone()).put(&mut bits, &samples, width);
            }
            let head = Head { channels: code, ..Head::new(0, 7, 2) };
            let audio = Audio::decode(&alone(32, head, &bits.bytes)).unwrap();
            assert_eq!(audio.samples, scaled(&planes, 32), "{code}");
        }
    }
}

#[test]
fn every_size_of_a_block_has_its_code() {
    let sizes = (1..6).map(|n| (n, if n == 1 { 192 } else { 144 << n }));
    for (size, samples) in sizes.chain((8..16).map(|n| (n, 1 << n))) {
        let plane = sound(5, u64::from(size), 16, 0, usize::from(samples));
        let mut bits = Bits::default();
        Coding::of(Form::Fixed(1)).put(&mut bits, &plane, 16);
        let head = Head { size, ..Head::new(0, samples, 1) };
        let audio = Audio::decode(&alone(16, head, &bits.bytes)).unwrap();
        assert_eq!(audio.samples, scaled(&[plane], 16), "{size}");
    }
}

#[test]
fn numbers_of_frames_take_several_bytes() {
    for by_sample in [false, true] {
        let (block, count) = (32, 2100);
        let flac = Flac { block, total: 0, ..Flac::new(RATE, 16, NOTHING) };
        let frame = |n: u64| {
            let head =
                Head { by_sample, ..Head::new(if by_sample { n * u64::from(block) } else { n }, block, 1) };
            head.frame(&[0, (n >> 8) as u8, n as u8])
        };
        let file = [flac.header(true), (0..count).flat_map(frame).collect()].concat();
        let audio = Audio::decode(&file).unwrap();
        let last = audio.samples.chunks(usize::from(block)).map(|samples| samples[31] * 32_768.0);
        assert!(last.eq((0..count).map(|n| n as f32)));
    }
}

#[test]
fn a_frame_that_states_its_width_has_that() {
    let head = Head { width: 8, ..Head::new(0, 20, 1) };
    let audio = Audio::decode(&alone(24, head, &[0, 0x40, 0])).unwrap();
    assert_eq!(audio.samples, [0.5; 20]);
}

/// Fields of a subframe: values and their bits.
type Fields = Vec<(i64, u32)>;

/// Rice codes of `count` zeros.
const fn zeros(count: u32) -> (i64, u32) {
    ((1 << count) - 1, count)
}

/// Kinds of subframes, as the first byte has them.
const CONSTANT: i64 = 0x00 << 1;
const FIXED: i64 = 0x08 << 1;
const LINEAR: i64 = 0x20 << 1;
/// In that byte: bits are left out.
const WASTED: i64 = 1;

/// One partition, the Rice parameter 0.
const RICE: (i64, u32) = (0, 2 + 4 + 4);

/// Decodes a frame of 20 samples of 16 bits.
fn decode(subframe: &Fields) -> Result<Audio> {
    let mut bits = Bits::default();
    for &(value, width) in subframe {
        (0..width).rev().for_each(|bit| bits.put((value >> bit.min(63)) as u64, 1));
    }
    Audio::decode(&alone(16, Head::new(0, 20, 1), &bits.bytes))
}

#[test]
fn subframes_by_hand_are_sound() {
    let sound: [Fields; 6] = [
        vec![(CONSTANT, 8), (-7, 16)],
        vec![(CONSTANT | WASTED, 8), (1, 15), (-1, 1)],
        vec![(FIXED + 2, 8), (32_767, 16), RICE, (0b01, 2), zeros(18)],
        [vec![(FIXED, 8), (0, 2), (2, 4)], [(0, 4), zeros(5)].repeat(4)].concat(),
        vec![(FIXED, 8), (1, 2), (0, 4), (0, 5), zeros(20), (0, 1)],
        vec![(LINEAR, 8), (5, 16), (14, 4), (0, 5), (1, 15), RICE, zeros(19)],
    ];
    for subframe in sound {
        assert_eq!(decode(&subframe).unwrap().samples.len(), 20, "{subframe:?}");
    }
}

#[test]
fn what_no_encoder_writes_is_damage() {
    let eighths = [(0, 4), zeros(2)].repeat(8);
    let broken: [(&str, Fields); 14] = [
        ("first bit", vec![(0x80 | CONSTANT, 8), (-7, 16)]),
        ("reserved kind", vec![(0x02 << 1, 8), (-7, 16)]),
        ("no bits left", vec![(CONSTANT | WASTED, 8), (1, 16)]),
        ("fewer than none", vec![(CONSTANT | WASTED, 8), (1, 17)]),
        ("a bit behind the last", vec![(FIXED, 8), (1, 2), (0, 4), (0, 5), zeros(20), (1, 1)]),
        ("a byte behind the last", vec![(CONSTANT, 8), (-7, 16), (0, 8)]),
        ("too few bits", vec![(CONSTANT, 8), (-7, 8)]),
        ("too loud", vec![(FIXED + 2, 8), (32_767, 16), RICE, (0b001, 3), zeros(18)]),
        ("reserved coding", vec![(FIXED, 8), (2, 2), (0, 4), (0, 5), zeros(20), (0, 1)]),
        ("uneven partitions", [vec![(FIXED, 8), (0, 2), (3, 4)], eighths].concat()),
        ("a partition below the order", vec![(LINEAR + 10, 8), (0, 96 + 9 + 6 + 2), (2, 4), (0, 99)]),
        ("more order than samples", vec![(LINEAR + 40, 8), (0, 21 * 16 + 9 + 21), RICE]),
        ("reserved precision", vec![(LINEAR, 8), (5, 16), (15, 4), (0, 5), (1, 16), RICE, zeros(19)]),
        ("negative shift", vec![(LINEAR, 8), (5, 16), (14, 4), (-1, 5), (0, 15), RICE, zeros(19)]),
    ];
    for (what, subframe) in broken {
        let error = decode(&subframe).unwrap_err();
        assert_eq!(error.to_string(), "the FLAC stream is damaged at 0.00 s", "{what}");
    }
}

#[test]
fn what_no_header_says_is_damage() {
    let subframe = [0, 0, 7];
    let head = Head::new(1, 20, 1);
    let flac = Flac { block: 20, total: 0, ..Flac::new(RATE, 16, NOTHING) };
    let first = [flac.header(true), Head { number: 0, ..head }.frame(&subframe)].concat();
    let decode = |second: Head| Audio::decode(&[first.clone(), second.frame(&subframe)].concat());
    assert!(decode(head).is_ok());
    let broken = [
        ("reserved bit", Head { width: 1, ..head }),
        ("reserved width", Head { width: 6, ..head }),
        ("reserved size", Head { size: 0, ..head }),
        ("reserved rate", Head { rate: 15, ..head }),
        ("reserved channels", Head { channels: 11, ..head }),
        ("other channels", Head { channels: MID_SIDE, ..head }),
        ("more samples than any", Head { samples: 21, ..head }),
        ("frame left out", Head { number: 2, ..head }),
        ("number of another kind", Head { by_sample: true, number: 20, ..head }),
    ];
    for (what, second) in broken {
        let error = decode(second).unwrap_err();
        assert_eq!(error.to_string(), "the FLAC stream is damaged at 0.00 s", "{what}");
    }
}
