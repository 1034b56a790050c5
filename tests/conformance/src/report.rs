//! What a trial came to, for people and for programs.

mod junit;

use crate::cases::Case;
use crate::verdict::Verdict;
use serde_json::{Value, json};
use std::time::Duration;

/// The outcome of one trial.
#[derive(Clone, Debug)]
pub struct Report {
    /// The plugin.
    pub plugin: String,
    /// The version of the specification that it was judged by.
    pub version: String,
    /// What was found out about it.
    pub notes: Vec<String>,
    /// Its cases, in the order of the table.
    pub entries: Vec<Entry>,
}

/// The outcome of one case.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The case.
    pub case: Case,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// The forms of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Lines for people.
    #[default]
    Text,
    /// One document.
    Json,
    /// The XML that continuous integration reads.
    Junit,
}

impl Report {
    /// The report in one of its forms.
    pub fn render(&self, form: Form) -> String {
        match form {
            Form::Text => self.text(),
            Form::Json => format!("{:#}\n", self.json()),
            Form::Junit => junit::document(self),
        }
    }

    /// How many cases the plugin failed.
    pub fn failed(&self) -> usize {
        self.count("failed")
    }

    fn count(&self, word: &str) -> usize {
        self.entries.iter().filter(|entry| entry.verdict.word() == word).count()
    }

    fn text(&self) -> String {
        let mut text = format!("{}, CNI {}\n", self.plugin, self.version);
        for note in &self.notes {
            line(&mut text, &format!("  {note}"));
        }
        line(&mut text, "");
        for Entry { case, verdict, took } in &self.entries {
            let seconds = took.as_secs_f64();
            let word = verdict.word();
            let head = format!("{word:<9} {:<44} {seconds:>6.2} s", case.name);
            match verdict {
                Verdict::Met => line(&mut text, &head),
                Verdict::Failed(how) => {
                    line(&mut text, &head);
                    line(
                        &mut text,
                        &format!("          {}: {}", case.origin.as_str(), case.demand),
                    );
                    how.trim_end()
                        .lines()
                        .for_each(|l| line(&mut text, &format!("          | {l}")));
                }
                Verdict::NotAsked(_) | Verdict::NotHere(_) => {
                    line(&mut text, &format!("{word:<9} {:<44} {}", case.name, verdict.reason()));
                }
            }
        }
        let counts = ["met", "failed", "not asked", "not here"]
            .map(|word| format!("{} {word}", self.count(word)))
            .join(", ");
        line(&mut text, &format!("\n{} cases: {counts}", self.entries.len()));
        text
    }

    fn json(&self) -> Value {
        let entry = |entry: &Entry| {
            json!({
                "name": entry.case.name,
                "group": entry.case.group,
                "origin": entry.case.origin.as_str(),
                "demand": entry.case.demand,
                "outcome": entry.verdict.word(),
                "reason": entry.verdict.reason(),
                "seconds": entry.took.as_secs_f64(),
            })
        };
        json!({
            "plugin": self.plugin,
            "cniVersion": self.version,
            "notes": self.notes,
            "cases": self.entries.iter().map(entry).collect::<Vec<_>>(),
            "counts": {
                "met": self.count("met"), "failed": self.count("failed"),
                "notAsked": self.count("not asked"), "notHere": self.count("not here"),
            },
        })
    }
}

impl Verdict {
    /// Its name in reports.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::Failed(_) => "failed",
            Verdict::NotAsked(_) => "not asked",
            Verdict::NotHere(_) => "not here",
        }
    }

    /// Why it is not met; empty if it is.
    pub fn reason(&self) -> &str {
        match self {
            Verdict::Met => "",
            Verdict::Failed(reason) | Verdict::NotHere(reason) => reason,
            Verdict::NotAsked(reason) => reason,
        }
    }
}

pub(crate) fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CASES;

    fn report() -> Report {
        let verdicts = [
            Verdict::Met,
            Verdict::Failed("left == right\n- a <b> & \"c\"\u{1}".to_owned()),
            Verdict::NotAsked("it has no IPAM plugin"),
            Verdict::NotHere("strace is not installed".to_owned()),
        ];
        let entry = |(case, verdict): (&Case, Verdict)| Entry {
            case: *case,
            verdict,
            took: Duration::from_millis(1500),
        };
        Report {
            plugin: "/x/mine".to_owned(),
            version: "1.1.0".to_owned(),
            notes: vec!["a note".to_owned()],
            entries: CASES.iter().zip(verdicts).map(entry).collect(),
        }
    }

    #[test]
    fn people_see_failures_with_the_demand() {
        let text = report().render(Form::Text);
        assert!(text.contains("failed    cold_add_and_del"), "{text}");
        assert!(text.contains("| left == right\n"), "{text}");
        assert!(text.ends_with("4 cases: 1 met, 1 failed, 1 not asked, 1 not here\n"), "{text}");
    }

    #[test]
    fn programs_see_the_same() {
        let value: Value = serde_json::from_str(&report().render(Form::Json)).expect("JSON");
        assert_eq!(value["counts"]["failed"], 1);
        assert_eq!(value["cases"][3]["outcome"], "not here");
        assert_eq!(value["cases"][0]["seconds"], 1.5);
    }

    #[test]
    fn integration_sees_well_formed_xml() {
        let xml = report().render(Form::Junit);
        assert!(xml.contains(r#"tests="4" failures="1" errors="0" skipped="2""#), "{xml}");
        assert!(xml.contains("- a &lt;b&gt; &amp; &quot;c&quot;\u{fffd}</failure>"), "{xml}");
        assert_eq!(xml.matches("<testcase ").count(), 4);
    }
}
