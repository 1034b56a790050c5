//! IPAM delegation against real child processes: order of verbs, roll-back, errors.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use cni_plugin::{Call, ipam};
use cni_types::{Args, Code, ContainerId, IfName, NetConf};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder with one IPAM plugin, a shell script that writes its verbs to a log.
struct Scripted {
    dir: PathBuf,
}

impl Scripted {
    fn new(body: &str) -> Scripted {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("delegation-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("folder");
        let script = dir.join("scripted");
        // host-local is the one that may begin before the attachment is known to be new.
        std::os::unix::fs::symlink("scripted", dir.join("host-local")).expect("link");
        let log = dir.join("log");
        let text = format!(
            "#!/bin/sh\ninput=$(cat)\n[ -n \"$input\" ] || exit 0\necho \"$CNI_COMMAND\" >> {}\n{body}\n",
            log.display()
        );
        fs::write(&script, text).expect("script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("mode");
        Scripted { dir }
    }

    fn call(&self, ipam: &str) -> Call {
        let conf = json!({
            "cniVersion": "1.0.0", "name": "net", "type": "outer", "ipam": {"type": ipam}
        });
        Call {
            conf: NetConf::from_value(conf).expect("configuration"),
            input: Vec::new(),
            container_id: ContainerId::parse("pod").expect("id"),
            ifname: IfName::parse("eth0").expect("name"),
            netns: None,
            netns_path: String::new(),
            args: Args::default(),
            path: vec![self.dir.clone()],
        }
    }

    fn verbs(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).expect("clean up");
    }
}

const ANSWER: &str = r#"[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}'; exit 0"#;

#[test]
fn a_kept_lease_stays() {
    let plugin = Scripted::new(ANSWER);
    let call = plugin.call("scripted");
    let lease = ipam::start_add(&call).expect("start").finish().expect("lease");
    assert_eq!(lease.result().ips.len(), 1);
    assert_eq!(lease.keep().ips[0].address.to_string(), "10.0.0.2/24");
    assert_eq!(plugin.verbs(), ["ADD"]);
}

#[test]
fn a_dropped_lease_is_released() {
    let plugin = Scripted::new(ANSWER);
    let call = plugin.call("scripted");
    drop(ipam::start_add(&call).expect("start").finish().expect("lease"));
    assert_eq!(plugin.verbs(), ["ADD", "DEL"]);
}

#[test]
fn a_pending_add_that_is_given_up_is_released() {
    let plugin = Scripted::new(ANSWER);
    let call = plugin.call("scripted");
    drop(ipam::start_add(&call).expect("start"));
    assert_eq!(plugin.verbs(), ["ADD", "DEL"]);
}

#[test]
fn a_prepared_add_that_never_begins_does_nothing() {
    let plugin = Scripted::new(ANSWER);
    let call = plugin.call("scripted");
    drop(ipam::prepare_add(&call).expect("start"));
    assert_eq!(plugin.verbs(), Vec::<String>::new());
    let pending = ipam::prepare_add(&call).expect("start").begin().expect("begin");
    assert_eq!(pending.finish().expect("lease").keep().ips.len(), 1);
    assert_eq!(plugin.verbs(), ["ADD"]);
}

#[test]
fn a_failed_add_is_followed_by_del_and_keeps_its_error() {
    let plugin = Scripted::new(
        r#"[ "$CNI_COMMAND" = ADD ] && { echo '{"code":11,"msg":"busy"}'; exit 1; }; exit 0"#,
    );
    let call = plugin.call("scripted");
    let error = ipam::start_add(&call).expect("start").finish().expect_err("busy");
    assert_eq!((error.code, error.msg.as_str()), (Code::TryAgain, "busy"));
    assert_eq!(plugin.verbs(), ["ADD", "DEL"]);
}

#[test]
fn a_result_without_addresses_is_an_error_and_released() {
    let plugin =
        Scripted::new(r#"[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0"}'; exit 0"#);
    let call = plugin.call("scripted");
    let error = ipam::start_add(&call).expect("start").finish().expect_err("no address");
    assert_eq!(error.code, Code::InvalidConfig);
    assert_eq!(plugin.verbs(), ["ADD", "DEL"]);
}

#[test]
fn a_prepared_del_that_is_not_released_does_nothing() {
    let plugin = Scripted::new("exit 0");
    let call = plugin.call("scripted");
    drop(ipam::prepare_del(&call).expect("start"));
    assert_eq!(plugin.verbs(), Vec::<String>::new());
    ipam::prepare_del(&call).expect("start").release().expect("release");
    assert_eq!(plugin.verbs(), ["DEL"]);
}

#[test]
fn host_local_begins_at_once_and_a_refusal_releases_nothing() {
    let plugin = Scripted::new(ANSWER);
    let call = plugin.call("host-local");
    drop(ipam::prepare_add(&call).expect("start"));
    assert_eq!(plugin.verbs(), ["ADD", "DEL"], "a new lease is released");
    let kept = ipam::prepare_add(&call).expect("start").begin().expect("begin").finish();
    let _lease = kept.expect("lease").keep();
    assert_eq!(plugin.verbs(), ["ADD", "DEL", "ADD"]);
    let refusing = Scripted::new(
        r#"[ "$CNI_COMMAND" = ADD ] && { echo '{"code":102,"msg":"leased"}'; exit 1; }; exit 0"#,
    );
    let call = refusing.call("host-local");
    drop(ipam::prepare_add(&call).expect("start"));
    assert_eq!(refusing.verbs(), ["ADD"], "the live attachment keeps its lease");
}

#[test]
fn a_missing_ipam_plugin_is_named() {
    let plugin = Scripted::new("exit 0");
    let call = plugin.call("absent");
    let error = ipam::start_add(&call).expect_err("absent");
    assert_eq!(error.code, Code::InvalidConfig);
    assert!(error.msg.contains("absent"), "{error}");
    let path = plugin.call("../scripted");
    assert_eq!(ipam::start_add(&path).expect_err("a path").code, Code::InvalidConfig);
}

#[test]
fn without_ipam_there_is_nothing_to_do() {
    let plugin = Scripted::new("exit 0");
    let mut call = plugin.call("scripted");
    call.conf =
        NetConf::from_value(json!({"name": "net", "type": "outer", "ipam": {}})).expect("conf");
    let result = ipam::start_add(&call).expect("start").finish().expect("empty").keep();
    assert!(result.ips.is_empty());
    ipam::del(&call).expect("del");
    assert_eq!(plugin.verbs(), Vec::<String>::new());
}
