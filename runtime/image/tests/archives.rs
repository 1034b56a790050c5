//! Imports and exports: what other tools wrote, and what they read.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod desk;

use desk::{Desk, tree};
use image::{Export, Form, ImageService, Import, Kind, Platform, Summary};
use images::{Image, Index, Layer, Packing, Style};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

fn import(path: &Path) -> Import {
    Import { path: path.to_owned(), platform: Platform::host(), name: None }
}

fn plain() -> Image {
    Image::new(vec![
        (images::every_kind(), Packing::Plain),
        (Layer::new().whiteout("etc/motd").file("added", b"added\n"), Packing::Plain),
    ])
}

/// The trees of an image's layers.
fn layers(
    desk: &Desk,
    service: &ImageService,
    image: &Summary,
) -> Vec<impl PartialEq + std::fmt::Debug> {
    desk.layer_dirs(service, image).iter().map(|dir| tree(dir)).collect()
}

fn compressed(file: &Path, program: &str) -> PathBuf {
    let status = Command::new(program).args(["-k", "-f"]).arg(file).status();
    assert!(status.expect("compressor").success());
    let suffix = if program == "gzip" { "gz" } else { "zst" };
    PathBuf::from(format!("{}.{suffix}", file.display()))
}

#[tokio::test]
async fn every_form_of_archive_is_imported() {
    let desk = Desk::new();
    let service = desk.service();
    let (small, plain) = (images::small(), plain());
    let path = |name: &str| desk.scratch.path(name);
    images::write_layout(&path("layout"), &[("example.com/a:1", &small), ("word", &plain)]);
    let imported = service.import(import(&path("layout"))).await.expect("layout");
    assert_eq!(imported[0].repo_tags, ["example.com/a:1"]);
    assert_eq!((&imported[0].id, &imported[1].id), (&small.id(), &plain.id()));
    assert_eq!(imported[1].repo_tags, ["localhost/word:latest"]);
    images::write_oci_archive(&path("oci.tar"), &[("example.com/b:1", &small)]);
    images::write_docker_archive(&path("docker.tar"), &[("c:1", &plain)]);
    for file in ["oci.tar", "docker.tar"] {
        let imported = service.import(import(&path(file))).await.expect(file);
        assert!([small.id(), plain.id()].contains(&imported[0].id), "{file}");
        let packed = compressed(&path(file), "gzip");
        service.import(import(&packed)).await.expect("compressed");
    }
    assert_eq!(service.resolve("c:1").expect("docker's name").id, plain.id());
    assert_eq!(service.list().expect("list").len(), 2, "the same images all the time");
    let named = Import { name: Some("other:2".parse().expect("name")), ..import(&path("oci.tar")) };
    let imported = service.import(named).await.expect("named");
    assert!(imported[0].repo_tags.contains(&"docker.io/library/other:2".to_owned()));
    assert!(desk.strays().is_empty(), "{:?}", desk.strays());
}

#[tokio::test]
async fn exports_are_what_was_imported() {
    let desk = Desk::new();
    let service = desk.service();
    images::write_layout(&desk.scratch.path("in"), &[("example.com/a:1", &images::small())]);
    let original = service.import(import(&desk.scratch.path("in"))).await.expect("import");
    let original = &original[0];
    let forms = [
        ("layout", Form::OciLayout, false),
        ("oci.tar", Form::OciArchive, false),
        ("oci.tgz", Form::OciArchive, true),
        ("docker.tar", Form::DockerArchive, false),
        ("docker.tgz", Form::DockerArchive, true),
    ];
    for (name, form, gzip) in forms {
        let path = desk.scratch.path(name);
        let images = vec!["example.com/a:1".to_owned()];
        let export = Export { images, path: path.clone(), form, gzip };
        service.export(export.clone()).await.expect(name);
        let other = Desk::new();
        let second = other.service();
        let imported = second.import(import(&path)).await.expect(name);
        assert_eq!(imported[0].id, original.id, "{name}");
        assert_eq!(imported[0].repo_tags, original.repo_tags, "{name}");
        let (ours, theirs) =
            (layers(&desk, &service, original), layers(&other, &second, &imported[0]));
        assert_eq!(ours, theirs, "{name}");
        if form == Form::OciLayout {
            let error = service.export(export).await.expect_err("not empty");
            assert_eq!(error.kind(), Kind::Invalid, "{error}");
        }
    }
    skopeo_reads(&desk);
}

fn skopeo_reads(desk: &Desk) {
    let dir = desk.scratch.dir().display();
    let places = [
        format!("oci:{dir}/layout"),
        format!("oci-archive:{dir}/oci.tar"),
        format!("docker-archive:{dir}/docker.tar"),
    ];
    for place in places {
        let Ok(output) = Command::new("skopeo").args(["inspect", &place]).output() else {
            return lab::skip("exports: skopeo is not installed");
        };
        assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn what_is_remembered_of_an_image_is_what_the_store_says() {
    let desk = Desk::new();
    let service = desk.service();
    let id = images::small().id().to_string();
    assert_eq!(service.remembered(&id), None, "nobody asked yet");
    assert_eq!(service.by_id(&id).expect("look"), None);
    assert_eq!(service.remembered(&id), Some(None), "that it is not there is remembered too");
    for name in ["a:1", "b:1"] {
        let path = desk.scratch.path(&name.replace(':', "-"));
        images::write_layout(&path, &[(name, &images::small())]);
        service.import(import(&path)).await.expect("import");
        assert_eq!(service.remembered(&id), None, "{name} came");
        let known = service.by_id(&id).expect("look").expect("there");
        assert_eq!(Some(&*known), service.get(&id).expect("get").as_ref());
        assert_eq!(service.remembered(&id).flatten().as_deref(), Some(&*known));
    }
    service.remove("a:1", false).await.expect("remove");
    assert_eq!(service.remembered(&id), None, "a name went");
    let known = service.by_id(&id).expect("look").expect("there");
    assert_eq!(known.repo_tags, ["docker.io/library/b:1"]);
    service.remove(&id, false).await.expect("remove");
    assert_eq!(service.by_id(&id).expect("look"), None);
    assert_eq!(service.by_id("no digest").expect("look"), None);
}

#[tokio::test]
async fn an_image_is_exported_by_its_id_and_several_at_once() {
    let desk = Desk::new();
    let service = desk.service();
    images::write_layout(&desk.scratch.path("in"), &[("a:1", &images::small()), ("b:1", &plain())]);
    let imported = service.import(import(&desk.scratch.path("in"))).await.expect("import");
    let images = vec![imported[0].id.to_string(), "b:1".to_owned()];
    let path = desk.scratch.path("out.tar");
    let export = Export { images, path: path.clone(), form: Form::OciArchive, gzip: false };
    service.export(export).await.expect("export");
    let other = Desk::new();
    let again = other.service().import(import(&path)).await.expect("import");
    assert_eq!(again.len(), 2);
    assert_eq!(again[0].repo_tags, Vec::<String>::new(), "by ID, it has no name");
    assert_eq!(again[1].repo_tags, ["docker.io/library/b:1"]);
}

#[tokio::test]
async fn without_kept_blobs_images_run_but_are_not_exported() {
    let desk = Desk::new();
    let settings = image::Settings { keep_blobs: false, ..desk.settings() };
    let service = ImageService::open(settings).expect("service");
    images::write_layout(&desk.scratch.path("in"), &[("a:1", &images::small())]);
    let imported = service.import(import(&desk.scratch.path("in"))).await.expect("import");
    assert_eq!(layers(&desk, &service, &imported[0]).len(), 3);
    let usage = service.usage().expect("usage");
    assert_eq!((usage.blob_count, usage.layer_count), (2, 3));
    let path = desk.scratch.path("out.tar");
    let images = vec!["a:1".to_owned()];
    let export = Export { images, path: path.clone(), form: Form::OciArchive, gzip: false };
    let error = service.export(export).await.expect_err("not kept");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert!(error.to_string().contains("pull the image again"), "{error}");
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(desk.scratch.dir()).expect("list").count(), 2, "no leftover");
}

#[tokio::test]
async fn an_index_in_a_layout_is_followed_to_the_platform() {
    let desk = Desk::new();
    let of = |architecture: &str| {
        let layer = Layer::new().file("arch", architecture.as_bytes());
        let extra = json!({"architecture": architecture});
        Image::with(vec![(layer, Packing::Gzip)], Style::Oci, &extra)
    };
    let (amd64, arm64) = (of("amd64"), of("arm64"));
    let index = Index::new(vec![amd64, arm64.clone()], Style::Oci);
    index.write_layout(&desk.scratch.path("in"), "multi:1");
    let platform = "linux/arm64".parse().expect("platform");
    let import = Import { platform, ..import(&desk.scratch.path("in")) };
    let imported = desk.service().import(import).await.expect("import");
    assert_eq!(imported[0].id, arm64.id());
    assert!(imported[0].repo_digests[0].ends_with(index.digest().as_str()));
}
