//! What systemd is told (`sd_notify(3)`): ready, reloading, stopping, alive.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The supervisor; nobody where the daemon was started by hand.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names.
    pub(crate) fn from_env() -> Supervisor {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| match connect(name.as_bytes()) {
            Ok(socket) => Some(socket),
            Err(e) => {
                tracing::warn!(socket = ?name, cause = %e, "systemd is not told when this is ready");
                None
            }
        });
        let micros = env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let own =
            env::var("WATCHDOG_PID").ok().is_none_or(|pid| pid == std::process::id().to_string());
        Supervisor { socket, watchdog: micros.map(Duration::from_micros).filter(|_| own) }
    }

    pub(crate) fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(e) = socket.send(state.as_bytes())
        {
            tracing::warn!(state, cause = %e, "systemd was not told");
        }
    }

    /// Tells that the daemon is alive, for ever. It runs as a task among all others: a runtime that
    /// is stuck does not tell, and systemd restarts the daemon. Containers go on.
    pub(crate) async fn keep_alive(&self) {
        let Some(limit) = self.watchdog else { return std::future::pending().await };
        let mut ticks = tokio::time::interval(limit / 3);
        loop {
            ticks.tick().await;
            self.tell("WATCHDOG=1");
        }
    }
}

fn connect(name: &[u8]) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
        None => SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::from_bytes(name)))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_names_are_told() {
        let name = format!("podloomd-test-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let by_path = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        let abstract_name = format!("@{name}");
        for (listener, name) in
            [(by_path, path.as_os_str().as_bytes()), (by_name, abstract_name.as_bytes())]
        {
            let socket = Some(connect(name).unwrap());
            Supervisor { socket, watchdog: None }.tell("READY=1");
            let mut said = [0; 32];
            let length = listener.recv(&mut said).unwrap();
            assert_eq!(&said[..length], b"READY=1");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_three_times_in_its_time() {
        let (here, there) = UnixDatagram::pair().unwrap();
        let watchdog = Some(Duration::from_secs(30));
        let supervisor = Supervisor { socket: Some(here), watchdog };
        let alive = supervisor.keep_alive();
        assert!(tokio::time::timeout(Duration::from_secs(29), alive).await.is_err());
        there.set_nonblocking(true).unwrap();
        let mut said = [0; 32];
        let mut count = 0;
        while there.recv(&mut said).is_ok() {
            count += 1;
        }
        assert_eq!(count, 3);
    }
}
