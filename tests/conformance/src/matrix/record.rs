//! Cells of earlier runs, so that the next one goes on from there: one that was cut short, or one on a
//! machine whose kernel lacks something.

use crate::error::{Error, Result};
use crate::given::kept;
use crate::subject::Subject;
use crate::verdict::Verdict;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A file with a line for each case that was put to a plugin, as it is now.
#[derive(Debug)]
pub struct Record {
    known: HashMap<String, Known>,
    file: Mutex<File>,
    kernels: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
struct Known {
    verdict: Verdict,
    kernel: String,
}

impl Record {
    /// Reads the file, if there is one, and goes on writing it.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(path: &Path) -> Result<Record> {
        let about = |cause: std::io::Error| Error::new(path.display(), cause);
        let file = File::options().create(true).append(true).open(path).map_err(about)?;
        let text = std::fs::read_to_string(path).map_err(about)?;
        // The last line may be cut short.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let known = lines.filter_map(|line| {
            let text = |key: &str| line[key].as_str();
            let verdict = verdict(text("outcome")?, text("reason")?)?;
            let kernel = text("kernel")?.to_owned();
            Some((text("key")?.to_owned(), Known { verdict, kernel }))
        });
        // Another machine may have what that one lacked.
        let known = known.filter(|(_, known)| !matches!(known.verdict, Verdict::NotHere(_)));
        let (file, kernels) = (Mutex::new(file), Mutex::default());
        Ok(Record { known: known.collect(), file, kernels })
    }

    /// Releases of the kernels on which the cases were put that this run has asked for.
    pub fn kernels(&self) -> Vec<String> {
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn seen_on(&self, kernel: &str) {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        kernels.insert(kernel.to_owned());
    }

    /// What the case came to before, or comes to now.
    pub(crate) fn of(
        &self,
        case: &str,
        subject: &Subject,
        judge: impl FnOnce() -> Verdict,
    ) -> Result<Verdict> {
        let program = subject.maker.program(subject.plugin);
        let meta = std::fs::metadata(&program).map_err(|e| Error::new(program.display(), e))?;
        let key = format!(
            "{} {case} {} {} {}.{}",
            subject.name,
            program.display(),
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if let Some(known) = self.known.get(&key) {
            self.seen_on(&known.kernel);
            return Ok(known.verdict.clone());
        }
        let verdict = judge();
        let kernel = kernel();
        self.seen_on(&kernel);
        let line = json!({
            "key": key, "outcome": verdict.word(), "reason": verdict.reason(), "kernel": kernel,
        });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes()).map_err(|e| Error::new("the record", e))?;
        Ok(verdict)
    }
}

/// The release of the kernel that runs, without its maker's suffix.
fn kernel() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().split(['-', '+']).next().unwrap_or_default().to_owned()
}

fn verdict(word: &str, reason: &str) -> Option<Verdict> {
    Some(match word {
        "met" => Verdict::Met,
        "failed" => Verdict::Failed(reason.to_owned()),
        "not asked" => Verdict::NotAsked(kept(reason)),
        "not here" => Verdict::NotHere(reason.to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subjects::bridge_v4;
    use crate::{Maker, Other};
    use std::time::Duration;

    #[test]
    fn a_case_is_not_put_again_until_the_program_changes() {
        let dir = std::env::temp_dir().join(format!("conformance-record-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("a directory");
        let (program, path) = (dir.join("bridge"), dir.join("record"));
        std::fs::write(&program, "one").expect("a program");
        let (name, limit, env) = ("x", Duration::from_secs(1), Vec::new());
        let other = Other { name, dirs: vec![dir.clone()], versions: Vec::new(), env, limit };
        let subject = Subject { maker: Maker::Other(Box::leak(Box::new(other))), ..bridge_v4() };
        let put = |verdict: Verdict| {
            let record = Record::open(&path).expect("a record");
            record.of("bad_json", &subject, || verdict).expect("a verdict")
        };
        let failed = Verdict::Failed("two\nlines".to_owned());
        assert_eq!(put(failed.clone()), failed);
        File::options().append(true).open(&path).expect("open").write_all(b"{\"key").expect("cut");
        assert_eq!(put(Verdict::Met), failed);
        std::fs::write(&program, "a third").expect("a program");
        assert_eq!(put(Verdict::NotHere("no such link".to_owned())).word(), "not here");
        assert_eq!(put(Verdict::Met), Verdict::Met);
        let record = Record::open(&path).expect("a record");
        assert_eq!(record.kernels(), Vec::<String>::new());
        record.of("bad_json", &subject, || Verdict::NotAsked("known")).expect("known");
        assert_eq!(record.kernels(), [kernel()]);
        std::fs::write(&program, "another").expect("a program");
        assert_eq!(put(Verdict::Met), Verdict::Met);
        std::fs::remove_dir_all(&dir).expect("clean up");
    }
}
