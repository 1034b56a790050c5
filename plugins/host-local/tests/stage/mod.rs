//! A data directory of its own, and programs run on it.
#![allow(dead_code, reason = "each test program uses a part")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The program under test.
pub(crate) fn ours() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_host-local"))
}

/// The reference plugin; reported as a skip where there is none.
pub(crate) fn reference() -> Option<PathBuf> {
    lab::reference().map(|bins| bins.program("host-local"))
}

/// What a program answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) ok: bool,
    pub(crate) document: Value,
    pub(crate) text: String,
}

impl Answer {
    /// Addresses of a result, in its order.
    pub(crate) fn ips(&self) -> Vec<String> {
        let list = self.document["ips"].as_array().cloned().unwrap_or_default();
        let text = |ip: &Value| ip["address"].as_str().expect("address").to_owned();
        list.iter().map(text).map(|ip| ip.split('/').next().expect("ip").to_owned()).collect()
    }

    pub(crate) fn code(&self) -> u64 {
        self.document["code"].as_u64().unwrap_or(0)
    }

    /// The answer, which must be a success.
    pub(crate) fn expect(self, what: &str) -> Answer {
        assert!(self.ok, "{what}: {}", self.text);
        self
    }
}

/// A data directory that is removed when dropped.
pub(crate) struct Stage {
    pub(crate) data: PathBuf,
    pub(crate) ranges: Value,
}

impl Stage {
    pub(crate) fn new(ranges: Value) -> Stage {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("host-local-stage-{}-{number}", std::process::id());
        let data = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&data).expect("stage directory");
        Stage { data, ranges }
    }

    pub(crate) fn conf(&self) -> Value {
        json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": {
            "type": "host-local", "dataDir": self.data, "ranges": self.ranges}})
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.data.join("net")
    }

    /// Lease files with their content; `lock` and cursors left out, anything else shown.
    pub(crate) fn leases(&self) -> BTreeMap<String, String> {
        let entries = std::fs::read_dir(self.dir()).into_iter().flatten().flatten();
        entries
            .map(|entry| {
                let text = std::fs::read(entry.path()).unwrap_or_default();
                let name = entry.file_name().into_string().expect("name");
                (name, String::from_utf8_lossy(&text).into_owned())
            })
            .filter(|(name, _)| name != "lock" && !name.starts_with("last_reserved_ip."))
            .collect()
    }

    pub(crate) fn run(&self, program: &Path, verb: &str, id: &str, conf: &Value) -> Answer {
        finish(start(&mut command(program, verb, id), conf))
    }

    pub(crate) fn add(&self, program: &Path, id: &str) -> Answer {
        self.run(program, "ADD", id, &self.conf())
    }

    pub(crate) fn del(&self, program: &Path, id: &str) -> Answer {
        self.run(program, "DEL", id, &self.conf())
    }

    /// GC by our program, as its configuration has to be of 1.1.0.
    pub(crate) fn gc(&self, valid: &[&str]) -> Answer {
        let valid: Vec<_> =
            valid.iter().map(|id| json!({"containerID": id, "ifname": "eth0"})).collect();
        let mut conf = self.conf();
        conf["cniVersion"] = json!("1.1.0");
        conf["cni.dev/valid-attachments"] = json!(valid);
        self.run(&ours(), "GC", "", &conf)
    }

    pub(crate) fn status(&self) -> Answer {
        let mut conf = self.conf();
        conf["cniVersion"] = json!("1.1.0");
        self.run(&ours(), "STATUS", "", &conf)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(cause) = std::fs::remove_dir_all(&self.data) {
            assert!(std::thread::panicking(), "{}: {cause}", self.data.display());
        }
    }
}

/// `program` with the environment of a call. An IPAM plugin does nothing in the namespace, so
/// that of the test will do.
pub(crate) fn command(program: &Path, verb: &str, id: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("CNI_COMMAND", verb).env("CNI_PATH", "/nonexistent");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    if !id.is_empty() {
        command
            .env("CNI_CONTAINERID", id)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", "/proc/self/ns/net")
            .env("CNI_NETNS_OVERRIDE", "1");
    }
    command
}

pub(crate) fn start(command: &mut Command, conf: &Value) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start the program");
    let mut stdin = child.stdin.take().expect("standard input");
    let text = conf.to_string();
    // One that is killed at once does not read.
    drop(stdin.write_all(text.as_bytes()));
    child
}

pub(crate) fn finish(child: Child) -> Answer {
    let output = child.wait_with_output().expect("wait");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Answer { ok: output.status.success(), document, text }
}
