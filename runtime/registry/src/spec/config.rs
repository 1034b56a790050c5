//! Image configurations (image-spec 1.1, "Image Configuration"; Docker's are the same document).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Digest, Platform, User};
use crate::error::{Error, Kind, Result, quote};

/// What an image runs, valid: users in range, volumes that stay inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// What the image runs on.
    pub platform: Platform,
    /// How its process runs.
    pub container: ContainerConfig,
    /// Digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<Digest>,
    /// When the image was made (RFC 3339), as written.
    pub created: Option<String>,
    /// Who made it, as written.
    pub author: Option<String>,
    /// How each layer came to be, as written.
    pub history: Vec<History>,
}

/// The defaults for a container of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Whom the process runs as.
    pub user: User,
    /// `KEY=value` lines.
    pub env: Vec<String>,
    /// The command's fixed front.
    pub entrypoint: Vec<String>,
    /// The command's default end.
    pub cmd: Vec<String>,
    /// Absolute working directory; empty means `/`.
    pub working_dir: String,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// Ports such as `80/tcp`; only information.
    pub exposed_ports: Vec<String>,
    /// Absolute paths without `..`.
    pub volumes: Vec<String>,
    /// Signal that asks the process to end, as in `SIGTERM`.
    pub stop_signal: Option<String>,
}

/// One step of an image's making.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct History {
    /// When (RFC 3339).
    pub created: Option<String>,
    /// By which command.
    pub created_by: Option<String>,
    /// A remark.
    pub comment: Option<String>,
    /// Whether the step made no layer.
    pub empty_layer: bool,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    config: Option<WireContainer>,
    rootfs: WireRootfs,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    history: Option<Vec<History>>,
}

#[derive(Deserialize)]
struct WireRootfs {
    r#type: String,
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

type Set = Option<BTreeMap<String, serde::de::IgnoredAny>>;

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct WireContainer {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    exposed_ports: Set,
    volumes: Set,
    stop_signal: Option<String>,
}

impl ImageConfig {
    /// Parses the bytes of a configuration whose digest was checked.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a malformed document, [`Kind::Refused`] for a user or volume that is a trap.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        const SUBJECT: &str = "image configuration";
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let wire: Wire = serde_path_to_error::deserialize(&mut json).map_err(|e| {
            Error::new(Kind::Invalid, SUBJECT, format!("{}: {}", e.path(), e.inner()))
        })?;
        json.end().map_err(|e| Error::new(Kind::Invalid, SUBJECT, e.to_string()))?;
        if wire.rootfs.r#type != "layers" {
            let message = format!("{}: want layers", quote(&wire.rootfs.r#type));
            return Err(Error::new(Kind::Invalid, format!("{SUBJECT}: rootfs.type"), message));
        }
        let container =
            container(wire.config.unwrap_or_default()).map_err(|e| e.within(SUBJECT))?;
        Ok(Self {
            platform: wire.platform,
            container,
            diff_ids: wire.rootfs.diff_ids.unwrap_or_default(),
            created: wire.created,
            author: wire.author,
            history: wire.history.unwrap_or_default(),
        })
    }
}

fn container(wire: WireContainer) -> Result<ContainerConfig> {
    let names = |set: Set| set.unwrap_or_default().into_keys().collect::<Vec<_>>();
    let env = wire.env.unwrap_or_default();
    let entrypoint = wire.entrypoint.unwrap_or_default();
    let cmd = wire.cmd.unwrap_or_default();
    let working_dir = wire.working_dir.unwrap_or_default();
    // None of these reaches execve or open whole if it holds a NUL; say so here and not then.
    let texts = env.iter().chain(&entrypoint).chain(&cmd).chain([&working_dir]);
    if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
        return Err(Error::new(Kind::Refused, "config", format!("NUL byte in {}", quote(text))));
    }
    let volumes =
        names(wire.volumes).into_iter().map(|path| volume(&path)).collect::<Result<_>>()?;
    Ok(ContainerConfig {
        user: wire.user.unwrap_or_default().parse()?,
        env,
        entrypoint,
        cmd,
        working_dir,
        labels: wire.labels.unwrap_or_default(),
        exposed_ports: names(wire.exposed_ports),
        volumes,
        stop_signal: wire.stop_signal.filter(|s| !s.is_empty()),
    })
}

/// A volume's path, absolute and without `..` (CVE-2022-23648).
fn volume(path: &str) -> Result<String> {
    let wrong = |why| Err(Error::new(Kind::Refused, format!("volume {}", quote(path)), why));
    if path.contains('\0') || path.is_empty() {
        return wrong("want a path");
    }
    if path.split('/').any(|part| part == "..") {
        return wrong("leads out of the container");
    }
    Ok(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Principal;

    fn with(config: &str) -> Result<ImageConfig> {
        let head = r#"{"architecture":"arm64","os":"linux","variant":"v8","rootfs":{"type":"layers","diff_ids":
            ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"config":"#;
        ImageConfig::parse(format!("{head}{config}}}").as_bytes())
    }

    #[test]
    fn configurations_parse() {
        let config = with(
            r#"{"User":"1000:www-data","Env":["A=b"],"Entrypoint":null,"Cmd":["/bin/sh"],
            "WorkingDir":"/w","Labels":null,"Volumes":{"/data":{},"cache":{}},"ExposedPorts":{"80/tcp":{}},
            "StopSignal":"","Unknown":1}"#,
        )
        .unwrap();
        assert_eq!(config.platform.to_string(), "linux/arm64");
        assert_eq!(config.diff_ids.len(), 1);
        assert_eq!(config.container.user.user, Principal::Id(1000));
        assert_eq!(config.container.volumes, ["/data", "/cache"]);
        assert_eq!((config.container.entrypoint.len(), config.container.cmd.len()), (0, 1));
        assert_eq!(config.container.stop_signal, None);
        assert_eq!(with("null").unwrap().container, ContainerConfig::default());
    }

    #[test]
    fn traps_are_refused() {
        for config in [
            r#"{"User":"2147483648"}"#,
            r#"{"User":"-1"}"#,
            r#"{"User":"0x0"}"#,
            r#"{"Volumes":{"/../../etc":{}}}"#,
            r#"{"Volumes":{"/data/..":{}}}"#,
            r#"{"Env":["A=b\u0000c"]}"#,
        ] {
            assert_eq!(with(config).unwrap_err().kind(), Kind::Refused, "{config}");
        }
    }

    #[test]
    fn malformed_documents_name_the_field() {
        let error = with(r#"{"Env":[1]}"#).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("config.Env[0]"), "{error}");
        assert!(ImageConfig::parse(b"{}").unwrap_err().to_string().contains("rootfs"));
        let wrong =
            br#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["x"]}}"#;
        assert!(ImageConfig::parse(wrong).unwrap_err().to_string().contains("diff_ids[0]"));
    }
}
