//! Figures as a table for people and as one line of JSON for programs.

use serde_json::{Map, Value, json};

/// What one command measured.
pub(crate) struct Report {
    figure: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Report {
    pub(crate) fn new(figure: &'static str, columns: &'static [&'static str]) -> Self {
        Self {
            figure,
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row, a value for each column.
    pub(crate) fn row(&mut self, values: impl Into<Vec<Value>>) {
        let values = values.into();
        debug_assert_eq!(values.len(), self.columns.len());
        self.rows.push(values);
    }

    pub(crate) fn print(&self) {
        let heads = self.columns.iter().map(|column| (*column).to_owned());
        let mut lines = vec![heads.collect::<Vec<_>>()];
        lines.extend(self.rows.iter().map(|row| row.iter().map(text).collect()));
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(String::len).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for line in &lines {
            let cells = line.iter().zip(&widths);
            let cells: Vec<_> = cells
                .map(|(cell, &width)| format!("{cell:>width$}"))
                .collect();
            println!("{}", cells.join("  "));
        }
        let object = |row: &Vec<Value>| {
            let names = self.columns.iter().map(|column| (*column).to_owned());
            Value::Object(names.zip(row.iter().cloned()).collect::<Map<_, _>>())
        };
        let rows: Vec<Value> = self.rows.iter().map(object).collect();
        println!("{}", json!({ "figure": self.figure, "rows": rows }));
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    }
}

/// A number with three digits that count; nothing for what is no number.
pub(crate) fn rounded(number: f64) -> Value {
    if !number.is_finite() {
        return Value::Null;
    }
    if number.abs() >= 100.0 {
        return json!(number.round() as i64);
    }
    let size = number.abs().max(1e-6).log10().floor();
    let scale = 10_f64.powf(2.0 - size);
    json!((number * scale).round() / scale)
}

/// The value below which this share of all lie, by nearest rank; 0.5 is the median.
pub(crate) fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    let place = rank.clamp(1, values.len().max(1)) - 1;
    values.get(place).copied().unwrap_or(f64::NAN)
}
