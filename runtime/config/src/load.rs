//! The file and its drop-ins, made one.

use crate::{Config, Error, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Where the file is, unless the daemon is told otherwise.
pub const DEFAULT_FILE: &str = "/etc/podloom/config.toml";

/// The default file, with every key and what it is for.
pub const DEFAULT_TEXT: &str = include_str!("../../../dist/config.toml");

impl Config {
    /// Reads `file` and, beside it, the drop-ins of `config.d`. Neither has to be there.
    ///
    /// # Errors
    /// A file that cannot be read, or what is wrong in it.
    pub fn load(file: &Path) -> Result<Config> {
        let mut whole = Table::new();
        for part in parts(file)? {
            let Some(text) = read(&part)? else { continue };
            let wrong = |e: toml::de::Error| Error { file: part.clone(), cause: e.to_string() };
            // For itself first: what is wrong has its line in this file.
            toml::from_str::<Config>(&text).map_err(wrong)?;
            merge(&mut whole, text.parse::<Table>().map_err(wrong)?);
        }
        let wrong = |e: toml::de::Error| Error { file: file.to_owned(), cause: e.to_string() };
        let config = Config::deserialize_from(whole).map_err(wrong)?;
        config.check().map_err(|cause| Error { file: file.to_owned(), cause })?;
        Ok(config)
    }

    fn deserialize_from(table: Table) -> std::result::Result<Config, toml::de::Error> {
        Value::Table(table).try_into()
    }

    /// What is in force, as a file.
    ///
    /// # Errors
    /// A path that is no text.
    pub fn to_text(&self) -> Result<String> {
        let wrong = |e: toml::ser::Error| Error { file: PathBuf::new(), cause: e.to_string() };
        toml::to_string(self).map_err(wrong)
    }

    /// What types cannot say.
    fn check(&self) -> std::result::Result<(), String> {
        for (key, path) in [
            ("files.root", &self.files.root),
            ("files.state", &self.files.state),
            ("files.netns", &self.files.netns),
            ("server.socket", &self.server.socket),
            ("network.conf_dir", &self.network.conf_dir),
            ("network.cache_dir", &self.network.cache_dir),
        ] {
            if !path.is_absolute() {
                return Err(format!("{key}: {} is not absolute", path.display()));
            }
        }
        for (key, path) in
            [("nri.socket_path", &self.nri.socket_path), ("nri.plugin_path", &self.nri.plugin_path)]
        {
            if !path.as_os_str().is_empty() && !path.is_absolute() {
                return Err(format!("{key}: {} is not absolute", path.display()));
            }
        }
        if self.nri.disable && !self.nri.required_plugins.is_empty() {
            return Err("nri.required_plugins: are never there with nri.disable".to_owned());
        }
        for (name, runtime) in &self.runtimes {
            if !runtime.program.as_os_str().is_empty() && !runtime.program.is_absolute() {
                let program = runtime.program.display();
                return Err(format!("runtimes.{name}.program: {program} is not absolute"));
            }
        }
        for (name, limit) in &self.containers.rlimits {
            if limit.soft > limit.hard {
                return Err(format!("containers.rlimits.{name}: soft is above hard"));
            }
        }
        if !self.metrics.address.is_empty()
            && self.metrics.address.parse::<std::net::SocketAddr>().is_err()
        {
            let address = &self.metrics.address;
            return Err(format!("metrics.address: {address:?}: want ADDRESS:PORT"));
        }
        if self.images.parallel_layers == 0 {
            return Err("images.parallel_layers: want at least 1".to_owned());
        }
        Ok(())
    }
}

/// The file, then its drop-ins by name.
fn parts(file: &Path) -> Result<Vec<PathBuf>> {
    let dir = file.with_file_name("config.d");
    let failed = |e: io::Error| Error { file: dir.clone(), cause: e.to_string() };
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![file.to_owned()]),
        entries => entries.map_err(failed)?,
    };
    let mut drop_ins = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|end| end == "toml") {
            drop_ins.push(path);
        }
    }
    drop_ins.sort();
    drop_ins.insert(0, file.to_owned());
    Ok(drop_ins)
}

fn read(file: &Path) -> Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error { file: file.to_owned(), cause: e.to_string() }),
    }
}

/// Puts `over` over `base`, table by table.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> PathBuf {
        let dir =
            std::env::temp_dir().join(format!("podloom-config-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("config.d")).unwrap();
        dir
    }

    #[test]
    fn the_default_file_says_what_the_defaults_are() {
        let from_text: Config = toml::from_str(DEFAULT_TEXT).unwrap();
        assert_eq!(from_text, Config::default());
        // Every key is there to be found, also in sections that are comments.
        for line in Config::default().to_text().unwrap().lines() {
            let key = line.split(" = ").next().unwrap().trim_end_matches(']');
            assert!(DEFAULT_TEXT.contains(key), "{key} is not in dist/config.toml");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let mut config = Config::default();
        config.runtimes.insert("runc".to_owned(), crate::Runtime::default());
        let text = config.to_text().unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    }

    #[test]
    fn later_files_win_key_by_key() {
        let dir = dir("merge");
        let file = dir.join("config.toml");
        fs::write(&file, "[log]\nlevel = \"warn\"\n[images]\npinned = [\"a\", \"b\"]\n").unwrap();
        fs::write(dir.join("config.d/10.toml"), "[images]\npinned = [\"c\"]\n").unwrap();
        fs::write(dir.join("config.d/20.toml"), "[log]\nformat = \"json\"\n").unwrap();
        fs::write(dir.join("config.d/30.off"), "not TOML").unwrap();
        let config = Config::load(&file).unwrap();
        assert_eq!(config.log.level, "warn");
        assert_eq!(config.log.format, crate::LogFormat::Json);
        assert_eq!(config.images.pinned, ["c"]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn no_file_is_the_defaults() {
        let config = Config::load(Path::new("/nonexistent/podloom/config.toml")).unwrap();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn mistakes_are_told_with_file_and_line() {
        let dir = dir("mistakes");
        let file = dir.join("config.toml");
        for (text, wanted) in [
            ("[log]\nlevle = \"warn\"\n", "line 2"),
            ("[server]\ndrain = \"ten\"\n", "is no time"),
            ("[server]\nsocket = \"run.sock\"\n", "server.socket"),
            ("[metrics]\naddress = \"9105\"\n", "metrics.address"),
            ("[containers.rlimits]\nNOFILE = { soft = 2, hard = 1 }\n", "soft is above hard"),
            ("[nri]\nsocket_path = \"nri.sock\"\n", "nri.socket_path"),
            ("[nri]\ndisable = true\nrequired_plugins = [\"a\"]\n", "nri.required_plugins"),
            ("[nri]\nrefused_adjustments = [\"hook\"]\n", "line 2"),
            ("[runtimes.x]\nprogram = \"runc\"\n", "runtimes.x.program"),
        ] {
            fs::write(&file, text).unwrap();
            let error = Config::load(&file).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("config.toml"), "{error}");
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
