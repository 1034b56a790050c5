//! Standard output and standard error.

use crate::args::Form;
use crate::fault::{Fault, Result};
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Rows under a head, in columns as wide as their widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Table {
        Table { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    pub(crate) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Control characters in names and messages would reach the terminal of whoever looks.
fn clean(cell: &str) -> String {
    let cell: String = cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if cell.is_empty() { "-".to_owned() } else { cell }
}

/// The form that `add` prints its result in.
pub(crate) fn form_of_result(asked: Option<Form>) -> Form {
    let usual = if std::io::stdout().is_terminal() { Form::Table } else { Form::Json };
    asked.unwrap_or(usual)
}

/// Prints to standard output.
pub(crate) fn out(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    Ok(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())?)
}

/// Passes bytes on to standard output.
pub(crate) fn out_bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    Ok(stdout.write_all(bytes).and_then(|()| stdout.flush())?)
}

/// Passes bytes on to standard error.
pub(crate) fn error_bytes(bytes: &[u8]) -> Result<()> {
    let mut stderr = std::io::stderr().lock();
    let failed = |e: std::io::Error| Fault::new(1, "standard error", e.to_string());
    stderr.write_all(bytes).and_then(|()| stderr.flush()).map_err(failed)
}

/// Prints a document to standard output.
pub(crate) fn json(doc: &Value) -> Result<()> {
    out(&format!("{doc:#}\n"))
}

/// Prints a document to standard output, in YAML.
pub(crate) fn yaml(doc: &Value) -> Result<()> {
    let mut text = String::new();
    write_yaml(doc, 0, &mut text);
    out(&text)
}

/// Block style for what is nested; what JSON writes for the rest, as YAML 1.2 reads JSON.
fn write_yaml(doc: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    let mut nested = |head: &str, value: &Value| {
        text.push_str(head);
        let is_block = match value {
            Value::Object(map) => !map.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => false,
        };
        if is_block && head.ends_with(':') {
            text.push('\n');
            write_yaml(value, indent + 2, text);
        } else if is_block {
            let mut inner = String::new();
            write_yaml(value, indent + 2, &mut inner);
            text.push(' ');
            text.push_str(inner.trim_start_matches(' '));
        } else {
            let space = if head.is_empty() { "" } else { " " };
            text.push_str(&format!("{space}{value}\n"));
        }
    };
    match doc {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                nested(&format!("{pad}{}:", Value::from(key.as_str())), value);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                nested(&format!("{pad}-"), value);
            }
        }
        other => nested("", other),
    }
}

/// Tells people something beside the result.
pub(crate) fn note(text: &str) {
    // With standard error closed there is nobody to tell.
    let _unheard = writeln!(std::io::stderr().lock(), "{text}");
}

/// Tells a fault in the form asked for.
pub(crate) fn fault(fault: &Fault, form: Option<Form>) {
    match form {
        Some(Form::Json) => note(&serde_json::json!({ "error": fault.document() }).to_string()),
        _ => note(fault.text().trim_end()),
    }
}

/// How long ago a time in seconds since 1970 was.
pub(crate) fn age(then: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let ago = now.saturating_sub(then);
    let (count, unit) = match ago {
        0..120 => (ago, "s"),
        120..7200 => (ago / 60, "min"),
        7200..172_800 => (ago / 3600, "h"),
        _ => (ago / 86_400, "days"),
    };
    format!("{count} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_nests_what_json_nests() {
        let doc = serde_json::json!([
            {"a": {"b": [1, "x: y"], "empty": [], "none": null}, "c": "line\nline"},
            [[true]],
            "text"
        ]);
        let mut text = String::new();
        write_yaml(&doc, 0, &mut text);
        let want = "- \"a\":\n    \"b\":\n      - 1\n      - \"x: y\"\n    \"empty\": []\n    \
                    \"none\": null\n  \"c\": \"line\\nline\"\n- - - true\n- \"text\"\n";
        assert_eq!(text, want);
        let mut scalar = String::new();
        write_yaml(&serde_json::json!({}), 0, &mut scalar);
        assert_eq!(scalar, "{}\n");
    }

    #[test]
    fn columns_line_up_and_control_characters_do_not_pass() {
        let mut table = Table::new(&["A", "LONG"]);
        assert!(table.is_empty());
        table.row(vec!["wide cell".to_owned(), "x\u{1b}[2J".to_owned()]);
        table.row(vec![String::new(), "y".to_owned()]);
        assert_eq!(table.text(), "A          LONG\nwide cell  x [2J\n-          y\n");
    }
}
