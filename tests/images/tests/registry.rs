//! What the other tests stand on: images that other tools read, a registry, a faulty network.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use images::{Fault, Image, Index, Proxy, Registry, Scratch, Style, request, small};
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

fn skopeo(arguments: &[&str]) -> Option<String> {
    let output = Command::new("skopeo").args(arguments).output().ok()?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo {arguments:?}: {error}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn other_tools_read_what_was_pushed() {
    let Some(registry) = Registry::start() else {
        return lab::skip("registry: docker-registry or htpasswd is not installed");
    };
    let image = small();
    registry.push("team/small", "1", &image);
    let index = Index::new(vec![image.clone()], Style::Docker);
    registry.push_index("team/small", "all", &index);
    let source = format!("docker://{}/team/small:1", registry.host());
    let scratch = Scratch::new("certificates");
    std::fs::copy(registry.authority(), scratch.path("ca.crt")).expect("authority");
    let creds = Registry::credentials();
    let dir = scratch.dir().display().to_string();
    let arguments =
        ["inspect", "--format", "{{.Digest}}", "--creds", &creds, "--cert-dir", &dir, &source];
    let Some(digest) = skopeo(&arguments) else {
        return lab::skip("registry: skopeo is not installed");
    };
    assert_eq!(digest.trim(), image.digest().as_str());
    let refused = request(registry.plain_port, "GET /v2/none/manifests/1", &[], b"");
    assert_eq!(refused.status, 404);
}

#[test]
fn layouts_and_archives_are_what_other_tools_read() {
    let scratch = Scratch::new("layouts");
    let image = small();
    images::write_layout(&scratch.path("layout"), &[("one", &image)]);
    images::write_oci_archive(&scratch.path("oci.tar"), &[("one", &image)]);
    let plain = Image::new(vec![(images::every_kind(), images::Packing::Plain)]);
    images::write_docker_archive(&scratch.path("docker.tar"), &[("a/b:c", &plain)]);
    let digest = |place: String| skopeo(&["inspect", "--format", "{{.Digest}}", &place]);
    let dir = scratch.dir().display();
    let Some(of_layout) = digest(format!("oci:{dir}/layout:one")) else {
        return lab::skip("layouts: skopeo is not installed");
    };
    assert_eq!(of_layout.trim(), image.digest().as_str());
    let of_archive = digest(format!("oci-archive:{dir}/oci.tar:one")).expect("archive");
    assert_eq!(of_archive.trim(), image.digest().as_str());
    digest(format!("docker-archive:{dir}/docker.tar")).expect("docker archive");
}

#[test]
fn the_network_is_faulty_in_each_way() {
    let Some(registry) = Registry::start() else {
        return lab::skip("proxy: docker-registry or htpasswd is not installed");
    };
    let image = images::many_layers(1);
    registry.push("a", "1", &image);
    let proxy = Proxy::start(registry.plain_port);
    let line = format!("GET /v2/a/blobs/{}", image.id());
    let sound = request(proxy.port, &line, &[], b"").body;
    assert_eq!(sound, image.config);
    let all = proxy.passed();
    proxy.set(Fault::Corrupt(all - 10), 1);
    let corrupt = request(proxy.port, &line, &[], b"").body;
    assert!(corrupt != sound && corrupt.len() == sound.len());
    proxy.set(Fault::Cut(all - 10), 1);
    assert_eq!(request(proxy.port, &line, &[], b"").body.len(), sound.len() - 10);
    assert_eq!(request(proxy.port, &line, &[], b"").body, sound, "only once");
    assert_eq!(proxy.faults(), 2);
    proxy.set(Fault::Delay(Duration::from_millis(60)), 0);
    let start = Instant::now();
    assert_eq!(request(proxy.port, &line, &[], b"").body, sound);
    assert!(start.elapsed() >= Duration::from_millis(60));
    proxy.set(Fault::Stall(1), 1);
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).expect("proxy");
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
    std::io::Write::write_all(&mut stream, b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
    let mut text = Vec::new();
    assert!(stream.read_to_end(&mut text).is_err(), "nothing comes");
}
