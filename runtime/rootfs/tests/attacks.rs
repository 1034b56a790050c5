//! Attacks on the host by images, volumes and configurations. Each must fail and leave nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "fails the test")]

mod container;

use container::{Bundle, Run, Who, bare, config, mounts_at, refused, tmpfs};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn run<'a>(bundle: &'a Bundle, mounts: Value) -> Run<'a> {
    Run::new(bundle, Who::Root, config(Who::Root, mounts, json!({})))
}

/// Runs `work` while two names are exchanged as fast as the kernel can, as a second container
/// with the same volume would.
fn while_exchanging<T>(one: &Path, other: &Path, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
            }
        });
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Repeats for a while, at least a few times.
fn for_a_while(mut work: impl FnMut(u32)) {
    let start = Instant::now();
    let mut round = 0;
    while round < 20 || (start.elapsed() < Duration::from_millis(1500) && round < 300) {
        work(round);
        round += 1;
    }
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).unwrap().next().is_none()
}

/// CVE-2021-30465, CVE-2019-18837: the way to a destination is exchanged for a link out of the root.
#[test]
fn destinations_exchanged_for_links_mount_nothing_outside() {
    let bundle = Bundle::new("exchange");
    let (volume, outside, data) =
        (bundle.0.join("volume"), bundle.0.join("outside"), bundle.0.join("data"));
    for folder in [&volume, &outside, &data, &volume.join("way"), &volume.join("way/in")] {
        fs::create_dir(folder).unwrap();
    }
    fs::create_dir(outside.join("in")).unwrap();
    fs::write(data.join("mark"), "").unwrap();
    symlink(&outside, volume.join("link")).unwrap();
    let mounts = json!([
        {"destination": "/volume", "source": "volume", "options": ["bind"]},
        {"destination": "/volume/way/in", "source": "data", "options": ["bind"]}]);
    let (mut through, mut other) = (0, 0);
    while_exchanging(&volume.join("way"), &volume.join("link"), || {
        for_a_while(|_| {
            let answer = run(&bundle, mounts.clone()).steps(
                |_| {
                    // Still on the host: the link's target there is as it was.
                    assert!(!outside.join("in/mark").exists(), "mounted outside");
                    Ok(())
                },
                || {
                    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
                    let line = text.lines().find(|line| line.contains("/data ")).unwrap();
                    line.split(' ').nth(4).unwrap().to_owned()
                },
            );
            match answer {
                Ok(place) if place.starts_with("/volume/") => through += 1,
                // The link, followed inside the root: the same path there.
                Ok(place) => {
                    assert!(place.ends_with("outside/in"), "{place}");
                    other += 1;
                }
                Err(text) => {
                    assert!(text.starts_with("mounts[3]: /volume/way/in"), "{text}");
                    other += 1;
                }
            }
        });
    });
    assert!(is_empty(&outside.join("in")));
    assert!(through > 0 && other > 0, "the race was not tried: {through} {other}");
}

/// CVE-2024-45310: missing parts of a destination are made through a volume that changes.
#[test]
fn making_a_destination_through_a_racing_volume_makes_nothing_outside() {
    let bundle = Bundle::new("mkdir");
    let (volume, outside) = (bundle.0.join("volume"), bundle.0.join("outside"));
    for folder in [&volume, &outside, &volume.join("way")] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(bundle.0.join("file"), "").unwrap();
    symlink(&outside, volume.join("link")).unwrap();
    while_exchanging(&volume.join("way"), &volume.join("link"), || {
        for_a_while(|round| {
            let place = format!("/volume/way/{round}/deep/file");
            let mounts = json!([
                {"destination": "/volume", "source": "volume", "options": ["bind"]},
                {"destination": place, "source": "file", "options": ["bind"]}]);
            if let Err(text) = run(&bundle, mounts).inside(String::new) {
                assert!(text.starts_with("mounts[3]: /volume/way"), "{text}");
            }
            assert!(is_empty(&outside), "made outside in round {round}");
        });
    });
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2026-41579: special
/// directories of the image are links.
#[test]
fn linked_special_directories_are_refused() {
    for (name, index) in [("proc", 0), ("dev", 1), ("sys", 2)] {
        for target in ["tmp", "/tmp", "../../../../../../../../tmp", "/proc/self/cwd"] {
            let bundle = Bundle::new("linked");
            fs::remove_dir(bundle.image(name)).unwrap();
            symlink(target, bundle.image(name)).unwrap();
            let mounts = json!([{"destination": "/sys", "type": "sysfs"}]);
            let text = refused(run(&bundle, mounts).inside(String::new));
            assert!(text.starts_with(&format!("mounts[{index}]: /{name}")), "{text}");
            assert!(text.contains("symbolic link"), "{text}");
        }
    }
}

/// The same without a mount at `/dev`: devices must not be made through the link.
#[test]
fn devices_are_not_made_through_a_linked_directory() {
    let bundle = Bundle::new("devlink");
    let outside = bundle.0.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir(bundle.image("dev")).unwrap();
    symlink(&outside, bundle.image("dev")).unwrap();
    let run = Run::new(&bundle, Who::Root, bare(Who::Root, json!([]), json!({})));
    let text = refused(run.inside(String::new));
    assert!(text.contains("/dev/null") && text.contains("symbolic link"), "{text}");
    assert!(is_empty(&outside));
}

#[test]
fn nothing_is_mounted_over_proc_or_in_it() {
    let bundle = Bundle::new("overproc");
    fs::create_dir(bundle.0.join("data")).unwrap();
    symlink("/proc/self", bundle.image("etc/self")).unwrap();
    symlink("proc", bundle.image("p")).unwrap();
    let bind = |place: &str| json!([{"destination": place, "source": "data", "options": ["bind"]}]);
    let cases = [
        (bind("/proc"), "not what this place must have"),
        (bind("/proc/self/attr"), "inside /proc"),
        (bind("/proc/sys"), "inside /proc"),
        (bind("/p/sys/kernel"), "the place is on procfs"),
        (bind("/etc/self/attr"), "the place is on procfs"),
        (bind("/p"), "the place is on procfs"),
        (bind("/etc/../proc/./sys"), "inside /proc"),
        (json!([{"destination": "/proc", "type": "tmpfs"}]), "only procfs"),
        (json!([{"destination": "/p", "type": "tmpfs"}]), "the place is on procfs"),
    ];
    for (mounts, cause) in cases {
        let text = refused(run(&bundle, mounts.clone()).inside(String::new));
        assert!(text.contains(cause), "{mounts}: {text}");
    }
}

#[test]
fn files_that_tools_provide_may_cover_those_of_proc() {
    let bundle = Bundle::new("lxcfs");
    fs::write(bundle.0.join("file"), "MemTotal: 1 kB").unwrap();
    let mounts = json!([{"destination": "/proc/meminfo", "source": "file", "options": ["bind"]}]);
    let seen = run(&bundle, mounts).inside(|| fs::read_to_string("/proc/meminfo").unwrap());
    assert_eq!(seen.unwrap(), "MemTotal: 1 kB");
}

/// CVE-2025-31133: what masks are made of is exchanged.
#[test]
fn a_false_null_device_masks_nothing() {
    for kind in ["link", "file", "zero", "gone"] {
        let bundle = Bundle::new("null");
        let config =
            config(Who::Root, json!([]), json!({"maskedPaths": ["/proc/kcore", "/proc/keys"]}));
        let answer = Run::new(&bundle, Who::Root, config).steps(
            |mounted| {
                let path = c"dev/null";
                rustix::fs::unlinkat(mounted.root(), path, rustix::fs::AtFlags::empty()).unwrap();
                let mode = rustix::fs::Mode::from_raw_mode(0o666);
                match kind {
                    "link" => rustix::fs::symlinkat(c"/proc/sysrq-trigger", mounted.root(), path),
                    "file" => rustix::fs::mknodat(
                        mounted.root(),
                        path,
                        rustix::fs::FileType::RegularFile,
                        mode,
                        0,
                    ),
                    "zero" => rustix::fs::mknodat(
                        mounted.root(),
                        path,
                        rustix::fs::FileType::CharacterDevice,
                        mode,
                        rustix::fs::makedev(1, 5),
                    ),
                    _ => Ok(()),
                }
                .unwrap();
                Ok(())
            },
            String::new,
        );
        let text = refused(answer);
        assert!(
            text.starts_with("linux.maskedPaths[") && text.contains("/dev/null"),
            "{kind}: {text}"
        );
    }
}

/// CVE-2025-52565: the terminal, or the place of the console, is a link.
#[test]
fn the_console_is_the_terminal_that_was_opened() {
    let pts = json!([{"destination": "/dev/pts", "type": "devpts",
        "options": ["newinstance", "ptmxmode=0666"]}]);
    let bundle = Bundle::new("console");
    let answer = run(&bundle, pts.clone()).steps(
        |mounted| {
            let (_master, slave) = mounted.open_console()?;
            let null = fs::File::open("/dev/null").unwrap();
            let text = format!("{:?}", mounted.bind_console(rustix::fd::AsFd::as_fd(&null)));
            assert!(text.contains("Identity"), "{text}");
            rustix::fs::symlinkat(c"/proc/sysrq-trigger", mounted.root(), c"dev/console").unwrap();
            let text = format!("{:?}", mounted.bind_console(rustix::fd::AsFd::as_fd(&slave)));
            assert!(text.contains("Resolve") && text.contains("Err"), "{text}");
            rustix::fs::unlinkat(mounted.root(), c"dev/console", rustix::fs::AtFlags::empty())
                .unwrap();
            mounted.bind_console(rustix::fd::AsFd::as_fd(&slave))
        },
        || mounts_at("/dev/console").join("\n"),
    );
    let seen = answer.unwrap();
    assert!(seen.contains(" devpts "), "{seen}");
    assert_eq!(seen.lines().count(), 1, "{seen}");
}

/// CVE-2025-52881: what is mounted over procfs leads writes to it elsewhere.
#[test]
fn writes_to_a_covered_procfs_are_refused() {
    let bundle = Bundle::new("covered");
    for who in [Who::Root, Who::User] {
        let config = config(who, json!([]), json!({}));
        let answer = Run::new(&bundle, who, config).child(Box::new(|plan, prepared| {
            let mut mounted = plan.mount(prepared)?;
            let proc = mounted.proc()?;
            mounted.pivot()?;
            let flags = rustix::fs::OFlags::RDONLY;
            assert!(proc.open_file(c"self/attr/current", flags).is_ok());
            // A user namespace owns no such parameter; its root may not write it.
            let written = proc.write(c"sys/kernel/domainname", b"example");
            assert_eq!(written.is_ok(), who == Who::Root);
            tmpfs(Path::new("/proc/sys/kernel"));
            fs::write("/proc/sys/kernel/domainname", "fake").unwrap();
            let error = proc.write(c"sys/kernel/domainname", b"x").unwrap_err();
            assert_eq!(error, rustix::io::Errno::XDEV);
            let error = proc.open_file(c"self/root/etc", flags).unwrap_err();
            assert_eq!(error, rustix::io::Errno::LOOP, "a magic link");
            let error = proc.open_file(c"../etc", flags).unwrap_err();
            assert_eq!(error, rustix::io::Errno::XDEV);
            // A fresh one is not covered.
            let fresh = rootfs::ProcHandle::open().unwrap();
            if who == Who::Root {
                fresh.write(c"sys/kernel/domainname", b"again").unwrap();
            }
            // All of /proc replaced: still procfs, or nothing.
            tmpfs(Path::new("/proc"));
            fs::create_dir("/proc/self").unwrap();
            fs::write("/proc/self/stat", "fake").unwrap();
            let fresh = rootfs::ProcHandle::open();
            if let Ok(fresh) = fresh {
                let file = fresh.open_file(c"self/stat", flags).unwrap();
                assert!(rustix::fs::fstatfs(&file).unwrap().f_type == rustix::fs::PROC_SUPER_MAGIC);
            }
            Ok("done".into())
        }));
        assert_eq!(answer.as_deref(), Ok("done"), "{who:?}");
    }
}

/// A destination with `..` is cleaned as text; a link with `..` ends at the root.
#[test]
fn dots_end_at_the_root() {
    let bundle = Bundle::new("dots");
    fs::create_dir(bundle.0.join("data")).unwrap();
    let mounts = json!([
        {"destination": "/../../../../a/../escape", "source": "data", "options": ["bind"]},
        {"destination": "relative/../other", "source": "data", "options": ["bind"]}]);
    let seen = run(&bundle, mounts)
        .inside(|| format!("{} {}", mounts_at("/escape").len(), mounts_at("/other").len()));
    assert_eq!(seen.unwrap(), "1 1");
    assert!(!Path::new("/escape").exists());
    let mounts = json!([{"destination": "/a/..", "source": "data", "options": ["bind"]}]);
    let text = refused(run(&bundle, mounts).inside(String::new));
    assert!(text.contains("the root itself"), "{text}");
}
