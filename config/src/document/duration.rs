//! Durations as people write them: `500ms`, `10s`, `1h30m`.

use std::time::Duration;

/// Reads numbers with units from the largest to the smallest (`d`, `h`, `m`, `s`, `ms`), each at most once.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration");
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| format!("`{text}` has no unit"))?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        // The iterator goes on where the last unit was found, so that order and uniqueness come of themselves.
        let (_, millis) = units.find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        total += Duration::from_millis(number.checked_mul(*millis).ok_or_else(wrong)?);
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// The shortest form that [`parse_duration`] reads back.
pub(crate) fn show_duration(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    let mut text = String::new();
    for (unit, size) in UNITS {
        let size = u128::from(*size);
        if millis >= size {
            text.push_str(&format!("{}{unit}", millis / size));
            millis %= size;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// In milliseconds, from the largest.
const UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows() {
        for (text, millis) in
            [("500ms", 500), ("10s", 10_000), ("10m", 600_000), ("1h30m", 5_400_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
            assert_eq!(show_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(show_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "10",
            "s",
            "10x",
            "1m1h",
            "1s1s",
            "-1s",
            "1.5s",
            " 1s",
            "18446744073709551616s",
            "18446744073709551615d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_duration("10"), Err("`10` has no unit".into()));
    }
}
