//! Every seed of the fuzz targets, and every input that once broke a decoder, through all decoders again.
#![allow(clippy::unwrap_used)]

#[path = "../../fuzz/src/checks.rs"]
mod checks;
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::Folder;

/// Targets with seeds of their own, and the folders of what they found.
const SEEDS: [&str; 3] = ["wav", "flac", "npy"];
const FINDS: [&str; 4] = ["wav", "flac", "npy", "recording"];

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn seeds(target: &str) -> Vec<PathBuf> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target))
}

fn finds(target: &str) -> Vec<PathBuf> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz_finds").join(target))
}

#[test]
fn nothing_breaks_a_decoder_again() {
    let folder = Folder::new();
    let all = SEEDS.iter().flat_map(|target| seeds(target));
    for path in all.chain(FINDS.iter().flat_map(|target| finds(target))) {
        eprintln!("{}", path.display());
        let bytes = fs::read(&path).unwrap();
        checks::wav(&bytes);
        checks::flac(&bytes);
        checks::npy(&bytes);
        checks::recording(&bytes, &folder.path().join("file"));
    }
}

#[test]
fn every_seed_is_accepted() {
    for target in ["wav", "flac"] {
        let seeds = seeds(target);
        assert!(!seeds.is_empty());
        for path in seeds {
            assert!(asd_dsp::recording::decode(&path).is_ok(), "{}", path.display());
        }
    }
}

#[test]
fn checksums_are_set_right() {
    for path in seeds("flac") {
        if path.ends_with("silence.flac") {
            continue; // of more than one frame
        }
        let whole = fs::read(&path).unwrap();
        let mut broken = whole.clone();
        let end = broken.len() - 2;
        broken[end] ^= 0x55;
        assert!(asd_dsp::flac::decode(&broken, Vec::new()).is_err());
        assert_eq!(checks::repaired(&broken).unwrap(), whole, "{}", path.display());
    }
}
