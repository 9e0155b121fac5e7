//! The wildcards of LIST and LSUB (RFC 3501 section 6.3.8).

/// A pattern: `*` stands for any text, `%` for any text without the separator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    separator: char,
}

impl Pattern {
    /// The pattern `reference` and `pattern` make together: a pattern that starts with the
    /// separator is absolute, otherwise the reference stands before it.
    pub fn new(reference: &str, pattern: &str, separator: char) -> Self {
        let text = match pattern.starts_with(separator) {
            true => pattern.to_owned(),
            false => format!("{reference}{pattern}"),
        };
        Self {
            text: fold_inbox(&text, separator).into(),
            separator,
        }
    }

    /// Whether `name` matches. Takes time in proportion to the product of both lengths at most.
    pub fn matches(&self, name: &str) -> bool {
        // Which positions of the pattern are reachable after each character of the name.
        let pattern: Vec<char> = self.text.chars().collect();
        let mut reachable = vec![false; pattern.len() + 1];
        reachable[0] = true;
        skip_wildcards(&pattern, &mut reachable);
        for c in name.chars() {
            let mut next = vec![false; pattern.len() + 1];
            for (at, wanted) in pattern.iter().enumerate().filter(|(at, _)| reachable[*at]) {
                match wanted {
                    '*' => next[at] = true,
                    '%' if c != self.separator => next[at] = true,
                    wanted if *wanted == c => next[at + 1] = true,
                    _ => {}
                }
            }
            skip_wildcards(&pattern, &mut next);
            reachable = next;
        }
        reachable[pattern.len()]
    }
}

/// A wildcard also stands for nothing.
fn skip_wildcards(pattern: &[char], reachable: &mut [bool]) {
    for (at, c) in pattern.iter().enumerate() {
        if reachable[at] && matches!(c, '*' | '%') {
            reachable[at + 1] = true;
        }
    }
}

/// INBOX is found in any case (RFC 3501 section 5.1).
fn fold_inbox(text: &str, separator: char) -> String {
    let (first, rest) = match text.find(separator) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    match first.get(..5) {
        Some(head) if head.eq_ignore_ascii_case("INBOX") && is_wild(&first[5..]) => {
            format!("INBOX{}{rest}", &first[5..])
        }
        _ => text.to_owned(),
    }
}

fn is_wild(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '*' | '%'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(reference: &str, pattern: &str, name: &str) -> bool {
        Pattern::new(reference, pattern, '/').matches(name)
    }

    #[test]
    fn percent_stops_at_the_separator_and_star_does_not() {
        for (pattern, name, expected) in [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("%", "a", true),
            ("%/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("a*c", "a/b/c", true),
            ("a%c", "abc", true),
            ("a%c", "a/c", false),
            ("%b*", "ab/c", true),
            ("inbox", "INBOX", true),
            ("Inbox/*", "INBOX/x", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "A", false),
            ("*%*%", "x", true),
        ] {
            assert_eq!(matches("", pattern, name), expected, "{pattern} {name}");
        }
        assert!(matches("a/", "%", "a/b"));
        assert!(!matches("a/", "/b", "a/b"));
    }

    #[test]
    fn many_wildcards_cost_no_exponential_time() {
        assert!(!matches("", &"*a".repeat(200), &"a".repeat(199)));
    }

    /// The obvious definition, exponential in the worst case.
    fn model(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(('*', rest)), None) | (Some(('%', rest)), None) => model(rest, name),
            (Some(('*', rest)), Some((_, tail))) => model(rest, name) || model(pattern, tail),
            (Some(('%', rest)), Some((c, tail))) => {
                model(rest, name) || (*c != '/' && model(pattern, tail))
            }
            (Some(_), None) => false,
            (Some((p, rest)), Some((c, tail))) => p == c && model(rest, tail),
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab/*%]{0,8}", name in "[ab/]{0,8}") {
            let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            let subject = Pattern { text: pattern.into(), separator: '/' };
            prop_assert_eq!(subject.matches(&name), model(&p, &n));
        }
    }
}
