//! Sizes as people write them: `64M`, `10G`, `1.5 TiB`. Units are binary throughout.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const UNITS: [(char, u32); 6] = [('K', 10), ('M', 20), ('G', 30), ('T', 40), ('P', 50), ('E', 60)];

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Size {
    pub bytes: u64,
}

/// Why a text is no size.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid size {text:?}: {reason}")]
pub struct InvalidSize {
    text: String,
    reason: &'static str,
}

impl FromStr for Size {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        parse(text.trim())
            .map(|bytes| Size { bytes })
            .map_err(|reason| InvalidSize { text: text.chars().take(32).collect(), reason })
    }
}

fn parse(text: &str) -> Result<u64, &'static str> {
    const FORM: &str = "write a number with K, M, G, T, P or E, as in 512M or 1.5T";
    const TOO_LARGE: &str = "it does not fit in 64 bits";
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = parse_unit(unit.trim_start()).ok_or(FORM)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(FORM);
    }
    let whole: u64 = whole.parse().map_err(|_| TOO_LARGE)?;
    let bytes = whole.checked_mul(1 << shift).ok_or(TOO_LARGE)?;
    // Nine digits are more precise than any size wants; the rest is cut off.
    let (mut parts, mut scale) = (0_u128, 1_u128);
    for digit in fraction.bytes().take(9) {
        parts = parts * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    let rest = u64::try_from((parts << shift) / scale).map_err(|_| TOO_LARGE)?;
    bytes.checked_add(rest).ok_or(TOO_LARGE)
}

/// The binary logarithm of a unit: `""`, `B`, `G`, `GB` and `GiB`, in either case.
fn parse_unit(unit: &str) -> Option<u32> {
    let upper = unit.to_ascii_uppercase();
    if upper.is_empty() || upper == "B" {
        return Some(0);
    }
    let (&(_, shift), rest) =
        UNITS.iter().find_map(|entry| upper.strip_prefix(entry.0).map(|rest| (entry, rest)))?;
    matches!(rest, "" | "B" | "IB").then_some(shift)
}

impl fmt::Display for Size {
    /// The largest unit that leaves a number of at least one, with one decimal where it says more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match UNITS.iter().rev().find(|(_, shift)| self.bytes >> shift > 0) {
            None => format!("{} B", self.bytes),
            Some(&(letter, shift)) => {
                let tenths = (u128::from(self.bytes) * 10) >> shift;
                let (whole, tenth) = (tenths / 10, tenths % 10);
                if tenth == 0 { format!("{whole} {letter}iB") } else { format!("{whole}.{tenth} {letter}iB") }
            }
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> u64 {
        text.parse::<Size>().expect(text).bytes
    }

    #[test]
    fn units_are_binary_in_any_spelling() {
        for text in ["10G", "10g", "10GB", "10GiB", "10 GiB", "10240M"] {
            assert_eq!(bytes(text), 10 << 30, "{text}");
        }
        assert_eq!(bytes("0"), 0);
        assert_eq!(bytes("4096"), 4096);
        assert_eq!(bytes("4096B"), 4096);
        assert_eq!(bytes("1.5K"), 1536);
        assert_eq!(bytes("15E"), 15 << 60);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "G", "-1", "1.2.3", "1.", ".5", "10X", "10GG", "1e3", "16E", "99999999999999999999"]
        {
            let error = text.parse::<Size>().expect_err(text).to_string();
            assert!(error.starts_with("invalid size"), "{error}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_fitting_unit() {
        for (bytes, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (u64::MAX, "15.9 EiB")]
        {
            assert_eq!(Size { bytes }.to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,40}") {
            let _ = text.parse::<Size>();
        }

        #[test]
        fn plain_numbers_are_bytes(bytes: u64) {
            prop_assert_eq!(bytes.to_string().parse::<Size>(), Ok(Size { bytes }));
        }
    }
}
