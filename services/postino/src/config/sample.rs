//! `postino config default`: every setting with its default, its unit and what it is for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use toml::Table;

use super::Config;
use super::docs::{self, Section};

const HEAD: &str = "\
# Every setting of Postino with its default. A setting that is left out has its default.
#
# A time is written as 250ms, 30s, 5m, 1h or 2d, a size as 512 B, 64 KiB, 10 MiB or 1 GiB.
# Any of these can be set on the command line, too: --set queue.lifetime=2d
";

/// The sample, a configuration file.
pub(super) fn sample() -> Result<String> {
    let defaults = Table::try_from(Config::default())?;
    let mut sample = Sample {
        sections: docs::sections(),
        text: HEAD.to_owned(),
    };
    sample.settings("Config", &defaults);
    sample.tables("Config", "", &defaults);
    Ok(sample.text)
}

struct Sample {
    sections: BTreeMap<&'static str, Section>,
    text: String,
}

impl Sample {
    /// The settings of a struct that are not structs themselves: TOML wants them first.
    fn settings(&mut self, name: &str, defaults: &Table) {
        let mut text = String::new();
        for field in self.fields(name) {
            if self.sections.contains_key(field.kind) {
                continue;
            }
            text.push('\n');
            comment(&mut text, &field.doc, unit(field.kind));
            // One without a default has no value that could be written.
            let _ = match defaults.get(field.name) {
                Some(value) => writeln!(text, "{} = {value}", field.name),
                None => writeln!(text, "# {} =", field.name),
            };
        }
        self.text += &text;
    }

    /// The settings of a struct that are structs.
    fn tables(&mut self, name: &str, path: &str, defaults: &Table) {
        let empty = Table::new();
        let inner: Vec<(&str, &str)> = self
            .fields(name)
            .map(|field| (field.name, field.kind))
            .filter(|(_, kind)| self.sections.contains_key(kind))
            .collect();
        for (name, kind) in inner {
            let path = match path {
                "" => name.to_owned(),
                path => format!("{path}.{name}"),
            };
            let defaults = defaults.get(name).and_then(toml::Value::as_table);
            let defaults = defaults.unwrap_or(&empty);
            self.text.push('\n');
            let doc = self.sections.get(kind).map(|section| &section.doc);
            comment(&mut self.text, doc.map_or(&[], Vec::as_slice), "");
            let _ = writeln!(self.text, "[{path}]");
            self.settings(kind, defaults);
            self.tables(kind, &path, defaults);
        }
    }

    fn fields(&self, name: &str) -> impl Iterator<Item = &docs::Field> {
        let section = self.sections.get(name);
        section.into_iter().flat_map(|section| &section.fields)
    }
}

/// Lines of documentation as comments; the links of rustdoc are for other readers.
fn comment(text: &mut String, doc: &[&str], unit: &str) {
    for (number, line) in doc.iter().enumerate() {
        let line = line.replace("[`", "`").replace("`]", "`");
        let unit = if number + 1 == doc.len() { unit } else { "" };
        let line = format!("# {line}{unit}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// What a type's values are, where the value alone would not say.
fn unit(kind: &str) -> &'static str {
    match kind {
        "Duration" => " (a time)",
        "Option<Duration>" => " (a time; unset by default)",
        "ByteSize" => " (a size)",
        "bool" => " (true or false)",
        "u16" | "u32" | "u64" | "usize" | "f64" => " (a number)",
        "PathBuf" => " (a path)",
        kind if kind.starts_with("Vec<") => " (a list)",
        kind if kind.starts_with("Option<") => " (unset by default)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    /// The keys of a table with their sections.
    fn keys(table: &Table, path: &str, found: &mut Vec<String>) {
        for (name, value) in table {
            let path = format!("{path}.{name}");
            match value.as_table() {
                Some(inner) => keys(inner, &path, found),
                None => found.push(path),
            }
        }
    }

    #[test]
    fn the_sample_is_the_defaults() -> Result<()> {
        let sample = sample()?;
        // As text, with nothing left out that a default would fill in again ...
        let read: Table = sample.parse()?;
        assert_eq!(read, Table::try_from(Config::default())?);
        let mut found = Vec::new();
        keys(&read, "", &mut found);
        assert!(found.len() > 100, "{found:?}");
        // ... and as settings.
        let read: Config = Layers::new().text("sample", &sample)?.build()?;
        assert_eq!(read, Config::default());
        Ok(())
    }

    #[test]
    fn every_setting_and_section_has_a_comment() -> Result<()> {
        let sample = sample()?;
        let mut above = "";
        for line in sample.lines() {
            let unset = line.starts_with("# ") && line.ends_with(" =");
            if unset || line.starts_with('[') || line.contains(" = ") && !line.starts_with('#') {
                assert!(
                    above.starts_with("# ") && above.len() > 4,
                    "{line}: {above:?}"
                );
            }
            above = line;
        }
        Ok(())
    }

    #[test]
    fn a_setting_that_is_unset_is_there_to_be_filled_in() -> Result<()> {
        let sample = sample()?;
        let (comment, _) = sample
            .split_once("\n# delay_notice =\n")
            .expect("queue.delay_notice has no default");
        assert!(comment.ends_with("(a time; unset by default)"));
        // Filled in as it stands, it is a setting.
        let filled = sample.replace("# delay_notice =", "delay_notice = \"4h\"");
        let read: Config = Layers::new().text("sample", &filled)?.build()?;
        assert_eq!(
            read.queue.delay_notice,
            Some(postino_config::Duration::hours(4))
        );
        Ok(())
    }
}
