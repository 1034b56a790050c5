//! The form that continuous integration reads.

use super::{Entry, Report, line};
use crate::verdict::Verdict;

/// One suite with a test for each case.
pub(super) fn document(report: &Report) -> String {
    let mut xml = String::new();
    let seconds: f64 = report.entries.iter().map(|entry| entry.took.as_secs_f64()).sum();
    let counts = format!(
        r#"tests="{}" failures="{}" errors="0" skipped="{}" time="{seconds:.3}""#,
        report.entries.len(),
        report.failed(),
        report.count("not asked") + report.count("not here"),
    );
    let name = format!("CNI conformance of {}", report.plugin);
    line(&mut xml, r#"<?xml version="1.0" encoding="UTF-8"?>"#);
    line(&mut xml, &format!(r#"<testsuites {counts}>"#));
    line(&mut xml, &format!(r#"  <testsuite name="{}" {counts}>"#, escaped(&name)));
    for entry in &report.entries {
        test(&mut xml, entry);
    }
    line(&mut xml, "  </testsuite>\n</testsuites>");
    xml
}

fn test(xml: &mut String, Entry { case, verdict, took }: &Entry) {
    let head = format!(
        r#"    <testcase classname="{}" name="{}" time="{:.3}""#,
        case.group,
        case.name,
        took.as_secs_f64()
    );
    let inner = match verdict {
        Verdict::Met => return line(xml, &format!("{head}/>")),
        Verdict::Failed(how) => {
            format!(r#"<failure message="{}">{}</failure>"#, escaped(case.demand), escaped(how))
        }
        Verdict::NotAsked(_) | Verdict::NotHere(_) => {
            format!(r#"<skipped message="{}"/>"#, escaped(verdict.reason()))
        }
    };
    line(xml, &format!("{head}>{inner}</testcase>"));
}

/// Text as XML has it; characters that XML does not have are replaced.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
