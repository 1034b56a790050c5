//! Who a process is and what it may do.

use crate::stage::{BOX, Stage, busybox, script, secured, waiting};
use container::Kind;
use cri_api::v1::security_profile::ProfileType;
use cri_api::v1::{Capability, Int64Value, SecurityProfile, SupplementalGroupsPolicy};
use serde_json::json;

fn int(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

#[test]
fn users_are_those_that_are_asked_for() {
    let stage = Stage::new("c-users");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("users").await;
        let ids = "id -u; id -g; id -G; echo $HOME";
        let root = node.start(&pod, waiting("root")).await;
        assert_eq!(node.sh(&root, ids).await, "0\n0\n0\n/root");
        let by_name = secured(waiting("name"), |c| c.run_as_username = "app".to_owned());
        let by_name = node.start(&pod, by_name).await;
        assert_eq!(node.sh(&by_name, ids).await, "1000\n1001\n1001 50000\n/home/app");
        let user = node.containers.get(&by_name).expect("container").user();
        assert_eq!((user.uid, user.gid), (1000, 1001));
        assert_eq!(user.supplemental_groups, [1001, 50000]);
        let strict = secured(waiting("strict"), |c| {
            c.run_as_user = int(1000);
            c.run_as_group = int(7);
            c.supplemental_groups = vec![1234];
            c.supplemental_groups_policy = SupplementalGroupsPolicy::Strict.into();
        });
        let strict = node.start(&pod, strict).await;
        assert_eq!(node.sh(&strict, ids).await, "1000\n7\n7 1234\n/home/app");
        let unknown = secured(waiting("unknown"), |c| c.run_as_user = int(4242));
        let unknown = node.start(&pod, unknown).await;
        assert_eq!(node.sh(&unknown, ids).await, "4242\n0\n0\n/");
        for name in ["nobody-here", "-1", "4294967296", "0x0"] {
            let config = secured(waiting("refused"), |c| c.run_as_username = name.to_owned());
            assert_eq!(node.refused(&pod, config).await.kind(), Kind::Invalid, "{name}");
        }
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn the_users_of_images_count() {
    let stage = Stage::new("c-imageusers");
    let (named, numbered) =
        (busybox(&json!({"User": "app"})), busybox(&json!({"User": "4242:77"})));
    let missing = busybox(&json!({"User": "nobody-here"}));
    stage.run(async {
        let images = [("example.com/a:1", &named), ("example.com/b:1", &numbered), (BOX, &missing)];
        let (node, _) = stage.open_with(&images).await;
        let pod = node.pod("users").await;
        for (image, ids) in [("example.com/a:1", "1000 1001"), ("example.com/b:1", "4242 77")] {
            let mut config = waiting(&image.replace(['/', ':', '.'], "-"));
            config.image.as_mut().expect("image").image = image.to_owned();
            let id = node.start(&pod, config).await;
            assert_eq!(node.sh(&id, "echo $(id -u) $(id -g)").await, ids, "{image}");
        }
        let e = node.refused(&pod, waiting("missing")).await;
        assert!(e.to_string().contains("nobody-here"), "{e}");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

/// The line of a set in `/proc/self/status`.
const SETS: &str = "grep Cap /proc/self/status | tr -d '\\t' | sort";

#[test]
fn capabilities_are_those_of_the_field_unless_asked() {
    let stage = Stage::new("c-caps");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("caps").await;
        let id = node.start(&pod, waiting("default")).await;
        let field = "00000000a80425fb";
        let wanted = format!(
            "CapAmb:0000000000000000\nCapBnd:{field}\nCapEff:{field}\nCapInh:0000000000000000\n\
             CapPrm:{field}"
        );
        assert_eq!(node.sh(&id, SETS).await, wanted);
        let own = node.sh(&id, "grep Cap /proc/1/status | tr -d '\\t' | sort").await;
        assert_eq!(own, wanted, "the first process too");
        let few = secured(waiting("few"), |c| {
            c.capabilities = Some(Capability {
                add_capabilities: vec!["NET_BIND_SERVICE".to_owned()],
                drop_capabilities: vec!["ALL".to_owned()],
                ..Capability::default()
            });
        });
        let id = node.start(&pod, few).await;
        assert!(node.sh(&id, SETS).await.contains("CapEff:0000000000000400"));
        let user = secured(waiting("ambient"), |c| {
            c.run_as_user = int(1000);
            c.capabilities = Some(Capability {
                add_ambient_capabilities: vec!["NET_BIND_SERVICE".to_owned()],
                ..Capability::default()
            });
        });
        let id = node.start(&pod, user).await;
        let sets = node.sh(&id, SETS).await;
        assert!(sets.contains("CapAmb:0000000000000400"), "{sets}");
        assert!(sets.contains("CapEff:0000000000000400"), "{sets}");
        let wrong = secured(waiting("wrong"), |c| {
            c.capabilities = Some(Capability {
                add_capabilities: vec!["FLY".to_owned()],
                ..Capability::default()
            });
        });
        assert_eq!(node.refused(&pod, wrong).await.kind(), Kind::Invalid);
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn privileges_are_given_and_kept_back() {
    let stage = Stage::new("c-priv");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("priv").await;
        let masked = secured(waiting("masked"), |c| {
            c.masked_paths = vec!["/proc/keys".to_owned(), "/sys/firmware".to_owned()];
            c.readonly_paths = vec!["/proc/sys".to_owned()];
            c.no_new_privs = true;
        });
        let id = node.start(&pod, masked).await;
        let said = node
            .sh(&id, "wc -c < /proc/keys; ls /sys/firmware | wc -l; grep -c ' /sys sysfs ro' /proc/mounts")
            .await;
        assert_eq!(said, "0\n0\n1");
        assert!(node.try_sh(&id, "echo 1 > /proc/sys/kernel/printk").await.exit_code != 0);
        assert_eq!(node.sh(&id, "grep NoNewPrivs /proc/self/status | tr -cd 0-9").await, "1");
        assert!(node.try_sh(&id, "mknod /dev/loop9 b 7 9 && head -c1 /dev/loop9").await.exit_code != 0);
        let privileged = secured(waiting("privileged"), |c| {
            c.privileged = true;
            c.masked_paths = vec!["/proc/keys".to_owned()];
        });
        let id = node.start(&pod, privileged).await;
        let said = node
            .sh(&id, "mkdir -p /m; mount -t tmpfs none /m && echo mounted; test -c /dev/loop-control && echo all; \
                grep -c ' /sys sysfs rw' /proc/mounts; grep Seccomp: /proc/self/status | tr -cd 0-9")
            .await;
        assert_eq!(said, "mounted\nall\n1\n0");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

fn local(kind: ProfileType, name: &str) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: kind.into(), localhost_ref: name.to_owned() })
}

#[test]
fn filters_confine_and_missing_profiles_are_named() {
    let stage = Stage::new("c-seccomp");
    let profiles = crate::stage::node_dir(&stage, "seccomp");
    let deny = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
    std::fs::write(profiles.join("deny.json"), deny.to_string()).expect("profile");
    std::fs::write(profiles.join("bad.json"), "{}").expect("profile");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("seccomp").await;
        let mode = "grep Seccomp: /proc/self/status | tr -cd 0-9";
        let with = |name: &str, profile: Option<SecurityProfile>| {
            secured(waiting(name), |c| c.seccomp = profile)
        };
        let id = node.start(&pod, with("none", local(ProfileType::Unconfined, ""))).await;
        assert_eq!(node.sh(&id, mode).await, "0");
        let id = node.start(&pod, with("default", local(ProfileType::RuntimeDefault, ""))).await;
        assert_eq!(node.sh(&id, mode).await, "2");
        assert_eq!(node.sh(&id, "mkdir /tmp/x && echo made").await, "made");
        assert!(node.try_sh(&id, "mount -t tmpfs none /tmp").await.exit_code != 0);
        let id = node.start(&pod, with("local", local(ProfileType::Localhost, "deny.json"))).await;
        assert!(node.try_sh(&id, "mkdir /tmp/x").await.exit_code != 0, "for added ones too");
        for name in ["missing.json", "bad.json", "../x", ""] {
            let config = with("wrong", local(ProfileType::Localhost, name));
            let e = node.refused(&pod, config).await;
            assert_eq!(e.kind(), Kind::Invalid, "{e}");
        }
        let config = secured(script("armor", "true"), |c| {
            c.apparmor = local(ProfileType::Localhost, "podloom-no-such-profile");
        });
        let e = node.refused(&pod, config).await;
        assert_eq!(e.kind(), Kind::Invalid);
        assert!(e.to_string().contains("podloom-no-such-profile"), "{e}");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}
