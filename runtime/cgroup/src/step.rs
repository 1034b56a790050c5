//! Limits as writes to files, and doing them.

use crate::dir::Dir;
use crate::error::{Error, Kind, Result};
use crate::layout::Version;
use rustix::io::Errno;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The controller, by its name in `version`; on v1 it tells the tree.
    pub(crate) controller: &'static str,
    /// Whose file it is.
    pub(crate) version: Version,
    pub(crate) file: String,
    pub(crate) value: String,
    /// What to do when the file is missing.
    pub(crate) missing: Missing,
    /// The first word of the file goes before the value: `cpu.max` with only a period.
    pub(crate) keep_first: bool,
}

/// What a missing file means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The limit cannot be set.
    Fail,
    /// The value is what holds without the file.
    Same,
    /// Another file takes another value.
    Else(String, String),
}

impl Step {
    pub(crate) fn new(
        controller: &'static str,
        file: impl Into<String>,
        value: impl ToString,
    ) -> Self {
        let (file, value) = (file.into(), value.to_string());
        Self {
            controller,
            version: Version::V1,
            file,
            value,
            missing: Missing::Fail,
            keep_first: false,
        }
    }

    pub(crate) fn or_same(mut self, same: bool) -> Self {
        if same {
            self.missing = Missing::Same;
        }
        self
    }

    pub(crate) fn or_else(mut self, file: impl Into<String>, value: impl ToString) -> Self {
        self.missing = Missing::Else(file.into(), value.to_string());
        self
    }

    fn run(&self, dir: &Dir) -> Result<()> {
        let kept = match self.keep_first {
            false => None,
            true => dir.try_read(&self.file)?,
        };
        let first = kept.as_deref().and_then(|t| t.split_whitespace().next());
        let value = first.map_or(self.value.clone(), |f| format!("{f} {}", self.value));
        match (dir.try_write(&self.file, &value), &self.missing) {
            (Ok(()), _) | (Err(Errno::NOENT), Missing::Same) => Ok(()),
            (Err(Errno::NOENT), Missing::Else(file, value)) => dir.write(file, value),
            (Err(Errno::BUSY), _) if self.controller == "memory" => Err(dir
                .failed_write(&self.file, &value, Errno::BUSY)
                .hint("more than that is used")),
            (Err(e), _) => Err(dir.failed_write(&self.file, &value, e)),
        }
    }
}

/// Does the steps. Some files bound each other (quota and burst, memory and memory with swap), and
/// which must be first depends on what they hold: a step that the kernel finds invalid is tried
/// again after the others, as long as that helps.
pub(crate) fn run<'a>(steps: &[Step], mut dir: impl FnMut(&Step) -> Result<&'a Dir>) -> Result<()> {
    let mut pending: Vec<&Step> = steps.iter().collect();
    while !pending.is_empty() {
        let (mut refused, mut first) = (Vec::new(), None);
        for step in &pending {
            match step.run(dir(step)?) {
                Err(e) if e.errno() == Some(libc::EINVAL) => {
                    refused.push(*step);
                    first.get_or_insert(e);
                }
                other => other?,
            }
        }
        match first {
            Some(e) if refused.len() == pending.len() => return Err(e.of_kind(Kind::Invalid)),
            _ => pending = refused,
        }
    }
    Ok(())
}

/// The name of a hugepage size as the kernel has it in file names, such as `2MB`.
pub(crate) fn page_size(name: &str) -> Result<&str> {
    let digits = name.trim_end_matches("KB").trim_end_matches("MB").trim_end_matches("GB");
    let unit = name.len() - digits.len() == 2;
    let number = !digits.is_empty()
        && !digits.starts_with('0')
        && digits.len() < 9
        && digits.bytes().all(|b| b.is_ascii_digit());
    match unit && number {
        true => Ok(name),
        false => Err(Error::invalid(
            format_args!("hugepageLimits.pageSize {name:?}"),
            "want a size such as 2MB or 1GB",
        )),
    }
}

/// `major:minor` of a block device.
pub(crate) fn device(major: i64, minor: i64) -> Result<String> {
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) => Ok(format!("{major}:{minor}")),
        _ => Err(Error::invalid(format_args!("blockIO {major}:{minor}"), "not a device number")),
    }
}

/// One word, for a value that is joined to others in a line.
pub(crate) fn word<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    match text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        false => Ok(text),
        true => Err(Error::invalid(format_args!("{what} {text:?}"), "want one word")),
    }
}
