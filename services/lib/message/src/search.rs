//! Substring search in text that is read in chunks (RFC 3501 section 6.4.4: SEARCH BODY, TEXT).

/// Looks for a text, without regard to case, in text fed in chunks.
pub struct Searcher {
    needle: String,
    window: String,
    found: bool,
}

impl Searcher {
    /// A search for `needle`. An empty one is found in every text.
    pub fn new(needle: &str) -> Self {
        let needle = fold(needle);
        let found = needle.is_empty();
        Self {
            needle,
            window: String::new(),
            found,
        }
    }

    /// Takes the next text; true once the needle has been found.
    pub fn feed(&mut self, text: &str) -> bool {
        if self.found {
            return true;
        }
        self.window.push_str(&fold(text));
        self.found = memchr::memmem::find(self.window.as_bytes(), self.needle.as_bytes()).is_some();
        // What is left could be the needle's beginning.
        let mut keep_from = (self.window.len() + 1).saturating_sub(self.needle.len());
        while !self.window.is_char_boundary(keep_from) {
            keep_from -= 1;
        }
        self.window.drain(..keep_from);
        self.found
    }

    /// Forgets the text so far, so that a match does not span two parts; what was found stays.
    pub fn next_text(&mut self) {
        self.window.clear();
    }

    /// Whether the needle has been found.
    pub fn found(&self) -> bool {
        self.found
    }
}

/// One spelling for all cases and all blanks.
fn fold(text: &str) -> String {
    match text.is_ascii() {
        true => text.to_ascii_lowercase(),
        // Upper case first, so that letters with several small forms meet.
        false => text
            .chars()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_does_not_matter_and_chunks_join() {
        let mut searcher = Searcher::new("Straße ÉTÉ");
        assert!(!searcher.feed("in der STRAS"));
        assert!(searcher.feed("SE été"));
        let mut parts = Searcher::new("ab");
        assert!(!parts.feed("a"));
        parts.next_text();
        assert!(!parts.feed("b"));
        assert!(Searcher::new("").found());
    }

    proptest! {
        #[test]
        fn a_needle_is_found_across_any_cut(
            before in "[abé]{0,8}", needle in "[abé]{1,4}", after in "[abé]{0,8}", cut in 0usize..20,
        ) {
            let text = format!("{before}{needle}{after}");
            let mut cut = cut.min(text.len());
            while !text.is_char_boundary(cut) {
                cut -= 1;
            }
            let mut searcher = Searcher::new(&needle);
            searcher.feed(&text[..cut]);
            prop_assert!(searcher.feed(&text[cut..]));
        }
    }
}
