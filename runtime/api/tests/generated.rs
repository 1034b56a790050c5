//! `src/v1.rs` is what `proto/v1.proto` says. With `PODLOOM_GENERATE=1` it is written anew.

use std::fs;
use std::path::Path;

#[test]
fn the_sources_are_what_the_proto_generates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = std::env::temp_dir().join(format!("podloom-cri-api-{}", std::process::id()));
    fs::create_dir_all(&out).unwrap();
    let described = protox::compile(["v1.proto"], [root.join("proto")]).unwrap();
    let generator = tonic_prost_build::configure().out_dir(&out).build_transport(true);
    generator.compile_fds(described).unwrap();
    let wanted = fs::read_to_string(out.join("runtime.v1.rs")).unwrap();
    fs::remove_dir_all(out).unwrap();
    let file = root.join("src/v1.rs");
    if std::env::var_os("PODLOOM_GENERATE").is_some() {
        fs::write(&file, &wanted).unwrap();
    }
    let is_same = fs::read_to_string(&file).unwrap() == wanted;
    assert!(
        is_same,
        "src/v1.rs is not what proto/v1.proto says: PODLOOM_GENERATE=1 cargo test -p cri-api"
    );
}
