//! One file of a vendor (CDI specification, "JSON Schema").

use super::edits::Edits;
use crate::{Error, Kind, Result};
use serde::Deserialize;
use std::io::Read;
use std::path::Path;

/// Longest file, in bytes.
const FILE_MAX: u64 = 4 << 20;

/// A file, valid.
#[derive(Debug)]
pub(super) struct File {
    kind: String,
    common: Edits,
    devices: Vec<(String, Edits)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    container_edits: Edits,
    devices: Vec<WireDevice>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDevice {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// It is too long, or no file of CDI.
    pub(super) fn read(path: &Path) -> Result<File> {
        let subject = format!("CDI file {}", path.display());
        let fail = |e: std::io::Error| Error::io(&subject, &e);
        let mut text = Vec::new();
        let file = std::fs::File::open(path).map_err(fail)?;
        file.take(FILE_MAX + 1).read_to_end(&mut text).map_err(fail)?;
        let wrong = |cause: String| Error::new(Kind::Invalid, &subject, cause);
        if text.len() as u64 > FILE_MAX {
            return Err(wrong(format!("is over {FILE_MAX} bytes")));
        }
        let is_json = path.extension().is_some_and(|end| end == "json");
        File::parse(&text, is_json).map_err(wrong)
    }

    fn parse(text: &[u8], is_json: bool) -> Result<File, String> {
        let wire: Wire = match is_json {
            true => serde_json::from_slice(text).map_err(|e| e.to_string())?,
            false => serde_saphyr::from_slice(text).map_err(|e| e.to_string())?,
        };
        let major = wire.cdi_version.split('.').next().unwrap_or_default();
        if !matches!(major, "0" | "1") {
            return Err(format!("cdiVersion {:?} is none of 0.x and 1.x", wire.cdi_version));
        }
        let devices = wire.devices.into_iter().map(|d| (d.name, d.container_edits)).collect();
        Ok(File { kind: wire.kind, common: wire.container_edits, devices })
    }

    pub(super) fn has(&self, kind: &str, device: &str) -> bool {
        self.kind == kind && self.devices.iter().any(|(name, _)| name == device)
    }

    /// What every device of the file brings with it.
    pub(super) fn common(&self) -> Edits {
        self.common.clone()
    }

    pub(super) fn device(&self, device: &str) -> Option<Edits> {
        self.devices.iter().find(|(name, _)| name == device).map(|(_, edits)| edits.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As vendors' tools write it.
    const YAML: &str = "---\ncdiVersion: 0.5.0\nkind: vendor.com/gpu\ndevices:\n  - name: \"0\"\n    \
        containerEdits:\n      deviceNodes:\n        - path: /dev/gpu0\n          major: 195\n  \
        - name: all\ncontainerEdits:\n  env:\n    - VISIBLE=void\n  mounts:\n    - hostPath: \
        /usr/lib/x.so\n      containerPath: /usr/lib/x.so\n      options: [ro, nosuid]\n";

    #[test]
    fn both_ways_to_write_a_file_are_read() {
        let file = File::parse(YAML.as_bytes(), false).expect("a file");
        assert!(file.has("vendor.com/gpu", "0") && file.has("vendor.com/gpu", "all"));
        assert!(!file.has("vendor.com/net", "0") && !file.has("vendor.com/gpu", "1"));
        assert_eq!(file.common().env, ["VISIBLE=void"]);
        assert_eq!(file.common().mounts[0].options, ["ro", "nosuid"]);
        let json = br#"{"cdiVersion":"1.0.0","kind":"v.com/c","devices":[{"name":"a"}],"later":1}"#;
        assert!(File::parse(json, true).expect("a file").has("v.com/c", "a"));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for text in ["", "[]", "{\"cdiVersion\":\"2.0.0\",\"kind\":\"v/c\",\"devices\":[]}", "{"] {
            assert!(File::parse(text.as_bytes(), true).is_err(), "{text}");
            assert!(File::parse(text.as_bytes(), false).is_err(), "{text}");
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(File::parse(deep.as_bytes(), true).is_err());
        assert!(File::parse(deep.as_bytes(), false).is_err());
        let laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
            c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
            e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
        assert!(File::parse(laughs.as_bytes(), false).is_err());
    }
}
