//! Devices by name (Container Device Interface 0.8 to 1.0): files of vendors say what a container
//! that asks for `vendor.com/class=name` gets.

mod edits;
mod file;

pub(crate) use edits::apply;

use crate::{Error, Kind, Result};
use cri_api::v1::ContainerConfig;
use edits::Edits;
use file::File;
use runtime_spec::Spec;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Annotations by which older device plugins name devices.
const ANNOTATION: &str = "cdi.k8s.io/";

/// Files of one directory that are read at most.
const FILES_MAX: usize = 1024;

/// The names of devices that a container asks for, each once.
///
/// # Errors
/// One is no name.
pub(crate) fn wanted(config: &ContainerConfig) -> Result<Vec<String>> {
    let by_field = config.cdi_devices.iter().map(|device| device.name.as_str());
    let mut annotations: Vec<_> =
        config.annotations.iter().filter(|(key, _)| key.starts_with(ANNOTATION)).collect();
    annotations.sort();
    let by_annotation = annotations.into_iter().flat_map(|(_, value)| value.split(','));
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for name in by_field.chain(by_annotation) {
        if parts(name).is_none() {
            let e = Error::new(Kind::Invalid, format!("CDI device {name:?}"), "is no name");
            return Err(e.with_advice("want vendor.com/class=name"));
        }
        if seen.insert(name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Kind and name of a qualified name.
fn parts(name: &str) -> Option<(&str, &str)> {
    let (kind, device) = name.split_once('=')?;
    let (vendor, class) = kind.split_once('/')?;
    let sound = |text: &str, more: &[u8]| {
        let mut bytes = text.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
            && bytes.all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let valid = sound(vendor, b"_-.") && sound(class, b"_-") && sound(device, b"_-.:");
    valid.then_some((kind, device))
}

/// What the devices change. Files are read anew: vendors replace them while the node runs.
///
/// # Errors
/// [`Kind::Invalid`] for a device that no file has, with the files that cannot be read.
pub(crate) fn edits(dirs: &[PathBuf], names: &[String]) -> Result<Vec<Edits>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    let mut broken = Vec::new();
    for dir in dirs {
        for path in paths(dir)? {
            match File::read(&path) {
                Ok(file) => files.push(file),
                Err(e) => broken.push(e),
            }
        }
    }
    // Of a later directory, the first by name within it.
    let mut found = Vec::new();
    let mut common = BTreeSet::new();
    for name in names {
        let (kind, device) = parts(name).unwrap_or_default();
        let mut having = files.iter().enumerate().filter(|(_, file)| file.has(kind, device));
        let Some((at, file)) = having.next_back() else {
            let listed = dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>();
            let cause = format!("no file in {} has it", listed.join(", "));
            let e = Error::new(Kind::Invalid, format!("CDI device {name:?}"), cause);
            return Err(e.with_advice("see whether its vendor's driver is set up").and(broken));
        };
        if common.insert(at) {
            found.push(file.common());
        }
        found.extend(file.device(device));
    }
    Ok(found)
}

/// Puts devices by their names, `vendor.com/class=name`, into a configuration. Blocks.
///
/// # Errors
/// [`Kind::Invalid`] for what is no name, or a device that no file of these directories has.
pub fn add_named_devices(spec: &mut Spec, dirs: &[PathBuf], names: &[String]) -> Result<()> {
    if let Some(name) = names.iter().find(|name| parts(name).is_none()) {
        let e = Error::new(Kind::Invalid, format!("CDI device {name:?}"), "is no name");
        return Err(e.with_advice("want vendor.com/class=name"));
    }
    apply(spec, edits(dirs, names)?)
}

fn paths(dir: &Path) -> Result<Vec<PathBuf>> {
    let is_file = |name: &String| {
        [".json", ".yaml", ".yml"].iter().any(|end| name.ends_with(end)) && !name.starts_with('.')
    };
    // The last one wins: with the order turned, the first by name does.
    let names = sandbox::disk::names(dir)?.into_iter().filter(is_file).take(FILES_MAX);
    let mut paths: Vec<_> = names.map(|name| dir.join(name)).collect();
    paths.reverse();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri_api::v1::CdiDevice;

    #[test]
    fn names_are_read_from_field_and_annotations() {
        let device = |name: &str| CdiDevice { name: name.to_owned() };
        let mut config = ContainerConfig {
            cdi_devices: vec![device("vendor.com/gpu=0"), device("vendor.com/gpu=0")],
            ..ContainerConfig::default()
        };
        let note = ("cdi.k8s.io/plugin".to_owned(), "vendor.com/net=a,vendor.com/gpu=0".to_owned());
        config.annotations.extend([note, ("other".to_owned(), "x".to_owned())]);
        assert_eq!(wanted(&config).expect("names"), ["vendor.com/gpu=0", "vendor.com/net=a"]);
        for wrong in ["", "gpu=0", "vendor.com/gpu", "vendor.com/gpu=", "../x/y=0", "v/c=a b"] {
            config.cdi_devices = vec![device(wrong)];
            assert_eq!(wanted(&config).expect_err("no name").kind(), Kind::Invalid, "{wrong}");
        }
    }
}
