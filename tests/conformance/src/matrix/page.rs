//! The matrix as a page, and what a page lists.

use super::{Cell, Matrix, Row};
use crate::cases::{CASES, Case};
use crate::error::{Error, Result};
use crate::report::line;
use crate::verdict::Verdict;
use std::path::Path;
use std::process::{Command, Stdio};

const HEAD: &str = "\
# Conformance of the plugins

Made by `./dev conformance`; not to be edited by hand. Each case of the conformance table is put to
each plugin of podloom, and to the plugin of the same name of the reference, with the same
configuration. [`conformance-program.md`](conformance-program.md) tells how to put the cases to any
other plugin.

The cases about SIGKILL take every 25th system call here; `./dev test -p conformance` takes all. What
one kernel lacks is put to the plugins on another one, in a virtual machine.

A cell is *podloom / reference*. Those of podloom are held to the codes and words of
[`reference/errors.md`](reference/errors.md), too; the reference is judged by the specification and by
what is left behind.

| sign | meaning |
|---|---|
| ✓ | does as demanded |
| ✗ | does not |
| – | not asked: it has nothing of what the case is about |
| ○ | not on these kernels, or a program for it is missing |
| · | the reference has no such plugin, or no such backend |
";

/// What a page lists, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Names of subjects.
    pub subjects: Vec<String>,
    /// Names of cases.
    pub cases: Vec<String>,
}

impl Matrix {
    /// The page.
    pub fn page(&self) -> String {
        let mut page = HEAD.to_owned();
        let kernels = self.kernels.join(", ");
        line(&mut page, &format!("\nKernels: {kernels}. Reference: {}.", self.reference));
        self.sums(&mut page);
        let mut groups: Vec<&str> = CASES.iter().map(|case| case.group).collect();
        groups.dedup();
        for group in groups {
            self.group(&mut page, group);
        }
        self.causes(&mut page);
        page
    }

    fn sums(&self, page: &mut String) {
        line(page, "\n## Sums\n\n| | podloom ✓ | ✗ | – | ○ | reference ✓ | ✗ | – | ○ |");
        line(page, "|---|---|---|---|---|---|---|---|---|");
        for row in &self.rows {
            let mut cells = Vec::new();
            for of in [|cell: &Cell| Some(cell.ours.clone()), |cell: &Cell| cell.reference.clone()]
            {
                let verdicts: Vec<Verdict> = row.cells.iter().filter_map(of).collect();
                cells.extend(["✓", "✗", "–", "○"].map(|wanted| {
                    let count = verdicts.iter().filter(|v| sign(v) == wanted).count();
                    if verdicts.is_empty() { "·".to_owned() } else { count.to_string() }
                }));
            }
            line(page, &format!("| {} | {} |", row.subject, cells.join(" | ")));
        }
    }

    fn group(&self, page: &mut String, group: &str) {
        let all: Vec<(usize, &Case)> = CASES.iter().enumerate().collect();
        let of_group: Vec<_> = all.into_iter().filter(|(_, case)| case.group == group).collect();
        line(page, &format!("\n## {group}\n"));
        for (number, (_, case)) in of_group.iter().enumerate() {
            let origin = case.origin.as_str();
            line(page, &format!("{}. `{}` ({origin}): {}", number + 1, case.name, case.demand));
        }
        let numbers: Vec<_> = (1..=of_group.len()).map(|n| n.to_string()).collect();
        line(page, &format!("\n| | {} |", numbers.join(" | ")));
        line(page, &format!("|---{}|", "|---".repeat(numbers.len())));
        for row in &self.rows {
            let cells: Vec<_> = of_group.iter().map(|(at, _)| row.cells[*at].signs()).collect();
            line(page, &format!("| `{}` | {} |", row.subject, cells.join(" | ")));
        }
    }

    /// For each case that somebody fails, one of the reasons.
    fn causes(&self, page: &mut String) {
        line(page, "\n## What the failures are\n\nThe first of each case.\n");
        for (at, case) in CASES.iter().enumerate() {
            for (whose, of) in WHOSE {
                let failed = |row: &Row| match of(&row.cells[at]) {
                    Some(Verdict::Failed(reason)) => Some((row.subject, reason.clone())),
                    _ => None,
                };
                let all: Vec<_> = self.rows.iter().filter_map(failed).collect();
                let Some((subject, reason)) = all.first() else { continue };
                let others = match all.len() {
                    1 => String::new(),
                    n => format!(", and {} more", n - 1),
                };
                line(
                    page,
                    &format!("- `{}`, {whose} {subject}{others}: {}", case.name, short(reason)),
                );
            }
        }
    }
}

type Of = fn(&Cell) -> Option<&Verdict>;
const WHOSE: [(&str, Of); 2] =
    [("podloom", |cell| Some(&cell.ours)), ("reference", |cell| cell.reference.as_ref())];

impl Cell {
    fn signs(&self) -> String {
        let reference = self.reference.as_ref().map_or("·", sign);
        format!("{} / {reference}", sign(&self.ours))
    }
}

fn sign(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "✓",
        Verdict::Failed(_) => "✗",
        Verdict::NotAsked(_) => "–",
        Verdict::NotHere(_) => "○",
    }
}

/// A reason in a line, without what differs from run to run.
fn short(reason: &str) -> String {
    let mut text = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    while let Some(start) = text.find(lab::BASE) {
        let rest = &text[start + lab::BASE.len() + 1..];
        let end = rest.find(['/', '"', ' ', '\\']).unwrap_or(rest.len());
        let stop = text.len() - rest.len() + end;
        text.replace_range(start..stop, "LAB");
    }
    let text: String = text.replace(['`', '|'], "'").chars().take(240).collect();
    format!("`{}`", text.trim())
}

/// What a reference plugin says of itself when a person runs it.
pub(super) fn self_description(program: &Path) -> Result<String> {
    let done = Command::new(program).env_remove("CNI_COMMAND").stdin(Stdio::null()).output();
    let done = done.map_err(|cause| Error::new(program.display(), cause))?;
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    Ok(text.lines().next().unwrap_or("of unknown version").trim().to_owned())
}

/// What a page lists.
pub fn listed(page: &str) -> Listed {
    let quoted = |line: &str| line.split('`').nth(1).map(str::to_owned);
    let mut subjects: Vec<String> = Vec::new();
    let mut cases = Vec::new();
    for line in page.lines() {
        if line.starts_with("| `") {
            subjects.extend(quoted(line).filter(|name| !subjects.contains(name)));
        } else if line.starts_with(|c: char| c.is_ascii_digit()) {
            cases.extend(quoted(line));
        }
    }
    Listed { subjects, cases }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lists_its_subjects_and_cases() {
        let cell = |case: &Case| Cell {
            ours: Verdict::Met,
            reference: (case.group != "kill")
                .then(|| Verdict::Failed(format!("{}/12.34.5.x/ns/a | left", lab::BASE))),
        };
        let row = |subject| Row { subject, cells: CASES.iter().map(cell).collect() };
        let rows = vec![row("bridge_v4"), row("ptp_v4")];
        let page =
            Matrix { reference: "v1".to_owned(), kernels: vec!["6.12".to_owned()], rows }.page();
        let listed = listed(&page);
        assert_eq!(listed.subjects, ["bridge_v4", "ptp_v4"]);
        let cases: Vec<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(listed.cases, cases);
        assert!(
            page.contains("- `bad_json`, reference bridge_v4, and 1 more: `LAB/ns/a ' left`"),
            "{page}"
        );
        assert!(page.contains("| ✓ / ✗ |") && page.contains("| ✓ / · |"), "{page}");
    }
}
