//! A place to run chains in: own cache, run and plugin directories, and a scripted invoker.

#![allow(dead_code, reason = "each test file uses its own part of the stage")]

use libcni::{Cni, Invocation, Invoke, InvokeFuture, NetworkList, Output, Pod, Settings, Verb};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Directories of one test; removed on drop.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) dir: PathBuf,
    pub(crate) settings: Settings,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.dir);
    }
}

impl Stage {
    pub(crate) fn new() -> Stage {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("podloom-libcni-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        for sub in ["bin", "cache", "run", "net.d"] {
            fs::create_dir_all(dir.join(sub)).expect("stage");
        }
        fs::write(dir.join("netns"), "").expect("netns");
        let settings = Settings {
            plugin_dirs: vec![dir.join("bin")],
            cache_dir: dir.join("cache"),
            run_dir: dir.join("run"),
            call_deadline: Duration::from_secs(10),
            ..Settings::default()
        };
        Stage { dir, settings }
    }

    pub(crate) fn cni(&self, script: &Arc<Script>) -> Cni {
        Cni::with_invoker(self.settings.clone(), script.clone(), None)
    }

    pub(crate) fn pod(&self, id: &str) -> Pod {
        Pod::new(id, "eth0", &self.dir.join("netns").to_string_lossy()).expect("pod")
    }

    /// Writes an executable shell script as plugin `name`.
    pub(crate) fn plugin(&self, name: &str, script: &str) {
        let path = self.dir.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("plugin");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
    }

    pub(crate) fn record_file(&self, name: &str) -> PathBuf {
        self.dir.join("cache/results").join(name)
    }

    /// The names of all files below a directory of the stage.
    pub(crate) fn files(&self, sub: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![self.dir.join(sub)];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    open.push(entry.path());
                } else {
                    found.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }

    /// The intents of unfinished ADDs.
    pub(crate) fn intents(&self) -> Vec<String> {
        self.files("run").into_iter().filter(|name| name.contains('@')).collect()
    }
}

/// A network `name` of version `version` with plugins `a`, `b`, ...
pub(crate) fn network(name: &str, version: &str, plugins: &[&str]) -> NetworkList {
    let plugins: Vec<Value> = plugins.iter().map(|p| json!({"type": p})).collect();
    let list = json!({"name": name, "cniVersion": version, "plugins": plugins});
    NetworkList::from_bytes(list.to_string().as_bytes()).expect("list")
}

/// One call as the plugin saw it.
#[derive(Clone, Debug)]

pub(crate) struct Seen {
    pub(crate) verb: Verb,
    pub(crate) plugin: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) conf: Value,
}

type Answer = dyn Fn(&Seen) -> Reply + Send + Sync;

/// What a scripted plugin does.
#[derive(Debug)]

pub(crate) enum Reply {
    /// Ends well with this on standard output.
    Out(String),
    /// Fails with this error document.
    Fail(u32, &'static str),
    /// Never ends.
    Hang,
}

/// An invoker that runs nothing.
pub(crate) struct Script {
    seen: Mutex<Vec<Seen>>,
    answer: Box<Answer>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

impl Script {
    pub(crate) fn new(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Arc<Script> {
        Arc::new(Script { seen: Mutex::new(Vec::new()), answer: Box::new(answer) })
    }

    /// A chain in which every plugin succeeds and adds its name to the result.
    pub(crate) fn good() -> Arc<Script> {
        Script::new(good_answer)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("seen").clone()
    }

    /// "ADD a", "ADD b", ... and forgets them.
    pub(crate) fn calls(&self) -> Vec<String> {
        let mut seen = self.seen.lock().expect("seen");
        seen.drain(..).map(|s| format!("{} {}", s.verb, s.plugin)).collect()
    }
}

/// What a plugin that works prints: the previous result with an interface of its own added.
pub(crate) fn good_answer(seen: &Seen) -> Reply {
    match seen.verb {
        Verb::Add => {
            let empty = json!({"interfaces": [], "ips": [{"address": "10.1.2.3/24"}]});
            let mut doc = seen.conf.get("prevResult").cloned().unwrap_or(empty);
            doc["cniVersion"] = seen.conf["cniVersion"].clone();
            let list = doc["interfaces"].as_array_mut().expect("interfaces");
            list.push(json!({ "name": seen.plugin }));
            Reply::Out(doc.to_string())
        }
        Verb::Version => {
            let versions = json!({"cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.1.0"]});
            Reply::Out(versions.to_string())
        }
        _ => Reply::Out(String::new()),
    }
}

impl Invoke for Script {
    fn find(
        &self,
        plugin: &cni_types::PluginType,
        _dirs: &[PathBuf],
    ) -> Result<PathBuf, cni_types::Error> {
        Ok(PathBuf::from("/scripted").join(plugin.as_str()))
    }

    fn run<'a>(
        &'a self,
        call: &'a Invocation,
        _started: &'a (dyn Fn(u32) + Send + Sync),
    ) -> InvokeFuture<'a> {
        let seen = Seen {
            verb: call.verb,
            plugin: call.plugin.as_str().to_owned(),
            env: call.env.iter().cloned().collect(),
            conf: serde_json::from_slice(&call.stdin).expect("configuration"),
        };
        self.seen.lock().expect("seen").push(seen.clone());
        let reply = (self.answer)(&seen);
        Box::pin(async move {
            let (status, stdout) = match reply {
                Reply::Out(text) => (0, text),
                Reply::Fail(code, msg) => (256, json!({"code": code, "msg": msg}).to_string()),
                Reply::Hang => std::future::pending().await,
            };
            let status = ExitStatus::from_raw(status);
            Ok(Output { status, stdout: stdout.into_bytes(), stderr: Vec::new() })
        })
    }
}
