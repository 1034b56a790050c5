//! The configuration as the rooms' settings.

use crate::fault::Fault;
use cri_api::v1;
use runtime_config::{CgroupDriver, Config};
use sandbox::CgroupDriver as Driver;
use std::path::{Path, PathBuf};

fn set(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}

fn named(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Checks what only the rooms can tell.
pub(crate) fn check(config: &Config) -> Result<(), Fault> {
    crate::log::filter(&config.log.level)?;
    shim(config)?;
    Ok(())
}

/// Who makes control groups here.
pub(crate) fn driver(config: &Config) -> Driver {
    let is_systemd = || Path::new("/run/systemd/system").is_dir();
    match config.containers.cgroup_driver {
        CgroupDriver::Cgroupfs => Driver::Cgroupfs,
        CgroupDriver::Systemd => Driver::Systemd,
        CgroupDriver::Auto if is_systemd() => Driver::Systemd,
        CgroupDriver::Auto => Driver::Cgroupfs,
    }
}

fn shim(config: &Config) -> Result<PathBuf, Fault> {
    let missing = |path: &Path, cause: &dyn std::fmt::Display| {
        Fault::new(path.display(), cause).with_advice("set files.shim to the program podloom-shim")
    };
    let path = match set(&config.files.shim) {
        Some(path) => path,
        None => {
            let own = std::env::current_exe().map_err(|e| Fault::new("this program", e))?;
            own.with_file_name("podloom-shim")
        }
    };
    let meta = std::fs::metadata(&path).map_err(|e| missing(&path, &e))?;
    if !meta.is_file() {
        return Err(missing(&path, &"is no program"));
    }
    Ok(path)
}

pub(crate) fn images(config: &Config) -> image::Settings {
    let (wish, mut settings) = (&config.images, image::Settings::below(&config.files.root));
    settings.holder = "podloomd".to_owned();
    settings.registry.certs_d.clone_from(&wish.certs_dirs);
    settings.registry.docker_config = set(&wish.docker_config);
    settings.parallel_layers = wish.parallel_layers;
    settings.keep_blobs = wish.keep_blobs;
    settings.keep_partial = wish.keep_partial.0;
    settings.registry.idle_timeout = wish.stall_timeout.0;
    settings
}

pub(crate) fn pods(config: &Config) -> Result<sandbox::Settings, Fault> {
    let (files, network) = (&config.files, &config.network);
    let mut settings = sandbox::Settings::new(shim(config)?);
    settings.run_dir.clone_from(&files.state);
    settings.state_dir.clone_from(&files.root);
    settings.netns_dir.clone_from(&files.netns);
    settings.cgroup_driver = driver(config);
    settings.shm_size = config.containers.shm_size;
    settings.kill_deadline = config.containers.kill_timeout.0;
    settings.networks = sandbox::Networks {
        conf_dir: network.conf_dir.clone(),
        plugin_dirs: network.plugin_dirs.clone(),
        cache_dir: network.cache_dir.clone(),
        default: named(&network.default),
        additional: network.additional.clone(),
        on_request: network.on_request.clone(),
        addresses_on_request: network.addresses_on_request,
        call_deadline: network.call_timeout.0,
    };
    settings.handlers = config
        .runtimes
        .iter()
        .map(|(name, one)| (name.clone(), sandbox::Handler { networks: one.networks.clone() }))
        .collect();
    Ok(settings)
}

pub(crate) fn containers(config: &Config) -> container::Settings {
    let wish = &config.containers;
    let limit = |(name, limit): (&String, &runtime_config::Rlimit)| {
        (format!("RLIMIT_{name}"), limit.soft, limit.hard)
    };
    container::Settings {
        run_dir: config.files.state.clone(),
        state_dir: config.files.root.clone(),
        handlers: config
            .runtimes
            .iter()
            .map(|(name, one)| (name.clone(), handler(one, config)))
            .collect(),
        capabilities: wish.capabilities.clone(),
        env: wish.env.clone(),
        rlimits: wish.rlimits.iter().map(limit).collect(),
        seccomp_profile: set(&wish.seccomp_profile),
        seccomp_dir: wish.seccomp_dir.clone(),
        apparmor_profile: named(&wish.apparmor_profile),
        selinux: wish.selinux,
        cdi_dirs: wish.cdi_dirs.clone(),
        absent_sources_to_refuse: wish.absent_sources_to_refuse.clone(),
        log_max_bytes: wish.log_max_bytes,
        log_max_rate: wish.log_max_rate,
        exec_drain: wish.exec_drain.0,
        kill_deadline: wish.kill_timeout.0,
        ..container::Settings::default()
    }
}

fn handler(wish: &runtime_config::Runtime, config: &Config) -> container::Handler {
    let runtime = match set(&wish.program) {
        None => container::Runtime::default(),
        Some(path) => container::Runtime::Program(container::Program {
            path,
            options: wish.options.clone(),
            systemd: driver(config) == Driver::Systemd,
        }),
    };
    container::Handler {
        runtime,
        annotations: wish.annotations.clone(),
        privileged_without_devices: wish.privileged_without_devices,
    }
}

/// Plugins, and what must hold for a container to be made. Disabled, there are none; what pods require
/// is missed all the same.
pub(crate) fn nri(config: &Config) -> nri::Settings {
    use runtime_config::RefusedAdjustment as Wish;
    let wish = &config.nri;
    let refused = |refused: &Wish| match refused {
        Wish::Hooks => nri::Refused::Hooks,
        Wish::Namespaces => nri::Refused::Namespaces,
        Wish::Sysctls => nri::Refused::Sysctls,
        Wish::DefaultSeccomp => nri::Refused::DefaultSeccomp,
        Wish::UnconfinedSeccomp => nri::Refused::UnconfinedSeccomp,
        Wish::LocalSeccomp => nri::Refused::LocalSeccomp,
    };
    nri::Settings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        socket: set(&wish.socket_path).filter(|_| !wish.disable),
        plugin_dir: set(&wish.plugin_path).filter(|_| !wish.disable),
        config_dir: wish.plugin_config_path.clone(),
        registration: wish.plugin_registration_timeout.0,
        request: wish.plugin_request_timeout.0,
        synchronization: wish.plugin_synchronization_timeout.0,
        required: wish.required_plugins.clone(),
        tolerate: named(&wish.tolerate_missing_plugins_annotation),
        refused: wish.refused_adjustments.iter().map(refused).collect(),
        cdi_dirs: config.containers.cdi_dirs.clone(),
    }
}

pub(crate) fn streams(config: &Config) -> streaming::Settings {
    let wish = &config.streaming;
    streaming::Settings {
        address: wish.address,
        host: named(&wish.host),
        tls: wish.tls.as_ref().map(|tls| streaming::Tls {
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
            client_ca: tls.client_ca.clone(),
        }),
        idle_timeout: wish.idle_timeout.0,
        ..streaming::Settings::default()
    }
}

pub(crate) fn services(config: &Config) -> Result<cri::Settings, Fault> {
    let shown = serde_json::to_string(config).map_err(|e| Fault::new("configuration", e))?;
    Ok(cri::Settings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cgroup_driver: match driver(config) {
            Driver::Systemd => v1::CgroupDriver::Systemd,
            Driver::Cgroupfs => v1::CgroupDriver::Cgroupfs,
        },
        pinned: config.images.pinned.clone(),
        pull_linger: config.images.pull_linger.0,
        image_dir: config.files.root.clone(),
        container_dir: config.files.root.join("containers"),
        shown_config: shown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_file_are_those_of_the_rooms() {
        let config = Config::default();
        // The profile is one of the file: a library loads none into the kernel unasked.
        let theirs = container::Settings {
            apparmor_profile: Some("podloom-default".to_owned()),
            ..container::Settings::default()
        };
        let ours = containers(&config);
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        let (ours, theirs) = (images(&config), image::Settings::below(&config.files.root));
        assert_eq!((ours.store, ours.snapshots), (theirs.store, theirs.snapshots));
        assert_eq!(ours.registry.certs_d, theirs.registry.certs_d);
        assert_eq!(ours.registry.idle_timeout, theirs.registry.idle_timeout);
        assert_eq!(ours.parallel_layers, theirs.parallel_layers);
        assert_eq!((ours.keep_blobs, ours.keep_partial), (theirs.keep_blobs, theirs.keep_partial));
        let (ours, theirs) = (streams(&config), streaming::Settings::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        let (ours, theirs) = (nri(&config), nri::Settings::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    }

    #[test]
    fn a_program_is_a_runtime_of_its_own() {
        let mut config = Config::default();
        config.containers.cgroup_driver = CgroupDriver::Systemd;
        let program = PathBuf::from("/usr/sbin/runc");
        config
            .runtimes
            .insert("runc".to_owned(), runtime_config::Runtime { program, ..Default::default() });
        config.runtimes.insert("built-in".to_owned(), runtime_config::Runtime::default());
        let made = containers(&config).handlers;
        let container::Runtime::Program(runc) = &made["runc"].runtime else { panic!("{made:?}") };
        assert!(runc.systemd && runc.path == Path::new("/usr/sbin/runc"));
        assert_eq!(made["built-in"].runtime, container::Runtime::default());
        assert_eq!(services(&config).unwrap().cgroup_driver, v1::CgroupDriver::Systemd);
    }
}
