//! Images that attack: each refused with its reason, nothing of it known, nothing left behind.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod desk;

use desk::Desk;
use image::{Import, Kind, Platform};
use images::{Image, Layer, Packing, Style};
use serde_json::{Value, json};
use std::fs;

fn one_layer() -> Vec<(Layer, Packing)> {
    vec![(Layer::new().file("a", b"a"), Packing::Gzip)]
}

fn with_config(config: &Value) -> Image {
    Image::with(one_layer(), Style::Oci, &json!({ "config": config }))
}

/// Imports it; it is refused with `kind` and a message that has `text`, and leaves nothing.
async fn refused(image: &Image, kind: Kind, text: &str) {
    let desk = Desk::new();
    let layout = desk.scratch.path("layout");
    images::write_layout(&layout, &[("a:1", image)]);
    refused_at(&desk, &layout, kind, text).await;
}

async fn refused_at(desk: &Desk, path: &std::path::Path, kind: Kind, text: &str) {
    let service = desk.service();
    let import = Import { path: path.to_owned(), platform: Platform::host(), name: None };
    let error = service.import(import).await.expect_err(text);
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{text}: {message}");
    assert!(message.contains(text), "{text}: {message}");
    assert!(message.len() < 2000, "floods the terminal: {} bytes", message.len());
    assert!(service.list().expect("list").is_empty());
    service.prune(true).await.expect("prune");
    assert_eq!(service.usage().expect("usage").total().bytes, 0, "{text}");
    assert!(desk.strays().is_empty(), "{text}: {:?}", desk.strays());
}

#[tokio::test]
async fn configurations_that_do_not_fit() {
    let other = Layer::new().file("b", b"b").into_tar();
    let diff_id = image::Digest::sha256(&other);
    let rootfs = |diff_ids: Value| json!({"rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let none = Image::with(one_layer(), Style::Oci, &rootfs(json!([])));
    refused(&none, Kind::Refused, "1 layers where the configuration names 0").await;
    let two = Image::with(one_layer(), Style::Oci, &rootfs(json!([diff_id, diff_id])));
    refused(&two, Kind::Refused, "1 layers where the configuration names 2").await;
    let wrong = Image::with(one_layer(), Style::Oci, &rootfs(json!([diff_id])));
    refused(&wrong, Kind::Refused, diff_id.as_str()).await;
    let base = Image::with(
        one_layer(),
        Style::Oci,
        &json!({"rootfs": {"type": "base-layer", "diff_ids": [diff_id]}}),
    );
    refused(&base, Kind::Invalid, "rootfs.type").await;
}

#[tokio::test]
async fn containers_that_would_escape() {
    refused(&with_config(&json!({"Volumes": {"/../../etc": {}}})), Kind::Refused, "volume").await;
    for user in ["4294967296", "-1", "2147483648", "0x0"] {
        let image = with_config(&json!({ "User": user }));
        refused(&image, Kind::Refused, "user").await;
    }
}

#[tokio::test]
async fn labels_do_not_steer_the_runtime() {
    let desk = Desk::new();
    let service = desk.service();
    let labels = json!({"Labels": {"podloom.pinned": "true", "io.cri-containerd.pinned": "pinned",
        "containerd.io/gc.root": "1", "maintainer": "somebody"}});
    images::write_layout(&desk.scratch.path("in"), &[("a:1", &with_config(&labels))]);
    let path = desk.scratch.path("in");
    let import = Import { path, platform: Platform::host(), name: None };
    let imported = service.import(import).await.expect("import");
    assert!(!imported[0].pinned);
    let kept = service.inspect("a:1").expect("details").labels;
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["maintainer"]);
}

#[tokio::test]
async fn too_much() {
    let count = |layers: usize| {
        Image::new(one_layer()).changed(|manifest| {
            let layer = manifest["layers"][0].clone();
            manifest["layers"] = Value::from(vec![layer; layers]);
        })
    };
    refused(&count(501), Kind::Refused, "501 layers, at most 500").await;
    refused(&count(100_000), Kind::Refused, "at most").await;
    let large =
        Image::new(one_layer()).changed(|manifest| manifest["layers"][0]["size"] = json!(i64::MAX));
    refused(&large, Kind::Refused, "bytes, at most").await;
    let config =
        Image::new(one_layer()).changed(|manifest| manifest["config"]["size"] = json!(1_u64 << 40));
    refused(&config, Kind::Refused, "configuration of 1099511627776 bytes").await;
    let huge = with_config(&json!({"Labels": {"a": "x".repeat(9 << 20)}}));
    refused(&huge, Kind::Refused, "configuration of").await;
    let deep = Image::new(one_layer()).changed(|manifest| {
        manifest["annotations"] = serde_json::from_str("{\"a\": \"b\"}").expect("annotations");
        manifest["subject"] = (0..100).fold(json!(1), |inner, _| json!([inner]));
    });
    refused_or_taken(&deep).await;
}

/// Depth alone is no harm; what matters is that nothing breaks.
async fn refused_or_taken(image: &Image) {
    let desk = Desk::new();
    images::write_layout(&desk.scratch.path("in"), &[("a:1", image)]);
    let import = Import { path: desk.scratch.path("in"), platform: Platform::host(), name: None };
    let service = desk.service();
    let outcome = service.import(import).await;
    assert_eq!(outcome.is_ok(), service.list().expect("list").len() == 1);
}

#[tokio::test]
async fn manifests_that_say_two_things() {
    let two = Image::new(vec![
        (Layer::new().file("a", b"a"), Packing::Gzip),
        (Layer::new().file("b", b"b"), Packing::Gzip),
    ]);
    let same =
        two.clone().changed(|manifest| manifest["layers"][1] = manifest["layers"][0].clone());
    refused(&same, Kind::Refused, "in two ways").await;
    let both = two.clone().changed(|manifest| manifest["manifests"] = json!([]));
    refused(&both, Kind::Refused, "manifests").await;
    let foreign = two.clone().changed(|manifest| {
        manifest["layers"][0]["mediaType"] =
            json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        manifest["layers"][0]["urls"] = json!(["http://169.254.169.254/"]);
    });
    refused(&foreign, Kind::Refused, "layer").await;
    let artifact = two.changed(|manifest| {
        manifest["config"]["mediaType"] = json!("application/vnd.example.thing+json");
    });
    refused(&artifact, Kind::Refused, "config").await;
}

#[tokio::test]
async fn the_same_layer_twice_is_no_attack() {
    let layer = || Layer::new().file("a", b"a");
    let image = Image::new(vec![(layer(), Packing::Gzip), (layer(), Packing::Gzip)]);
    let desk = Desk::new();
    images::write_layout(&desk.scratch.path("in"), &[("a:1", &image)]);
    let import = Import { path: desk.scratch.path("in"), platform: Platform::host(), name: None };
    let service = desk.service();
    service.import(import).await.expect("import");
    assert_eq!(service.inspect("a:1").expect("details").layers.len(), 2);
}

#[tokio::test]
async fn layers_that_write_elsewhere() {
    let escapes = [
        Layer::new().symlink("out", "/etc").file("out/podloom-escape", b"x"),
        Layer::new().file("a", b"a").hardlink("b", "../../../../etc/passwd"),
    ];
    for layer in escapes {
        let image = Image::new(vec![(layer, Packing::Gzip)]);
        let desk = Desk::new();
        images::write_layout(&desk.scratch.path("in"), &[("a:1", &image)]);
        let import =
            Import { path: desk.scratch.path("in"), platform: Platform::host(), name: None };
        // Refused or kept inside, as the layer room decides; never outside.
        let _either = desk.service().import(import).await;
        assert!(!std::path::Path::new("/etc/podloom-escape").exists());
    }
}

#[tokio::test]
async fn content_that_is_not_what_it_is_called() {
    let desk = Desk::new();
    let image = Image::new(one_layer());
    let layout = desk.scratch.path("layout");
    images::write_layout(&layout, &[("a:1", &image)]);
    let blob = |digest: &image::Digest| layout.join("blobs/sha256").join(digest.hex());
    let layer = fs::read(blob(&image.layers[0])).expect("layer");
    let mut other = layer.clone();
    *other.last_mut().expect("byte") ^= 1;
    fs::write(blob(&image.layers[0]), &other).expect("write");
    refused_at(&desk, &layout, Kind::Mismatch, "digest").await;
    fs::write(blob(&image.layers[0]), &layer[..layer.len() - 1]).expect("write");
    refused_at(&desk, &layout, Kind::Mismatch, "bytes").await;
    fs::write(blob(&image.layers[0]), &layer).expect("write");
    fs::write(blob(&image.id()), b"{}").expect("write");
    refused_at(&desk, &layout, Kind::Mismatch, "digest").await;
    fs::remove_file(blob(&image.id())).expect("remove");
    refused_at(&desk, &layout, Kind::NotFound, "has no file").await;
}

#[tokio::test]
async fn archives_that_are_none() {
    let desk = Desk::new();
    let file = desk.scratch.path("file");
    let cases: [(&[u8], Kind); 4] = [
        (b"", Kind::Invalid),
        (b"hello", Kind::Invalid),
        (&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0], Kind::Invalid),
        (&[0; 10_240], Kind::Invalid),
    ];
    for (content, kind) in cases {
        fs::write(&file, content).expect("file");
        refused_at(&desk, &file, kind, "").await;
    }
    refused_at(&desk, &desk.scratch.path("nowhere"), Kind::Io, "nowhere").await;
    fs::create_dir(desk.scratch.path("empty")).expect("directory");
    refused_at(&desk, &desk.scratch.path("empty"), Kind::Invalid, "neither").await;
}

/// A docker archive whose paths lead out of it, or in a circle.
#[tokio::test]
async fn docker_archives_with_paths_elsewhere() {
    let desk = Desk::new();
    let secret = desk.scratch.path("secret");
    fs::write(&secret, b"{}").expect("secret");
    let dir = desk.scratch.path("docker");
    fs::create_dir(&dir).expect("directory");
    for path in ["../secret", "/etc/passwd", secret.to_str().expect("path"), "loop"] {
        let text = json!([{"Config": path, "RepoTags": ["a:1"], "Layers": []}]).to_string();
        fs::write(dir.join("manifest.json"), text).expect("manifest");
        let service = desk.service();
        let import = Import { path: dir.clone(), platform: Platform::host(), name: None };
        let error = service.import(import).await.expect_err(path);
        assert_eq!(error.kind(), Kind::NotFound, "{path}: {error}");
    }
}
