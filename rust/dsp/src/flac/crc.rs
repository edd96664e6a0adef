//! The checksums of frames and of their headers: cyclic redundancy checks, the highest bit first, from 0.

/// A checksum by its polynomial: `TABLES[n][byte]` is that of the byte with n zeros behind it.
pub struct Crc([[u16; 256]; BYTES]);

/// Bytes that are looked up together.
const BYTES: usize = 16;

/// x^16 + x^15 + x^2 + 1: of data and their checksum it is 0.
pub static FRAME: Crc = Crc::new(0x8005);

/// x^8 + x^2 + x + 1, in the upper 8 bits, likewise.
pub static HEADER: Crc = Crc::new(0x0700);

impl Crc {
    const fn new(polynomial: u16) -> Self {
        let mut tables = [[0; 256]; BYTES];
        let mut byte = 0;
        while byte < 256 {
            let mut sum = (byte as u16) << 8;
            let mut table = 0;
            while table < BYTES {
                let mut bit = 0;
                while bit < 8 {
                    sum = sum << 1 ^ if sum >> 15 == 0 { 0 } else { polynomial };
                    bit += 1;
                }
                tables[table][byte] = sum;
                table += 1;
            }
            byte += 1;
        }
        Self(tables)
    }

    /// The checksum of `bytes`.
    pub fn of(&self, bytes: &[u8]) -> u16 {
        let (blocks, rest) = bytes.as_chunks::<BYTES>();
        let sum = blocks.iter().fold(0_u16, |sum, block| {
            let [high, low] = sum.to_be_bytes();
            let of = |index: usize, byte: u8| self.0[BYTES - 1 - index][usize::from(byte)];
            let of_others = (2..BYTES).fold(0, |sum, index| sum ^ of(index, block[index]));
            of_others ^ (of(0, block[0] ^ high) ^ of(1, block[1] ^ low))
        });
        rest.iter().fold(sum, |sum, byte| sum << 8 ^ self.0[0][usize::from((sum >> 8) as u8 ^ byte)])
    }
}
