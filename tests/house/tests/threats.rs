//! `docs/threats.md` names tests that exist.

use house::{read, root};

/// The tests that the tables name: attack, file, function.
fn named() -> Vec<(String, String, String)> {
    let text = read(&root().join("docs/threats.md"));
    let row = |line: &str| {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let (attack, _) = cells.split_once(" |")?;
        let (_, test) = cells.rsplit_once("| ")?;
        let (file, function) = test.strip_prefix('`')?.strip_suffix('`')?.split_once("` `")?;
        Some((attack.to_owned(), file.to_owned(), function.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn every_attack_names_a_test_that_exists() {
    let named = named();
    let rows = read(&root().join("docs/threats.md"));
    let rows = rows.lines().filter(|line| line.starts_with("| ") && line.contains(".rs`")).count();
    assert_eq!(named.len(), rows, "a row is not `file` `function`");
    assert!(named.len() >= 24, "{} attacks", named.len());
    for (attack, file, function) in &named {
        let text = read(&root().join(file));
        assert!(text.contains(&format!("fn {function}(")), "{attack}: no {function} in {file}");
    }
}
