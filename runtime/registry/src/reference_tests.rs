use super::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn full(text: &str) -> String {
    text.parse::<Reference>().unwrap_or_else(|e| panic!("{e}")).to_string()
}

#[test]
fn names_are_completed() {
    for (text, want) in [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("grafana/grafana", "docker.io/grafana/grafana:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("LocalHost/x", "localhost/x:latest"),
        ("localhost:5000/x/y:t", "localhost:5000/x/y:t"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("Registry.Example/a", "registry.example/a:latest"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ("[::1]:5000/a:b", "[::1]:5000/a:b"),
        ("[2001:db8::1]/a", "[2001:db8::1]/a:latest"),
        ("a_b/c__d/e-f/g--h.i", "docker.io/a_b/c__d/e-f/g--h.i:latest"),
    ] {
        assert_eq!(full(text), want);
        assert_eq!(full(want), want, "a full name stays");
    }
    assert_eq!(full(&format!("a@{D}")), format!("docker.io/library/a@{D}"));
    assert_eq!(full(&format!("a:b@{D}")), format!("docker.io/library/a:b@{D}"));
}

#[test]
fn parts_and_short_forms() {
    let pinned: Reference = format!("quay.io:443/a/b:c@{D}").parse().unwrap();
    assert_eq!((pinned.registry(), pinned.repository()), ("quay.io:443", "a/b"));
    assert_eq!((pinned.tag(), pinned.target()), (Some("c"), D));
    let short: Reference = "busybox".parse().unwrap();
    assert_eq!((short.familiar(), short.target()), ("busybox:latest".to_owned(), "latest"));
    assert_eq!(
        short.at(pinned.digest().unwrap()).to_string(),
        format!("docker.io/library/busybox@{D}")
    );
}

#[test]
fn malformed_names_say_why() {
    let long_tag = format!("a:{}", "t".repeat(129));
    let long_path = format!("x.y/{}", "a".repeat(256));
    let huge = "a".repeat(100_000);
    let id = "0123456789abcdef".repeat(4);
    for (text, why) in [
        ("", "empty"),
        ("https://quay.io/a", "scheme"),
        ("Busybox", "lower case"),
        ("a/B", "lower case"),
        // Found by fuzzing: its lower case would be a name at docker.io.
        ("QqQ/a", "lower case"),
        ("a:", "tag"),
        ("a:-x", "tag"),
        (&long_tag, "at most 128"),
        (&long_path, "at most 255"),
        (&huge, "bytes, at most"),
        (&id, "image id"),
        ("a@sha256:12", "wrong length"),
        ("a@md5:x", "sha256 or sha512"),
        ("a//b", "want parts"),
        ("a/../b", "want parts"),
        ("../b", "registry host"),
        ("a/b/", "want parts"),
        ("-a", "want parts"),
        ("a___b", "want parts"),
        ("a..b", "want parts"),
        ("a b", "want parts"),
        ("a\n", "want parts"),
        ("x.y:0/a", "port"),
        ("x.y:70000/a", "port"),
        ("x.y:+1/a", "port"),
        ("[::1/a", "want ]"),
        ("[fe80::1%eth0]/a", "no IPv6"),
        ("[::1]5000/a", "after ]"),
        ("-x.y/a", "labels"),
        ("x..y/a", "labels"),
        ("user@x.y/a", "ALGORITHM:HEX"),
        ("x.y/a?b", "want parts"),
        ("é.x/a", "labels"),
    ] {
        let error = text.parse::<Reference>().unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let shown = error.to_string();
        assert!(shown.contains(why) && shown.len() < 1000, "{shown} lacks {why}");
    }
}
