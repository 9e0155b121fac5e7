//! Layers of settings: defaults, then the file, then the environment, then the command line.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Environment variables that start with this are settings: `POSTINO__QUEUE__EXPIRY=5d`.
pub const ENVIRONMENT_PREFIX: &str = "POSTINO__";

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What reading it said.
        error: std::io::Error,
    },
    /// A layer is not TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// The file, variable or argument.
        origin: String,
        /// Where and why.
        message: String,
    },
    /// Nobody knows this key.
    #[error("{origin}: there is no setting {key:?}")]
    UnknownKey {
        /// The file, variable or argument.
        origin: String,
        /// The key with its sections.
        key: String,
    },
    /// A value does not fit its setting.
    #[error("{0}")]
    Value(String),
}

/// A value of a layer: typed as in TOML, or text whose type the setting decides.
enum Input {
    Typed(Value),
    Text(String),
}

struct Assignment {
    origin: String,
    path: Vec<String>,
    input: Input,
}

/// Settings of all layers so far; a later layer wins.
#[derive(Default)]
pub struct Layers {
    assignments: Vec<Assignment>,
}

impl Layers {
    /// Nothing but the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a TOML file.
    pub fn file(self, path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(&path.display().to_string(), &text),
            Err(error) => Err(ConfigError::Read {
                path: path.to_owned(),
                error,
            }),
        }
    }

    /// Adds TOML text; `origin` names it in errors.
    pub fn text(mut self, origin: &str, text: &str) -> Result<Self, ConfigError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax {
                origin: origin.to_owned(),
                message: error.to_string(),
            })?;
        self.add_table(origin, &mut Vec::new(), table);
        Ok(self)
    }

    /// Adds the variables that start with [`ENVIRONMENT_PREFIX`]; `__` separates the sections.
    pub fn environment(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut named: Vec<_> = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
            .collect();
        named.sort();
        for (name, value) in named {
            let key = &name[ENVIRONMENT_PREFIX.len()..];
            let path = key.split("__").map(str::to_ascii_lowercase).collect();
            self.assignments.push(Assignment {
                origin: name,
                path,
                input: Input::Text(value),
            });
        }
        Ok(self)
    }

    /// Adds `section.key=value` of the command line. The key may be quoted as in TOML; the value is
    /// read as the setting's type wants it.
    pub fn set(mut self, assignment: &str) -> Result<Self, ConfigError> {
        let syntax = |message: String| ConfigError::Syntax {
            origin: format!("--set {assignment}"),
            message,
        };
        let (key, value) = split_assignment(assignment)
            .ok_or_else(|| syntax("write section.key=value".to_owned()))?;
        let path = parse_key(key).ok_or_else(|| syntax(format!("{key:?} is not a key")))?;
        let origin = format!("--set {key}");
        self.assignments.push(Assignment {
            origin,
            path,
            input: Input::Text(value.to_owned()),
        });
        Ok(self)
    }

    /// The settings: `T`'s defaults with every layer on top. A key that `T` does not have, and a
    /// value of the wrong type, are errors that name it.
    pub fn build<T: Serialize + DeserializeOwned + Default>(self) -> Result<T, ConfigError> {
        let defaults = Value::try_from(T::default()).map_err(|error| {
            ConfigError::Value(format!("the defaults cannot be written: {error}"))
        })?;
        let mut merged = Table::new();
        for assignment in self.assignments {
            let value = match assignment.input {
                Input::Typed(value) => value,
                Input::Text(text) => typed(text, at(&defaults, &assignment.path)),
            };
            check::<T>(&assignment.origin, &assignment.path, &value)?;
            insert(&mut merged, &assignment.path, value);
        }
        merged
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::Value(one_line(&error)))
    }

    fn add_table(&mut self, origin: &str, path: &mut Vec<String>, table: Table) {
        for (key, value) in table {
            path.push(key);
            match value {
                Value::Table(inner) => self.add_table(origin, path, inner),
                value => self.assignments.push(Assignment {
                    origin: origin.to_owned(),
                    path: path.clone(),
                    input: Input::Typed(value),
                }),
            }
            path.pop();
        }
    }
}

/// Checks one value on its own, so that the error can name the layer it came from.
fn check<T: DeserializeOwned>(
    origin: &str,
    path: &[String],
    value: &Value,
) -> Result<(), ConfigError> {
    let mut alone = Table::new();
    insert(&mut alone, path, value.clone());
    match alone.try_into::<T>() {
        Ok(_) => Ok(()),
        Err(error) => {
            let (message, key) = (one_line(&error), path.join("."));
            match message.contains("unknown field") {
                true => Err(ConfigError::UnknownKey {
                    origin: origin.to_owned(),
                    key,
                }),
                false => Err(ConfigError::Value(format!("{origin}: {key}: {message}"))),
            }
        }
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().trim().replace('\n', " ")
}

/// Splits at the first `=` outside quotes.
fn split_assignment(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let equals = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '=' && !quoted
    });
    let (place, _) = equals?;
    Some((text[..place].trim(), text[place + 1..].trim()))
}

/// The parts of a dotted key, which TOML reads for us.
fn parse_key(key: &str) -> Option<Vec<String>> {
    let mut table: Table = format!("{key} = 0").parse().ok()?;
    let mut path = Vec::new();
    loop {
        let (name, value) = table.into_iter().next()?;
        path.push(name);
        match value {
            Value::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// Text as the type that the default has. Where there is no default, TOML's reading of it, or else
/// the text itself.
fn typed(text: String, default: Option<&Value>) -> Value {
    let toml = |text: &str| format!("v = {text}").parse::<Table>().ok()?.remove("v");
    match default {
        Some(Value::String(_)) => match toml(&text) {
            Some(Value::String(unquoted)) => Value::String(unquoted),
            _ => Value::String(text),
        },
        Some(Value::Array(_)) if !text.starts_with('[') => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        _ => toml(&text).unwrap_or(Value::String(text)),
    }
}

fn insert(table: &mut Table, path: &[String], value: Value) {
    let Some((last, sections)) = path.split_last() else {
        return;
    };
    let mut table = table;
    for section in sections {
        let entry = table
            .entry(section.clone())
            .or_insert_with(|| Value::Table(Table::new()));
        if !entry.is_table() {
            *entry = Value::Table(Table::new());
        }
        let Value::Table(inner) = entry else { return };
        table = inner;
    }
    table.insert(last.clone(), value);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::{ByteSize, Duration};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Queue {
        expiry: Duration,
        attempts: u32,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<ByteSize>,
        servers: Vec<String>,
        routes: BTreeMap<String, String>,
        hold: bool,
    }

    impl Default for Queue {
        fn default() -> Self {
            Self {
                expiry: Duration::days(5),
                attempts: 3,
                name: "q".into(),
                limit: None,
                servers: vec![],
                routes: BTreeMap::new(),
                hold: false,
            }
        }
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        queue: Queue,
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_later_layer_wins() {
        let settings: Settings = Layers::new()
            .text(
                "f",
                "[queue]\nexpiry = \"1d\"\nattempts = 4\nname = \"file\"",
            )
            .expect("toml")
            .environment(variables(&[
                ("POSTINO__QUEUE__ATTEMPTS", "5"),
                ("PATH", "/bin"),
            ]))
            .expect("variables")
            .environment(variables(&[("POSTINO__QUEUE__NAME", "7")]))
            .expect("variables")
            .set("queue.expiry=90m")
            .expect("set")
            .build()
            .expect("settings");
        let expected = Queue {
            expiry: Duration::mins(90),
            attempts: 5,
            name: "7".into(),
            ..Queue::default()
        };
        assert_eq!(settings, Settings { queue: expected });
    }

    #[test]
    fn text_becomes_what_the_setting_is() {
        let settings: Settings = Layers::new()
            .set("queue.limit=2 MiB")
            .and_then(|layers| layers.set("queue.servers=a:1, b:2"))
            .and_then(|layers| layers.set(r#"queue.routes."example.net"=127.0.0.1:25"#))
            .and_then(|layers| layers.set("queue.hold=true"))
            .and_then(|layers| layers.set("queue.name=\"a b\""))
            .expect("set")
            .build()
            .expect("settings");
        assert_eq!(settings.queue.limit, Some(ByteSize::mib(2)));
        assert_eq!(settings.queue.servers, ["a:1", "b:2"]);
        assert_eq!(settings.queue.routes["example.net"], "127.0.0.1:25");
        assert!(settings.queue.hold);
        assert_eq!(settings.queue.name, "a b");
    }

    #[test]
    fn unknown_keys_are_named_with_their_origin() {
        let error = Layers::new()
            .text("postino.toml", "[queue]\nexpirey = \"1d\"")
            .expect("toml")
            .build::<Settings>()
            .expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "postino.toml: there is no setting \"queue.expirey\""
        );
        let error = Layers::new()
            .environment(variables(&[("POSTINO__QUEU__NAME", "x")]))
            .and_then(Layers::build::<Settings>)
            .expect_err("unknown");
        assert!(error.to_string().contains("POSTINO__QUEU__NAME"), "{error}");
    }

    #[test]
    fn wrong_values_are_named() {
        let error = Layers::new()
            .set("queue.expiry=soon")
            .and_then(Layers::build::<Settings>)
            .expect_err("no duration");
        let text = error.to_string();
        assert!(
            text.contains("queue.expiry") && text.contains("\"soon\""),
            "{text}"
        );
        assert!(Layers::new().set("queue.expiry").is_err());
        assert!(Layers::new().set("=1").is_err());
        assert!(Layers::new().text("f", "[queue").is_err());
    }

    proptest! {
        #[test]
        fn no_assignment_panics(text in ".{0,40}", value in ".{0,20}") {
            for assignment in [text, format!("queue.name={value}"), format!("queue.servers={value}")] {
                let _ = Layers::new().set(&assignment).and_then(Layers::build::<Settings>);
            }
        }
    }
}
