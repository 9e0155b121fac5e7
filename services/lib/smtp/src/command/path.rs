//! Paths: `<…>` with an optional source route, quoted local parts, and the forms seen in the wild.

/// Cuts a path off the text behind `FROM:` or `TO:`. Gives the address without brackets and route,
/// and the rest of the line.
///
/// Blanks before the path are taken, and so is an address without brackets: the grammar of RFC
/// 5321 section 4.1.2 has neither, but clients send both.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let Some(inner) = text.strip_prefix('<') else {
        let end = text.find([' ', '\t']).unwrap_or(text.len());
        return (end > 0).then(|| text.split_at(end));
    };
    let end = closing_bracket(inner)?;
    let (path, rest) = (&inner[..end], &inner[end + 1..]);
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return None;
    }
    Some((without_route(path.trim())?, rest))
}

/// Where the `>` is that is in no quoted string.
fn closing_bracket(inner: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Source routes are accepted and ignored (RFC 5321 sections 3.6.1 and 4.1.1.3).
fn without_route(path: &str) -> Option<&str> {
    match path.starts_with('@') {
        true => path.split_once(':').map(|(_, address)| address),
        false => Some(path),
    }
}
