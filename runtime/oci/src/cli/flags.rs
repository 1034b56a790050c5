//! Arguments as typed: `--name value`, `--name=value`, `-n value`, also `-name` as Go programs have it.

use oci::{Error, Result};

/// A flag that a command knows: its name, its letter, and whether a value follows.
pub(super) struct Flag {
    name: &'static str,
    letter: char,
    value: bool,
}

/// A flag with a value.
pub(super) const fn value(name: &'static str) -> Flag {
    Flag { name, letter: '\0', value: true }
}

/// A flag with a value, and a letter for it.
pub(super) const fn value_or(name: &'static str, letter: char) -> Flag {
    Flag { name, letter, value: true }
}

/// A flag that is given or not.
pub(super) const fn switch(name: &'static str) -> Flag {
    Flag { name, letter: '\0', value: false }
}

/// A flag that is given or not, and a letter for it.
pub(super) const fn switch_or(name: &'static str, letter: char) -> Flag {
    Flag { name, letter, value: false }
}

/// What was typed.
#[derive(Debug, Default)]
pub(super) struct Given {
    flags: Vec<(&'static str, String)>,
    /// What is no flag.
    pub(super) rest: Vec<String>,
}

impl Given {
    /// Reads flags up to the first word that is none; `mixed` lets flags follow words too.
    pub(super) fn read(known: &[Flag], args: &[String], mixed: bool) -> Result<Given> {
        let mut given = Given::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                given.rest.extend(args.by_ref().cloned());
                break;
            }
            if !arg.starts_with('-') || arg == "-" {
                given.rest.push(arg.clone());
                if !mixed {
                    given.rest.extend(args.by_ref().cloned());
                    break;
                }
                continue;
            }
            given.flag(known, arg, &mut args)?;
        }
        Ok(given)
    }

    fn flag(
        &mut self,
        known: &[Flag],
        arg: &str,
        args: &mut std::slice::Iter<'_, String>,
    ) -> Result<()> {
        let word = arg.trim_start_matches('-');
        let (name, joined) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        let short = |flag: &&Flag| arg.len() == 2 && name.chars().eq([flag.letter]);
        let found = known.iter().find(|flag| flag.name == name || short(flag));
        let Some(flag) = found else {
            return Err(Error::invalid(arg, "flag provided but not defined"));
        };
        let value = match (flag.value, joined) {
            (true, Some(value)) => value,
            (true, None) => {
                let next = args.next().cloned();
                next.ok_or_else(|| Error::invalid(arg, "flag needs a value"))?
            }
            (false, joined) => joined.unwrap_or_else(|| "true".to_owned()),
        };
        self.flags.push((flag.name, value));
        Ok(())
    }

    /// The value given last.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| *flag == name).map(|(_, value)| value.as_str())
    }

    /// All values given.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.flags.iter().filter(move |(flag, _)| *flag == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "false" && value != "0")
    }

    /// A number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let wrong = |_| Error::invalid(format!("--{name} {text:?}"), "is no number in range");
        text.trim().parse().map(Some).map_err(wrong)
    }

    /// The words, when there are as many as wanted.
    pub(super) fn words<const N: usize>(&self, usage: &str) -> Result<[&str; N]> {
        let words: Vec<&str> = self.rest.iter().map(String::as_str).collect();
        words.try_into().map_err(|_| Error::invalid(usage, "has another number of arguments"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_in_all_their_forms() {
        let known = [value_or("bundle", 'b'), switch_or("force", 'f'), value("log")];
        let read = |args: &[&str], mixed| {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            Given::read(&known, &args, mixed)
        };
        let given = read(&["-b", "/x", "--log=/l", "-force", "id", "-f"], false).expect("flags");
        assert_eq!((given.get("bundle"), given.get("log")), (Some("/x"), Some("/l")));
        assert!(given.has("force"));
        assert_eq!(given.rest, ["id", "-f"]);
        let given = read(&["id", "--force=false"], true).expect("flags");
        assert!(!given.has("force"));
        assert_eq!(given.words::<1>("x").expect("one word"), ["id"]);
        for bad in [&["--nope"][..], &["--log"], &["-x"]] {
            assert!(read(bad, false).is_err(), "{bad:?}");
        }
    }
}
