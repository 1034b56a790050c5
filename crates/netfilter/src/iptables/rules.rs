//! Rules as iptables lists them.

use super::Family;
use crate::nft;
use cni_types::{Code, Error, Result};
use std::process::{Command, Stdio};

/// A rule in the form that iptables prints and reads again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRule {
    /// Its chain.
    pub chain: String,
    /// The line without `-A CHAIN `, with its quotes: behind `-D CHAIN ` it deletes the rule.
    pub spec: String,
    words: Vec<String>,
}

impl SavedRule {
    /// Reads an `-A CHAIN ...` line; `None` for any other.
    pub fn parse(line: &str) -> Option<SavedRule> {
        let rest = line.trim().strip_prefix("-A ")?;
        let (chain, spec) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(SavedRule { chain: chain.to_owned(), spec: spec.to_owned(), words: words(spec) })
    }

    /// The word behind `option`, without quotes.
    pub fn value(&self, option: &str) -> Option<&str> {
        let at = self.words.iter().position(|word| word == option)?;
        self.words.get(at + 1).map(String::as_str)
    }

    /// The target of `-j`.
    pub fn target(&self) -> Option<&str> {
        self.value("-j")
    }

    /// The comment.
    pub fn comment(&self) -> Option<&str> {
        self.value("--comment")
    }
}

/// Splits a line at blanks outside double quotes; a backslash takes the next character as it is.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut in_quotes = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                in_quotes = !in_quotes;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            ' ' if !in_quotes => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The rules of one chain; none if the chain is not there.
///
/// # Errors
/// [`Code::Program`].
pub fn rules_of(family: Family, table: &str, chain: &str) -> Result<Vec<SavedRule>> {
    list(family, table, Some(chain))
}

/// The rules of all chains of a table; none if the table is not there.
///
/// # Errors
/// [`Code::Program`].
pub fn rules_of_table(family: Family, table: &str) -> Result<Vec<SavedRule>> {
    list(family, table, None)
}

fn list(family: Family, table: &str, chain: Option<&str>) -> Result<Vec<SavedRule>> {
    let name = family.program();
    let fault = |cause: &str| {
        let shown = chain.unwrap_or("all chains");
        Error::new(Code::Program, format!("{name}: listing {shown} of table {table}: {cause}"))
    };
    let path = super::find_program(name).ok_or_else(|| super::missing(name))?;
    let mut command = Command::new(path);
    command.args(["--wait", super::LOCK_SECONDS, "-t", table, "-S"]).args(chain);
    let output = command.stdin(Stdio::null()).output().map_err(|e| fault(&e.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        if is_absence(&said) || chain.is_some_and(|c| is_missing_over_nft(family, table, c, &said))
        {
            return Ok(Vec::new());
        }
        return Err(fault(said.lines().next().unwrap_or_default()));
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    Ok(listed.lines().filter_map(SavedRule::parse).collect())
}

/// Whether the program complains that a chain or table is not there.
fn is_absence(said: &str) -> bool {
    said.contains("No chain/target/match by that name") || said.contains("does not exist")
}

/// iptables 1.8.9 over nf_tables says of a missing chain what it says of one made by `nft` with
/// means it does not know; the kernel tells which.
fn is_missing_over_nft(family: Family, table: &str, chain: &str, said: &str) -> bool {
    said.contains("is incompatible, use 'nft' tool")
        && has_nft_chain(family, table, chain) == Ok(false)
}

/// Whether iptables over nf_tables has this chain. Costs no process.
///
/// # Errors
/// Those of the kernel; [`nft::Error::is_unsupported`] without nf_tables.
pub fn has_nft_chain(family: Family, table: &str, chain: &str) -> Result<bool, nft::Error> {
    let at = nft::ChainRef::new(family.over_nft(), table, chain);
    Ok(nft::Nft::open()?.chain(at)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_rule_is_understood() {
        let line =
            r#"-A POSTROUTING -s 10.0.0.5/32 -m comment --comment "name: \"n\" id: \"c\"" -j X"#;
        let rule = SavedRule::parse(line).expect("a rule");
        assert_eq!(rule.chain, "POSTROUTING");
        assert_eq!(rule.value("-s"), Some("10.0.0.5/32"));
        assert_eq!(rule.comment(), Some(r#"name: "n" id: "c""#));
        assert_eq!(rule.target(), Some("X"));
        assert_eq!(rule.value("-d"), None);
        assert_eq!(format!("-A {} {}", rule.chain, rule.spec), line);
    }

    #[test]
    fn other_lines_are_no_rules() {
        for line in ["-N CNI-a", "-P INPUT ACCEPT", "", "*nat", "# -A x"] {
            assert_eq!(SavedRule::parse(line), None);
        }
        assert_eq!(SavedRule::parse("-A X").expect("bare").spec, "");
    }
}
