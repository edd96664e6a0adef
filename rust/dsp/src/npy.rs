//! `.npy` bytes -> a ready log-mel: a little-endian float16 or float32 matrix (F, T), in C or Fortran order.
//!
//! Source of the format: numpy.lib.format, versions 1.0 to 3.0. Its header is a Python dict, but `numpy.save` writes
//! one form of it, and a parser of that form is short. The crates for it (`npyz`, `ndarray-npy`) read any Python
//! literal, with a grammar, big integers and some thirty crates below them; both allocate the length that a header
//! states before they look for its bytes, and `npyz` multiplies the shape unchecked.
//!
//! Read is what numpy reads: keys in any order, blanks anywhere, either quote, bytes behind the matrix. Left out is
//! the Python that no writer of matrices uses: escapes, prefixes, comments, long integers, types without a byte order.

use std::path::Path;

use half::f16;

use crate::error::{Error, Remedy, Result};
use crate::recording::Source;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header that numpy reads, bytes.
const LONGEST_HEADER: usize = 10_000;

/// Fewest frames that can be pooled over time.
const FEWEST_FRAMES: usize = 2;

/// A log-mel as it is stored, times `ln_per_unit` in float64, rounded to float32.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// F, mel bands.
    pub rows: usize,
    /// T, frames.
    pub columns: usize,
    /// (F, T), row by row.
    pub values: Vec<f32>,
}

/// Reads a `.npy` file; `ln_per_unit` is 1 for natural logarithms and ln(10) / 10 for decibels.
///
/// # Errors
/// [`Error::Io`], and all of [`decode`].
pub fn read(path: &Path, ln_per_unit: f64) -> Result<Matrix> {
    let mut bytes = Vec::new();
    Source::open(path)?.read(&mut bytes)?;
    decode(&bytes, ln_per_unit)
}

/// Decodes the bytes of a `.npy` file.
///
/// # Errors
/// [`Error::Format`] where this is no `.npy`, or not a matrix of float16 or float32; [`Error::Header`] where the
/// header is damaged or promises more than there is; [`Error::Content`] for fewer than 2 frames, and for NaN or
/// infinite values.
pub fn decode(bytes: &[u8], ln_per_unit: f64) -> Result<Matrix> {
    let (text, data) = split(bytes)?;
    let header = Literal(text).header().ok_or_else(|| damaged("is not what numpy.save writes"))?;
    let (rows, columns) = header.matrix()?;
    let width = header.width()?;
    let size = rows.checked_mul(columns).and_then(|values| values.checked_mul(width));
    let Some(data) = size.and_then(|size| data.get(..size)) else {
        let there = data.len() / width;
        return Err(Error::Header(format!(
            "the .npy header says {rows} x {columns} values; the file holds {there}"
        )));
    };
    if rows == 0 || columns < FEWEST_FRAMES {
        let reason = format!("a log-mel of shape ({rows}, {columns}), which is too short to pool over time");
        return Err(Error::content(reason, Remedy::LeaveOut));
    }
    let ln = |stored: f64| (stored * ln_per_unit) as f32;
    let stride = if header.fortran_order { rows } else { 1 };
    let values = match width {
        2 => row_by_row(data, stride, |b| ln(f16::from_le_bytes(b).to_f64())),
        _ => row_by_row(data, stride, |b| ln(f64::from(f32::from_le_bytes(b)))),
    };
    if values.iter().all(|value: &f32| value.is_finite()) {
        return Ok(Matrix { rows, columns, values });
    }
    Err(Error::content("it holds NaN or infinite values", Remedy::LeaveOut))
}

/// The text of the header, and the bytes behind it.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        let what = if bytes.starts_with(b"PK") {
            "several arrays (.npz) where one was expected"
        } else {
            "no .npy matrix"
        };
        return Err(Error::format(what, Remedy::LookInside));
    };
    let (length, rest) = match *rest {
        [1, 0, a, b, ref rest @ ..] => (usize::from(u16::from_le_bytes([a, b])), rest),
        [2 | 3, 0, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]) as usize, rest),
        [1..=3, 0, ..] | [] | [_] => return Err(damaged("is cut off")),
        [major, minor, ..] => {
            let what = format!("a .npy file of version {major}.{minor}; 1.0 to 3.0 are read");
            return Err(Error::format(what, Remedy::LookInside));
        }
    };
    if length > LONGEST_HEADER {
        return Err(damaged("is too long"));
    }
    rest.split_at_checked(length).ok_or_else(|| damaged("is cut off"))
}

/// The values of `data`, which holds `stride` rows column by column; in C order, that is one row of them all.
fn row_by_row<const W: usize>(data: &[u8], stride: usize, value: impl Fn([u8; W]) -> f32) -> Vec<f32> {
    let (words, _) = data.as_chunks::<W>();
    if stride == 1 {
        return words.iter().map(|&word| value(word)).collect();
    }
    let mut values = Vec::with_capacity(words.len());
    for row in 0..stride {
        values.extend(words.iter().skip(row).step_by(stride).map(|&word| value(word)));
    }
    values
}

/// What the header says.
struct Header<'a> {
    descr: &'a [u8],
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header<'_> {
    fn matrix(&self) -> Result<(usize, usize)> {
        match self.shape[..] {
            [rows, columns] => Ok((rows, columns)),
            _ => Err(Error::format(
                format!("an array of {} dimensions; a log-mel has two, bands by frames", self.shape.len()),
                Remedy::LookInside,
            )),
        }
    }

    /// Bytes of a value.
    fn width(&self) -> Result<usize> {
        match self.descr {
            b"<f2" => Ok(2),
            b"<f4" => Ok(4),
            other => Err(Error::format(
                format!(
                    "a matrix of type {}; a log-mel is float16 or float32 (<f2 or <f4)",
                    other[..other.len().min(16)].escape_ascii()
                ),
                Remedy::LookInside,
            )),
        }
    }
}

/// What is left of a Python literal.
struct Literal<'a>(&'a [u8]);

impl<'a> Literal<'a> {
    /// The whole literal: a dict of just the three keys. As in Python, the last of equal keys counts.
    fn header(mut self) -> Option<Header<'a>> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.take(b"{")?;
        while self.take(b"}").is_none() {
            let key = self.string()?;
            self.take(b":")?;
            match key {
                b"descr" => descr = Some(self.string()?),
                b"fortran_order" => fortran_order = Some(self.boolean()?),
                b"shape" => shape = Some(self.shape()?),
                _ => return None,
            }
            self.comma(b"}")?;
        }
        let nothing_left = self.0.trim_ascii_start().is_empty();
        nothing_left.then_some(Header { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }

    /// Steps over blanks and then `token`, or stays where it is.
    fn take(&mut self, token: &[u8]) -> Option<()> {
        self.0 = self.0.trim_ascii_start().strip_prefix(token)?;
        Some(())
    }

    /// A comma, which may be missing before the bracket that closes.
    fn comma(&mut self, closing: &[u8]) -> Option<()> {
        self.take(b",").or_else(|| self.0.trim_ascii_start().starts_with(closing).then_some(()))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let (&quote, rest) = self.0.trim_ascii_start().split_first()?;
        if quote != b'\'' && quote != b'"' {
            return None;
        }
        let end = rest.iter().position(|&byte| byte == quote)?;
        self.0 = &rest[end + 1..];
        Some(&rest[..end])
    }

    fn boolean(&mut self) -> Option<bool> {
        self.take(b"True").map(|()| true).or_else(|| self.take(b"False").map(|()| false))
    }

    /// A tuple of whole numbers.
    fn shape(&mut self) -> Option<Vec<usize>> {
        let mut shape = Vec::new();
        self.take(b"(")?;
        while self.take(b")").is_none() {
            let text = self.0.trim_ascii_start();
            let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (number, rest) = text.split_at(digits);
            let padded = number.len() > 1 && number[0] == b'0';
            shape.push(std::str::from_utf8(number).ok().filter(|_| !padded)?.parse().ok()?);
            self.0 = rest;
            self.comma(b")")?;
        }
        Some(shape)
    }
}

fn damaged(how: &str) -> Error {
    Error::Header(format!("the .npy header {how}"))
}
