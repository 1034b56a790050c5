//! AppArmor profiles of containers: the default one, which the daemon makes and loads, and the node's.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

use cri_api::v1;
use cri_api::v1::security_profile::ProfileType;
use cri_tests::{BUSY, Client, Node, container, pod};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tonic::Code;

/// The kernel has the default profile once for all nodes.
static PROFILES: Mutex<()> = Mutex::new(());

const LABEL: &str = "cat /proc/self/attr/apparmor/current";

/// A node whose daemon loads its profile, the image on it, and the right to profiles of the kernel.
fn node(name: &str) -> Option<(Node, String, MutexGuard<'static, ()>)> {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let parser = Command::new("apparmor_parser").arg("--version").output();
    if !enabled.is_ok_and(|text| text.starts_with('Y')) || parser.is_err() {
        lab::skip("AppArmor: not enabled in this kernel, or no apparmor_parser (./dev vm cri)");
        return None;
    }
    if !lab::machine_is_for_tests() {
        lab::skip("AppArmor: profiles are loaded in a virtual machine only (./dev vm cri)");
        return None;
    }
    let turn = PROFILES.lock().unwrap_or_else(PoisonError::into_inner);
    let node = Node::start(name)?;
    let image = node.image(BUSY, "1");
    node.run(async |client: &mut Client| client.pull(&image).await);
    Some((node, image, turn))
}

fn parse(verb: &str, text: &str) {
    let mut parser = Command::new("apparmor_parser");
    parser.args(["--skip-cache", verb]).stdin(Stdio::piped());
    let mut child = parser.spawn().expect("apparmor_parser");
    child.stdin.take().expect("input").write_all(text.as_bytes()).expect("profile");
    assert!(child.wait().expect("apparmor_parser").success(), "{verb}: {text}");
}

fn is_loaded(name: &str) -> bool {
    let loaded = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles");
    loaded.expect("profiles").lines().any(|line| line.starts_with(&format!("{name} (")))
}

type Context = v1::LinuxContainerSecurityContext;

fn asking(name: &str, image: &str, ask: impl FnOnce(&mut Context)) -> v1::ContainerConfig {
    let mut config = container(name, image, &format!("{LABEL}; sleep 1000"));
    let linux = config.linux.get_or_insert_default();
    ask(linux.security_context.get_or_insert_default());
    config
}

fn profile(kind: ProfileType, name: &str) -> Option<v1::SecurityProfile> {
    Some(v1::SecurityProfile { profile_type: kind.into(), localhost_ref: name.to_owned() })
}

/// With rights, and without a filter; nothing of /proc is masked or read-only unless it is asked for.
fn mighty(context: &mut Context) {
    context.seccomp = profile(ProfileType::Unconfined, "");
    let capabilities = context.capabilities.get_or_insert_default();
    capabilities.add_capabilities = vec!["SYS_ADMIN".to_owned(), "SYS_PTRACE".to_owned()];
}

#[test]
#[allow(deprecated, reason = "older kubelets write the field")]
fn the_default_profile_is_there_for_who_asks_and_who_does_not() {
    let Some((node, image, _turn)) = node("apparmor-default") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("default");
        let pod = client.run_pod(&of).await.expect("run");
        let default = "podloom-default (enforce)\n";
        for (name, ask, label) in [
            ("silent", (|_| {}) as fn(&mut Context), default),
            ("asks", |c| c.apparmor = profile(ProfileType::RuntimeDefault, ""), default),
            ("asks-old", |c| c.apparmor_profile = "runtime/default".to_owned(), default),
            ("free", |c| c.apparmor = profile(ProfileType::Unconfined, ""), "unconfined\n"),
            ("free-old", |c| c.apparmor_profile = "unconfined".to_owned(), "unconfined\n"),
            ("privileged", |c| c.privileged = true, "unconfined\n"),
        ] {
            let id = client.launch(&pod, &asking(name, &image, ask), &of).await;
            assert_eq!(client.says(&id, &["sh", "-c", LABEL]).await, label, "{name}, added");
            let path = client.container(&id).await.expect("status").log_path;
            lab::until("its own label is told", std::time::Duration::from_secs(20), || {
                std::fs::read_to_string(&path).is_ok_and(|log| log.contains(label.trim()))
            });
            client.stop(&id, 0).await.expect("signals reach it");
        }
        client.remove_pod(&pod).await.expect("remove");
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn the_default_profile_stands_behind_capabilities() {
    let Some((node, image, _turn)) = node("apparmor-rules") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("rules");
        let pod = client.run_pod(&of).await.expect("run");
        let bound = client.launch(&pod, &asking("bound", &image, mighty), &of).await;
        let free = asking("free", &image, |context| {
            mighty(context);
            context.apparmor = profile(ProfileType::Unconfined, "");
        });
        let free = client.launch(&pod, &free, &of).await;
        // Opened for writing, and nothing written.
        for script in [
            "mount -t tmpfs none /tmp",
            ": >>/proc/sys/vm/swappiness",
            ": >>/proc/sys/kernel/core_pattern",
            ": >>/proc/sysrq-trigger",
        ] {
            let answer = client.exec(&bound, &["sh", "-c", script]).await.expect("exec");
            let said = String::from_utf8_lossy(&answer.stderr).into_owned();
            assert!(answer.exit_code != 0 && said.contains("ermission denied"), "{script}: {said}");
            client.says(&free, &["sh", "-c", script]).await;
        }
        // What containers do every day.
        for script in [
            ": >>/proc/sys/kernel/shmmax",
            "echo 100 >/proc/self/oom_score_adj",
            "sleep 100 & kill $!",
            "echo x >/tmp/x && mkdir /dir && mv /tmp/x /dir && ln -s x /dir/y && chmod 600 /dir/x",
            "nc -l -p 8080 -e true & sleep 0.2; nc 127.0.0.1 8080 </dev/null",
            "cat /proc/1/environ >/dev/null && ls -l /proc/1/exe",
        ] {
            client.says(&bound, &["sh", "-c", script]).await;
        }
        client.remove_pod(&pod).await.expect("remove");
    });
}

/// Tools that tidy up unload what no file of the distribution names.
#[test]
fn a_default_profile_that_was_unloaded_is_loaded_again() {
    let Some((mut node, image, _turn)) = node("apparmor-again") else { return };
    let gone = "profile podloom-default { }";
    let launched = |node: &Node, name: &str| {
        node.run(async |client: &mut Client| {
            let of = pod(name);
            let pod = client.run_pod(&of).await.expect("run");
            let id = client.launch(&pod, &asking("main", &image, |_| {}), &of).await;
            let label = client.says(&id, &["sh", "-c", LABEL]).await;
            client.remove_pod(&pod).await.expect("remove");
            label
        })
    };
    let default = "podloom-default (enforce)\n";
    assert_eq!(launched(&node, "before"), default);
    parse("--remove", gone);
    assert!(!is_loaded("podloom-default"));
    assert_eq!(launched(&node, "after"), default);
    // An older release's is replaced at the start.
    parse("--replace", "profile podloom-default flags=(complain) { }");
    assert!(node.stop());
    node.serve();
    lab::until("it is replaced", std::time::Duration::from_secs(60), || {
        launched(&node, "replaced") == default
    });
    // Not wished, it is not there for anybody.
    node.write("config.d/10-none.toml", "[containers]\napparmor_profile = \"\"\n");
    assert!(node.stop());
    node.serve();
    assert_eq!(launched(&node, "none"), "unconfined\n");
}

#[test]
#[allow(deprecated, reason = "older kubelets write the field")]
fn profiles_of_the_node_bind_and_missing_ones_are_named() {
    let Some((node, image, _turn)) = node("apparmor-local") else { return };
    let rules = "file, capability, network, signal, ptrace, umount, deny /tmp/secret rwklx,";
    let name = "podloom-test-local";
    let text = format!("profile {name} flags=(attach_disconnected) {{ {rules} }}");
    parse("--replace", &text);
    node.run(async |client: &mut Client| {
        let of = pod("local");
        let pod = client.run_pod(&of).await.expect("run");
        let typed = |name: &'static str| {
            move |c: &mut Context| c.apparmor = profile(ProfileType::Localhost, name)
        };
        let written =
            |name: &'static str| move |c: &mut Context| c.apparmor_profile = name.to_owned();
        let new = asking("typed", &image, typed(name));
        let old = asking("written", &image, written("localhost/podloom-test-local"));
        let both = asking("privileged", &image, |context| {
            context.privileged = true;
            context.apparmor = profile(ProfileType::Localhost, name);
        });
        for config in [&new, &old, &both] {
            let id = client.launch(&pod, config, &of).await;
            let label = client.says(&id, &["sh", "-c", LABEL]).await;
            assert_eq!(label, "podloom-test-local (enforce)\n");
            let answer = client.exec(&id, &["touch", "/tmp/secret"]).await.expect("exec");
            assert_ne!(answer.exit_code, 0);
            client.says(&id, &["touch", "/tmp/public"]).await;
        }
        let absent = "podloom-no-such-profile";
        for config in [
            asking("absent", &image, typed(absent)),
            asking("absent", &image, written("localhost/podloom-no-such-profile")),
        ] {
            let refused = client.create(&pod, &config, &of).await.expect_err("not loaded");
            assert_eq!(refused.code(), Code::InvalidArgument);
            let said = refused.message();
            assert!(said.contains(absent) && said.contains("is not loaded"), "{said}");
        }
        client.remove_pod(&pod).await.expect("remove");
    });
    parse("--remove", &text);
    assert_eq!(node.leftovers(), Vec::<String>::new());
}
