//! Numbers on the command line, and what each must be.

use crate::mask::MOST_LAYERS;
use clap::builder::RangedU64ValueParser;

/// A share from 0 to 1.
pub(super) fn share(text: &str) -> Result<f32, String> {
    let value: f32 = text
        .parse()
        .map_err(|_| format!("`{text}` is not a number"))?;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err("expected a number from 0 to 1".to_owned())
    }
}

pub(in crate::cli) fn not_negative(text: &str) -> Result<f32, String> {
    let value: f32 = text
        .parse()
        .map_err(|_| format!("`{text}` is not a number"))?;
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err("expected a number of at least 0".to_owned())
    }
}

/// A rate such as `6%` or `0.06`.
pub(in crate::cli) fn rate(text: &str) -> Result<f32, String> {
    let (number, whole) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    let value: f64 = number
        .parse()
        .map_err(|_| format!("`{text}` is not a rate"))?;
    match value / whole {
        rate if (0.0..=1.0).contains(&rate) => Ok(rate as f32),
        _ => Err("expected a rate from 0 to 1, or from 0 % to 100 %".to_owned()),
    }
}

/// A number of at least 0, `inf` for no bound.
pub(in crate::cli) fn tolerance(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if value >= 0.0 => Ok(value),
        _ => Err("expected a number of at least 0".to_owned()),
    }
}

/// A count that must not be 0, nor so large that products of it overflow.
pub(in crate::cli) fn some() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1 << 20)
}

/// A count of tokens, which may be 0, but not so large that sums of it overflow.
pub(in crate::cli) fn tokens() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(0..=1 << 24)
}

/// A number of layers or sublayers.
pub(in crate::cli) fn units(text: &str) -> Result<usize, String> {
    const MOST: usize = 2 * MOST_LAYERS;
    match text.parse() {
        Ok(count) if (1..=MOST).contains(&count) => Ok(count),
        _ => Err(format!(
            "expected a number of layers or sublayers from 1 to {MOST}, and no share of the weights"
        )),
    }
}

/// Tokens of a text: one of the prompt and one of the answer, and no more than a dispatch has workgroups.
pub(in crate::cli) fn text_tokens() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(2..=65_535)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a rate is called is what was typed: folders and policies are named after it.
    #[test]
    fn rates_are_exact() {
        for (text, name) in [
            ("15%", "0.15"),
            ("8.3%", "0.083"),
            ("4.1%", "0.041"),
            ("0.25", "0.25"),
        ] {
            assert_eq!(rate(text).map(|rate| rate.to_string()), Ok(name.to_owned()));
        }
        for wrong in ["nan%", "nan", "101%", "-1%", "1.5", "many", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!(tolerance("inf"), Ok(f32::INFINITY));
        assert!(units("6%").is_err() && units("0").is_err() && units("4") == Ok(4));
        assert!(tolerance("nan").is_err() && tolerance("-1").is_err());
    }
}
