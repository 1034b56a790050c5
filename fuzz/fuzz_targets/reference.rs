//! Image references: what parses is written so that it parses to the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::Reference;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let written = reference.to_string();
        assert_eq!(written.parse::<Reference>().ok().as_ref(), Some(&reference), "{written}");
        // A repository becomes a path of an address: it must not climb or carry a query.
        assert!(!reference.repository().contains(['?', '#', '%', '\\', ' ']));
        assert!(reference.repository().split('/').all(|part| !part.is_empty() && part != ".."));
    }
});
