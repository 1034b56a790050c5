//! The command line.

use conformance::report::Form;
use conformance::{CASES, Case, Error, Origin, Place};
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: podloom-conformance PLUGIN --config FILE [options]

Puts the CNI conformance table to the plugin PLUGIN (a path). FILE is a valid network configuration
of it, or a list in which it stands; the plugins before it in the list are run for its sake.
Everything happens in network namespaces of its own, and nothing remains. Needs root, iproute2,
nftables, iptables; strace for the cases about SIGKILL.

  --config FILE       the configuration, JSON
  --about FILE        what only the author can know, JSON: see docs/conformance-program.md
  --ipam-dir DIR      where its IPAM plugin is (more often: several)
  --plugin-dir DIR    where the earlier plugins of the list are (more often: several)
  --chained           it stands behind another plugin: an interface and its result are made up
  --ifname NAME       CNI_IFNAME (default eth0)
  --only CASE,...     these cases or groups of cases
  --skip CASE,...     all but these
  --origin specification
                      only what the CNI specification demands
  --timeout SECONDS   the longest that one call of a plugin may take (default 30)
  --sweep N           SIGKILL at every N-th system call (default 10)
  --jobs N            cases at a time (default: one for each processor)
  --report FORM       text (default), json or junit
  -o FILE             where the report goes (default: standard output)
  --list              list the cases, with what they demand
  --help

Exit code: 0 all asked demands are met, 1 some are not, 2 the plugin could not be judged.";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Judge a plugin.
    Trial(Box<Options>),
    /// The list of cases.
    List,
    /// The usage.
    Help,
}

/// A trial as asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) place: Place,
    pub(crate) config: PathBuf,
    pub(crate) about: Option<PathBuf>,
    pub(crate) cases: Vec<Case>,
    pub(crate) jobs: usize,
    pub(crate) form: Form,
    pub(crate) output: Option<PathBuf>,
}

/// As written.
struct Raw {
    plugin: Option<PathBuf>,
    config: Option<PathBuf>,
    only: Vec<String>,
    skip: Vec<String>,
    origin: Option<Origin>,
    options: Options,
}

impl Options {
    /// Reads the arguments.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Asked, Error> {
        let mut args = args.into_iter();
        let mut raw = Raw::new();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--help" | "-h" => return Ok(Asked::Help),
                "--list" => return Ok(Asked::List),
                "--chained" => raw.options.place.chained = true,
                flag if flag.starts_with('-') => {
                    let value = args.next();
                    let value = value.ok_or_else(|| Error::new(flag, "a value must follow it"))?;
                    raw.set(flag, &value)?;
                }
                _ if raw.plugin.is_some() => {
                    return Err(Error::new(arg, "one plugin at a time is judged"));
                }
                _ => raw.plugin = Some(absolute(&arg)?),
            }
        }
        raw.valid().map(|options| Asked::Trial(Box::new(options)))
    }
}

impl Raw {
    fn new() -> Raw {
        let place = Place {
            plugin: PathBuf::new(),
            dirs: Vec::new(),
            ifname: "eth0".to_owned(),
            chained: false,
            limit: Duration::from_secs(30),
            sweep: 10,
        };
        let options = Options {
            place,
            config: PathBuf::new(),
            about: None,
            cases: Vec::new(),
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            form: Form::Text,
            output: None,
        };
        Raw {
            plugin: None,
            config: None,
            only: Vec::new(),
            skip: Vec::new(),
            origin: None,
            options,
        }
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<(), Error> {
        let options = &mut self.options;
        match flag {
            "--config" => self.config = Some(absolute(value)?),
            "--about" => options.about = Some(absolute(value)?),
            "--ipam-dir" | "--plugin-dir" => options.place.dirs.push(absolute(value)?),
            "--ifname" => value.clone_into(&mut options.place.ifname),
            "--only" => self.only.extend(names(value)?),
            "--skip" => self.skip.extend(names(value)?),
            "--timeout" => options.place.limit = Duration::from_secs(number(flag, value)?),
            "--sweep" => {
                let sweep = number(flag, value)?;
                options.place.sweep = u32::try_from(sweep).map_err(|e| Error::new(flag, e))?;
            }
            "--jobs" => {
                let jobs = number(flag, value)?;
                options.jobs = usize::try_from(jobs).map_err(|e| Error::new(flag, e))?;
            }
            "-o" | "--output" => options.output = Some(absolute(value)?),
            "--origin" if value == Origin::Specification.as_str() => {
                self.origin = Some(Origin::Specification);
            }
            "--origin" => return Err(Error::new(flag, "want specification")),
            "--report" => {
                options.form = match value {
                    "text" => Form::Text,
                    "json" => Form::Json,
                    "junit" => Form::Junit,
                    _ => return Err(Error::new(flag, "want text, json or junit")),
                }
            }
            _ => return Err(Error::new(flag, "is not an option")),
        }
        Ok(())
    }

    fn valid(self) -> Result<Options, Error> {
        let mut options = self.options;
        let missing = |what| Error::new(what, "is missing");
        options.place.plugin = self.plugin.ok_or_else(|| missing("the plugin's path"))?;
        options.config = self.config.ok_or_else(|| missing("--config"))?;
        if options.place.chained && options.place.ifname != "eth0" {
            return Err(Error::new("--ifname", "the interface made up by --chained is eth0"));
        }
        let named =
            |list: &[String], case: &Case| list.iter().any(|n| n == case.name || n == case.group);
        let wanted = |case: &&Case| {
            (self.only.is_empty() || named(&self.only, case))
                && !named(&self.skip, case)
                && self.origin.is_none_or(|origin| origin == case.origin)
        };
        options.cases = CASES.iter().filter(wanted).copied().collect();
        if options.cases.is_empty() {
            return Err(Error::new("--only, --skip, --origin", "leave no case"));
        }
        Ok(options)
    }
}

/// Names of cases or groups.
fn names(list: &str) -> Result<Vec<String>, Error> {
    let known = |name: &str| CASES.iter().any(|case| case.name == name || case.group == name);
    match list.split(',').find(|name| !known(name)) {
        Some(unknown) => Err(Error::new(unknown, "is no case and no group; --list shows them")),
        None => Ok(list.split(',').map(str::to_owned).collect()),
    }
}

fn number(flag: &str, text: &str) -> Result<u64, Error> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Error::new(flag, format!("{text:?} is not a number above zero"))),
    }
}

/// Plugins are run from other directories.
fn absolute(path: &str) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|cause| Error::new(path, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, Error> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    fn trial(line: &str) -> Options {
        let Ok(Asked::Trial(options)) = parse(line) else { panic!("no trial: {line}") };
        *options
    }

    #[test]
    fn cases_are_chosen_by_name_group_and_origin() {
        assert_eq!(trial("/x/mine --config c").cases.len(), CASES.len());
        let some =
            trial("/x/mine --config c --only kill,bad_json --skip sigkill_of_the_ipam_plugin");
        let names: Vec<_> = some.cases.iter().map(|case| case.name).collect();
        let kills = ["sigkill_at_any_point_of_add", "sigkill_at_any_point_of_del"];
        assert_eq!(names, [kills[0], kills[1], "bad_json"]);
        let demanded = trial("/x/mine --config c --origin specification");
        assert!(demanded.cases.iter().all(|case| case.origin == Origin::Specification));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("--config c", "path"),
            ("/x/mine", "--config"),
            ("/x/mine --config", "--config"),
            ("/x/mine /y/other --config c", "/y/other"),
            ("/x/mine --config c --only nosuch", "nosuch"),
            ("/x/mine --config c --report html", "--report"),
            ("/x/mine --config c --sweep 0", "--sweep"),
            ("/x/mine --config c --chained --ifname net1", "--ifname"),
            ("/x/mine --config c --fast yes", "--fast"),
            ("/x/mine --config c --only bad_json --skip input", "no case"),
        ] {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
