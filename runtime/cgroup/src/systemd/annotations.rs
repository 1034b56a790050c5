//! Properties of the unit that a configuration asks for in its annotations.

use crate::error::{Error, Kind, Result};
use dbus::{Property, Value};
use std::collections::BTreeMap;

/// What such annotations begin with.
pub const PREFIX: &str = "org.systemd.property.";

/// Properties that do no more than tell how the unit ends and is shown. A caller may allow others;
/// some make systemd, as root, run programs or touch other units of the host (CVE-2024-3154).
pub const HARMLESS: &[&str] = &["CollectMode", "Description", "TimeoutStopUSec"];

/// Properties that are the runtime's to set, whatever is allowed.
const OURS: &[&str] = &[
    "PIDs",
    "Slice",
    "Delegate",
    "DefaultDependencies",
    "DevicePolicy",
    "DeviceAllow",
    "User",
    "Group",
    "RootDirectory",
    "Scope",
    "Controller",
];

/// The properties in `annotations`, each of which must be in `allowed`. Names that end in `Sec` are
/// those that end in `USec`, with a value in seconds.
///
/// # Errors
/// [`Kind::NoPermission`] for one that is not allowed, [`Kind::Invalid`] for a value that is not in
/// GVariant's text form (`true`, `7`, `uint64 7`, `'text'`, `['a', 'b']`).
pub fn properties(
    annotations: &BTreeMap<String, String>,
    allowed: &[&str],
) -> Result<Vec<Property>> {
    let mut all = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        if name.len() < 2 || name.len() > 64 || !name.chars().all(|c| c.is_ascii_alphabetic()) {
            return Err(Error::invalid(key.escape_debug(), "not the name of a property"));
        }
        let (name, seconds) = match name.strip_suffix("Sec") {
            Some(stem) if !stem.ends_with('U') => (format!("{stem}USec"), true),
            _ => (name.to_owned(), false),
        };
        let ours = OURS.iter().any(|o| o.eq_ignore_ascii_case(&name)) || name.starts_with("Exec");
        if ours || !allowed.contains(&name.as_str()) {
            return Err(Error::new(Kind::NoPermission, key, "this property is not allowed here"));
        }
        let value = parse(text)
            .filter(|_| text.len() <= 4096)
            .ok_or_else(|| Error::invalid(key, format_args!("{text:?} is not a value")))?;
        let value = if seconds {
            micro(&value).ok_or_else(|| Error::invalid(key, "want seconds"))?
        } else {
            value
        };
        all.push(Property { name, value });
    }
    Ok(all)
}

fn micro(seconds: &Value) -> Option<Value> {
    let n = match *seconds {
        Value::I32(n) => u64::try_from(n).ok()?,
        Value::I64(n) => u64::try_from(n).ok()?,
        Value::U32(n) => u64::from(n),
        Value::U64(n) => n,
        _ => return None,
    };
    n.checked_mul(1_000_000).map(Value::U64)
}

/// A value in GVariant's text form, of the kinds that properties have.
fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Some(list) = text.strip_prefix('[') {
        let list = list.strip_suffix(']')?.trim();
        let mut all = Vec::new();
        let mut rest = list;
        while !rest.is_empty() {
            let (item, after) = quoted(rest)?;
            all.push(item);
            rest = match after.trim_start() {
                "" => "",
                more => Some(more.strip_prefix(',')?.trim_start()).filter(|m| !m.is_empty())?,
            };
        }
        return Some(Value::Texts(all));
    }
    if text.starts_with(['\'', '"']) {
        return quoted(text).filter(|(_, rest)| rest.is_empty()).map(|(t, _)| Value::Text(t));
    }
    match text.split_once(' ') {
        Some(("uint32", n)) => n.trim().parse().ok().map(Value::U32),
        Some(("uint64", n)) => n.trim().parse().ok().map(Value::U64),
        Some(("int32", n)) => n.trim().parse().ok().map(Value::I32),
        Some(("int64", n)) => n.trim().parse().ok().map(Value::I64),
        Some(_) => None,
        None => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            n => n.parse().ok().map(Value::I32),
        },
    }
}

/// A quoted text at the start, and what is after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let quote = chars.next().map(|(_, c)| c).filter(|c| matches!(c, '\'' | '"'))?;
    let mut out = String::new();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                c @ ('\\' | '\'' | '"') => out.push(c),
                _ => return None,
            },
            c if c == quote => return Some((out, &text[i + 1..])),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str, allowed: &[&str]) -> Result<Vec<Property>> {
        properties(&BTreeMap::from([(format!("{PREFIX}{name}"), text.to_owned())]), allowed)
    }

    #[test]
    fn only_what_is_allowed() {
        let all = ["ExecStopPost", "Slice", "CollectMode", "execStart", "pids", "BindsTo"];
        for bad in ["ExecStopPost", "Slice", "PIDs", "Pids", "BindsTo", "OnFailure", "TimeoutSec"] {
            let allowed = if bad == "BindsTo" { HARMLESS } else { &all[..] };
            let kind = of(bad, "'x'", allowed).unwrap_err().kind();
            assert_eq!(kind, Kind::NoPermission, "{bad}");
        }
        for bad in ["", "A", "A b", "A.b", "../x", "Ä"] {
            assert_eq!(of(bad, "'x'", &["A b"]).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        let other = BTreeMap::from([("org.example".to_owned(), "x".to_owned())]);
        assert!(properties(&other, &[]).unwrap().is_empty());
    }

    #[test]
    fn seconds_become_microseconds() {
        let got = of("TimeoutStopSec", "2", HARMLESS).unwrap();
        assert_eq!(
            got,
            [Property { name: "TimeoutStopUSec".into(), value: Value::U64(2_000_000) }]
        );
        let got = of("TimeoutStopUSec", "uint64 7", HARMLESS).unwrap();
        assert_eq!(got[0].value, Value::U64(7));
        for bad in ["'2'", "-2", "uint64 18446744073709551615"] {
            assert!(of("TimeoutStopSec", bad, HARMLESS).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_in_text_form() {
        assert_eq!(parse("'a \\' \"b'"), Some(Value::Text("a ' \"b".into())));
        assert_eq!(parse("['a', \"b\"]"), Some(Value::Texts(vec!["a".into(), "b".into()])));
        assert_eq!(parse("[]"), Some(Value::Texts(Vec::new())));
        assert_eq!(parse(" true "), Some(Value::Bool(true)));
        assert_eq!(parse("int64 -7"), Some(Value::I64(-7)));
        for bad in ["", "x", "'a", "['a'", "['a' 'b']", "['a',]", "'a' b", "'\\x'", "byte 1", "1.5"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
