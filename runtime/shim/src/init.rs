//! The first process of a PID namespace that the containers of a pod share.
//!
//! It is a container like any other, with a program of a few instructions: it ignores `SIGCHLD`, so
//! that the kernel reaps what comes to it, and sleeps. The containers see it as process 1, so there is
//! nothing to be found in it: a read-only root with this program, no capabilities.

use crate::container::Process;
use crate::engine::name;
use crate::error::{Result, io, of_runtime};
use oci::{Bundle, CreateOptions, Streams};
use runtime_spec::{Namespace, NamespaceKind, Root, Spec};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Its name, and that of its directory below the shim's.
const NAME: &str = "init";

/// Where the program is loaded.
const BASE: u64 = 0x40_0000;
/// Bytes of the headers before its code.
const HEADERS: u64 = 64 + 2 * 56;

/// rt_sigaction(SIGCHLD, action, 0, 8), then ppoll(0, 0, 0, 0) for ever.
#[cfg(target_arch = "x86_64")]
fn code() -> Vec<u8> {
    let mut code = vec![0xb8, 13, 0, 0, 0, 0xbf, 17, 0, 0, 0, 0xbe];
    code.extend_from_slice(&((BASE + HEADERS) as u32 + 48).to_le_bytes());
    code.extend_from_slice(&[0x31, 0xd2, 0x41, 0xba, 8, 0, 0, 0, 0x0f, 0x05]);
    code.extend_from_slice(&[0xb8, 0x0f, 0x01, 0, 0, 0x31, 0xff, 0x31, 0xf6, 0x31, 0xd2]);
    code.extend_from_slice(&[0x45, 0x31, 0xd2, 0x0f, 0x05, 0xeb, 0xee]);
    code.resize(48, 0);
    code.extend_from_slice(&action());
    code
}

#[cfg(target_arch = "aarch64")]
fn code() -> Vec<u8> {
    let words: [u32; 13] = [
        0xd280_10c8, // mov x8, 134
        0xd280_0220, // mov x0, 17
        0x1000_0181, // adr x1, 48 bytes on
        0xd280_0002, // mov x2, 0
        0xd280_0103, // mov x3, 8
        0xd400_0001, // svc 0
        0xd280_0928, // mov x8, 73
        0xd280_0000, // mov x0, 0
        0xd280_0001, // mov x1, 0
        0xd280_0002, // mov x2, 0
        0xd280_0003, // mov x3, 0
        0xd400_0001, // svc 0
        0x17ff_fffa, // to the seventh
    ];
    let mut code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    code.resize(56, 0);
    code.extend_from_slice(&action());
    code
}

/// The kernel's `sigaction` that ignores a signal.
fn action() -> [u8; 32] {
    let mut action = [0; 32];
    action[0] = 1;
    action
}

/// The program, as an ELF file.
fn program() -> Vec<u8> {
    let code = code();
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let size = HEADERS + code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let halves = |file: &mut Vec<u8>, list: &[u16]| {
        list.iter().for_each(|half| file.extend_from_slice(&half.to_le_bytes()));
    };
    let longs = |file: &mut Vec<u8>, list: &[u64]| {
        list.iter().for_each(|long| file.extend_from_slice(&long.to_le_bytes()));
    };
    // An executable of this machine, version 1; entry, headers of segments, none of sections.
    halves(&mut file, &[2, machine, 1, 0]);
    longs(&mut file, &[BASE + HEADERS, 64, 0]);
    halves(&mut file, &[0, 0, 64, 56, 2, 64, 0, 0]);
    // Loaded to be read and executed; a stack that is not executed.
    halves(&mut file, &[1, 0, 5, 0]);
    longs(&mut file, &[0, BASE, BASE, size, size, 0x1000]);
    halves(&mut file, &[0xe551, 0x6474, 6, 0]);
    longs(&mut file, &[0, 0, 0, 0, 0, 16]);
    file.extend_from_slice(&code);
    file
}

/// The runtime whose only container it is.
pub(crate) fn runtime(dir: &Path) -> oci::Runtime {
    oci::Runtime { root: dir.join(NAME).join("state"), cgroups: None, rootless: false }
}

/// Starts it, in these namespaces.
pub(crate) fn start(dir: &Path, joined: &[(NamespaceKind, &Path)]) -> Result<Process> {
    let rootfs = dir.join(NAME).join("rootfs");
    let file = rootfs.join(NAME);
    let fail = |error| io(file.display().to_string(), "write", error);
    std::fs::create_dir_all(rootfs.join("dev")).map_err(fail)?;
    std::fs::write(&file, program()).map_err(fail)?;
    for path in [&rootfs, &file] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o555)).map_err(fail)?;
    }
    let bundle = Bundle::new(&dir.join(NAME), spec(joined)).map_err(of_runtime)?;
    let null = crate::stdio::null;
    let streams = Streams::new(null()?, null()?, null()?).map_err(of_runtime)?;
    let options = CreateOptions { streams: Some(streams), ..CreateOptions::default() };
    let runtime = runtime(dir);
    let created = runtime.create(&name(NAME)?, &bundle, &options).map_err(of_runtime)?;
    let pid = created.pid();
    let handle = created.pidfd().map(|fd| fd.try_clone_to_owned()).transpose();
    let pidfd = handle.map_err(|error| io("process", "dup", error))?;
    if let Err(error) = created.start() {
        // The failure is what is reported.
        let _ = end(&runtime);
        return Err(of_runtime(error));
    }
    Ok(Process { pid, pidfd })
}

fn spec(joined: &[(NamespaceKind, &Path)]) -> Spec {
    let namespaces = joined.iter().map(|(kind, path)| (*kind, Some(path.to_path_buf())));
    let new = [NamespaceKind::Pid, NamespaceKind::Mount].map(|kind| (kind, None));
    let namespaces = namespaces.chain(new).map(|(kind, path)| Namespace { kind, path });
    let process = runtime_spec::Process {
        args: vec![format!("/{NAME}")],
        cwd: "/".into(),
        no_new_privileges: true,
        capabilities: Some(runtime_spec::Capabilities::default()),
        ..runtime_spec::Process::default()
    };
    // For the devices that every container has: root of a user namespace may make nothing in a root
    // that is the node's.
    let devices = runtime_spec::Mount {
        destination: "/dev".into(),
        kind: Some("tmpfs".to_owned()),
        source: Some("tmpfs".into()),
        options: ["nosuid", "mode=755", "size=64k"].map(str::to_owned).to_vec(),
        ..runtime_spec::Mount::default()
    };
    let linux =
        runtime_spec::Linux { namespaces: namespaces.collect(), ..runtime_spec::Linux::default() };
    Spec {
        oci_version: runtime_spec::VERSION.to_owned(),
        root: Some(Root { path: "rootfs".into(), readonly: true }),
        process: Some(process),
        mounts: vec![devices],
        linux: Some(linux),
        ..Spec::default()
    }
}

/// Ends it; does nothing where there is none. Its exit status is taken as that of any child.
pub(crate) fn end(runtime: &oci::Runtime) -> Result<()> {
    runtime.delete(&name(NAME)?, true).map_err(of_runtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_program_ignores_the_end_of_its_children() {
        let path = std::env::temp_dir().join(format!("podloom-init-{}", std::process::id()));
        std::fs::write(&path, program()).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
        let mut child = Command::new(&path).spawn().expect("it starts");
        let status = format!("/proc/{}/status", child.id());
        let ignores = |text: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
            line.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0) & 1 << 16 != 0
        };
        lab::until("it ignores SIGCHLD", std::time::Duration::from_secs(5), || {
            std::fs::read_to_string(&status).is_ok_and(|text| ignores(&text))
        });
        assert!(child.try_wait().expect("a child").is_none(), "it goes on");
        child.kill().expect("it can be killed");
        child.wait().expect("a child");
        std::fs::remove_file(&path).expect("the file");
    }
}
