//! Files for tests: a WAV writer, a FLAC writer, and folders that go away.
#![allow(dead_code, clippy::unwrap_used)]

pub mod guard;
pub mod subframe;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder that is removed when the test ends.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A WAV file in the making: every field may be set to something that cannot be true.
#[derive(Clone)]
pub struct Wav {
    pub magic: [u8; 4],
    pub tag: u16,
    pub channels: u16,
    pub rate: u32,
    pub block: u16,
    pub bits: u16,
    pub extensible: bool,
    /// Chunks before `fmt `.
    pub before: Vec<(Vec<u8>, Vec<u8>)>,
    pub data: Vec<u8>,
    pub data_size: Option<u32>,
    pub riff_size: Option<u32>,
    /// Bytes after the data chunk.
    pub after: Vec<u8>,
}

impl Wav {
    /// `bits` of PCM (tag 1) or float (tag 3).
    pub fn new(tag: u16, bits: u16, channels: u16, rate: u32, data: Vec<u8>) -> Self {
        Self {
            magic: *b"RIFF",
            tag,
            channels,
            rate,
            block: channels.wrapping_mul(bits / 8),
            bits,
            extensible: false,
            before: Vec::new(),
            data,
            data_size: None,
            riff_size: None,
            after: Vec::new(),
        }
    }

    /// 16-bit PCM, samples interleaved.
    pub fn pcm16(channels: u16, rate: u32, samples: &[i16]) -> Self {
        Self::new(1, 16, channels, rate, samples.iter().flat_map(|s| s.to_le_bytes()).collect())
    }

    /// 32-bit float, samples interleaved.
    pub fn float(channels: u16, rate: u32, samples: &[f32]) -> Self {
        Self::new(3, 32, channels, rate, samples.iter().flat_map(|s| s.to_le_bytes()).collect())
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut body = b"WAVE".to_vec();
        for (id, chunk) in &self.before {
            push_chunk(&mut body, id, chunk.len() as u32, chunk);
        }
        push_chunk(&mut body, b"fmt ", self.format().len() as u32, &self.format());
        let size = self.data_size.unwrap_or(self.data.len() as u32);
        push_chunk(&mut body, b"data", size, &self.data);
        body.extend(&self.after);
        let mut file = self.magic.to_vec();
        file.extend(self.riff_size.unwrap_or(body.len() as u32).to_le_bytes());
        file.extend(body);
        file
    }

    fn format(&self) -> Vec<u8> {
        let mut chunk = Vec::new();
        chunk.extend(if self.extensible { 0xFFFE } else { self.tag }.to_le_bytes());
        chunk.extend(self.channels.to_le_bytes());
        chunk.extend(self.rate.to_le_bytes());
        chunk.extend(self.rate.wrapping_mul(u32::from(self.block)).to_le_bytes());
        chunk.extend(self.block.to_le_bytes());
        chunk.extend(self.bits.to_le_bytes());
        if self.extensible {
            chunk.extend(22_u16.to_le_bytes());
            chunk.extend(self.bits.to_le_bytes());
            chunk.extend(0_u32.to_le_bytes());
            chunk.extend(self.tag.to_le_bytes());
            chunk.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]);
        }
        chunk
    }

    /// An RF64 file: the true sizes in a `ds64` chunk, all ones elsewhere.
    pub fn into_rf64(mut self, magic: &[u8; 4]) -> Self {
        let mut sizes = Vec::new();
        for size in [0_u64, self.data.len() as u64, 0] {
            sizes.extend(size.to_le_bytes());
        }
        sizes.extend(0_u32.to_le_bytes());
        self.before.insert(0, (b"ds64".to_vec(), sizes));
        self.magic = *magic;
        self.data_size = Some(u32::MAX);
        self.riff_size = Some(u32::MAX);
        self
    }
}

fn push_chunk(file: &mut Vec<u8>, id: &[u8], size: u32, chunk: &[u8]) {
    file.extend(id);
    file.extend(size.to_le_bytes());
    file.extend(chunk);
    if chunk.len() % 2 == 1 {
        file.push(0);
    }
}

/// A FLAC file of verbatim frames, samples planar.
pub struct Flac<'a> {
    pub rate: u32,
    pub bits: u32,
    /// Samples of a frame (the last may be shorter), the same for every frame.
    pub block: u16,
    /// The total that STREAMINFO states; 0 is "unknown".
    pub total: u64,
    pub channels: &'a [Vec<i32>],
}

impl<'a> Flac<'a> {
    pub fn new(rate: u32, bits: u32, channels: &'a [Vec<i32>]) -> Self {
        Self { rate, bits, block: 64, total: channels[0].len() as u64, channels }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut file = self.header(true);
        file.extend(self.frames());
        file
    }

    /// `fLaC` and STREAMINFO.
    pub fn header(&self, last: bool) -> Vec<u8> {
        let mut bits = Bits::default();
        bits.put(0x664C_6143, 32);
        bits.put(u64::from(last) << 31 | 34, 32);
        bits.put(u64::from(self.block), 16);
        bits.put(u64::from(self.block), 16);
        bits.put(0, 48);
        bits.put(u64::from(self.rate), 20);
        bits.put(self.channels.len() as u64 - 1, 3);
        bits.put(u64::from(self.bits) - 1, 5);
        bits.put(self.total, 36);
        let mut bytes = bits.bytes;
        bytes.extend([0; 16]);
        bytes
    }

    pub fn frames(&self) -> Vec<u8> {
        let length = self.channels[0].len();
        let starts = (0..length).step_by(usize::from(self.block));
        starts.enumerate().flat_map(|(number, start)| self.frame(number as u64, start)).collect()
    }

    fn frame(&self, number: u64, start: usize) -> Vec<u8> {
        let end = self.channels[0].len().min(start + usize::from(self.block));
        let mut bits = Bits::default();
        for channel in self.channels {
            bits.put(0b0000_0010, 8); // verbatim
            for &sample in &channel[start..end] {
                bits.put(sample as u64, self.bits);
            }
        }
        self.frame_of(number, (end - start) as u16, &bits.bytes)
    }

    /// A frame whose checksums are right, whatever it holds.
    pub fn frame_of(&self, number: u64, samples: u16, subframes: &[u8]) -> Vec<u8> {
        Head::new(number, samples, self.channels.len()).frame(subframes)
    }
}

/// The header of a frame: every code may be set to something that cannot be true.
#[derive(Clone, Copy)]
pub struct Head {
    pub by_sample: bool,
    pub number: u64,
    pub samples: u16,
    /// 6 and 7: the number of samples follows, in one byte or two.
    pub size: u8,
    /// 12 to 14: the rate follows.
    pub rate: u8,
    /// Up to 7 so many channels and one more; then left and side, side and right, mid and side.
    pub channels: u8,
    /// 0: the bits of a sample stand in STREAMINFO alone. The lowest of the four bits is reserved.
    pub width: u8,
}

impl Head {
    pub fn new(number: u64, samples: u16, channels: usize) -> Self {
        Self { by_sample: false, number, samples, size: 7, rate: 0, channels: channels as u8 - 1, width: 0 }
    }

    /// The frame, its checksums right.
    pub fn frame(&self, subframes: &[u8]) -> Vec<u8> {
        let mut bits = Bits::default();
        bits.put(0xFFF8 | u64::from(self.by_sample), 16);
        bits.put(u64::from(self.size), 4);
        bits.put(u64::from(self.rate), 4);
        bits.put(u64::from(self.channels), 4);
        bits.put(u64::from(self.width), 4);
        bits.put_number(self.number);
        let size = match self.size {
            6 => 8,
            7 => 16,
            _ => 0,
        };
        bits.put(u64::from(self.samples - 1), size);
        let rate = match self.rate {
            12 => 8,
            13 | 14 => 16,
            _ => 0,
        };
        bits.put(16_000, rate);
        bits.put(u64::from(crc(&bits.bytes, 8, 0x07)), 8);
        let mut bytes = bits.bytes;
        bytes.extend(subframes);
        bytes.extend(crc(&bytes, 16, 0x8005).to_be_bytes());
        bytes
    }
}

/// Bits in the making.
#[derive(Default)]
pub struct Bits {
    pub bytes: Vec<u8>,
    free: u32,
}

impl Bits {
    /// The lowest `count` bits of `value`, the highest first.
    pub fn put(&mut self, value: u64, count: u32) {
        for bit in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << self.free;
        }
    }

    /// A number of up to 36 bits as UTF-8 codes characters.
    fn put_number(&mut self, number: u64) {
        if number < 0x80 {
            return self.put(number, 8);
        }
        let more = (1..7).find(|more| number >> (5 * more + 6) == 0).unwrap();
        self.put(0xFF << (7 - more) & 0xFF | number >> (6 * more), 8);
        (0..more).rev().for_each(|place| self.put(0b10 << 6 | number >> (6 * place) & 0x3F, 8));
    }
}

fn crc(bytes: &[u8], width: u32, polynomial: u16) -> u16 {
    let (top, mask) = (1_u32 << (width - 1), (1_u32 << width) - 1);
    let fold = |crc: u32, &byte: &u8| {
        (0..8).fold(crc ^ u32::from(byte) << (width - 8), |crc, _| {
            (if crc & top == 0 { crc << 1 } else { crc << 1 ^ u32::from(polynomial) }) & mask
        })
    };
    bytes.iter().fold(0, fold) as u16
}

/// A repeatable stream of numbers for test signals (splitmix64).
pub fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
