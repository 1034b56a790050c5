//! The committed matrix is that of the plugins and cases that there are.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use conformance::matrix::listed;
use conformance::{CASES, subjects};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md");
    std::fs::read_to_string(path).expect("docs/conformance.md: './dev conformance' makes it")
}

#[test]
fn the_matrix_has_all_subjects_and_all_cases() {
    let listed = listed(&page());
    let subjects: Vec<_> = subjects::all().iter().map(|subject| subject.name).collect();
    let cases: Vec<_> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(listed.subjects, subjects, "run './dev conformance'");
    assert_eq!(listed.cases, cases, "run './dev conformance'");
}

#[test]
fn the_matrix_shows_no_failure_of_podloom() {
    let failed: Vec<_> =
        page().lines().filter(|line| line.contains("| ✗ /")).map(str::to_owned).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
