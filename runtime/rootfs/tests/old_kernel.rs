//! Linux 5.10, which has no mount_setattr(2): played by a filter that denies it.

#![allow(unsafe_code, reason = "a seccomp filter has no safe wrapper")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "fails the test")]

mod container;

use container::{Bundle, Run, Who, config, mount_at, refused, tmpfs};
use serde_json::json;
use std::fs;

/// From here on mount_setattr(2) is unknown to this process and its children.
fn without_mount_setattr() {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let number = u32::try_from(libc::SYS_mount_setattr).unwrap();
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number)
        },
        statement(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: the program is whole and outlives the call.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn everything_that_5_10_can_do_works() {
    for who in [Who::Root, Who::User, Who::Rootless] {
        let bundle = Bundle::new("old");
        let data = bundle.0.join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("file"), "").unwrap();
        let mounts = json!([
            {"destination": "/data", "source": "data", "options": ["rbind", "ro", "noexec", "rprivate"]},
            {"destination": "/file", "source": "data/file", "options": ["bind", "ro", "shared"]},
            {"destination": "/sys", "type": "sysfs", "options": ["ro", "nosuid"]},
            {"destination": "/scratch", "type": "tmpfs", "options": ["ro", "rslave"]}]);
        let linux = json!({"maskedPaths": ["/proc/keys", "/etc"], "readonlyPaths": ["/proc/sys"]});
        let mut config = config(who, mounts, linux);
        config["root"]["readonly"] = json!(true);
        let mut run = Run::new(&bundle, who, config);
        let place = data.clone();
        run.host = Box::new(move || {
            tmpfs(&place);
            let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
            rustix::mount::mount_remount(&place, flags | rustix::mount::MountFlags::BIND, c"")
                .unwrap();
            fs::write(place.join("file"), "").unwrap();
            without_mount_setattr();
        });
        let seen = run.inside(|| {
            for path in
                ["/data/x", "/file", "/scratch/x", "/x", "/etc/x", "/proc/sys/kernel/domainname"]
            {
                let error = fs::write(path, "").unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{path}");
            }
            assert!(mount_at("/file").contains("shared:"));
            mount_at("/data")
        });
        let seen = seen.unwrap_or_else(|text| panic!("{who:?}: {text}"));
        assert!(seen.starts_with("ro,nosuid,nodev,noexec"), "{who:?}: {seen}");
    }
}

#[test]
fn what_5_10_cannot_do_is_said() {
    let bundle = Bundle::new("older");
    let mounts = json!([{"destination": "/data", "source": "rootfs", "options": ["rbind", "rro"]}]);
    let mut run = Run::new(&bundle, Who::Root, config(Who::Root, mounts, json!({})));
    run.host = Box::new(without_mount_setattr);
    let text = refused(run.inside(String::new));
    assert!(text.contains("mounts[2]: /data") && text.contains("needs Linux 5.12"), "{text}");
}
