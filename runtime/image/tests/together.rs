//! Several at once, and some that give up: joined, shared, cancelled, kept by leases.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod desk;

use desk::Desk;
use image::{Kind, LayerStage, Pull, Stage};
use images::{Fault, Proxy, Registry};
use std::time::Duration;

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
async fn the_same_request_joins() {
    let registry = registry!();
    let desk = Desk::new();
    let image = images::bulk(80, 1 << 20, 0);
    registry.push("app", "1", &image);
    let proxy = Proxy::start(registry.plain_port);
    proxy.set(Fault::Delay(Duration::from_millis(5)), 0);
    let reference = format!("127.0.0.1:{}/app:1", proxy.port);
    let service = desk.service();
    let pull = || service.pull(Pull::new(&reference).expect("reference"));
    let (first, second, third) = (pull(), pull(), pull());
    assert_eq!(service.under_way().len(), 1);
    let watched = first.progress();
    let mut stages = watched.watch();
    let (first, second, third) = tokio::join!(first, second, third);
    let first = first.expect("pull");
    assert_eq!(first, second.expect("joined"));
    assert_eq!(first, third.expect("joined"));
    assert_eq!(service.counters().pulls, 1);
    assert!(proxy.passed() < first.size + 50_000, "fetched twice");
    assert!(stages.has_changed().is_ok());
    assert_eq!(*stages.borrow_and_update(), Stage::Ended);
    let report = watched.report();
    assert_eq!(report.layers.len(), 8);
    assert!(report.layers.iter().all(|layer| layer.stage == LayerStage::Done), "{report:?}");
    assert_eq!(report.bytes().0, report.bytes().1);
    assert_eq!(service.counters().bytes, report.bytes().1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_share_layers_come_together() {
    let registry = registry!();
    let desk = Desk::new();
    let images: Vec<_> = (0..3).map(|variant| images::bulk(80, 1 << 20, variant)).collect();
    let proxy = Proxy::start(registry.plain_port);
    let service = desk.service();
    let pulls = images.iter().enumerate().map(|(at, image)| {
        registry.push("app", &at.to_string(), image);
        let reference = format!("127.0.0.1:{}/app:{at}", proxy.port);
        service.pull(Pull::new(&reference).expect("reference"))
    });
    let pulls: Vec<_> = pulls.collect();
    let before = proxy.passed();
    let pulled = futures_util::future::join_all(pulls).await;
    for (image, pulled) in images.iter().zip(&pulled) {
        assert_eq!(pulled.as_ref().expect("pull").id, image.id());
    }
    let size = pulled[0].as_ref().expect("pull").size;
    let came = proxy.passed() - before;
    assert!(came < size + size / 2, "{came} bytes for three images of {size} that share most");
    assert_eq!(service.usage().expect("usage").layer_count, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_nobody_waits_for_stops_and_goes_on_later() {
    let registry = registry!();
    let desk = Desk::new();
    let image = images::bulk(160, 4 << 20, 0);
    registry.push("app", "1", &image);
    let proxy = Proxy::start(registry.plain_port);
    proxy.set(Fault::Delay(Duration::from_millis(10)), 0);
    let reference = format!("127.0.0.1:{}/app:1", proxy.port);
    let service = desk.service();
    let one = service.pull(Pull::new(&reference).expect("reference"));
    let two = service.pull(Pull::new(&reference).expect("reference"));
    let progress = one.progress();
    let two = tokio::spawn(two);
    let one = tokio::spawn(one);
    while progress.report().bytes().0 < 1_000_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    one.abort();
    let here = progress.report().bytes().0;
    while progress.report().bytes().0 < here + 200_000 {
        // Goes on for the second.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    two.abort();
    assert!(two.await.is_err() && one.await.is_err());
    service.idle().await;
    let stopped = proxy.passed();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(proxy.passed() < stopped + 200_000, "goes on for nobody");
    assert!(service.list().expect("list").is_empty());
    assert_eq!(service.counters().failed, 1);
    // Automatic collection leaves it for the next pull.
    service.free().await.expect("free");
    proxy.set(Fault::Delay(Duration::ZERO), 0);
    let before = proxy.passed();
    let pulled = service.pull(Pull::new(&reference).expect("reference")).await.expect("pull");
    assert_eq!(pulled.id, image.id());
    assert!(proxy.passed() - before < pulled.size - 700_000, "what had come was not used");
    service.prune(false).await.expect("prune");
    assert!(desk.strays().is_empty(), "{:?}", desk.strays());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_keeps_what_a_container_needs() {
    let registry = registry!();
    let desk = Desk::new();
    let image = images::small();
    registry.push("app", "1", &image);
    let reference = format!("{}/app:1", registry.plain_host());
    let service = desk.service();
    let pulled = service.pull(Pull::new(&reference).expect("reference")).await.expect("pull");
    let dirs = desk.layer_dirs(&service, &pulled);
    service.lease("container-1", "container 1", &pulled.id).expect("lease");
    let error = service.remove(&reference, false).await.expect_err("in use");
    assert_eq!(error.kind(), Kind::InUse, "{error}");
    assert!(error.to_string().contains("container 1"), "{error}");
    assert_eq!(service.prune(true).await.expect("prune").images, []);
    let removal = service.remove(&reference, true).await.expect("forced");
    assert!(removal.is_gone);
    assert_eq!(service.prune(true).await.expect("prune").layers, 0);
    assert!(dirs.iter().all(|dir| dir.exists()));
    service.release("container-1").expect("release");
    let pruned = service.prune(false).await.expect("prune");
    assert_eq!((pruned.layers, pruned.blobs), (3, 5));
    assert!(dirs.iter().all(|dir| !dir.exists()));
    assert_eq!(service.usage().expect("usage").total().bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_beside_pulls_break_nothing() {
    let registry = registry!();
    let desk = Desk::new();
    let images: Vec<_> = (0..2).map(|variant| images::bulk(80, 256 << 10, variant)).collect();
    for (at, image) in images.iter().enumerate() {
        registry.push("app", &at.to_string(), image);
    }
    let service = desk.service();
    let work = (0..2).map(|at| {
        let (service, host) = (service.clone(), registry.plain_host());
        async move {
            let reference = format!("{host}/app:{at}");
            for _ in 0..5 {
                let pull = Pull::new(&reference).expect("reference");
                let pulled = service.pull(pull).await.expect("pull");
                service.inspect(&reference).expect("whole");
                for name in service.inspect(pulled.id.as_str()).expect("details").layers {
                    let name = snapshot::Name::new(name).expect("name");
                    service.layers().stat(&name).expect("unpacked");
                }
                service.remove(&reference, false).await.expect("remove");
            }
        }
    });
    let sweeps = async {
        for _ in 0..10 {
            service.prune(false).await.expect("prune");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(futures_util::future::join_all(work), sweeps);
    service.idle().await;
    service.prune(true).await.expect("prune");
    assert_eq!(service.usage().expect("usage").total().bytes, 0);
    assert!(desk.strays().is_empty(), "{:?}", desk.strays());
}

#[tokio::test]
async fn tags_move_and_names_are_removed_one_by_one() {
    let registry = registry!();
    let desk = Desk::new();
    let (first, second) = (images::many_layers(1), images::many_layers(2));
    registry.push("app", "1", &first);
    registry.push("app", "stable", &first);
    let host = registry.plain_host();
    let service = desk.service();
    for tag in ["1", "stable"] {
        let reference = format!("{host}/app:{tag}");
        service.pull(Pull::new(&reference).expect("reference")).await.expect("pull");
    }
    let removal = service.remove(&format!("{host}/app:1"), false).await.expect("untag");
    assert!(!removal.is_gone);
    registry.push("app", "stable", &second);
    let moved = format!("{host}/app:stable");
    service.pull(Pull::new(&moved).expect("reference")).await.expect("pull");
    assert_eq!(service.resolve(&moved).expect("resolve").id, second.id());
    let id = first.id();
    let short = &id.hex()[..12];
    let old = service.resolve(short).expect("the old one by its short ID");
    assert_eq!(old.repo_tags, Vec::<String>::new());
    assert_eq!(old.repo_digests, [format!("{host}/app@{}", first.digest())]);
    assert_eq!(service.prune(false).await.expect("prune").images, [first.id()]);
    service.pin(&moved, true).await.expect("pin");
    assert_eq!(service.prune(true).await.expect("prune").images, []);
    let error = service.resolve("nothing").expect_err("nothing");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert_eq!(service.get("nothing").expect("get"), None);
    assert!(service.resolve("Not:A:Name").is_err());
    assert!(service.remove(second.id().as_str(), false).await.expect("by ID").is_gone);
}
