//! Mounts of every kind, by root, in its user namespaces and by ordinary users.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "fails the test")]

mod container;

use container::{Bundle, Run, Who, config, mount_at, mounts_at, refused, tmpfs};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const ALL: [Who; 3] = [Who::Root, Who::User, Who::Rootless];

fn run<'a>(bundle: &'a Bundle, who: Who, mounts: Value) -> Run<'a> {
    Run::new(bundle, who, config(who, mounts, json!({})))
}

#[test]
fn kernel_file_systems() {
    for who in ALL {
        let bundle = Bundle::new("kernel");
        let mounts = json!([
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=64k"]},
        ]);
        let seen = run(&bundle, who, mounts).inside(|| {
            let read = |path: &str| fs::read_to_string(path).unwrap();
            let shm = fs::metadata("/dev/shm").unwrap().permissions().mode() & 0o7777;
            let full = fs::write("/dev/shm/big", vec![1; 128 << 10]).unwrap_err();
            assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
            assert_eq!(read("/proc/self/stat").split(' ').next(), Some("1"), "own pids");
            assert!(fs::write("/sys/class/x", "").is_err());
            let places = ["/proc", "/sys", "/dev/pts", "/dev/mqueue", "/dev/shm"];
            let all: Vec<_> = places.iter().map(|place| mount_at(place)).collect();
            format!("{shm:o}\n{}", all.join("\n"))
        });
        let seen = seen.unwrap();
        let lines: Vec<_> = seen.lines().collect();
        assert_eq!(lines[0], "1777", "{who:?}");
        for (line, kind) in lines[1..].iter().zip(["proc", "sysfs", "devpts", "mqueue", "tmpfs"]) {
            assert!(line.contains("nosuid"), "{who:?}: {line}");
            assert!(line.contains(&format!(" {kind} ")), "{who:?}: {line}");
        }
        assert!(lines[2].starts_with("ro,") || lines[2].contains("ro,nosuid"), "{}", lines[2]);
        assert!(lines[3].contains("ptmxmode=666") && lines[3].contains("mode=620"), "{}", lines[3]);
        assert_eq!(lines[3].contains("gid="), who != Who::Rootless, "{}", lines[3]);
        assert!(lines[5].contains("size=64k"), "{}", lines[5]);
    }
}

#[test]
fn sysfs_of_a_foreign_network_is_bound_and_read_only_throughout() {
    let bundle = Bundle::new("sysfs");
    let mounts = json!([{"destination": "/sys", "type": "sysfs", "source": "sysfs",
        "options": ["nosuid", "noexec", "nodev", "ro"]}]);
    let mut run = run(&bundle, Who::User, mounts);
    // A container that shares the host's network may not mount sysfs.
    run.share_network = true;
    let seen = run.inside(|| {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let below: Vec<_> = text.lines().filter(|line| line.contains(" /sys")).collect();
        below.join("\n")
    });
    let seen = seen.unwrap();
    assert!(seen.lines().count() > 1, "the host's tree: {seen}");
    for line in seen.lines() {
        assert!(line.split(' ').nth(5).unwrap().starts_with("ro,"), "writable: {line}");
    }
}

#[test]
fn binds_of_directories_and_files_make_their_places() {
    for who in ALL {
        let bundle = Bundle::new("binds");
        fs::create_dir(bundle.0.join("data")).unwrap();
        fs::write(bundle.0.join("data/file"), "content").unwrap();
        let mounts = json!([
            {"destination": "/new/deep/directory", "type": "bind", "source": "data", "options": ["bind"]},
            {"destination": "/new/file", "type": "bind", "source": "data/file", "options": ["rbind", "ro"]},
            {"destination": "/no/options", "type": "bind", "source": bundle.0.join("data")},
            {"destination": "/no/type", "source": "data", "options": ["bind", "nosuid", "noexec"]},
        ]);
        let seen = run(&bundle, who, mounts).inside(|| {
            for file in
                ["/new/deep/directory/file", "/new/file", "/no/options/file", "/no/type/file"]
            {
                assert_eq!(fs::read_to_string(file).unwrap(), "content", "{file}");
            }
            assert!(fs::write("/new/file", "x").is_err());
            assert_eq!(fs::metadata("/new/deep").unwrap().mode() & 0o7777, 0o755);
            mount_at("/no/type")
        });
        let seen = seen.unwrap();
        assert!(seen.contains("nosuid") && seen.contains("noexec"), "{seen}");
    }
}

#[test]
fn links_in_the_image_stay_in_it_also_dangling_ones() {
    let bundle = Bundle::new("links");
    fs::create_dir(bundle.0.join("data")).unwrap();
    fs::create_dir(bundle.image("var")).unwrap();
    symlink("/run", bundle.image("var/run")).unwrap();
    symlink("../var/run/up", bundle.image("etc/up")).unwrap();
    symlink("../../../../../../../../tmp/out", bundle.image("etc/out")).unwrap();
    let bind = |place: &str| json!({"destination": place, "source": "data", "options": ["bind"]});
    let mounts = json!([bind("/var/run/secrets"), bind("/etc/up/here"), bind("/etc/out")]);
    let seen = run(&bundle, Who::Root, mounts).inside(|| {
        ["/run/secrets", "/run/up/here", "/tmp/out"]
            .map(|place| mounts_at(place).len())
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    });
    assert_eq!(seen.unwrap(), "1 1 1");
    assert!(!std::path::Path::new("/tmp/out").exists());
}

#[test]
fn every_attribute_and_its_opposite() {
    let bundle = Bundle::new("attributes");
    fs::create_dir(bundle.0.join("data")).unwrap();
    let words = [
        ("ro", "ro"),
        ("rw", "rw"),
        ("nosuid", "nosuid"),
        ("suid", "!nosuid"),
        ("nodev", "nodev"),
        ("dev", "!nodev"),
        ("noexec", "noexec"),
        ("exec", "!noexec"),
        ("noatime", "noatime"),
        ("relatime", "relatime"),
        ("strictatime", "!relatime"),
        ("nodiratime", "nodiratime"),
        ("diratime", "!nodiratime"),
        ("nosymfollow", "nosymfollow"),
        ("symfollow", "!nosymfollow"),
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rstrictatime", "!relatime"),
        ("rnodiratime", "nodiratime"),
        ("rnosymfollow", "nosymfollow"),
        ("defaults", "rw"),
        ("async", "rw"),
        ("sync", "rw"),
    ];
    let mount = |(index, (word, _)): (usize, &(&str, &str))| json!({"destination": format!("/m{index}"), "source": "data", "options": ["rbind", word]});
    let mounts: Vec<_> = words.iter().enumerate().map(mount).collect();
    let answer = run(&bundle, Who::Root, json!(mounts)).inside(|| {
        for (index, (word, want)) in words.iter().enumerate() {
            let line = mount_at(&format!("/m{index}"));
            let own: Vec<_> = line.split(' ').next().unwrap().split(',').collect();
            match want.strip_prefix('!') {
                Some(absent) => assert!(!own.contains(&absent), "{word}: {line}"),
                None => assert!(own.contains(want), "{word}: {line}"),
            }
        }
        "all".into()
    });
    assert_eq!(answer.unwrap(), "all");
}

#[test]
fn recursive_attributes_reach_what_is_below() {
    let bundle = Bundle::new("recursive");
    let data = bundle.0.join("data");
    fs::create_dir_all(data.join("below")).unwrap();
    let bind = |place: &str, options: &[&str]| {
        json!({"destination": place, "source": "data",
        "options": options})
    };
    let mounts = json!([
        bind("/one", &["rbind", "ro"]),
        bind("/all", &["rbind", "rro"]),
        bind("/back", &["rbind", "rro", "rw"]),
        bind("/bare", &["bind", "rro"])
    ]);
    let mut run = run(&bundle, Who::Root, mounts);
    run.host = Box::new(|| tmpfs(&data.join("below")));
    let seen = run.inside(|| {
        let state = |path: &str| match fs::write(format!("{path}/x"), "") {
            Ok(()) => "rw",
            Err(error) if error.raw_os_error() == Some(libc::EROFS) => "ro",
            Err(error) => panic!("{path}: {error}"),
        };
        ["/one", "/one/below", "/all", "/all/below", "/back", "/back/below", "/bare"]
            .map(state)
            .join(" ")
    });
    assert_eq!(seen.unwrap(), "ro rw ro ro ro ro ro");
}

#[test]
fn propagation_of_single_mounts() {
    let bundle = Bundle::new("propagation");
    fs::create_dir(bundle.0.join("data")).unwrap();
    let words = [
        "private",
        "rprivate",
        "slave",
        "rslave",
        "shared",
        "rshared",
        "unbindable",
        "runbindable",
    ];
    let mount = |word: &&str| {
        json!({"destination": format!("/{word}"), "source": "data",
        "options": ["rbind", word]})
    };
    let mounts: Vec<_> = words.iter().map(mount).collect();
    let answer = run(&bundle, Who::Root, json!(mounts)).inside(|| {
        for word in words {
            let line = mount_at(&format!("/{word}"));
            let head = line.split(" - ").next().unwrap();
            let kind = word.trim_start_matches('r').replace("slave", "private");
            let head_kind = match (head.contains("shared:"), head.contains("unbindable")) {
                (true, _) => "shared",
                (_, true) => "unbindable",
                _ => "private",
            };
            assert_eq!(head_kind, kind, "{word}: {line}");
        }
        "all".into()
    });
    assert_eq!(answer.unwrap(), "all");
}

#[test]
fn tmpfs_copies_up_and_keeps_the_mode_of_what_it_covers() {
    for who in [Who::Root, Who::User] {
        let bundle = Bundle::new("copyup");
        let folder = bundle.image("full");
        fs::create_dir_all(folder.join("deep")).unwrap();
        fs::write(folder.join("deep/file"), vec![7; 300_000]).unwrap();
        symlink("deep/file", folder.join("link")).unwrap();
        fs::set_permissions(folder.join("deep/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).unwrap();
        let mounts = json!([
            {"destination": "/full", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "nodev"]},
            {"destination": "/fresh/new", "type": "tmpfs"},
            {"destination": "/tmp", "type": "tmpfs", "options": ["ro"]}]);
        let mut run = run(&bundle, who, mounts);
        let image = folder.join("deep/new");
        run.after = Box::new(move || image.exists().to_string());
        let seen = run.inside(|| {
            assert_eq!(fs::read("/full/link").unwrap(), vec![7; 300_000]);
            let file = fs::metadata("/full/deep/file").unwrap();
            // A changed owner would have taken the bit; user namespaces keep it off elsewhere too.
            assert_eq!((file.mode() & 0o777, file.uid()), (0o751, 0));
            let mode = |path: &str| fs::metadata(path).unwrap().mode() & 0o7777;
            assert_eq!(
                (mode("/full"), mode("/fresh"), mode("/fresh/new")),
                (0o1777, 0o755, 0o1777)
            );
            fs::write("/full/deep/new", "").unwrap();
            assert!(fs::write("/tmp/x", "").is_err(), "tmpfs is read-only");
            String::new()
        });
        assert_eq!(seen.unwrap(), "false", "the image stays as it was");
    }
}

#[test]
fn a_source_may_be_what_an_earlier_mount_brings() {
    for who in [Who::Root, Who::User, Who::Rootless] {
        let bundle = Bundle::new("order");
        fs::create_dir_all(bundle.0.join("data/in")).unwrap();
        fs::write(bundle.0.join("data/in/file"), "brought").unwrap();
        let image = bundle.image("data/in");
        fs::create_dir_all(&image).unwrap();
        fs::write(image.join("file"), "covered").unwrap();
        let mounts = json!([
            {"destination": "/data", "source": "data", "options": ["rbind"]},
            {"destination": "/again", "source": "rootfs/data/in", "options": ["bind", "ro"]},
            {"destination": "/early", "source": image.join("../../etc"), "options": ["bind"]}]);
        let seen = run(&bundle, who, mounts).inside(|| {
            assert!(fs::write("/again/new", "").is_err());
            fs::read_to_string("/again/file").unwrap()
        });
        assert_eq!(seen.as_deref(), Ok("brought"), "{who:?}");
    }
}

#[test]
fn overlay_with_options_longer_than_fsconfig_takes() {
    let bundle = Bundle::new("overlay");
    let long = "l".repeat(100);
    let lower: Vec<_> = (0..4).map(|number| bundle.0.join(format!("{long}{number}"))).collect();
    for (number, folder) in lower.iter().enumerate() {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join(format!("file{number}")), "").unwrap();
    }
    let lower: Vec<_> = lower.iter().map(|path| path.to_str().unwrap()).collect();
    let mount = |place: &str, lower: &[&str]| {
        json!({"destination": place, "type": "overlay",
        "source": "overlay", "options": [format!("lowerdir={}", lower.join(":")), "nosuid", "private"]})
    };
    let mounts = json!([mount("/long", &lower), mount("/short", &lower[..1])]);
    let mounts = match lower[..1].join(":").len() < 250 {
        true => mounts,
        false => panic!("the temporary directory's name is too long for this test"),
    };
    // Overlay wants two directories at least without an upper one.
    let mut mounts = mounts;
    mounts[1]["options"][0] =
        json!(format!("lowerdir={}:{}", bundle.0.join("rootfs").display(), lower[0]));
    let seen = run(&bundle, Who::Root, mounts).inside(|| {
        assert!((0..4).all(|number| fs::exists(format!("/long/file{number}")).unwrap()));
        assert!(fs::exists("/short/file0").unwrap());
        mount_at("/long")
    });
    let seen = seen.unwrap();
    assert!(seen.contains("nosuid") && seen.contains(" overlay "), "{seen}");
}

#[test]
fn remount_changes_what_is_there() {
    let bundle = Bundle::new("remount");
    let mounts = json!([
        {"destination": "/tmp", "type": "tmpfs", "options": ["size=1m"]},
        {"destination": "/tmp", "type": "tmpfs", "options": ["remount", "noexec", "size=2m"]},
        {"destination": "/tmp", "options": ["remount", "bind", "nosuid"]}]);
    let seen = run(&bundle, Who::Root, mounts).inside(|| mounts_at("/tmp").join("\n"));
    let seen = seen.unwrap();
    assert_eq!(seen.lines().count(), 1, "{seen}");
    assert!(
        seen.contains("noexec") && seen.contains("nosuid") && seen.contains("size=2048k"),
        "{seen}"
    );
    let mounts = json!([{"destination": "/etc", "options": ["remount", "bind", "nosuid"]}]);
    let text = refused(run(&bundle, Who::Root, mounts).inside(String::new));
    assert!(text.contains("mounts[2]: /etc"), "{text}");
}

#[test]
fn idmapped_mounts_with_own_and_with_the_containers_mappings() {
    let bundle = Bundle::new("idmap");
    fs::create_dir(bundle.0.join("data")).unwrap();
    for (name, owner) in [("zero", 0), ("five", 5)] {
        fs::write(bundle.0.join("data").join(name), "").unwrap();
        std::os::unix::fs::chown(bundle.0.join("data").join(name), Some(owner), Some(owner))
            .unwrap();
    }
    let own = json!([{"containerID": 0, "hostID": 3000, "size": 10}]);
    let mounts = json!([{"destination": "/own", "source": "data", "options": ["bind"],
        "uidMappings": own, "gidMappings": own}]);
    let owner = |path: &str| {
        let file = fs::metadata(path).unwrap();
        format!("{}:{} ", file.uid(), file.gid())
    };
    let seen = run(&bundle, Who::Root, mounts).inside(|| owner("/own/zero") + &owner("/own/five"));
    assert_eq!(seen.unwrap(), "3000:3000 3005:3005 ");
    let mounts = json!([
        {"destination": "/mapped", "source": "data", "options": ["bind", "idmap"]},
        {"destination": "/deep", "source": "data", "options": ["rbind", "ridmap", "ro"]},
        {"destination": "/plain", "source": "data", "options": ["bind"]}]);
    let seen = run(&bundle, Who::User, mounts).inside(|| {
        owner("/mapped/zero")
            + &owner("/mapped/five")
            + &owner("/deep/five")
            + &owner("/plain/five")
    });
    assert_eq!(seen.unwrap(), "0:0 5:5 5:5 65534:65534 ");
    let mounts = json!([{"destination": "/own", "source": "data", "options": ["bind", "idmap"]}]);
    let text = refused(run(&bundle, Who::Root, mounts).inside(String::new));
    assert!(text.contains("idmap needs mappings"), "{text}");
}

#[test]
fn what_only_the_host_may_enter_is_opened_for_the_user_namespace() {
    let bundle = Bundle::new("closed");
    let closed = bundle.0.join("closed");
    fs::create_dir_all(closed.join("open")).unwrap();
    fs::write(closed.join("open/file"), "content").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let mounts =
        json!([{"destination": "/data", "source": "closed/open", "options": ["rbind", "ro"]}]);
    let seen = run(&bundle, Who::User, mounts.clone())
        .inside(|| fs::read_to_string("/data/file").unwrap());
    assert_eq!(seen.unwrap(), "content");
    // The root itself, too.
    fs::set_permissions(&bundle.0, fs::Permissions::from_mode(0o700)).unwrap();
    let seen = run(&bundle, Who::User, mounts).inside(|| fs::read_to_string("/data/file").unwrap());
    assert_eq!(seen.unwrap(), "content");
}

#[test]
fn locked_attributes_of_a_source_are_kept() {
    let bundle = Bundle::new("locked");
    let data = bundle.0.join("data");
    fs::create_dir(&data).unwrap();
    let bind =
        |options: &[&str]| json!([{"destination": "/data", "source": "data", "options": options}]);
    let locked = || {
        tmpfs(&data);
        let flags = rustix::mount::MountFlags::NOSUID
            | rustix::mount::MountFlags::NODEV
            | rustix::mount::MountFlags::NOEXEC
            | rustix::mount::MountFlags::NOATIME;
        rustix::mount::mount_remount(&data, flags | rustix::mount::MountFlags::BIND, c"").unwrap();
    };
    let mut first = run(&bundle, Who::Rootless, bind(&["rbind", "ro"]));
    first.host = Box::new(locked);
    let seen = first.inside(|| mount_at("/data")).unwrap();
    assert!(seen.starts_with("ro,nosuid,nodev,noexec,noatime"), "{seen}");
    let mut second = run(&bundle, Who::Rootless, bind(&["rbind", "exec"]));
    second.host = Box::new(locked);
    let text = refused(second.inside(String::new));
    assert!(text.contains("mounts[2]: /data") && text.contains("cannot take back"), "{text}");
}

#[test]
fn missing_and_unknown_things_are_named() {
    let bundle = Bundle::new("missing");
    let cases = [
        (
            json!([{"destination": "/a", "source": "nowhere", "options": ["bind"]}]),
            "mounts[2]: /a",
            "does not exist",
        ),
        (json!([{"destination": "/a", "type": "nofs"}]), "mounts[2]: /a", "does not know the type"),
        (
            json!([{"destination": "/a", "type": "tmpfs", "options": ["sizes=1"]}]),
            "mounts[2]: /a",
            "refuses an option",
        ),
        (
            json!([{"destination": "/dev", "source": "/dev/null", "options": ["bind"]}]),
            "mounts[2]: /dev",
            "file on a directory",
        ),
    ];
    for (mounts, subject, cause) in cases {
        let text = refused(run(&bundle, Who::Root, mounts).inside(String::new));
        assert!(text.contains(subject) && text.contains(cause), "{text}");
    }
}
