//! A connection to systemd: directly, or by way of the message bus.

use crate::error::{Error, Kind, Result};
use dbus::{Answer, Call, Connection, Out};
use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A connection to systemd, with a deadline for all that is done with it.
#[derive(Debug)]
pub(crate) struct Bus {
    connection: Connection,
    /// Jobs that were told to have ended, and their results.
    removed: Vec<(String, String)>,
}

const MANAGER: Call<'static> = Call {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "Subscribe",
    signature: "",
};

impl From<dbus::Error> for Error {
    fn from(error: dbus::Error) -> Error {
        let kind = match error.kind {
            dbus::Kind::Invalid => Kind::Invalid,
            dbus::Kind::Denied => Kind::NoPermission,
            dbus::Kind::Timeout => Kind::Timeout,
            dbus::Kind::Protocol => Kind::Systemd,
            dbus::Kind::Absent | dbus::Kind::Io => Kind::Io,
        };
        Error::new(kind, error.subject, error.reason)
    }
}

impl Bus {
    /// Connects to the system's systemd, or to the user's. Root is let in at systemd's own socket,
    /// which needs no bus to run; else the bus is asked.
    pub(crate) fn connect(user: bool, limit: Duration) -> Result<Self> {
        let until = Instant::now() + limit;
        let (own, bus) = addresses(user);
        let connection = match Connection::open(&own, until) {
            Ok(direct) => direct,
            Err(e) if e.kind == dbus::Kind::Timeout => return Err(e.into()),
            Err(first) => Connection::open(&bus, until)
                .and_then(entered)
                .map_err(|second| Error::from(second).hint(format_args!("and before: {first}")))?,
        };
        Ok(Self { connection, removed: Vec::new() })
    }

    /// A call of systemd's manager.
    pub(crate) fn manager(
        &mut self,
        member: &'static str,
        signature: &'static str,
        body: &Out,
    ) -> Result<Answer> {
        Ok(self.connection.call(&Call { member, signature, ..MANAGER }, body)?)
    }

    /// A property of systemd's manager, if it is a text.
    pub(crate) fn property(&mut self, name: &str) -> Result<String> {
        self.property_of(MANAGER.path, MANAGER.interface, name)
    }

    /// A property of the unit at `path`, if it is a text.
    pub(crate) fn unit_property(&mut self, path: &str, name: &str) -> Result<String> {
        self.property_of(path, "org.freedesktop.systemd1.Unit", name)
    }

    fn property_of(&mut self, path: &str, of: &str, name: &str) -> Result<String> {
        let mut body = Out::default();
        body.text(of)?;
        body.text(name)?;
        let interface = "org.freedesktop.DBus.Properties";
        let call = Call { path, interface, member: "Get", signature: "ss", ..MANAGER };
        let text = self.connection.expect(&call, &body)?.into_iter().next();
        text.ok_or_else(|| self.connection.refused("a property is not a text").into())
    }

    /// Waits until a job has ended, and tells its result.
    pub(crate) fn wait_job(&mut self, job: &str) -> Result<String> {
        loop {
            if let Some((_, result)) = self.removed.iter().find(|(path, _)| path == job) {
                return Ok(result.clone());
            }
            let signal = self.connection.signal()?;
            if signal.member == "JobRemoved"
                // id, job, unit, result
                && let [_, job, _, result] = signal.texts()?.as_slice()
            {
                self.removed.push((job.clone(), result.clone()));
            }
        }
    }
}

/// What the message bus wants first, and that systemd's signals come this way.
fn entered(mut bus: Connection) -> dbus::Result<Connection> {
    bus.hello()?;
    bus.subscribe(
        "type='signal',sender='org.freedesktop.systemd1',\
         interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
    )?;
    bus.expect(&MANAGER, &Out::default())?;
    Ok(bus)
}

/// systemd's own socket, and the bus.
fn addresses(user: bool) -> (PathBuf, PathBuf) {
    if !user {
        return ("/run/systemd/private".into(), "/run/dbus/system_bus_socket".into());
    }
    let runtime = env::var_os("XDG_RUNTIME_DIR").map_or_else(
        || PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw())),
        PathBuf::from,
    );
    let named = env::var("DBUS_SESSION_BUS_ADDRESS").ok();
    let bus = named.as_deref().and_then(dbus::unix_path);
    (runtime.join("systemd/private"), bus.map_or(runtime.join("bus"), Path::to_owned))
}
