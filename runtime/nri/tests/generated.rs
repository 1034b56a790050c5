//! `src/v1alpha1.rs` is what `proto/v1alpha1.proto` says. With `PODLOOM_GENERATE=1` it is written anew.

use std::fs;
use std::path::Path;

#[test]
fn the_messages_are_what_the_proto_generates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = std::env::temp_dir().join(format!("podloom-nri-{}", std::process::id()));
    fs::create_dir_all(&out).unwrap();
    let described = protox::compile(["v1alpha1.proto"], [root.join("proto")]).unwrap();
    // Maps with an order: what is sent is the same each time.
    let mut generator = prost_build::Config::new();
    generator.out_dir(&out).btree_map(["."]).compile_fds(described).unwrap();
    let wanted = fs::read_to_string(out.join("nri.pkg.api.v1alpha1.rs")).unwrap();
    fs::remove_dir_all(out).unwrap();
    let file = root.join("src/v1alpha1.rs");
    if std::env::var_os("PODLOOM_GENERATE").is_some() {
        fs::write(&file, &wanted).unwrap();
    }
    let is_same = fs::read_to_string(&file).unwrap() == wanted;
    let advice = "PODLOOM_GENERATE=1 cargo test -p nri --test generated";
    assert!(is_same, "src/v1alpha1.rs is not what proto/v1alpha1.proto says: {advice}");
}
