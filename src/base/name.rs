//! Names of volumes and snapshots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::limits::NAME_BYTES_MAX;

/// The name of a volume or of a snapshot: 1 to 255 bytes, no `/`, no `@`, no control character, not
/// `.` or `..`, not beginning with `-`. Safe as a directory entry and as part of an object key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is no name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid name {name:?}: {reason}")]
pub struct InvalidName {
    name: String,
    reason: &'static str,
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let reason = if text.is_empty() {
            "it is empty; use 1 to 255 bytes"
        } else if text.len() > NAME_BYTES_MAX {
            "it is longer than 255 bytes"
        } else if text == "." || text == ".." || text.contains("..") {
            "it may not contain '..' or be '.'"
        } else if text.contains('/') {
            "it may not contain '/'"
        } else if text.contains('@') {
            "it may not contain '@', which separates a volume from its snapshot"
        } else if text.starts_with('-') {
            "it may not begin with '-'"
        } else if text.chars().any(char::is_control) {
            "it may not contain control characters"
        } else {
            return Ok(Name(text.to_owned()));
        };
        let mut name: String = text.chars().take(64).collect();
        if name.len() < text.len() {
            name.push('…');
        }
        Err(InvalidName { name, reason })
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        for (text, word) in [
            ("", "empty"),
            ("a/b", "'/'"),
            ("..", "'..'"),
            ("a@b", "'@'"),
            ("-x", "'-'"),
            ("a\nb", "control"),
            (&"x".repeat(256), "255"),
        ] {
            let error = text.parse::<Name>().expect_err(text).to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn ordinary_names_are_accepted() {
        for text in ["db", "pg-15.main", "über", &"x".repeat(255)] {
            assert_eq!(text.parse::<Name>().expect(text).as_str(), text);
        }
    }
}
