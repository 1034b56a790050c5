//! From environment and standard input to one verb, and back to standard output.

use crate::{Call, NodeCall};
use cni_exec::{DELEGATE_PARENT, Verb};
use cni_types::{
    ALL_VERSIONS, Args, CniResult, Code, ContainerId, Error, IfName, NetConf, Result, Version,
};
use netns::Netns;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The largest configuration accepted, in bytes.
const CONFIG_MAX: u64 = 16 << 20;

/// A CNI plugin: the five verbs that have effects. None has a default, so that a plugin without
/// garbage collection does not compile.
pub trait Plugin {
    /// One line about the plugin, shown to a person who runs it by hand.
    const ABOUT: &'static str;

    /// Makes the attachment.
    ///
    /// # Errors
    /// Any; nothing may be left behind but what other attachments share.
    fn add(call: &Call) -> Result<CniResult>;

    /// Removes what ADD made; succeeds when it is half there or gone.
    ///
    /// # Errors
    /// Only when something is left that a later try may remove.
    fn del(call: &Call) -> Result<()>;

    /// Compares the kernel with what ADD reported; changes nothing.
    ///
    /// # Errors
    /// [`Code::Drift`] for a difference.
    fn check(call: &Call) -> Result<()>;

    /// Frees what no attachment of [`NodeCall::valid`] owns; goes on after a failure.
    ///
    /// # Errors
    /// All failures, joined.
    fn gc(call: &NodeCall) -> Result<()>;

    /// Tells whether ADD can be served.
    ///
    /// # Errors
    /// [`Code::NotAvailable`] or [`Code::LimitedConnectivity`] with the reason.
    fn status(call: &NodeCall) -> Result<()>;
}

/// The environment of a call; taken once, so that the frame can be tested on values.
pub(crate) struct Environment(Box<Lookup>);

type Lookup = dyn Fn(&str) -> Option<OsString>;

impl Environment {
    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Environment {
        let map: std::collections::HashMap<String, OsString> =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
        Environment(Box::new(move |key| map.get(key).cloned()))
    }

    fn text(&self, key: &str) -> Result<String> {
        match (self.0)(key) {
            None => Ok(String::new()),
            Some(value) => value.into_string().map_err(|raw| {
                Error::new(Code::InvalidEnvironment, format!("{key}: {raw:?} is not UTF-8"))
            }),
        }
    }
}

/// Runs a plugin: the whole of its `main`.
///
/// Exit code 0 on success, 1 after an error document.
#[allow(clippy::print_stderr, reason = "standard error is a plugin's log")]
pub fn run<P: Plugin>() -> ExitCode {
    end_with_parent();
    let environment = Environment(Box::new(|key| std::env::var_os(key)));
    if matches!(environment.text("CNI_COMMAND").as_deref(), Ok("")) {
        let versions: Vec<_> = ALL_VERSIONS.iter().map(|v| v.as_str()).collect();
        eprintln!("{}\nCNI protocol versions supported: {}", P::ABOUT, versions.join(", "));
        return ExitCode::SUCCESS;
    }
    let mut version = Version::LATEST.as_str().to_owned();
    let outcome = answer::<P>(&environment, std::io::stdin().lock(), &mut version);
    let (document, code) = match outcome {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(document)) => (document, ExitCode::SUCCESS),
        Err(error) => (error.to_value(&version), ExitCode::FAILURE),
    };
    // In one piece: standard output is written line by line otherwise, each a call to the kernel.
    let text = format!("{document:#}\n");
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(fault) => {
            eprintln!("standard output: cannot be written: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// A delegate of another plugin of ours ends when that plugin is killed, before it changes
/// anything that nobody would undo.
fn end_with_parent() {
    let Some(parent) = std::env::var(DELEGATE_PARENT).ok().and_then(|p| p.parse::<i32>().ok())
    else {
        return;
    };
    let armed = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    if armed.is_ok() && nix::unistd::getppid().as_raw() != parent {
        std::process::exit(1);
    }
}

/// One call from start to end; a panic becomes an error.
pub(crate) fn answer<P: Plugin>(
    environment: &Environment,
    stdin: impl Read,
    version: &mut String,
) -> Result<Option<Value>> {
    let word = environment.text("CNI_COMMAND")?;
    let verb = Verb::parse(&word).ok_or_else(|| {
        Error::new(Code::InvalidEnvironment, format!("CNI_COMMAND: {word:?} is not a verb"))
            .with_details("one of ADD, DEL, CHECK, GC, STATUS, VERSION")
    })?;
    let input = read_input(stdin)?;
    if verb == Verb::Version {
        return Ok(Some(version_document(&input)));
    }
    require(environment, verb)?;
    let document: Value = serde_json::from_slice(&input).map_err(|e| {
        Error::new(Code::Decode, format!("configuration: not valid JSON: {e}"))
            .with_details("standard input must hold one network configuration")
    })?;
    if let Some(given) = document.get("cniVersion").and_then(Value::as_str)
        && !given.is_empty()
    {
        given.clone_into(version);
    }
    let conf = NetConf::from_value(document)?;
    conf.version.as_str().clone_into(version);
    if conf.version < verb.since() {
        return Err(Error::new(
            Code::IncompatibleVersion,
            format!("CNI_COMMAND: {verb} needs cniVersion {} or newer", verb.since()),
        )
        .with_details(format!("the configuration has cniVersion {}", conf.version)));
    }
    let guarded = std::panic::AssertUnwindSafe(|| perform::<P>(verb, conf, environment, input));
    std::panic::catch_unwind(guarded).unwrap_or_else(|_| {
        Err(Error::new(Code::Internal, format!("{verb}: a defect of this plugin ended it"))
            .with_details("the message and place are on standard error; please report them"))
    })
}

fn perform<P: Plugin>(
    verb: Verb,
    conf: NetConf,
    environment: &Environment,
    input: Vec<u8>,
) -> Result<Option<Value>> {
    let nothing = |()| None;
    match verb {
        Verb::Add => {
            let version = conf.version;
            let call = call(verb, conf, environment, input)?;
            let told = P::add(&call)?.to_value(version);
            told.map(Some).map_err(|unsayable| undone::<P>(&call, unsayable))
        }
        Verb::Del => P::del(&call(verb, conf, environment, input)?).map(nothing),
        Verb::Check => {
            let call = call(verb, conf, environment, input)?;
            call.prev_result()?;
            P::check(&call).map(nothing)
        }
        Verb::Gc => {
            let valid = conf.valid_attachments()?;
            P::gc(&NodeCall { conf, valid, path: path(environment)? }).map(nothing)
        }
        Verb::Status => {
            P::status(&NodeCall { conf, valid: Vec::new(), path: path(environment)? }).map(nothing)
        }
        Verb::Version => Ok(None),
    }
}

/// Undoes an ADD whose result the caller cannot be told.
fn undone<P: Plugin>(call: &Call, cause: Error) -> Error {
    match P::del(call) {
        Ok(()) => cause,
        Err(fault) => {
            let details = format!("{}; undoing ADD failed: {fault}", cause.details);
            cause.with_details(details)
        }
    }
}

fn read_input(stdin: impl Read) -> Result<Vec<u8>> {
    let mut input = Vec::new();
    stdin
        .take(CONFIG_MAX + 1)
        .read_to_end(&mut input)
        .map_err(|e| Error::io("standard input", &e))?;
    if input.len() as u64 > CONFIG_MAX {
        return Err(Error::new(
            Code::Decode,
            format!("configuration: is larger than {CONFIG_MAX} bytes"),
        ));
    }
    Ok(input)
}

/// The answer to VERSION, in the version of the question (CNI 1.1.0, VERSION).
fn version_document(input: &[u8]) -> Value {
    let asked = serde_json::from_slice::<Value>(input).ok();
    let asked = asked.as_ref().and_then(|doc| doc.get("cniVersion")).and_then(Value::as_str);
    let asked = asked.filter(|v| !v.is_empty()).unwrap_or(Version::LATEST.as_str());
    let all: Vec<_> = ALL_VERSIONS.iter().map(|v| v.as_str()).collect();
    json!({ "cniVersion": asked, "supportedVersions": all })
}

/// All variables that `verb` needs are set; the missing ones are named together.
fn require(environment: &Environment, verb: Verb) -> Result<()> {
    let needed: &[&str] = match verb {
        Verb::Add | Verb::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
        Verb::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
        Verb::Gc | Verb::Status => &["CNI_PATH"],
        Verb::Version => &[],
    };
    let mut missing = Vec::new();
    for key in needed {
        if environment.text(key)?.is_empty() {
            missing.push(*key);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::InvalidEnvironment, format!("{}: not set", missing.join(", ")))
        .with_details(format!("{verb} needs these environment variables")))
}

fn path(environment: &Environment) -> Result<Vec<PathBuf>> {
    let text = environment.text("CNI_PATH")?;
    Ok(text.split(':').filter(|d| !d.is_empty()).map(PathBuf::from).collect())
}

fn call(verb: Verb, conf: NetConf, environment: &Environment, input: Vec<u8>) -> Result<Call> {
    let container_id = ContainerId::parse(&environment.text("CNI_CONTAINERID")?)?;
    let ifname = IfName::parse(&environment.text("CNI_IFNAME")?)?;
    let args = Args::parse(&environment.text("CNI_ARGS")?)?;
    let netns_path = environment.text("CNI_NETNS")?;
    let netns = pod(verb, &netns_path, environment)?;
    let path = path(environment)?;
    Ok(Call { conf, input, container_id, ifname, netns, netns_path, args, path })
}

/// Opens the pod's namespace. ADD and CHECK need it to be one, and not the plugin's own; for DEL
/// anything else means that the namespace is gone.
///
/// The path of a process that has ended may by now belong to a process of the node: for DEL the
/// plugin's own namespace counts as gone too, so that nothing of the node is ever deleted.
fn pod(verb: Verb, path: &str, environment: &Environment) -> Result<Option<Netns>> {
    if path.is_empty() {
        return Ok(None);
    }
    let invalid = |cause: String| Error::new(Code::InvalidNetns, format!("CNI_NETNS: {cause}"));
    let pod = match Netns::open(std::path::Path::new(path)) {
        Ok(pod) => pod,
        Err(fault) if verb == Verb::Del && fault.is_gone() => return Ok(None),
        Err(fault) => return Err(invalid(fault.to_string())),
    };
    if matches!(environment.text("CNI_NETNS_OVERRIDE")?.as_str(), "1" | "true" | "TRUE" | "True") {
        return Ok(Some(pod));
    }
    let own = Netns::current().map_err(|fault| invalid(fault.to_string()))?;
    match (pod.same_as(&own), verb) {
        (false, _) => Ok(Some(pod)),
        (true, Verb::Del) => Ok(None),
        (true, _) => Err(invalid(format!("{path} is the network namespace of the plugin itself"))
            .with_details("name the pod's namespace; CNI_NETNS_OVERRIDE=1 allows this one")),
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
