//! One kind of error: a sentence. A benchmark either measures or says what stopped it.

use std::fmt;
use std::path::Path;

/// Why nothing was measured.
#[derive(Debug)]
pub struct Failure(String);

pub type Outcome<T> = Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A failure that is its own cause.
pub fn message(text: impl Into<String>) -> Failure {
    Failure(text.into())
}

/// What was tried, and why it failed.
pub fn failed(what: impl fmt::Display, why: impl fmt::Display) -> Failure {
    Failure(format!("{what}: {why}"))
}

/// Says what was tried, on errors of any kind.
pub trait Tried<T> {
    fn tried(self, what: &str) -> Outcome<T>;
    fn tried_on(self, what: &str, path: &Path) -> Outcome<T>;
}

impl<T, E: fmt::Display> Tried<T> for Result<T, E> {
    fn tried(self, what: &str) -> Outcome<T> {
        self.map_err(|why| failed(what, why))
    }

    fn tried_on(self, what: &str, path: &Path) -> Outcome<T> {
        self.map_err(|why| failed(format!("{what} {}", path.display()), why))
    }
}
