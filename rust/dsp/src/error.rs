//! One error for the whole crate. Every variant says what is wrong with the file and what to do about it;
//! the path itself is added by whoever knows it ([`crate::recording`]).

use thiserror::Error;

/// Why a recording cannot be read, or a kernel cannot run.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Error {
    /// The operating system refused: absent, unreadable, a folder.
    #[error("{0}")]
    Io(String),
    /// The bytes are no audio that this crate decodes.
    #[error("{0}")]
    Format(String),
    /// A header that cannot be true, or a size out of range.
    #[error("{0}")]
    Header(String),
    /// Decoded, but unusable: no audio, too short, NaN or infinite samples, a rate below the detector's.
    #[error("{0}")]
    Content(String),
    /// A caller's argument is out of range.
    #[error("{0}")]
    Argument(String),
    /// A NaN or an infinity among the samples of row `row` of a batch.
    #[error("waves: row {row} holds NaN or infinite samples")]
    NonFinite {
        /// The row of the batch.
        row: usize,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What every fallible function of the crate returns.
pub type Result<T> = std::result::Result<T, Error>;
