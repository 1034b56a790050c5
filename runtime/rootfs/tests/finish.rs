//! Devices, masked and read-only paths, the change of the root, control groups.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "fails the test")]

mod container;

use container::{Bundle, Run, Who, bare, config, mount_at, mounts_at, refused, tmpfs};
use rootfs::{Cgroups, Hierarchy};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

fn run<'a>(bundle: &'a Bundle, who: Who, linux: Value) -> Run<'a> {
    Run::new(bundle, who, config(who, json!([]), linux))
}

const FUSE: (u64, u64) = (10, 229);

#[test]
fn devices_and_links_have_their_numbers_modes_and_owners() {
    for who in [Who::Root, Who::User, Who::Rootless] {
        let bundle = Bundle::new("devices");
        let devices = json!([
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o640},
            {"path": "/dev/deep/null2", "type": "c", "major": 1, "minor": 3, "fileMode": 0o602,
                "uid": 7, "gid": 8}]);
        let devices = if who == Who::Root { devices } else { json!([devices[0]]) };
        let seen = run(&bundle, who, json!({"devices": devices})).inside(|| {
            let number = |name: &str| fs::metadata(name).unwrap().rdev();
            let numbers = ["null", "zero", "full", "random", "urandom", "tty"]
                .map(|name| number(&format!("/dev/{name}")).to_string())
                .join(" ");
            fs::write("/dev/null", "x").unwrap();
            let pipe = fs::metadata("/dev/pipe").unwrap();
            assert!(pipe.file_type().is_fifo() && pipe.mode() & 0o7777 == 0o640);
            let link = |name: &str| fs::read_link(name).unwrap().display().to_string();
            assert_eq!(link("/dev/fd"), "/proc/self/fd");
            assert_eq!(link("/dev/stdin"), "/proc/self/fd/0");
            assert_eq!(link("/dev/ptmx"), "pts/ptmx");
            if who == Who::Root {
                let own = fs::metadata("/dev/deep/null2").unwrap();
                let all = (own.rdev(), own.mode() & 0o7777, own.uid(), own.gid());
                assert_eq!(all, (0x103, 0o602, 7, 8));
                assert_eq!(fs::metadata("/dev/null").unwrap().mode() & 0o7777, 0o666);
            }
            numbers
        });
        assert_eq!(seen.unwrap(), "259 261 263 264 265 1280", "{who:?}");
    }
}

#[test]
fn what_an_image_has_in_a_devices_place() {
    let bundle = Bundle::new("image-dev");
    // Files are replaced for default devices, others are an error.
    fs::write(bundle.image("dev/null"), "image").unwrap();
    symlink("/etc/zero", bundle.image("dev/zero")).unwrap();
    let none = |linux| Run::new(&bundle, Who::Root, bare(Who::Root, json!([]), linux));
    let seen = none(json!({})).inside(|| {
        assert!(!fs::exists("/etc/zero").unwrap());
        let kind = |name: &str| fs::symlink_metadata(name).unwrap().file_type().is_char_device();
        format!("{} {}", kind("/dev/null"), kind("/dev/zero"))
    });
    assert_eq!(seen.unwrap(), "true true");
    fs::write(bundle.image("dev/fuse"), "").unwrap();
    let fuse = json!({"path": "/dev/fuse", "type": "c", "major": FUSE.0, "minor": FUSE.1});
    let text = refused(none(json!({"devices": [fuse]})).inside(String::new));
    assert!(text.contains("device /dev/fuse") && text.contains("not the device"), "{text}");
    fs::remove_file(bundle.image("dev/full")).unwrap();
    fs::create_dir(bundle.image("dev/full")).unwrap();
    let text = refused(none(json!({})).inside(String::new));
    assert!(text.contains("device /dev/full"), "{text}");
}

#[test]
fn a_bound_device_is_the_one_that_was_asked_for() {
    let bundle = Bundle::new("bound");
    let wrong = json!([{"path": "/dev/zero", "type": "c", "major": 1, "minor": 3}]);
    let text = refused(run(&bundle, Who::User, json!({"devices": wrong})).inside(String::new));
    assert!(text.contains("device /dev/zero") && text.contains("not the device"), "{text}");
}

#[test]
fn a_bound_dev_is_left_alone() {
    let bundle = Bundle::new("bounddev");
    fs::create_dir(bundle.0.join("hostdev")).unwrap();
    let mounts = json!([{"destination": "/dev", "source": "hostdev", "options": ["bind"]}]);
    let answer =
        Run::new(&bundle, Who::Root, bare(Who::Root, mounts, json!({}))).inside(String::new);
    assert_eq!(answer.unwrap(), "");
    assert!(fs::read_dir(bundle.0.join("hostdev")).unwrap().next().is_none());
}

#[test]
fn masked_and_read_only_paths() {
    for who in [Who::Root, Who::User, Who::Rootless] {
        let bundle = Bundle::new("masked");
        fs::create_dir_all(bundle.image("secret/a")).unwrap();
        fs::create_dir_all(bundle.image("secret2/b")).unwrap();
        fs::create_dir(bundle.image("frozen")).unwrap();
        fs::write(bundle.image("etc/key"), "key").unwrap();
        let linux = json!({
            "maskedPaths": ["/secret", "/secret2", "/secret", "//secret/", "/etc/key", "/proc/keys", "/nowhere", "/etc/key/below"],
            "readonlyPaths": ["/frozen", "/proc/sys", "/nowhere/at/all"]});
        let mut config = config(who, json!([]), linux);
        config["root"]["readonly"] = json!(true);
        let seen = Run::new(&bundle, who, config).inside(|| {
            let read_only = |path: &str| {
                let error = fs::write(path, "").unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{path}");
            };
            let count = |path: &str| fs::read_dir(path).unwrap().count();
            assert_eq!((count("/secret"), count("/secret2")), (0, 0));
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert_eq!(mounts.matches(" /secret ").count(), 1, "{mounts}");
            for path in
                ["/secret/x", "/secret2/x", "/frozen/x", "/proc/sys/kernel/domainname", "/etc/x"]
            {
                read_only(path);
            }
            assert_eq!(fs::read("/etc/key").unwrap(), b"");
            assert_eq!(fs::read("/proc/keys").unwrap(), b"");
            "done".into()
        });
        assert_eq!(seen.as_deref(), Ok("done"), "{who:?}");
    }
}

#[test]
fn a_read_only_dev_gets_its_devices_first() {
    let bundle = Bundle::new("rodev");
    let mounts = json!([{"destination": "/dev", "type": "tmpfs", "options": ["ro"]},
        {"destination": "/dev/shm", "type": "tmpfs"}]);
    let seen = Run::new(&bundle, Who::Root, bare(Who::Root, mounts, json!({}))).inside(|| {
        assert!(fs::exists("/dev/null").unwrap() && fs::write("/dev/x", "").is_err());
        fs::write("/dev/shm/x", "").unwrap();
        "done".into()
    });
    assert_eq!(seen.as_deref(), Ok("done"));
}

#[test]
fn the_old_root_is_gone_also_without_pivot() {
    for no_pivot in [false, true] {
        let bundle = Bundle::new("root");
        let mut run = run(&bundle, Who::Root, json!({}));
        run.situation.no_pivot = no_pivot;
        let host = bundle.0.clone();
        let seen = run.inside(move || {
            assert!(!fs::exists(&host).unwrap());
            assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
            assert!(fs::exists("/proc/self/stat").unwrap() && fs::exists("/../etc").unwrap());
            let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
            text.lines().filter(|line| line.contains(" - ext4 ")).count().to_string()
        });
        assert_eq!(seen.as_deref(), Ok("1"), "no pivot: {no_pivot}");
    }
}

#[test]
fn propagation_of_the_root() {
    let flags = rustix::mount::MountPropagationFlags::SHARED;
    let cases = [
        (None, true, false),
        (Some("slave"), true, false),
        (Some("rslave"), true, false),
        (Some("private"), false, false),
        (Some("rprivate"), false, false),
        (Some("shared"), true, true),
        (Some("rshared"), true, true),
    ];
    for (word, down, up) in cases {
        let bundle = Bundle::new("propagation");
        let volume = bundle.0.join("volume");
        for folder in ["", "up", "down"] {
            fs::create_dir(volume.join(folder)).unwrap();
        }
        let kind = if up { "rshared" } else { "rslave" };
        let kind = if down { kind } else { "rprivate" };
        let mounts =
            json!([{"destination": "/volume", "source": "volume", "options": ["rbind", kind]}]);
        let linux = word.map_or(json!({}), |word| json!({"rootfsPropagation": word}));
        let mut run = Run::new(&bundle, Who::Root, config(Who::Root, mounts, linux));
        let place = volume.clone();
        run.host = Box::new(move || {
            tmpfs(&place);
            fs::create_dir(place.join("up")).unwrap();
            rustix::mount::mount_change(&place, flags).unwrap();
        });
        let place = volume.clone();
        run.after = Box::new(move || {
            let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let up =
                text.lines().any(|line| line.contains(&format!("{} ", place.join("up").display())));
            let ours = place.with_file_name("rootfs").display().to_string();
            let stray = text.lines().filter(|line| line.contains(&ours)).count();
            format!(" up {up} stray {stray}")
        });
        let seen = run.inside(|| {
            tmpfs(Path::new("/volume/up"));
            let line = mount_at("/");
            let root = line.split(" - ").next().unwrap().contains("shared:");
            let below = mounts_at("/volume").pop().unwrap();
            format!("root {root} slave {}", below.contains("master:"))
        });
        let slave = down && !up;
        let want = format!("root {up} slave {slave} up {up} stray 0");
        assert_eq!(seen.as_deref(), Ok(want.as_str()), "{word:?}");
    }
}

#[test]
fn control_groups_of_version_1_are_the_containers_own() {
    let own = Path::new("/sys/fs/cgroup");
    if !own.join("cpu").is_dir() || !own.join("pids").is_dir() {
        lab::skip("rootfs: cgroup v1 is not mounted here");
        return;
    }
    for (who, options) in [(Who::Root, json!(["ro", "nosuid"])), (Who::User, json!(["nosuid"]))] {
        let bundle = Bundle::new("cgroup");
        let mounts = json!([
            {"destination": "/sys", "type": "sysfs", "options": ["ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}]);
        let hierarchy = |name: &str, aliases: &[&str]| Hierarchy {
            name: name.into(),
            aliases: aliases.iter().map(ToString::to_string).collect(),
            own: own.join(name),
        };
        let mut run = Run::new(&bundle, who, config(who, mounts, json!({})));
        run.situation.cgroups = Cgroups::Legacy(vec![
            hierarchy("cpu", &["cpu", "cpu,cpuacct"]),
            hierarchy("pids", &[]),
        ]);
        let seen = run.inside(|| {
            assert!(fs::exists("/sys/fs/cgroup/pids/cgroup.procs").unwrap());
            let link = fs::read_link("/sys/fs/cgroup/cpu,cpuacct").unwrap();
            assert_eq!(link, Path::new("cpu"));
            if who == Who::Root {
                assert!(fs::create_dir("/sys/fs/cgroup/x").is_err());
            }
            ["", "/cpu", "/pids"].map(|name| mount_at(&format!("/sys/fs/cgroup{name}"))).join("\n")
        });
        let seen = seen.unwrap();
        for line in seen.lines() {
            assert!(line.contains("nosuid"), "{line}");
            assert_eq!(line.starts_with("ro,"), who == Who::Root, "{line}");
        }
    }
}

#[test]
fn control_groups_of_version_2() {
    let bundle = Bundle::new("cgroup2");
    let mounts = json!([{"destination": "/cg", "type": "cgroup", "options": ["ro", "nosuid"]}]);
    let run = Run::new(&bundle, Who::Root, config(Who::Root, mounts, json!({})));
    let seen = run.inside(|| mount_at("/cg")).unwrap();
    assert!(seen.starts_with("ro,nosuid") && seen.contains(" cgroup2 "), "{seen}");
}
