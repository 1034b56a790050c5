//! podloomd as a service of systemd, by the unit that ships.

use crate::Node;
use crate::node::daemon;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The name of the unit.
pub const UNIT: &str = "podloomd.service";

/// The unit as it ships.
const SHIPPED: &str = include_str!("../../../dist/podloomd.service");

/// Where units are that go with the boot.
const UNITS: &str = "/run/systemd/system";

/// podloomd of a node as a service of this machine. It stops, and its unit goes away, with this.
#[derive(Debug)]
pub struct Service {
    unit: PathBuf,
}

impl Node {
    /// Installs the shipped unit, changed in nothing but in how the daemon finds this node, and starts
    /// it. None, said as a skip, where the machine is not there for tests or systemd does not run it.
    ///
    /// # Panics
    /// When the service does not start.
    pub fn serve_by_systemd(&self) -> Option<Service> {
        if !lab::machine_is_for_tests() || !Path::new(UNITS).is_dir() {
            lab::skip("services: only in a virtual machine with systemd (./dev vm cri)");
            return None;
        }
        let service = Service { unit: Path::new(UNITS).join(UNIT) };
        fs::write(&service.unit, SHIPPED).expect("unit");
        let start = format!(
            "[Service]\nExecStart=\nExecStart=/usr/bin/nsenter --net={} {} --config {}\n\
             Environment=PODLOOM_RUN_DIR={}\nStandardError=append:{}\n",
            self.lab().node().path().display(),
            daemon().display(),
            self.path("config.toml").display(),
            self.lab().run_dir().display(),
            self.path("daemon.log").display(),
        );
        service.drop_in("10-node", &start);
        service.ok(&["start", UNIT]);
        Some(service)
    }
}

impl Service {
    /// Adds to the unit, or takes what was added before back when `text` is empty.
    ///
    /// # Panics
    /// When systemd does not read it.
    pub fn drop_in(&self, name: &str, text: &str) {
        let dir = self.unit.with_extension("service.d");
        fs::create_dir_all(&dir).expect("drop-ins");
        fs::write(dir.join(name).with_extension("conf"), text).expect("drop-in");
        self.ok(&["daemon-reload"]);
    }

    /// Asks systemd.
    ///
    /// # Panics
    /// Without `systemctl`.
    pub fn systemctl(&self, arguments: &[&str]) -> Output {
        Command::new("systemctl").args(arguments).output().expect("systemctl")
    }

    /// Asks systemd for what must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn ok(&self, arguments: &[&str]) {
        let output = self.systemctl(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "systemctl {arguments:?}: {said}");
    }

    /// A property of the service.
    ///
    /// # Panics
    /// When systemd does not tell.
    pub fn property(&self, name: &str) -> String {
        let output = self.systemctl(&["show", "--value", "-p", name, UNIT]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// The process of the daemon; 0 while there is none.
    ///
    /// # Panics
    /// When systemd does not tell.
    pub fn pid(&self) -> i32 {
        self.property("MainPID").parse().expect("a process")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // What is missing of it when a test failed is no matter here.
        let _stopped = self.systemctl(&["stop", UNIT]);
        let _removed = fs::remove_dir_all(self.unit.with_extension("service.d"));
        let _removed = fs::remove_file(&self.unit);
        let _read = self.systemctl(&["daemon-reload"]);
        let _forgotten = self.systemctl(&["reset-failed", UNIT]);
    }
}
