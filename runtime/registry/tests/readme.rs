//! The README's example is one that works, and its keys are the ones there are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]

mod support;

use registry::hosts::{Hosts, HostsFile};

use support::Dir;
use support::certs::Authority;

const README: &str = include_str!("../README.md");

fn example() -> &'static str {
    let begin = README.split_once("```toml\n").expect("an example").1;
    begin.split_once("```").expect("its end").0
}

#[test]
fn the_example_parses_and_orders_its_hosts() {
    let urls: Vec<_> = HostsFile::parse(example()).unwrap().urls().map(str::to_owned).collect();
    assert_eq!(urls, ["https://mirror.example:5000", "https://harbor.example/v2/docker-hub"]);
}

#[test]
fn the_example_becomes_endpoints() {
    let (dir, pair) = (Dir::new(), Authority::new());
    dir.write("docker.io/hosts.toml", example());
    dir.write("docker.io/mirror-ca.pem", pair.pem());
    let node = pair.issue();
    dir.write("docker.io/node.pem", node.cert);
    dir.write("docker.io/node.key", node.key);
    dir.write("docker.io/mirror-password", "secret\n");
    let endpoints = Hosts::new(vec![dir.path().to_owned()]).endpoints("docker.io").unwrap();
    let urls: Vec<_> = endpoints.iter().map(|e| e.url()).collect();
    let want = [
        "https://mirror.example:5000/v2",
        "https://harbor.example/v2/docker-hub",
        "https://registry-1.docker.io/v2",
    ];
    assert_eq!(urls, want);
    assert!(endpoints[0].has_credentials() && !endpoints[2].has_credentials());
    assert!(endpoints[0].is_mirror() && !endpoints[2].is_mirror());
}
