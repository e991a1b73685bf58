//! The nearest of some names to one that was mistyped, by edit distance.
//!
//! The distance counts insertions, deletions, replacements and swaps of neighbours, each once (optimal string
//! alignment): a swap is the commonest slip and should not count as two.

/// The error for a name that is none of `known`: it names the nearest one, or all of them when none is near.
pub fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("there is no {kind} `{name}`; did you mean `{near}`?"),
        None => {
            let all: Vec<_> = known.collect();
            format!("there is no {kind} `{name}`; there are: {}", all.join(", "))
        }
    }
}

/// The name nearest to `typed`, if one is near enough to be what was meant: within a third of its length, at least
/// one and at most three edits. Of several equally near, the first.
fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (typed.chars().count() / 3).clamp(1, 3);
    names
        .map(|name| (distance(typed, name), name))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    // Three rows of the table suffice: a swap looks two rows back.
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("test", "tset", 1),
            ("lint", "lint", 0),
            ("demo", "dem", 1),
        ] {
            assert_eq!(distance(a, b), d, "{a} {b}");
            assert_eq!(distance(b, a), d, "{b} {a}");
        }
    }

    #[test]
    fn what_is_far_is_not_offered() {
        assert_eq!(nearest("x", ["demo", "test"].into_iter()), None);
        assert_eq!(
            nearest("gosceh", ["gomem", "gosched"].into_iter()),
            Some("gosched")
        );
    }
}
