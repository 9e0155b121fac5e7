//! What commands print: tables for people, JSON for programs.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::Value;

/// Prints a line to standard output. Ends the process if that cannot be: quietly where whoever read it
/// has enough, as `head` has.
pub(crate) fn line(text: &dyn Display) {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("postino: standard output: {error}");
            std::process::exit(1)
        }
    }
}

/// Prints rows as a table with these columns, or as a JSON array of objects. The columns are the
/// fields of a row, in the order to show them.
pub(crate) fn rows<T: Serialize>(json: bool, columns: &[&str], rows: &[T]) {
    let values: Vec<Value> = rows.iter().map(object).collect();
    if json {
        return print_json(&Value::Array(values));
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.iter().map(|column| column.to_uppercase()));
    for value in &values {
        table.add_row(columns.iter().map(|column| cell(&value[*column])));
    }
    line(&table);
}

/// Prints that something was done: a sentence, or the JSON object.
pub(crate) fn done<T: Serialize>(json: bool, sentence: &str, result: &T) {
    match json {
        true => print_json(&object(result)),
        false => line(&sentence),
    }
}

/// Prints why nothing was done: to standard error, and as JSON to standard output.
pub(crate) fn refused(json: bool, error: &dyn Display) {
    if json {
        print_json(&serde_json::json!({ "error": error.to_string() }));
    }
    eprintln!("postino: {error}");
}

fn object<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("our rows have text keys and plain values")
}

fn print_json(value: &Value) {
    line(&format_args!("{value:#}"));
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
