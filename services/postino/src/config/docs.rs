//! What the settings' own types say of them: the doc comments of the configuration structs, read
//! out of the sources that this binary is made from. So there is no second list that could differ.

use std::collections::BTreeMap;

/// Where the structs are that make up [`super::Config`].
const SOURCES: [&str; 14] = [
    include_str!("../config.rs"),
    include_str!("../listen.rs"),
    include_str!("../../../store/src/config.rs"),
    include_str!("../../../routing/src/config.rs"),
    include_str!("../../../queue/src/config.rs"),
    include_str!("../../../ingress/src/config.rs"),
    include_str!("../../../access/src/config.rs"),
    include_str!("../../../access/src/imap/config.rs"),
    include_str!("../../../access/src/pop3/config.rs"),
    include_str!("../../../lib/config/src/shared.rs"),
    include_str!("../../../lib/net/src/config.rs"),
    include_str!("../../../lib/telemetry/src/init.rs"),
    include_str!("../../../lib/client/src/store/settings.rs"),
    include_str!("../../../lib/client/src/routing.rs"),
];

/// What marks a struct as one of settings.
const MARK: &str = "#[serde(default, deny_unknown_fields)]";

/// A struct of settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    /// Its lines of documentation.
    pub(super) doc: Vec<&'static str>,
    /// Its settings, in order.
    pub(super) fields: Vec<Field>,
}

/// One setting.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// Its type as it is written.
    pub(super) kind: &'static str,
    /// Its lines of documentation.
    pub(super) doc: Vec<&'static str>,
}

/// All structs of settings by their name.
pub(super) fn sections() -> BTreeMap<&'static str, Section> {
    SOURCES.iter().flat_map(|source| parse(source)).collect()
}

/// The structs of settings in a source.
fn parse(source: &'static str) -> Vec<(&'static str, Section)> {
    let mut found: Vec<(&'static str, Section)> = Vec::new();
    let (mut doc, mut marked, mut within) = (Vec::new(), false, false);
    for line in source.lines() {
        let text = line.trim();
        if let Some(comment) = text.strip_prefix("///") {
            doc.push(comment.strip_prefix(' ').unwrap_or(comment));
            continue;
        }
        if text.starts_with("#[") {
            marked |= text == MARK;
            continue;
        }
        let item = text
            .strip_prefix("pub ")
            .or_else(|| text.strip_prefix("pub(crate) "));
        let name = item
            .and_then(|item| item.strip_prefix("struct "))
            .and_then(|rest| rest.strip_suffix(" {"));
        let field = item
            .and_then(|item| item.strip_suffix(','))
            .and_then(|item| item.split_once(": "));
        match (name, field, found.last_mut()) {
            (Some(name), ..) if marked => {
                let doc = std::mem::take(&mut doc);
                let fields = Vec::new();
                found.push((name, Section { doc, fields }));
                within = true;
            }
            (_, Some((name, kind)), Some((_, section))) if within => {
                let doc = std::mem::take(&mut doc);
                section.fields.push(Field { name, kind, doc });
            }
            _ => within &= line != "}",
        }
        doc.clear();
        marked = false;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_of_settings_is_read_with_its_comments_and_other_code_is_not() {
        let source = "\
/// Not settings.
pub struct Other {
    /// No.
    pub no: u32,
}

/// Section `[a]`:
/// two lines.
#[derive(Debug)]
#[serde(default, deny_unknown_fields)]
pub struct A {
    /// The first.
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub first: Option<Duration>,

    pub(crate) second: Vec<String>,
}

impl A {
    /// Not a field.
    pub fn get(&self) -> u32 {
        let pair: u32 = 1;
    }
}
";
        let field = |name, kind, doc| Field { name, kind, doc };
        let expected = Section {
            doc: vec!["Section `[a]`:", "two lines."],
            fields: vec![
                field("first", "Option<Duration>", vec!["The first."]),
                field("second", "Vec<String>", vec![]),
            ],
        };
        assert_eq!(parse(source), [("A", expected)]);
    }
}
