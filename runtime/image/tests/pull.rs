//! Pulls from Debian's registry: every kind of image, through TLS, mirrors and broken networks.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod desk;

use desk::{Desk, Mounted, tree, umoci, with_password};
use image::{Kind, Pull};
use images::{Fault, Image, Index, Layer, Packing, Proxy, Registry, Style};
use serde_json::json;
use std::time::{Duration, Instant};

/// Starts a registry, or skips the test.
macro_rules! registry {
    () => {
        match Registry::start() {
            Some(registry) => registry,
            None => return lab::skip("pull: docker-registry or htpasswd is not installed"),
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pulled_is_what_umoci_unpacks() {
    let registry = registry!();
    let desk = Desk::new();
    desk.trust(&registry);
    let service = desk.service();
    let docker = Image::with(
        vec![
            (images::every_kind(), Packing::Gzip),
            (Layer::new().whiteout("etc/motd"), Packing::Gzip),
        ],
        Style::Docker,
        &json!({"config": {"User": "1000:1000", "Volumes": {"/data": {}}}}),
    );
    let gallery =
        [("small", images::small()), ("docker", docker), ("many", images::many_layers(40))];
    for (tag, image) in &gallery {
        registry.push("team/app", tag, image);
        let reference = format!("{}/team/app:{tag}", registry.host());
        let pulled = service.pull(with_password(&reference)).await.expect("pull");
        assert_eq!(pulled.id, image.id());
        assert_eq!(pulled.repo_tags, std::slice::from_ref(&reference));
        let digest = format!("{}/team/app@{}", registry.host(), image.digest());
        assert_eq!(pulled.repo_digests, [digest]);
        let dirs = desk.layer_dirs(&service, &pulled);
        assert_eq!(dirs.len(), image.layers.len());
        // umoci knows no zstd, so it gets the same layers as gzip by our own export.
        let Some(mounted) = Mounted::new(&desk.scratch.path(&format!("m-{tag}")), &dirs) else {
            return lab::skip("pull: no overlay here");
        };
        let layout = desk.scratch.path(&format!("layout-{tag}"));
        images::write_layout(&layout, &[(tag, &image.repacked(Packing::Gzip))]);
        let bundle = desk.scratch.path(&format!("bundle-{tag}"));
        let Some(rootfs) = umoci(&layout, tag, &bundle) else {
            return lab::skip("pull: umoci is not installed");
        };
        assert_same(&tree(&mounted.0), &tree(&rootfs), tag);
    }
    assert_eq!(service.list().expect("list").len(), 3);
    assert!(desk.strays().is_empty(), "{:?}", desk.strays());
}

fn assert_same(
    ours: &std::collections::BTreeMap<String, String>,
    theirs: &std::collections::BTreeMap<String, String>,
    what: &str,
) {
    for (path, state) in theirs {
        assert_eq!(ours.get(path), Some(state), "{what}: {path}");
    }
    for path in ours.keys() {
        assert!(theirs.contains_key(path), "{what}: {path} is not in umoci's");
    }
    assert!(!ours.is_empty());
}

#[tokio::test]
async fn credentials_are_needed_and_wrong_ones_refused() {
    let registry = registry!();
    let desk = Desk::new();
    desk.trust(&registry);
    registry.push("a", "1", &images::many_layers(1));
    let service = desk.service();
    let reference = format!("{}/a:1", registry.host());
    let pull = Pull::new(&reference).expect("reference");
    let error = service.pull(pull.clone()).await.expect_err("no password");
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    let wrong = Pull { credentials: Some(image::Credentials::password("user", "guess")), ..pull };
    let error = service.pull(wrong).await.expect_err("wrong password");
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(!error.to_string().contains("guess"), "{error}");
    let missing = with_password(&format!("{}/a:2", registry.host()));
    assert_eq!(service.pull(missing).await.expect_err("no tag").kind(), Kind::NotFound);
    // Without the authority, nobody is believed.
    desk.hosts(&registry.host(), &format!("server = \"https://{}\"\n", registry.host()));
    let error = service.pull(with_password(&reference)).await.expect_err("not trusted");
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(service.list().expect("list").is_empty());
    let counters = service.counters();
    assert_eq!((counters.pulls, counters.failed), (4, 4));
}

#[tokio::test]
async fn the_platform_is_chosen_from_an_index() {
    let registry = registry!();
    let desk = Desk::new();
    let of = |architecture: &str| {
        let layer = Layer::new().file("arch", architecture.as_bytes());
        let extra = json!({"architecture": architecture});
        Image::with(vec![(layer, Packing::Gzip)], Style::Oci, &extra)
    };
    let (amd64, arm64) = (of("amd64"), of("arm64"));
    let index = Index::new(vec![arm64.clone(), amd64.clone()], Style::Oci);
    registry.push_index("multi", "1", &index);
    let service = desk.service();
    let reference = format!("{}/multi:1", registry.plain_host());
    let mut pull = Pull::new(&reference).expect("reference");
    for (platform, image) in [("linux/amd64", &amd64), ("linux/arm64", &arm64)] {
        pull.platform = platform.parse().expect("platform");
        let pulled = service.pull(pull.clone()).await.expect("pull");
        assert_eq!((&pulled.id, pulled.platform.as_str()), (&image.id(), platform));
        assert!(pulled.repo_digests[0].ends_with(&format!("@{}", index.digest())));
    }
    pull.platform = "linux/s390x".parse().expect("platform");
    let error = service.pull(pull).await.expect_err("no such platform");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert!(error.to_string().contains("linux/arm64"), "{error}");
    // By the digest of one manifest.
    let reference = format!("{}/multi@{}", registry.plain_host(), arm64.digest());
    let pulled = service.pull(Pull::new(&reference).expect("reference")).await.expect("pull");
    assert_eq!(pulled.id, arm64.id());
    assert!(pulled.repo_digests.contains(&reference), "{pulled:?}");
}

#[tokio::test]
async fn a_mirror_serves_and_the_registry_is_not_asked() {
    let registry = registry!();
    let desk = Desk::new();
    let image = images::small();
    registry.push("library/app", "1", &image);
    let mirror = registry.plain_host();
    desk.hosts(
        "docker.io",
        &format!("server = \"https://127.0.0.1:1\"\n\n[host.\"http://{mirror}\"]\n"),
    );
    let service = desk.service();
    let pulled = service.pull(Pull::new("app:1").expect("reference")).await.expect("pull");
    assert_eq!(pulled.repo_tags, ["docker.io/library/app:1"]);
    assert_eq!(pulled.id, image.id());
}

/// A registry behind a faulty network, without TLS so that content can be corrupted.
fn faulty(registry: &Registry, image: &Image) -> (Proxy, String) {
    registry.push("app", "1", image);
    let proxy = Proxy::start(registry.plain_port);
    let reference = format!("127.0.0.1:{}/app:1", proxy.port);
    (proxy, reference)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_is_cut_goes_on_where_it_was() {
    let registry = registry!();
    let desk = Desk::new();
    let image = images::bulk(200, 4 << 20, 0);
    let (proxy, reference) = faulty(&registry, &image);
    proxy.set(Fault::Cut(150_000), 6);
    let service = desk.service();
    let pulled = service.pull(Pull::new(&reference).expect("reference")).await.expect("pull");
    assert_eq!(pulled.id, image.id());
    assert!(proxy.faults() >= 4, "{} cuts", proxy.faults());
    let whole = pulled.size + 200_000;
    assert!(proxy.passed() < whole + 6 * 150_000, "fetched twice: {} bytes", proxy.passed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_transfer_fails_with_its_rate_and_goes_on_later() {
    let registry = registry!();
    let desk = Desk::new();
    let image = images::bulk(200, 4 << 20, 0);
    let (proxy, reference) = faulty(&registry, &image);
    proxy.set(Fault::Stall(150_000), usize::MAX);
    let mut settings = desk.settings();
    settings.registry.rate_window = Duration::from_millis(300);
    settings.registry.min_rate = 2_000_000;
    settings.registry.idle_timeout = Duration::from_millis(700);
    settings.registry.retries = 0;
    let service = image::ImageService::open(settings).expect("service");
    let start = Instant::now();
    let error = service.pull(Pull::new(&reference).expect("reference")).await.expect_err("stalls");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("bytes/s"), "{error}");
    drop(service);
    let (proxy, _) = (Proxy::start(registry.plain_port), proxy);
    let again = format!("127.0.0.1:{}/app:1", proxy.port);
    let service = desk.service();
    let pulled = service.pull(Pull::new(&again).expect("reference")).await.expect("pull");
    assert_eq!(pulled.id, image.id());
    assert!(proxy.passed() < pulled.size, "nothing of the first attempt was used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrupt_content_is_refused_and_fetched_again() {
    let registry = registry!();
    let desk = Desk::new();
    let image = images::bulk(200, 4 << 20, 0);
    let (proxy, reference) = faulty(&registry, &image);
    proxy.set(Fault::Corrupt(150_000), 1);
    let service = desk.service();
    let pulled = service.pull(Pull::new(&reference).expect("reference")).await.expect("pull");
    assert_eq!((proxy.faults(), &pulled.id), (1, &image.id()));
    for digest in &image.layers {
        assert!(service.store().check_blob(digest).expect("check"));
    }
    drop(service);
    // Always corrupt: refused, and nothing of it is known.
    let desk = Desk::new();
    proxy.set(Fault::Corrupt(150_000), usize::MAX);
    let service = desk.service();
    let error = service.pull(Pull::new(&reference).expect("reference")).await.expect_err("corrupt");
    assert_eq!(error.kind(), Kind::Mismatch, "{error}");
    assert!(service.list().expect("list").is_empty());
    service.prune(false).await.expect("prune");
    assert!(desk.strays().is_empty(), "{:?}", desk.strays());
    assert_eq!(service.usage().expect("usage").total().bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_image_costs_what_it_does_not_share() {
    let registry = registry!();
    let desk = Desk::new();
    let (first, second) = (images::bulk(200, 4 << 20, 0), images::bulk(200, 4 << 20, 1));
    assert_eq!(first.layers[..7], second.layers[..7]);
    registry.push("app", "2", &second);
    let (proxy, reference) = faulty(&registry, &first);
    let service = desk.service();
    service.pull(Pull::new(&reference).expect("reference")).await.expect("first");
    let before = proxy.passed();
    let reference = format!("127.0.0.1:{}/app:2", proxy.port);
    let pulled = service.pull(Pull::new(&reference).expect("reference")).await.expect("second");
    let cost = proxy.passed() - before;
    assert!(cost < pulled.size / 6, "{cost} of {} bytes", pulled.size);
    // And the same again costs next to nothing.
    let before = proxy.passed();
    service.pull(Pull::new(&reference).expect("reference")).await.expect("again");
    assert!(proxy.passed() - before < 20_000);
}
