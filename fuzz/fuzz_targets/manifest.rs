//! Manifests, indexes and image configurations: what parses holds nothing that must be refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::spec::{Document, ImageConfig, MediaType, Platform};

fuzz_target!(|bytes: &[u8]| {
    for declared in [None, Some(&MediaType::Manifest), Some(&MediaType::DockerList)] {
        match Document::parse(bytes, declared) {
            Ok(Document::Manifest(manifest)) => {
                assert!(manifest.media_type.is_manifest());
                assert!(!manifest.layers.iter().any(|l| matches!(l.media_type, MediaType::Foreign(_))));
                let _ = manifest.require_image();
            }
            Ok(Document::Index(index)) => {
                assert!(index.media_type.is_index());
                let _ = index.choose(&Platform::new("linux", "amd64", ""));
            }
            Err(_) => {}
        }
    }
    if let Ok(config) = ImageConfig::parse(bytes) {
        assert!(config.container.volumes.iter().all(|v| v.starts_with('/') && !v.contains("/../")));
        let user = config.container.user.to_string();
        assert_eq!(user.parse().ok(), Some(config.container.user));
    }
});
