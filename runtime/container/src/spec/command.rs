//! What runs: program and arguments, variables, working directory.

use crate::{Error, Kind, Result};
use cri_api::v1::ContainerConfig;
use image::ContainerDefaults;
use std::path::{Component, PathBuf};

/// Where programs are looked for, where neither image nor container says it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a terminal can do, where neither image nor container says it.
const TERM: &str = "TERM=xterm";

/// Program and arguments. A command replaces the image's entry point and default arguments;
/// arguments alone replace the latter.
///
/// # Errors
/// Neither says what to run, or a text has a zero byte.
pub(crate) fn args(config: &ContainerConfig, image: &ContainerDefaults) -> Result<Vec<String>> {
    let (mut args, mut rest) = (config.command.clone(), config.args.clone());
    if args.is_empty() {
        args.clone_from(&image.entrypoint);
        if rest.is_empty() {
            rest.clone_from(&image.cmd);
        }
    }
    args.append(&mut rest);
    if args.first().is_none_or(String::is_empty) {
        let e = Error::new(Kind::Invalid, "command", "neither the container nor its image has one");
        return Err(e.with_advice("name a program in the container's command"));
    }
    match args.iter().find(|arg| arg.contains('\0')) {
        Some(arg) => Err(Error::new(Kind::Invalid, format!("argument {arg:?}"), "has a zero byte")),
        None => Ok(args),
    }
}

/// The variables, each once, in the order in which they are first named; the last value counts:
/// the node's, then the image's, then the container's.
///
/// # Errors
/// A variable of the container has no name, is no UTF-8, or has a zero byte.
pub(crate) fn env(
    config: &ContainerConfig,
    image: &ContainerDefaults,
    node: &[String],
    hostname: &str,
) -> Result<Vec<String>> {
    let mut env = vec![PATH.to_owned()];
    if config.tty {
        env.push(TERM.to_owned());
    }
    env.push(format!("HOSTNAME={hostname}"));
    env.extend(node.iter().cloned());
    env.extend(image.env.iter().cloned());
    for variable in &config.envs {
        let subject = || format!("variable {:?}", variable.key);
        let wrong = |cause| Error::new(Kind::Invalid, subject(), cause);
        if variable.key.is_empty() || variable.key.contains(['=', '\0']) {
            return Err(wrong("is not a name: want text without `=` and zero bytes"));
        }
        let value = std::str::from_utf8(&variable.value).map_err(|_| wrong("is not UTF-8"))?;
        if value.contains('\0') {
            return Err(wrong("has a zero byte"));
        }
        env.push(format!("{}={value}", variable.key));
    }
    Ok(last_of_each(env))
}

/// Says what the terminal of an added process can do, unless the container's own environment does.
pub(crate) fn name_terminal(env: &mut Vec<String>) {
    if !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push(TERM.to_owned());
    }
}

fn last_of_each(env: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(env.len());
    let mut places = std::collections::HashMap::new();
    for entry in env {
        let name = entry.split('=').next().unwrap_or_default().to_owned();
        match places.get(&name) {
            Some(&at) => kept[at] = entry,
            None => {
                places.insert(name, kept.len());
                kept.push(entry);
            }
        }
    }
    kept
}

/// The working directory.
///
/// # Errors
/// It is relative, climbs, or has a zero byte.
pub(crate) fn cwd(config: &ContainerConfig, image: &ContainerDefaults) -> Result<PathBuf> {
    let chosen = [&config.working_dir, &image.working_dir];
    let text = chosen.into_iter().find(|text| !text.is_empty());
    let Some(text) = text else { return Ok(PathBuf::from("/")) };
    let path = PathBuf::from(text);
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if !path.is_absolute() || climbs || text.contains('\0') {
        let subject = format!("working directory {text:?}");
        return Err(Error::new(Kind::Invalid, subject, "want an absolute path without `..`"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri_api::v1::KeyValue;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn added_processes_have_the_containers_word_for_a_terminal_or_the_usual_one() {
        let named = |env: &[&str]| {
            let mut env: Vec<String> = env.iter().map(|&entry| entry.to_owned()).collect();
            name_terminal(&mut env);
            env.join(" ")
        };
        assert_eq!(named(&["A=b"]), "A=b TERM=xterm");
        assert_eq!(named(&["TERM=screen", "A=b"]), "TERM=screen A=b");
    }

    #[test]
    fn a_command_replaces_all_of_the_image_and_arguments_its_defaults() {
        let image = ContainerDefaults {
            entrypoint: texts(&["/entry", "-e"]),
            cmd: texts(&["default"]),
            ..ContainerDefaults::default()
        };
        let of = |command: &[&str], more: &[&str]| {
            let (command, more) = (texts(command), texts(more));
            let config = ContainerConfig { command, args: more, ..ContainerConfig::default() };
            args(&config, &image).expect("a command")
        };
        assert_eq!(of(&[], &[]), ["/entry", "-e", "default"]);
        assert_eq!(of(&[], &["a"]), ["/entry", "-e", "a"]);
        assert_eq!(of(&["c"], &[]), ["c"]);
        assert_eq!(of(&["c"], &["a"]), ["c", "a"]);
        let none = args(&ContainerConfig::default(), &ContainerDefaults::default());
        assert_eq!(none.expect_err("nothing to run").kind(), Kind::Invalid);
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let image = ContainerDefaults {
            env: texts(&["PATH=/bin", "A=image", "B=image"]),
            ..ContainerDefaults::default()
        };
        let variable = |key: &str, value: &[u8]| KeyValue { key: key.into(), value: value.into() };
        let mut config = ContainerConfig { tty: true, ..ContainerConfig::default() };
        config.envs = vec![variable("B", b"container"), variable("C", b"=x\n")];
        let env_of = |config: &ContainerConfig| env(config, &image, &texts(&["A=node"]), "h");
        let wanted = ["PATH=/bin", "TERM=xterm", "HOSTNAME=h", "A=image", "B=container", "C==x\n"];
        assert_eq!(env_of(&config).expect("variables"), wanted);
        for (key, value) in [("", b"x".as_slice()), ("a=b", b"x"), ("a", b"\xff"), ("a", b"x\0")] {
            config.envs = vec![variable(key, value)];
            assert!(env_of(&config).is_err(), "{key:?}");
        }
    }

    #[test]
    fn the_working_directory_is_absolute() {
        let of = |text: &str| {
            let config = ContainerConfig { working_dir: text.into(), ..ContainerConfig::default() };
            cwd(&config, &ContainerDefaults::default())
        };
        assert_eq!(of("").expect("the root"), PathBuf::from("/"));
        assert_eq!(of("/a/b").expect("a path"), PathBuf::from("/a/b"));
        for text in ["a", "/a/../b", "/a\0"] {
            assert!(of(text).is_err(), "{text:?}");
        }
    }
}
