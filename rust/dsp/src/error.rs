//! One error for the whole crate: what is wrong ([`std::fmt::Display`], one line without the path) and what to
//! do about it ([`Error::hint`], a line that names the file and, where one exists, the command that helps).

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a recording cannot be read, or a kernel cannot run.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Error {
    /// The operating system refused: absent, a folder, no permission.
    #[error("{reason}")]
    Io {
        /// One line, without the path.
        reason: String,
        /// What helps.
        remedy: Remedy,
    },
    /// The bytes are nothing that this crate decodes.
    #[error("{reason}")]
    Format {
        /// One line, without the path.
        reason: String,
        /// What helps.
        remedy: Remedy,
    },
    /// A header that cannot be true, or that stops too early.
    #[error("{0}")]
    Header(String),
    /// Decoded, or half decoded, but unusable: broken frames, no samples, too short, NaN, a rate below the
    /// detector's, a channel that is not there.
    #[error("{reason}")]
    Content {
        /// One line, without the path.
        reason: String,
        /// What helps.
        remedy: Remedy,
    },
    /// A caller's argument is out of range.
    #[error("{0}")]
    Argument(String),
    /// A NaN or an infinity among the samples of row `row` of a batch.
    #[error("waves: row {row} holds NaN or infinite samples")]
    NonFinite {
        /// The row of the batch.
        row: usize,
    },
    /// Another error, of one file among many.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<Error>,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What every fallible function of the crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What helps against an error of one file. [`Error::hint`] puts it into words, with the file's own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing lies at the path.
    CheckPath,
    /// The path is a folder: name the files in it.
    NameFiles,
    /// The file may not be read by this user.
    GrantAccess,
    /// Audio of another format: ffmpeg converts it.
    Convert,
    /// Damaged on the way, or never finished.
    CopyAgain,
    /// No audio at all.
    LookInside,
    /// Sound, but unusable.
    LeaveOut,
    /// The rate lies below the detector's.
    AllowUpsampling,
    /// The recording has this many channels, counted from 0.
    ChooseChannel(usize),
    /// The file is not what it was when the set was looked at.
    StartAgain,
}

impl Error {
    pub(crate) fn io(reason: impl Into<String>, remedy: Remedy) -> Self {
        Self::Io { reason: reason.into(), remedy }
    }

    pub(crate) fn format(reason: impl Into<String>, remedy: Remedy) -> Self {
        Self::Format { reason: reason.into(), remedy }
    }

    pub(crate) fn content(reason: impl Into<String>, remedy: Remedy) -> Self {
        Self::Content { reason: reason.into(), remedy }
    }

    /// This error as that of the file at `path`.
    pub(crate) fn of_file(self, path: &Path) -> Self {
        match self {
            Self::Interrupted => Self::Interrupted,
            error => Self::File { path: path.to_path_buf(), error: Box::new(error) },
        }
    }

    /// What a kernel says of samples, as an error of the recording that they come from.
    pub(crate) fn of_recording(self) -> Self {
        match self {
            Self::NonFinite { .. } => Self::content("holds NaN or infinite samples", Remedy::LeaveOut),
            Self::Argument(reason) => Self::content(reason, Remedy::LeaveOut),
            other => other,
        }
    }

    /// What to do about it, for the file at `path`; empty where the file is not to blame.
    #[must_use]
    pub fn hint(&self, path: &Path) -> String {
        match self {
            Self::Io { remedy, .. } | Self::Format { remedy, .. } | Self::Content { remedy, .. } => {
                remedy.in_words(path)
            }
            Self::Header(_) => Remedy::CopyAgain.in_words(path),
            Self::File { path, error } => error.hint(path),
            Self::Argument(_) | Self::NonFinite { .. } | Self::Interrupted => String::new(),
        }
    }
}

impl Remedy {
    fn in_words(self, path: &Path) -> String {
        let file = quoted(path);
        match self {
            Self::CheckPath => match path.ancestors().skip(1).find(|folder| folder.is_dir()) {
                Some(folder) => format!("see what is there: ls {}", quoted(folder)),
                None => "see what is there: ls".to_owned(),
            },
            Self::NameFiles => format!("name the recordings in it: {file}/*.wav"),
            Self::GrantAccess => format!("allow reading it: chmod u+r {file}"),
            Self::Convert => {
                format!("convert it: ffmpeg -i {file} -ac 1 -ar 16000 {}", quoted(&converted(path)))
            }
            Self::CopyAgain => format!("copy or record it again, or leave it out: {file}"),
            Self::LookInside => format!("see what it is, and leave it out: file {file}"),
            Self::LeaveOut => format!("leave it out: {file}"),
            Self::AllowUpsampling => {
                "read it all the same, without its missing upper band: --allow-upsampling".to_owned()
            }
            Self::StartAgain => "start again, while nothing writes to the recordings".to_owned(),
            Self::ChooseChannel(channels) => match channels {
                1 => "take the only one: channel 0".to_owned(),
                _ => format!("take one of 0 to {}, or their mean", channels - 1),
            },
        }
    }
}

/// Where the WAV made of `path` goes: beside it, never onto it.
fn converted(path: &Path) -> std::path::PathBuf {
    let is_wav = path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("wav"));
    if !is_wav {
        return path.with_extension("wav");
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-pcm.wav"))
}

/// The path as a POSIX shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%*".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
