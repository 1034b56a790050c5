//! All subjects times all cases, with the reference plugins beside podloom's: `docs/conformance.md`.

mod page;
mod record;

pub use page::{Listed, listed};
pub use record::Record;

use crate::cases::{CASES, Case};
use crate::error::Result;
use crate::given::versions;
use crate::maker::{Maker, Other};
use crate::subject::{Repeat, Subject};
use crate::subjects;
use crate::verdict::{Verdict, judge};
use lab::Drift;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What all cases came to.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// What the reference plugins call themselves.
    pub reference: String,
    /// Releases of the kernels that it was made on.
    pub kernels: Vec<String>,
    /// A row for each subject.
    pub rows: Vec<Row>,
}

/// One subject.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub subject: &'static str,
    /// Its cases, in the order of the table.
    pub cells: Vec<Cell>,
}

/// One case of one subject.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Podloom's plugin.
    pub ours: Verdict,
    /// That of the reference; `None` where it has none.
    pub reference: Option<Verdict>,
}

/// The longest that a call of a reference plugin may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The page does not have to be made of every system call: the tests take each of them.
const SWEEP: u32 = 25;

impl Matrix {
    /// Puts all cases to all subjects, `jobs` at a time, and to the plugins in `reference`, but for
    /// those that `record` has. `tell`
    /// gets a line now and then.
    ///
    /// # Errors
    /// When there are no plugins in `reference`, or the record cannot be written.
    pub fn make(
        reference: &Path,
        record: &Record,
        jobs: usize,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<Matrix> {
        let name = page::self_description(&reference.join("bridge"))?;
        let pairs: Vec<_> = subjects::all()
            .into_iter()
            .map(|subject| Subject { sweep: subject.sweep.max(SWEEP), ..subject })
            .map(|subject| Ok((subject, of_reference(&subject, reference)?)))
            .collect::<Result<_>>()?;
        let all = pairs.len() * CASES.len();
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        let put = |number: usize| {
            let (subject, case) = (number / CASES.len(), number % CASES.len());
            let (ours, theirs) = &pairs[subject];
            let cell = cell(&CASES[case], ours, theirs.as_ref(), record);
            let mut done = done.lock().unwrap_or_else(|held| held.into_inner());
            done.push((number, cell));
            if done.len() % CASES.len() == 0 {
                tell(&format!("{} of {all} cells", done.len()));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= all {
                            return;
                        }
                        put(number);
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(|held| held.into_inner());
        done.sort_by_key(|(number, _)| *number);
        let cells = done.into_iter().map(|(_, cell)| cell).collect::<Result<Vec<_>>>()?;
        let mut cells = cells.into_iter();
        let row = |(ours, _): &(Subject, _)| Row {
            subject: ours.name,
            cells: cells.by_ref().take(CASES.len()).collect(),
        };
        let rows = pairs.iter().map(row).collect();
        Ok(Matrix { reference: name, kernels: record.kernels(), rows })
    }
}

fn cell(case: &Case, ours: &Subject, reference: Option<&Subject>, record: &Record) -> Result<Cell> {
    let put = |subject: &Subject| record.of(case.name, subject, || judge(case, subject));
    Ok(Cell { ours: put(ours)?, reference: reference.map(put).transpose()? })
}

/// Subjects whose backend the reference's plugin lacks: it would use another one without a word.
const OURS_ALONE: [&str; 1] = ["firewall_nftables"];

/// The same subject with the reference's plugin, held to the specification; `None` where the
/// reference has no such plugin.
fn of_reference(subject: &Subject, dir: &Path) -> Result<Option<Subject>> {
    if !dir.join(subject.plugin).is_file() || OURS_ALONE.contains(&subject.name) {
        return Ok(None);
    }
    let mut maker = Other {
        name: "reference",
        dirs: vec![PathBuf::from(dir)],
        versions: Vec::new(),
        env: Vec::new(),
        limit: LIMIT,
    };
    maker.versions = versions(&maker, subject.plugin)?;
    let repeat = match subject.repeat {
        Repeat::Refused(_) => Repeat::Refused(""),
        other => other,
    };
    // Which words its errors have is its own affair.
    let unnamed = |list: &[(&'static str, &'static str, &'static str)]| {
        let list: Vec<_> = list.iter().map(|(at, value, _)| (*at, *value, "")).collect();
        &*Box::leak(list.into_boxed_slice())
    };
    // It tells no MTU in its results, so that its CHECK owes nothing about it.
    let owed = subject.drifts.iter().filter(|(drift, _)| *drift != Drift::MtuChanged);
    let drifts: Vec<_> = owed.map(|(drift, _)| (*drift, "")).collect();
    let theirs = Subject {
        maker: Maker::Other(Box::leak(Box::new(maker))),
        repeat,
        drifts: Box::leak(drifts.into_boxed_slice()),
        wrong: unnamed(subject.wrong),
        invalid: unnamed(subject.invalid),
        ..*subject
    };
    Ok(Some(match subject.plugin {
        "dhcp" => subjects::dhcp_of(dir.join(subject.plugin), theirs),
        _ => theirs,
    }))
}
