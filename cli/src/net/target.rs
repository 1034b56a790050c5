//! Which attachment is meant.

use crate::args::CallArgs;
use crate::fault::{Fault, Result};
use cni_types::Args;
use libcni::Pod;
use serde_json::{Map, Value};
use sha2::{Digest, Sha512};
use std::path::{Component, Path, PathBuf};

/// Where `ip netns` keeps namespaces by name.
const NAMED: &str = "/run/netns";

/// `path` made absolute, without `.`, `..` and doubled slashes; no link is followed, as the text
/// is what container IDs are made from.
pub(crate) fn absolute(path: &str) -> Result<String> {
    let fault = |cause: &str| Fault::usage(path, cause, "give the absolute path");
    let full = std::path::absolute(path).map_err(|e| fault(&e.to_string()))?;
    let mut clean = PathBuf::from("/");
    for part in full.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean.into_os_string().into_string().map_err(|_| fault("is not UTF-8"))
}

/// The path of a network namespace: as given, or where a namespace of that name is.
pub(crate) fn namespace(given: &str) -> Result<String> {
    let named = Path::new(NAMED).join(given);
    if !given.contains('/') && !Path::new(given).exists() && named.exists() {
        return absolute(&named.to_string_lossy());
    }
    absolute(given)
}

/// The container ID that cnitool makes up for a namespace.
pub(crate) fn container_id(netns: &str) -> String {
    let digest = Sha512::digest(netns.as_bytes());
    let hex: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("cnitool-{hex}")
}

/// The attachment that the command line means; `netns` is absolute, or empty if unknown.
pub(crate) fn pod(call: &CallArgs, netns: &str) -> Result<Pod> {
    let id = call.container_id.clone().unwrap_or_else(|| container_id(netns));
    let mut pod = Pod::new(&id, &call.ifname, netns)?;
    let args = Args::parse(&call.args)
        .map_err(|e| Fault::usage("--args", e.msg, "write KEY=VALUE;KEY=VALUE"))?;
    pod.args = args.pairs().to_vec();
    pod.capability_args = capability_args(&call.cap_args)?;
    Ok(pod)
}

fn capability_args(text: &str) -> Result<Map<String, Value>> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let advice = "write a JSON object like {\"portMappings\": [{\"hostPort\": 8080, \
                  \"containerPort\": 80, \"protocol\": \"tcp\"}]}";
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Fault::usage("--cap-args", "is not a JSON object", advice)),
        Err(e) => Err(Fault::usage("--cap-args", format!("is not JSON: {e}"), advice)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_are_those_of_cnitool() {
        assert_eq!(container_id("/var/run/netns/testing"), "cnitool-77383ca0a0715733ca6f");
    }

    #[test]
    fn paths_are_cleaned_as_text() {
        let clean = |path| absolute(path).expect("path");
        assert_eq!(clean("/var/run//netns/../netns/./a"), "/var/run/netns/a");
        assert_eq!(clean("/../a/"), "/a");
        assert!(clean("a").ends_with("/a"));
        assert_eq!(namespace("/x/y").expect("path"), "/x/y");
    }

    #[test]
    fn capability_arguments_are_an_object() {
        assert_eq!(capability_args(" ").expect("none"), Map::new());
        assert_eq!(capability_args("{\"mac\": \"a\"}").expect("map")["mac"], "a");
        assert!(capability_args("[]").is_err());
        assert!(capability_args("{").is_err());
    }
}
