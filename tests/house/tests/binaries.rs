//! What the release binaries promise: small, static, stripped.

use house::root;
use std::path::PathBuf;

const LIMIT: u64 = 3 << 20;

fn binaries() -> Vec<PathBuf> {
    let dist = root().join("target/dist");
    let mut found = Vec::new();
    for dir in ["bin", "cni"] {
        for entry in std::fs::read_dir(dist.join(dir)).into_iter().flatten().flatten() {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn release_binaries_are_small_and_static() {
    let found = binaries();
    if found.is_empty() {
        lab::skip("release binaries: not built; './dev build' makes them");
        return;
    }
    assert!(found.len() >= 7, "only {found:?} were built");
    let looks_names_up = |path: &PathBuf| ["podloom", "podloomd"].iter().any(|n| path.ends_with(n));
    for path in found.iter().filter(|path| !looks_names_up(path)) {
        let bytes = std::fs::read(path).expect("binary");
        let size = bytes.len() as u64;
        // The shim is the OCI runtime and more; all shims of a node share its pages.
        let limit = if path.ends_with("podloom-shim") { LIMIT + (1 << 20) } else { LIMIT };
        assert!(size < limit, "{}: {size} bytes, the limit is {limit}", path.display());
        assert!(!has_interpreter(&bytes), "{}: is not static", path.display());
    }
}

/// The operator's command looks names of registries up, which takes the system's own libraries.
#[test]
fn the_command_is_small_and_dynamic() {
    let Some(path) = binaries().into_iter().find(|path| path.ends_with("bin/podloom")) else {
        lab::skip("release binaries: not built; './dev build' makes them");
        return;
    };
    let bytes = std::fs::read(&path).expect("binary");
    assert!(
        bytes.len() < 10 << 20,
        "{}: {} bytes, the limit is 10 MiB",
        path.display(),
        bytes.len()
    );
    assert!(has_interpreter(&bytes), "{}: is static: it cannot look names up", path.display());
}

/// Whether an ELF64 little-endian file has a PT_INTERP program header.
fn has_interpreter(elf: &[u8]) -> bool {
    let word = |at: usize, len: usize| -> usize {
        let mut value = 0;
        for byte in elf[at..at + len].iter().rev() {
            value = value << 8 | usize::from(*byte);
        }
        value
    };
    assert_eq!(&elf[..4], b"\x7fELF");
    let (table, size, count) = (word(32, 8), word(54, 2), word(56, 2));
    (0..count).any(|n| word(table + n * size, 4) == 3)
}

#[test]
fn the_interpreter_is_seen_where_there_is_one() {
    let own = std::fs::read("/proc/self/exe").expect("own binary");
    assert!(has_interpreter(&own), "test programs are dynamic");
}
