//! Ready log-mels: what numpy writes, every form of header that it reads, and headers that lie.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use asd_dsp::error::{Error, Remedy};
use asd_dsp::npy::{self, Matrix};
use common::Folder;
use proptest::prelude::*;

/// The header of a matrix (4, 6) of float32 as numpy writes it, without the blanks behind it.
const HEADER: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 6), }\n";

fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let length = match version {
        1 => (header.len() as u16).to_le_bytes().to_vec(),
        _ => (header.len() as u32).to_le_bytes().to_vec(),
    };
    [b"\x93NUMPY".as_slice(), &[version, 0], &length, header.as_bytes(), data].concat()
}

/// A (4, 6) float32 matrix that counts up, behind `header`.
fn counted(header: &str) -> Vec<u8> {
    file(1, header, &(0..24_u8).flat_map(|i| f32::from(i).to_le_bytes()).collect::<Vec<u8>>())
}

fn reason(bytes: &[u8]) -> String {
    npy::decode(bytes, 1.0).unwrap_err().to_string()
}

#[test]
fn what_numpy_writes_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/npy");
    let expected: Vec<f32> = (0..24_u8).map(|i| f32::from(i) / 4.0 - 3.0).collect();
    let mut read = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let matrix = npy::read(&path, 1.0).unwrap();
        assert_eq!(matrix, Matrix { rows: 4, columns: 6, values: expected.clone() }, "{}", path.display());
        read += 1;
    }
    assert_eq!(read, 12, "two types, two orders, three versions");
}

#[test]
fn headers_are_read_as_numpy_reads_them() {
    let expected = npy::decode(&counted(HEADER), 1.0).unwrap();
    for header in [
        "{'shape': (4, 6), 'fortran_order': False, 'descr': '<f4'}",
        "{'shape':(4,6,),\"descr\":\"<f4\",'fortran_order':False}",
        " \t{ 'descr' : '<f4' ,\n 'fortran_order'\r\n: False, 'shape': ( 4 , 6 , ) , } \n\n ",
        "{'descr': '<f2', 'descr': '<f4', 'fortran_order': False, 'shape': (4, 6)}",
    ] {
        for version in 1..=3 {
            let data: Vec<u8> = (0..24_u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
            assert_eq!(npy::decode(&file(version, header, &data), 1.0).unwrap(), expected, "{header:?}");
        }
    }
}

#[test]
fn headers_that_numpy_refuses_are_refused() {
    for header in [
        "",
        "{",
        "{}",
        "(4, 6)",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': [4, 6]}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (04, 6)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -6)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 6,,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4 6)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 99999999999999999999)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (4, 6)}",
        "{'descr': '<f4', 'fortran_order': Falsey, 'shape': (4, 6)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 6), 'more': ''}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 6),,}",
        "{'descr': '<f4' 'fortran_order': False, 'shape': (4, 6)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 6)} 1",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 6)}\0",
        "{'descr': '<f4, 'fortran_order': False, 'shape': (4, 6)}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4, 6)}",
    ] {
        assert_eq!(reason(&counted(header)), "the .npy header is not what numpy.save writes", "{header:?}");
    }
}

#[test]
fn other_arrays_say_what_they_are() {
    let with = |from: &str, to: &str| reason(&counted(&HEADER.replace(from, to)));
    for descr in ["<f8", ">f4", "|O", "<i2", "|b1"] {
        let expected = format!("a matrix of type {descr}; a log-mel is float16 or float32 (<f2 or <f4)");
        assert_eq!(with("<f4", descr), expected);
    }
    let long = with("<f4", &"\u{1b}ü".repeat(1000));
    assert!(long.is_ascii() && long.len() < 150, "{long}");
    assert_eq!(with("(4, 6)", "(24,)"), "an array of 1 dimensions; a log-mel has two, bands by frames");
    assert_eq!(with("(4, 6)", "()"), "an array of 0 dimensions; a log-mel has two, bands by frames");
    let short = "a log-mel of shape (0, 6), which is too short to pool over time";
    assert_eq!(with("(4, 6)", "(0, 6)"), short);
    assert_eq!(with("(4, 6)", "(4, 0)"), short.replace("0, 6", "4, 0"));
    assert_eq!(with("(4, 6)", "(24, 1)"), short.replace("0, 6", "24, 1"));

    assert_eq!(reason(b""), "no .npy matrix");
    assert_eq!(reason(b"\x93NUMP"), "no .npy matrix");
    assert_eq!(reason(b"\x80\x04K*."), "no .npy matrix");
    assert_eq!(reason(b"PK\x03\x04"), "several arrays (.npz) where one was expected");
    assert_eq!(reason(&file(4, HEADER, &[0; 96])), "a .npy file of version 4.0; 1.0 to 3.0 are read");
}

#[test]
fn promises_are_held_against_the_file() {
    let promise = |shape: &str| reason(&counted(&HEADER.replace("(4, 6)", shape)));
    assert_eq!(promise("(5, 6)"), "the .npy header says 5 x 6 values; the file holds 24");
    for shape in ["(4294967296, 4294967296)", "(18446744073709551615, 2)", "(4611686018427387905, 4)"] {
        assert!(promise(shape).ends_with("the file holds 24"), "{shape}");
    }
    let whole = counted(HEADER);
    for length in 6..whole.len() {
        assert!(matches!(npy::decode(&whole[..length], 1.0), Err(Error::Header(_))), "{length} bytes");
    }
    assert_eq!(reason(&file(2, &" ".repeat(10_001), &[])), "the .npy header is too long");
    assert_eq!(reason(b"\x93NUMPY\x02\0\xFF\xFF\xFF\xFF"), "the .npy header is too long");
    let with_more = [whole.clone(), vec![0; 9]].concat();
    assert_eq!(npy::decode(&with_more, 1.0), npy::decode(&whole, 1.0), "bytes behind the matrix");
}

#[test]
fn values_that_are_no_numbers_are_refused() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bytes = counted(HEADER);
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&value.to_le_bytes());
        assert_eq!(reason(&bytes), "it holds NaN or infinite values");
    }
    for value in [0x7C00_u16, 0xFC00, 0x7C01, 0x7E00, 0xFFFF] {
        let header = HEADER.replace("f4", "f2");
        let data: Vec<u8> = [value; 24].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(reason(&file(1, &header, &data)), "it holds NaN or infinite values");
    }
    assert!(npy::decode(&counted(HEADER), f64::MAX).is_err(), "the unit makes them infinite");
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = Folder::new();
    let of = |path: &Path| npy::read(path, 1.0).unwrap_err();
    assert_eq!(
        of(&folder.path().join("none.npy")),
        Error::Io { reason: "there is no such file".to_owned(), remedy: Remedy::CheckPath }
    );
    assert_eq!(of(folder.path()).to_string(), "it is a folder");
    assert_eq!(of(Path::new("/dev/null")).to_string(), "it is no file but a device or a pipe");
    assert_eq!(of(&folder.file("empty.npy", b"")).to_string(), "no .npy matrix");
}

/// A header in one of the ways in which it may be written.
fn header(descr: &str, fortran_order: bool, (rows, columns): (usize, usize), style: u8) -> String {
    let order = if fortran_order { "True" } else { "False" };
    let quote = if style & 1 == 0 { '\'' } else { '"' };
    let gap = if style & 2 == 0 { " " } else { "\n  " };
    let mut entries = [
        format!("{quote}descr{quote}:{gap}{quote}{descr}{quote}"),
        format!("{quote}fortran_order{quote}:{gap}{order}"),
        format!("{quote}shape{quote}:{gap}({rows},{gap}{columns})"),
    ];
    entries.rotate_left(usize::from(style >> 2 & 3) % 3);
    format!("{{{}{}}}{gap}", entries.join(&format!(",{gap}")), if style & 16 == 0 { "" } else { ", " })
}

proptest! {
    #[test]
    fn every_matrix_is_read_bit_for_bit(
        rows in 1_usize..8,
        columns in 2_usize..9,
        seed: u64,
        fortran_order: bool,
        half: bool,
        version in 1_u8..4,
        style in 0_u8..32,
        ln_per_unit in prop_oneof![Just(1.0), Just(10_f64.ln() / 10.0)],
    ) {
        let mut next = common::noise(seed);
        let (mut data, mut stored) = (Vec::new(), Vec::new());
        for _ in 0..rows * columns {
            let random = next();
            if half {
                // Exponents 1 to 30, and zero.
                let fraction = random as u16 & 0x83FF;
                let exponent = (random >> 16) as u16 % 30 + 1;
                data.extend((fraction | exponent << 10).to_le_bytes());
                let size = (1.0 + f64::from(fraction & 0x3FF) / 1024.0) * 2_f64.powi(i32::from(exponent) - 15);
                stored.push(if fraction >> 15 == 0 { size } else { -size });
            } else {
                let value = f32::from_bits(random as u32);
                let value = if value.is_finite() { value } else { 0.0 };
                data.extend(value.to_le_bytes());
                stored.push(f64::from(value));
            }
        }
        let text = header(if half { "<f2" } else { "<f4" }, fortran_order, (rows, columns), style);
        let matrix = npy::decode(&file(version, &text, &data), ln_per_unit).unwrap();
        prop_assert_eq!((matrix.rows, matrix.columns), (rows, columns));
        for row in 0..rows {
            for column in 0..columns {
                let at = if fortran_order { column * rows + row } else { row * columns + column };
                let expected = (stored[at] * ln_per_unit) as f32;
                prop_assert_eq!(matrix.values[row * columns + column].to_bits(), expected.to_bits());
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(version in 0_u8..5, header: String, data: Vec<u8>) {
        let _ = npy::decode(&data, 1.0);
        let _ = npy::decode(&file(version, &header, &data), 1.0);
    }

    #[test]
    fn no_change_of_a_file_makes_it_panic(changes in prop::collection::vec((0_usize..200, any::<u8>()), 1..8)) {
        let mut bytes = counted(HEADER);
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let _ = npy::decode(&bytes, 1.0);
    }
}
