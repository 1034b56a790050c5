//! Plugins that this starts by itself: executables of a directory, with their configurations beside.

use crate::join::{Launched, join};
use crate::nri::Inner;
use crate::plugin::Identity;
use container::{Error, Result};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::task::JoinSet;

/// Longest configuration of a plugin, in bytes.
const CONFIG_MAX: u64 = 1 << 20;

/// A program to start.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    identity: Identity,
    config: String,
}

/// Starts all there are, at the same time, and waits until each is a plugin or none.
///
/// # Errors
/// The directory or a configuration cannot be read.
pub(crate) async fn launch(inner: &Arc<Inner>) -> Result<()> {
    let Some(dir) = inner.settings.plugin_dir.clone() else { return Ok(()) };
    let config_dir = inner.settings.config_dir.clone();
    let programs = sandbox::blocking(move || programs(&dir, &config_dir)).await?;
    let mut starting = JoinSet::new();
    for program in programs {
        let name = program.identity.full();
        match start(program) {
            Ok((stream, launched)) => {
                starting.spawn(join(inner.clone(), stream, Some(launched)));
            }
            Err(e) => {
                tracing::error!(plugin = name, cause = %e, "an NRI plugin was not started");
                let bare = name.split_once('-').map_or(name.as_str(), |(_, bare)| bare);
                inner.book.note_lost(bare, &format!("could not be started: {e}"));
            }
        }
    }
    while let Some(done) = starting.join_next().await {
        if let Err(e) = done {
            tracing::error!(cause = %e, "starting an NRI plugin");
        }
    }
    Ok(())
}

/// The programs of a directory, by name.
fn programs(dir: &Path, config_dir: &Path) -> Result<Vec<Program>> {
    let failed = |e: io::Error| Error::io(dir.display(), &e);
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut programs = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_program =
            |meta: fs::Metadata| meta.is_file() && meta.permissions().mode() & 0o111 != 0;
        if !fs::metadata(&path).is_ok_and(is_program) {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Identity::of_file(&name) {
            Ok(identity) => {
                let config = config(config_dir, &identity)?;
                programs.push(Program { path, identity, config });
            }
            Err(cause) => {
                tracing::error!(path = %path.display(), cause, "is no NRI plugin; want NN-name");
            }
        }
    }
    programs.sort_by(|a, b| a.identity.cmp(&b.identity));
    Ok(programs)
}

/// The configuration of a plugin: that of its whole name, or that of all of its name.
fn config(dir: &Path, identity: &Identity) -> Result<String> {
    for name in [identity.full(), identity.name.clone()] {
        let path = dir.join(format!("{name}.conf"));
        let failed = |e: io::Error| Error::io(path.display(), &e);
        let file = match fs::File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(failed)?,
        };
        let mut text = String::new();
        file.take(CONFIG_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > CONFIG_MAX {
            let cause = format!("is over {CONFIG_MAX} bytes");
            return Err(Error::new(container::Kind::Invalid, path.display(), cause));
        }
        return Ok(text);
    }
    Ok(String::new())
}

/// Starts a program with the other end of a socket as its standard input, which is how it inherits
/// nothing else.
fn start(program: Program) -> io::Result<(UnixStream, Launched)> {
    let (here, there) = Blocking::pair()?;
    here.set_nonblocking(true)?;
    let mut command = Command::new(&program.path);
    command
        .env_clear()
        .env("NRI_PLUGIN_NAME", &program.identity.name)
        .env("NRI_PLUGIN_IDX", &program.identity.index)
        .env("NRI_PLUGIN_SOCKET", "0")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(there)))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let child = command.spawn()?;
    let Program { identity, config, .. } = program;
    Ok((UnixStream::from_std(here)?, Launched { identity, config, child }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_have_names_modes_and_the_closest_configuration() {
        let dir = std::env::temp_dir().join(format!("podloom-nri-programs-{}", std::process::id()));
        let (plugins, configs) = (dir.join("plugins"), dir.join("conf.d"));
        fs::create_dir_all(&plugins).expect("directory");
        fs::create_dir_all(&configs).expect("directory");
        for (name, mode) in [("20-b", 0o755), ("10-b", 0o755), ("30-c", 0o644), ("odd", 0o755)] {
            let path = plugins.join(name);
            fs::write(&path, "#!/bin/true\n").expect("program");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        }
        fs::write(configs.join("b.conf"), "all").expect("configuration");
        fs::write(configs.join("20-b.conf"), "own").expect("configuration");
        let found = programs(&plugins, &configs).expect("programs");
        let found: Vec<_> = found.iter().map(|p| (p.identity.full(), p.config.as_str())).collect();
        assert_eq!(found, [("10-b".to_owned(), "all"), ("20-b".to_owned(), "own")]);
        assert!(programs(&dir.join("absent"), &configs).expect("none").is_empty());
        fs::remove_dir_all(dir).expect("removed");
    }
}
