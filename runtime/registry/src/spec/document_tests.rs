use super::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn descriptor(media: &str, more: &str) -> String {
    format!(r#"{{"mediaType":"{media}","digest":"{D}","size":7{more}}}"#)
}

fn config() -> String {
    descriptor("application/vnd.oci.image.config.v1+json", "")
}

fn layer(more: &str) -> String {
    descriptor("application/vnd.oci.image.layer.v1.tar+gzip", more)
}

fn manifest(layers: &str) -> String {
    format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#, config())
}

fn refused(text: &str) -> String {
    let error = Document::parse(text.as_bytes(), None).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    error.to_string()
}

#[test]
fn manifests_and_indexes_parse() {
    let parsed = Document::parse(manifest(&layer("")).as_bytes(), Some(&MediaType::DockerManifest));
    let Document::Manifest(found) = parsed.unwrap() else { panic!("not a manifest") };
    assert_eq!((found.layers.len(), found.media_type.clone()), (1, MediaType::DockerManifest));
    found.require_image().unwrap();
    let entry = descriptor(
        "application/vnd.oci.image.manifest.v1+json",
        r#","platform":{"os":"linux","architecture":"amd64"}"#,
    );
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"annotations":null}}"#);
    let Document::Index(index) = Document::parse(text.as_bytes(), None).unwrap() else {
        panic!("not an index")
    };
    assert_eq!(index.choose(&Platform::new("linux", "amd64", "")).unwrap().size, 7);
    let error = index.choose(&Platform::new("linux", "s390x", "")).unwrap_err();
    assert!(error.to_string().contains("there are: linux/amd64"), "{error}");
}

#[test]
fn documents_of_two_kinds_are_refused() {
    let (config, layer) = (config(), layer(""));
    for text in [
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}],"manifests":[]}}"#),
        format!(r#"{{"schemaVersion":2,"layers":[],"manifests":[{config}]}}"#),
        format!(r#"{{"schemaVersion":2,"config":{config},"Manifests":[]}}"#),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":{config},"layers":[]}}"#
        ),
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#.to_owned(),
    ] {
        refused(&text);
    }
    let twice = format!(r#"{{"schemaVersion":2,"config":{config},"config":{config},"layers":[]}}"#);
    assert_eq!(Document::parse(twice.as_bytes(), None).unwrap_err().kind(), Kind::Invalid);
    let other = Document::parse(manifest("").as_bytes(), Some(&MediaType::Index)).unwrap_err();
    assert_eq!(other.kind(), Kind::Refused);
}

#[test]
fn schema_1_is_refused() {
    assert!(refused(r#"{"schemaVersion":1,"fsLayers":[]}"#).contains("schema 1"));
    let old = Document::parse(br#"{"schemaVersion":1}"#, None).unwrap_err();
    assert!(old.advice().unwrap().contains("push the image again"), "{old}");
    let declared = Document::parse(manifest("").as_bytes(), Some(&MediaType::DockerSchema1));
    assert_eq!(declared.unwrap_err().kind(), Kind::Refused);
}

#[test]
fn foreign_layers_and_addresses_are_refused() {
    let foreign = descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "");
    assert!(refused(&manifest(&foreign)).contains("layers[0]"));
    let with_urls = layer(r#","urls":["http://169.254.169.254/latest"]"#);
    assert!(refused(&manifest(&format!("{},{with_urls}", layer("")))).contains("layers[1]"));
    assert!(Document::parse(manifest(&layer(r#","urls":[]"#)).as_bytes(), None).is_ok());
}

#[test]
fn malformed_descriptors_name_their_place() {
    for (text, place) in [
        (manifest(&layer("").replace(D, "sha256:12")), "layers[0]: digest"),
        (manifest(&layer("").replace(":7", ":-7")), "layers[0]: size"),
        (manifest(&layer("").replace(":7", ":99999999999999999999")), "layers[0].size"),
        (r#"{"schemaVersion":3}"#.to_owned(), "schemaVersion 3"),
        (r#"{"schemaVersion":2}"#.to_owned(), "no config"),
        ("[]".to_owned(), "not a JSON object"),
        ("{".repeat(10_000), "not a JSON object"),
        (format!(r#"{{"schemaVersion":2,"x":{}"#, "[".repeat(100_000)), "not a JSON object"),
    ] {
        let error = Document::parse(text.as_bytes(), None).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains(place), "{error} lacks {place}");
    }
}

#[test]
fn documents_are_bounded() {
    let text = format!("{}{}", manifest(""), " ".repeat(4 << 20));
    assert_eq!(Document::parse(text.as_bytes(), None).unwrap_err().kind(), Kind::TooLarge);
}

#[test]
fn artifacts_are_no_images() {
    let text = manifest(&layer("")).replace("image.config.v1+json", "empty.v1+json");
    let Document::Manifest(artifact) = Document::parse(text.as_bytes(), None).unwrap() else {
        panic!("not a manifest")
    };
    assert_eq!(artifact.require_image().unwrap_err().kind(), Kind::Refused);
}
