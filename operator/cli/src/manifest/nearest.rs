//! Which known name somebody may have meant.

/// The nearest of the known names, if it is near enough to be meant.
pub(crate) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let tolerated = written.chars().count() / 3 + 1;
    known
        .map(|name| (distance(&written.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, name)| name)
}

/// How many characters must be changed, added or taken away (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_was_meant_and_nothing_far_fetched() {
        let known = ["deliverTo", "domains", "recipients"];
        assert_eq!(nearest("deliverToo", known.into_iter()), Some("deliverTo"));
        assert_eq!(nearest("deliverto", known.into_iter()), Some("deliverTo"));
        assert_eq!(nearest("domain", known.into_iter()), Some("domains"));
        assert_eq!(nearest("quarantine", known.into_iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
