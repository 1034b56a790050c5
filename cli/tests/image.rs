//! `podloom image` from the outside: what it prints, its exit codes, and what a kill leaves.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use images::{Fault, Proxy, Registry, Scratch};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Desk {
    scratch: Scratch,
}

impl Desk {
    fn new() -> Desk {
        Desk { scratch: Scratch::new("cli-image") }
    }

    fn root(&self) -> PathBuf {
        self.scratch.path("root")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podloom"));
        command.arg("image").args(arguments).env("PODLOOM_ROOT", self.root());
        command.env_remove("REGISTRY_AUTH_FILE").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("podloom")
    }

    /// Runs a command that must succeed.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).expect("JSON")
    }

    /// Runs a command that must fail. Returns its exit code and what it said.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("code"), error)
    }
}

#[test]
fn images_go_in_around_and_out() {
    let desk = Desk::new();
    let image = images::small();
    let archive = desk.scratch.path("a.tar");
    images::write_oci_archive(&archive, &[("example.com/team/a:1", &image)]);
    let archive = archive.to_str().expect("path");
    assert_eq!(desk.ok(&["ls"]), "no images\n");
    assert_eq!(desk.ok(&["import", archive]), format!("{}\n", image.id()));
    let id = image.id();
    let short = &id.hex()[..12];
    let table = desk.ok(&["ls"]);
    assert!(table.starts_with("NAME"), "{table}");
    assert!(table.contains("example.com/team/a:1") && table.contains(short), "{table}");
    let list = desk.json(&["ls", "-o", "json"]);
    assert_eq!(list[0]["id"], id.as_str());
    assert_eq!(list[0]["repoTags"][0], "example.com/team/a:1");
    let yaml = desk.ok(&["ls", "-o", "yaml"]);
    assert!(yaml.starts_with("- \"added\": ") || yaml.starts_with("- \"created\": "), "{yaml}");
    assert!(yaml.contains("  \"repoTags\":\n    - \"example.com/team/a:1\"\n"), "{yaml}");
    assert_eq!(desk.ok(&["ls", "-q", short]), format!("{id}\n"));
    let details = desk.json(&["inspect", short]);
    assert_eq!(details[0]["config"]["config"]["Cmd"][0], "/bin/sh");
    assert_eq!(details[0]["layers"].as_array().map(Vec::len), Some(3));
    let out = desk.scratch.path("out.tar");
    let out = out.to_str().expect("path");
    desk.ok(&["export", out, "example.com/team/a:1", "--format", "docker-archive"]);
    let removed = desk.ok(&["rm", "example.com/team/a:1"]);
    assert!(removed.contains("untagged example.com/team/a:1\n"), "{removed}");
    assert!(removed.contains(&format!("removed {id}")), "{removed}");
    assert_eq!(desk.ok(&["import", out]), format!("{id}\n"));
    let pruned = desk.json(&["prune", "--all", "-o", "json"]);
    assert_eq!(pruned["images"][0], id.as_str());
    assert_eq!(desk.ok(&["ls"]), "no images\n");
}

#[test]
fn failures_have_codes_and_reasons() {
    let desk = Desk::new();
    let (code, text) = desk.fails(&["rm", "none"]);
    assert_eq!((code, text.contains("no such image")), (3, true), "{text}");
    assert_eq!(desk.fails(&["pull", "UPPER//case"]).0, 2);
    let (code, text) = desk.fails(&["pull", "a", "--creds", "secret-without-colon"]);
    assert_eq!(code, 2);
    assert!(text.contains("USER:PASSWORD"), "{text}");
    assert_eq!(desk.fails(&["import", "/nowhere"]).0, 5);
    let (code, text) = desk.fails(&["pull", "127.0.0.1:1/a:1", "-o", "json"]);
    assert_eq!(code, 8, "{text}");
    let doc: Value = serde_json::from_str(&text).expect("JSON");
    assert!(doc["error"]["cause"].is_string(), "{doc}");
    assert_eq!(desk.fails(&["export", "-", "a", "--format", "oci-layout"]).0, 2);
}

/// Starts a registry, or skips the test.
macro_rules! registry {
    () => {
        match Registry::start() {
            Some(registry) => registry,
            None => return lab::skip("podloom image: docker-registry or htpasswd is missing"),
        }
    };
}

#[test]
fn a_pull_with_password_and_authority() {
    let registry = registry!();
    let desk = Desk::new();
    let image = images::small();
    registry.push("team/app", "1", &image);
    let certs = desk.scratch.path("certs.d");
    let dir = certs.join(registry.host());
    std::fs::create_dir_all(&dir).expect("certs.d");
    std::fs::copy(registry.authority(), dir.join("ca.crt")).expect("authority");
    let certs = certs.to_str().expect("path");
    let reference = format!("{}/team/app:1", registry.host());
    let creds = Registry::credentials();
    let pulled = desk.ok(&["pull", &reference, "--certs-dir", certs, "--creds", &creds]);
    assert_eq!(pulled, format!("{}\n", image.id()));
    let (code, text) = desk.fails(&["pull", &reference, "--certs-dir", certs]);
    assert_eq!(code, 8, "{text}");
    // The file that `docker login` writes.
    let auth = desk.scratch.path("auth.json");
    let text = "{\"auths\": {\"HOST\": {\"auth\": \"dXNlcjpjb3JyZWN0IGhvcnNl\"}}}";
    std::fs::write(&auth, text.replace("HOST", &registry.host())).expect("auth");
    let auth = auth.to_str().expect("path");
    desk.ok(&["pull", &reference, "--certs-dir", certs, "--authfile", auth]);
    let plain = format!("{}/team/app:1", registry.plain_host());
    desk.ok(&["pull", "--plain-http", "-q", &plain]);
    assert_eq!(desk.json(&["ls", "-o", "json"])[0]["repoTags"].as_array().map(Vec::len), Some(2));
}

/// A registry slowed down so far that a pull takes about a second.
fn slow(registry: &Registry, image: &images::Image) -> (Proxy, String) {
    registry.push("app", "1", image);
    let proxy = Proxy::start(registry.plain_port);
    proxy.set(Fault::Delay(Duration::from_millis(15)), 0);
    let reference = format!("127.0.0.1:{}/app:1", proxy.port);
    (proxy, reference)
}

#[test]
fn a_pull_killed_anywhere_is_made_whole_by_the_next() {
    let registry = registry!();
    let image = images::bulk(160, 3 << 20, 0);
    let (proxy, reference) = slow(&registry, &image);
    let desk = Desk::new();
    let mut finished = false;
    for kill in 0..12 {
        let mut child = desk.command(&["pull", "-q", &reference]).spawn().expect("podloom");
        std::thread::sleep(Duration::from_millis(10 + 35 * kill));
        finished |= child.try_wait().expect("wait").is_some();
        let _gone = child.kill();
        child.wait().expect("reap");
        let list = desk.json(&["ls", "-o", "json"]);
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            // Known means whole.
            desk.ok(&["inspect", &reference]);
            let out = desk.scratch.path("out.tar");
            desk.ok(&["export", out.to_str().expect("path"), &reference]);
        }
    }
    proxy.set(Fault::Delay(Duration::ZERO), 0);
    let before = proxy.passed();
    assert_eq!(desk.ok(&["pull", "-q", &reference]), format!("{}\n", image.id()));
    let size: usize = image.blobs.values().map(Vec::len).sum();
    assert!(finished || proxy.passed() - before < size as u64, "nothing was resumed");
    desk.ok(&["prune"]);
    let strays = ["store/ingest", "store/trash", "overlay/new", "overlay/trash"]
        .map(|dir| std::fs::read_dir(desk.root().join(dir)).expect("directory").count());
    assert_eq!(strays, [0; 4]);
    let kept = std::fs::read_dir(desk.root().join("store/blobs/sha256")).expect("blobs").count();
    assert_eq!(kept, image.blobs.len() + 1, "its blobs and its manifest");
    let layers = std::fs::read_dir(desk.root().join("overlay/snapshots")).expect("layers").count();
    assert_eq!(layers, 8);
}

#[test]
fn an_interrupted_pull_ends_soon_and_lets_the_store_go() {
    let registry = registry!();
    let image = images::bulk(160, 3 << 20, 0);
    let (proxy, reference) = slow(&registry, &image);
    let desk = Desk::new();
    let child = desk.command(&["pull", "-q", &reference]).stderr(Stdio::piped()).spawn();
    let child = child.expect("podloom");
    let start = Instant::now();
    while proxy.passed() < 500_000 {
        assert!(start.elapsed() < Duration::from_secs(20), "the pull does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let (code, text) = desk.fails(&["ls"]);
    assert_eq!(code, 5, "{text}");
    let holder = format!("podloom image pull (process {})", child.id());
    assert!(text.contains(&holder), "{text}");
    let pid = i32::try_from(child.id()).expect("pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGINT)
        .expect("kill");
    let asked = Instant::now();
    let output = child.wait_with_output().expect("reap");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(output.status.code(), Some(130));
    proxy.set(Fault::Delay(Duration::ZERO), 0);
    desk.ok(&["pull", "-q", &reference]);
}
