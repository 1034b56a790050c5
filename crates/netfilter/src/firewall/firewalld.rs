//! Admission by firewalld: the pod's addresses become sources of a zone, which accepts them.
//!
//! Asked over D-Bus as the reference does, with a connection of a few hundred lines: a general D-Bus
//! library is larger than the plugin, and `firewall-cmd` starts an interpreter for each question.
//! Sources are part of the daemon's running configuration: a reload or restart of it forgets them.

use super::drift;
use cni_types::{Code, Error, Result};
use dbus::{Answer, Call, Connection, Kind, Out, system_bus};
use ipnetwork::IpNetwork;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long the daemon may take for all that one verb asks. It is single-threaded and can be busy
/// with a reload for seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the bus may take to say whether there is a daemon.
const SOON: Duration = Duration::from_secs(5);
const NAME: &str = "org.fedoraproject.FirewallD1";
/// The daemon's words (the first of the error's text) for what is done already.
const ALREADY: [&str; 2] = ["ZONE_ALREADY_SET", "ALREADY_ENABLED"];
/// For what is not there, or in another zone.
const NOT_THERE: [&str; 3] = ["UNKNOWN_SOURCE", "NOT_ENABLED", "ZONE_CONFLICT"];

/// A method of the daemon's zones, which takes a zone and a source.
fn zone_call(member: &str) -> Call<'_> {
    Call {
        destination: NAME,
        path: "/org/fedoraproject/FirewallD1",
        interface: "org.fedoraproject.FirewallD1.zone",
        member,
        signature: "ss",
    }
}

fn bus(limit: Duration) -> dbus::Result<Connection> {
    let mut bus = Connection::open(&system_bus(), Instant::now() + limit)?;
    bus.hello()?;
    Ok(bus)
}

/// Whether the daemon runs on this node.
pub(super) fn is_running() -> bool {
    bus(SOON).and_then(|mut bus| bus.has_owner(NAME)).unwrap_or(false)
}

fn fault(error: dbus::Error) -> Error {
    let code = if error.kind == Kind::Timeout { Code::TryAgain } else { Code::Program };
    Error::new(code, format!("firewalld: {error}"))
        .with_details("see whether it runs (firewall-cmd --state), or choose another backend")
}

/// Asks about each address; `answered` judges the daemon's words.
fn each(
    member: &str,
    zone: &str,
    addresses: &[IpAddr],
    mut answered: impl FnMut(IpAddr, Answer) -> Result<()>,
) -> Result<()> {
    if addresses.is_empty() {
        return Ok(());
    }
    let mut bus = bus(PATIENCE).map_err(fault)?;
    for ip in addresses {
        let mut body = Out::default();
        let source = IpNetwork::from(*ip).to_string();
        body.text(zone).and_then(|()| body.text(&source)).map_err(fault)?;
        let answer = bus.call(&zone_call(member), &body).map_err(fault)?;
        answered(*ip, answer)?;
    }
    Ok(())
}

fn mentions(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// Whether the answer is that nobody has the daemon's name.
fn is_nobody(name: &str) -> bool {
    matches!(
        name,
        "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner"
    )
}

fn refused(zone: &str, ip: IpAddr, name: &str, text: &str) -> Error {
    let error =
        Error::new(Code::Program, format!("firewalld: {ip} in zone {zone}: {text} ({name})"));
    if is_nobody(name) {
        return error.with_details("firewalld does not run: start it, or choose another backend");
    }
    error.with_details("`firewall-cmd --get-zones` lists the zones there are")
}

/// Makes the addresses sources of the zone. One that is in another zone is refused.
pub(super) fn admit(zone: &str, addresses: &[IpAddr]) -> Result<()> {
    each("addSource", zone, addresses, |ip, answer| match answer {
        Answer::Refused { text, .. } if mentions(&text, &ALREADY) => Ok(()),
        Answer::Refused { name, text } => Err(refused(zone, ip, &name, &text)),
        Answer::Done(_) => Ok(()),
    })
}

/// Removes the addresses from the zone. A daemon that does not run has no sources.
pub(super) fn dismiss(zone: &str, addresses: &[IpAddr]) -> Result<()> {
    if addresses.is_empty() || !is_running() {
        return Ok(());
    }
    each("removeSource", zone, addresses, |ip, answer| match answer {
        Answer::Refused { name, text } if !is_gone(&name, &text) => {
            Err(refused(zone, ip, &name, &text))
        }
        _ => Ok(()),
    })
}

fn is_gone(name: &str, text: &str) -> bool {
    is_nobody(name) || mentions(text, &NOT_THERE) || mentions(text, &["INVALID_ZONE"])
}

pub(super) fn check(zone: &str, addresses: &[IpAddr]) -> Result<()> {
    each("querySource", zone, addresses, |ip, answer| match answer {
        Answer::Done(texts) if texts.first().is_some_and(|text| text == "true") => Ok(()),
        Answer::Done(_) => Err(drift(format!("{ip} is no source of firewalld's zone {zone}"))),
        Answer::Refused { name, text } => Err(refused(zone, ip, &name, &text)),
    })
}

/// Whether the daemon answers.
pub(super) fn probe() -> Result<()> {
    let running = bus(SOON).and_then(|mut bus| bus.has_owner(NAME)).map_err(fault)?;
    if running {
        return Ok(());
    }
    Err(Error::new(Code::Program, "firewalld: does not run")
        .with_details("start it, or choose another backend"))
}
