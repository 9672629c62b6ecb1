//! Which key was meant by one that is not known.

/// The known key that was meant: one that begins or ends with this name (`allow_debug`, but for its `danger_`), or one
/// that is at most a third of its letters away (Damerau-Levenshtein, adjacent transpositions).
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let part = |k: &&&str| name.len() >= 4 && (k.starts_with(name) || k.ends_with(name));
    if let Some(whole) = known.iter().find(part) {
        return Some(whole);
    }
    let (distance, near) = known.iter().map(|k| (distance(name, k), *k)).min()?;
    (distance <= near.len().div_ceil(3)).then_some(near)
}

fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_keys_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("lsiten", &["listen", "target"]), Some("listen"));
        assert_eq!(nearest("upsteam", &["upstream", "downstream"]), Some("upstream"));
        assert_eq!(nearest("allow_debug", &["debug", "danger_allow_debug"]), Some("danger_allow_debug"));
        assert_eq!(nearest("colour", &["listen", "target"]), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
