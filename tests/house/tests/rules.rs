//! The rules of ARCHITECTURE.md and CONTRIBUTING.md that a machine can check.

use house::{members, read, root, shown, sources};
use std::path::PathBuf;

/// Which workspace crate may link which; anything else is a new arrow and needs a line here and
/// in ARCHITECTURE.md.
fn allowed(name: &str) -> &'static [&'static str] {
    match name {
        "cni-exec" => &["cni-types"],
        "cni-plugin" => &["cni-types", "cni-exec", "netns"],
        "netns" | "sysctl" => &["cni-types"],
        "netfilter" => &["cni-types", "dbus"],
        "netlink" => &["cni-types", "netns"],
        "veth" => &["cni-types", "cni-plugin", "netlink"],
        "podlink" => &["cni-types", "cni-plugin", "netlink", "sysctl", "veth"],
        "libcni" => &["cni-types", "cni-exec"],
        "registry" | "store" | "layer" => &["content-digest"],
        "podloom" => &["libcni", "cni-types", "cni-exec", "netns", "image", "cri-api", "streaming"],
        plugin if plugin.starts_with("plugin-") => &[
            "cni-types",
            "cni-plugin",
            "netlink",
            "netfilter",
            "netns",
            "sysctl",
            "veth",
            "podlink",
        ],
        "cri-tests" => &["cri-api", "lab", "images", "nri"],
        "conformance" => &["lab", "cni-types"],
        "oci-callers" => &["lab", "conformance"],
        "images" => &["lab", "content-digest"],
        "benches" => &[
            "lab",
            "netns",
            "images",
            "oci",
            "runtime-spec",
            "seccomp",
            "content-digest",
            "cri-tests",
            "cri-api",
            "streaming",
        ],
        runtime => allowed_in_runtime(runtime),
    }
}

/// The same, for the rooms of the container runtime.
fn allowed_in_runtime(name: &str) -> &'static [&'static str] {
    match name {
        "seccomp" | "rootfs" => &["runtime-spec"],
        "cgroup" => &["runtime-spec", "dbus"],
        "oci" => &["runtime-spec", "seccomp", "cgroup", "rootfs"],
        "snapshot" => &["layer", "content-digest"],
        "image" => &["content-digest", "registry", "store", "snapshot", "layer"],
        "shim" => &["oci", "runtime-spec", "cgroup", "shim-protocol"],
        "shim-client" => &["shim-protocol"],
        "sandbox" => &[
            "cri-api",
            "libcni",
            "cni-types",
            "netns",
            "netlink",
            "sysctl",
            "shim-client",
            "cgroup",
        ],
        "container" => &[
            "cri-api",
            "sandbox",
            "image",
            "snapshot",
            "shim-client",
            "shim-protocol",
            "runtime-spec",
            "oci",
            "seccomp",
            "cgroup",
        ],
        "stats" => &["cri-api", "sandbox", "container", "image", "snapshot", "cgroup", "netns"],
        "cri" => &["cri-api", "sandbox", "container", "image", "streaming", "stats", "netns"],
        "podloomd" => &[
            "cri",
            "cri-api",
            "runtime-config",
            "sandbox",
            "container",
            "image",
            "nri",
            "streaming",
            "stats",
        ],
        "nri" => &["cri-api", "sandbox", "container", "runtime-spec"],
        _ => &[],
    }
}

#[test]
fn crates_only_link_what_the_architecture_allows() {
    let members = members();
    assert!(members.len() >= 28, "the workspace was not read: {members:?}");
    for (name, member) in &members {
        for dependency in member.dependencies.iter().filter(|d| members.contains_key(*d)) {
            assert!(
                allowed(name).contains(&dependency.as_str()),
                "{name} links {dependency}: not an arrow of ARCHITECTURE.md"
            );
        }
        assert!(!member.dependencies.iter().any(|d| d == "house"), "{name} depends on tests");
    }
}

/// Crates that only tests and benchmarks link.
const TEST_ROOMS: &[&str] = &["lab", "conformance", "disk", "images"];

#[test]
fn nothing_that_ships_depends_on_the_lab() {
    for (name, member) in members() {
        let is_test = member.dir.starts_with("tests/") || member.dir == "benches";
        let linked = member.dependencies.iter().any(|d| TEST_ROOMS.contains(&d.as_str()));
        assert!(is_test || !linked, "{name} links the lab outside of its tests");
    }
}

/// It is the lab, for authors of other plugins; no plugin and no runtime runs it.
#[test]
fn one_program_of_the_tests_ships() {
    let dev = read(&root().join("dev"));
    let list = dev.lines().find_map(|line| line.strip_prefix("PROGRAMS=\"")).unwrap_or_default();
    let tests = members().into_values().filter(|member| member.dir.starts_with("tests/"));
    let bins: Vec<PathBuf> = tests.map(|member| root().join(member.dir).join("src/bin")).collect();
    let of_tests = |program: &&str| {
        bins.iter()
            .any(|dir| dir.join(program).is_dir() || dir.join(format!("{program}.rs")).is_file())
    };
    let programs = list.trim_end_matches('"').split(' ');
    assert_eq!(programs.filter(of_tests).collect::<Vec<_>>(), ["podloom-conformance"]);
}

#[test]
fn files_stay_readable_in_one_sitting() {
    // Generated, and read as `proto/*.proto`.
    let generated = ["runtime/api/src/v1.rs", "runtime/nri/src/v1alpha1.rs"];
    let written = |path: &PathBuf| !generated.iter().any(|file| path.ends_with(file));
    for path in sources().into_iter().filter(written) {
        let lines = read(&path).lines().count();
        assert!(lines <= 500, "{}: {lines} lines, at most 500; cut it by subject", shown(&path));
    }
}

#[test]
fn every_plugin_has_the_same_shape() {
    for (name, member) in members().iter().filter(|(name, _)| name.starts_with("plugin-")) {
        let dir = root().join(&member.dir);
        for file in ["src/main.rs", "src/config.rs", "src/plan.rs", "src/apply.rs", "README.md"] {
            // loopback has no configuration of its own and nothing to plan.
            if member.dir.ends_with("loopback") && file != "src/main.rs" && file != "README.md" {
                continue;
            }
            assert!(dir.join(file).is_file(), "{name}: {file} is missing");
        }
        let main = read(&dir.join("src/main.rs"));
        assert!(main.contains("cni_plugin::run::<"), "{name}: main is more than the frame");
        assert!(main.lines().count() <= 120, "{name}: main.rs holds more than five short verbs");
    }
}

#[test]
fn unsafe_code_stands_only_where_it_is_listed() {
    let architecture = read(&root().join("ARCHITECTURE.md"));
    let marker = ["allow(", "unsafe_code"].concat();
    for path in sources().iter().filter(|p| read(p).contains(&marker)) {
        let path = shown(path);
        assert!(
            architecture.contains(&format!("`{path}`")),
            "{path}: has unsafe code and is not in the list of ARCHITECTURE.md"
        );
    }
}

#[test]
fn only_the_namespace_room_enters_namespaces() {
    let words = [["set", "ns("].concat(), ["un", "share("].concat()];
    for path in sources() {
        let path_shown = shown(&path);
        // The OCI runtime makes and joins all kinds, in a child that is the container.
        let is_room =
            path_shown.starts_with("crates/netns/") || path_shown.starts_with("runtime/oci/");
        let is_test = path_shown.starts_with("tests/") || path_shown.starts_with("benches/");
        if is_room || is_test || path_shown.contains("/tests/") {
            continue;
        }
        for word in &words {
            assert!(!read(&path).contains(word.as_str()), "{path_shown}: calls {word}...)");
        }
    }
}

#[test]
fn no_crate_lacks_the_workspace_lints() {
    for (name, member) in members() {
        let manifest = read(&root().join(&member.dir).join("Cargo.toml"));
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name}: lints are not inherited");
    }
}
