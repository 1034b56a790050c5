//! Tests of the repository's own rules: arrows between crates, sizes of files, the shape of a
//! plugin, where unsafe code may stand.
//!
//! This library reads the repository; `tests/` holds the rules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One crate of the workspace.
#[derive(Debug, Default)]
pub struct Member {
    /// Its folder, relative to the top.
    pub dir: String,
    /// Names of all crates it links, workspace members and others.
    pub dependencies: Vec<String>,
    /// Names of all crates that only its tests use.
    pub dev_dependencies: Vec<String>,
}

/// All workspace members by package name.
pub fn members() -> BTreeMap<String, Member> {
    let manifest = read(&root().join("Cargo.toml"));
    let list = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
    let dirs = list.map(|(inside, _)| inside).unwrap_or_default();
    dirs.split(',')
        .map(|dir| dir.trim().trim_matches('"'))
        .filter(|dir| !dir.is_empty())
        .map(|dir| member(dir, &read(&root().join(dir).join("Cargo.toml"))))
        .collect()
}

fn member(dir: &str, manifest: &str) -> (String, Member) {
    let mut name = String::new();
    let mut found = Member { dir: dir.to_owned(), ..Member::default() };
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let key = key.trim().split('.').next().unwrap_or_default().to_owned();
        match section {
            "[package]" if key == "name" => value.trim().trim_matches('"').clone_into(&mut name),
            "[dependencies]" => found.dependencies.push(key),
            "[dev-dependencies]" => found.dev_dependencies.push(key),
            _ => {}
        }
    }
    (name, found)
}

/// All Rust sources of the repository, relative to the top.
pub fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// A file's text; empty when it cannot be read.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `path` as it is written from the top.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
