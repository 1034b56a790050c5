//! Servers of the CRI and how each is told to keep to its own directories.

use crate::error::{About, Error, Result};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Podloom,
    Containerd,
    Crio,
}

/// A server with its programs and plugins.
#[derive(Debug, Clone)]
pub(crate) struct Team {
    pub(crate) kind: Kind,
    /// podloomd itself; of others the directory of their programs.
    pub(crate) programs: PathBuf,
    pub(crate) plugins: PathBuf,
}

/// Where a server is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// On the disk.
    pub(crate) root: PathBuf,
    /// In memory, as `/run` is.
    pub(crate) run: PathBuf,
    /// Host and port of its registry.
    pub(crate) registry: String,
}

impl Place {
    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("cri.sock")
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).about(dir.display())?;
        }
        fs::write(&path, text).about(path.display())?;
        Ok(path)
    }
}

impl Team {
    pub(crate) fn label(&self) -> &'static str {
        match self.kind {
            Kind::Podloom => "podloomd",
            Kind::Containerd => "containerd",
            Kind::Crio => "CRI-O",
        }
    }

    /// Writes the configuration and returns the command that starts the server.
    pub(crate) fn prepare(&self, place: &Place) -> Result<Command> {
        fs::create_dir_all(&place.run).about(place.run.display())?;
        place.write("net.d/10-bench.conflist", &network(place).to_string())?;
        match self.kind {
            Kind::Podloom => self.podloomd(place),
            Kind::Containerd => self.containerd(place),
            Kind::Crio => self.crio(place),
        }
    }

    fn podloomd(&self, place: &Place) -> Result<Command> {
        let Place { root, run, registry } = place;
        let hosts = format!("server = \"http://{registry}\"\n");
        place.write(&format!("certs.d/{registry}/hosts.toml"), &hosts)?;
        let config = place.write(
            "config.toml",
            &format!(
                "[files]\nroot = {:?}\nstate = {run:?}\nnetns = \"/run/netns\"\nshim = {:?}\n\
                 [server]\nsocket = {:?}\n\
                 [network]\nconf_dir = {:?}\nplugin_dirs = [{:?}]\ncache_dir = {:?}\n\
                 [images]\ncerts_dirs = [{:?}]\n[containers]\ncgroup_driver = \"cgroupfs\"\n",
                root.join("lib"),
                self.programs.with_file_name("podloom-shim"),
                place.socket(),
                root.join("net.d"),
                self.plugins,
                root.join("cache"),
                root.join("certs.d"),
            ),
        )?;
        let mut command = Command::new(&self.programs);
        command.arg("--config").arg(config).env("PODLOOM_RUN_DIR", run.join("plugins"));
        Ok(command)
    }

    fn containerd(&self, place: &Place) -> Result<Command> {
        let Place { root, run, registry } = place;
        let hosts = format!("server = \"http://{registry}\"\n[host.\"http://{registry}\"]\n");
        place.write(&format!("certs.d/{registry}/hosts.toml"), &hosts)?;
        let config = place.write(
            "config.toml",
            &format!(
                "version = 3\nroot = {:?}\nstate = {run:?}\n[grpc]\naddress = {:?}\n\
                 [ttrpc]\naddress = {:?}\n\
                 [plugins.'io.containerd.internal.v1.opt']\npath = {:?}\n\
                 [plugins.'io.containerd.nri.v1.nri']\ndisable = true\n\
                 [plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = '{registry}/bench:1'\n\
                 [plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = {:?}\n\
                 [plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n\
                 [plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = [{:?}]\nconf_dir = {:?}\n\
                 [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n\
                 runtime_type = 'io.containerd.runc.v2'\n\
                 [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n\
                 BinaryName = {:?}\n",
                root.join("lib"),
                place.socket(),
                run.join("ttrpc.sock"),
                root.join("opt"),
                root.join("certs.d"),
                self.plugins,
                root.join("net.d"),
                self.programs.join("runc"),
            ),
        )?;
        let mut command = Command::new(self.programs.join("containerd"));
        command.arg("--config").arg(config).env("PATH", self.path());
        Ok(command)
    }

    fn crio(&self, place: &Place) -> Result<Command> {
        let Place { root, run, registry } = place;
        let real = self.programs.join("crun.real");
        let runtime = if real.exists() { real } else { self.programs.join("crun") };
        let conmon = Path::new("/usr/bin/conmon");
        if !conmon.exists() {
            return Err(Error::new(conmon.display(), "is not installed"));
        }
        place.write(
            "policy.json",
            &json!({"default": [{"type": "insecureAcceptAnything"}]}).to_string(),
        )?;
        let registries = format!("[[registry]]\nlocation = {registry:?}\ninsecure = true\n");
        let registries = place.write("registries.conf", &registries)?;
        let storage = place.write(
            "storage.conf",
            &format!(
                "[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n",
                root.join("lib"),
                run.join("storage"),
            ),
        )?;
        let config = place.write(
            "crio.conf",
            &format!(
                "[crio]\nroot = {:?}\nrunroot = {:?}\nstorage_driver = \"overlay\"\nlog_dir = {:?}\n\
                 version_file = {:?}\nversion_file_persist = \"\"\nclean_shutdown_file = \"\"\n\
                 [crio.api]\nlisten = {:?}\nstream_port = \"0\"\n\
                 [crio.runtime]\nconmon = {conmon:?}\nconmon_cgroup = \"pod\"\ncgroup_manager = \"cgroupfs\"\n\
                 pinns_path = {:?}\nnamespaces_dir = {:?}\ncontainer_exits_dir = {:?}\n\
                 container_attach_socket_dir = {:?}\ndefault_runtime = \"crun\"\ndrop_infra_ctr = true\n\
                 hooks_dir = []\n\
                 [crio.runtime.runtimes.crun]\nruntime_path = {runtime:?}\nruntime_root = {:?}\n\
                 monitor_path = {conmon:?}\nmonitor_cgroup = \"pod\"\n\
                 [crio.image]\npause_image = \"{registry}/bench:1\"\nsignature_policy = {:?}\n\
                 [crio.network]\nnetwork_dir = {:?}\nplugin_dirs = [{:?}]\n\
                 [crio.nri]\nenable_nri = false\n",
                root.join("lib"),
                run.join("storage"),
                root.join("logs"),
                run.join("version"),
                place.socket(),
                self.programs.join("pinns"),
                run.join("ns"),
                run.join("exits"),
                run.join("attach"),
                run.join("crun"),
                root.join("policy.json"),
                root.join("net.d"),
                self.plugins,
            ),
        )?;
        let mut command = Command::new(self.programs.join("crio"));
        // An empty folder of drop-ins, lest the machine's own ones are read.
        let none = root.join("conf.d");
        fs::create_dir_all(&none).about(none.display())?;
        command.arg("--config").arg(config).arg("--config-dir").arg(&none);
        command.arg("--registries-conf").arg(registries).arg("--registries-conf-dir").arg(none);
        command.env("PATH", self.path()).env("CONTAINERS_STORAGE_CONF", storage);
        Ok(command)
    }

    /// Its programs first, then the system's.
    fn path(&self) -> String {
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.programs.display())
    }
}

/// One bridge with leases of its own for each server.
fn network(place: &Place) -> serde_json::Value {
    json!({"cniVersion": "1.0.0", "name": "bench", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
         "ipam": {"type": "host-local", "dataDir": place.run.join("leases"),
            "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": true}},
    ]})
}
