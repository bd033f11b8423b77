//! `VOL[@SNAP]`, as operators write it.

use crate::base::InvalidName;
use crate::volume::Source;

/// Parses `VOL` or `VOL@SNAP`.
///
/// # Errors
/// When either part is no name.
pub fn parse_source(text: &str) -> Result<Source, InvalidName> {
    Ok(match text.split_once('@') {
        None => Source { volume: text.parse()?, snapshot: None },
        Some((volume, snapshot)) => Source { volume: volume.parse()?, snapshot: Some(snapshot.parse()?) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_and_an_optional_snapshot_are_told_apart() {
        let source = parse_source("db").expect("valid");
        assert_eq!((source.volume.as_str(), source.snapshot), ("db", None));
        let source = parse_source("db@monday").expect("valid");
        assert_eq!(source.volume.as_str(), "db");
        assert_eq!(source.snapshot.expect("there").as_str(), "monday");
    }

    #[test]
    fn broken_sources_are_refused() {
        for text in [
            "",
            "@",
            "db@",
            "@snap",
            "a@b@c",
            "../x",
            "a/b",
            &"x".repeat(256),
            &format!("db@{}", "x".repeat(256)),
        ] {
            assert!(parse_source(text).is_err(), "{text}");
        }
    }
}
