//! The CRI's socket.

use crate::fault::Fault;
use rustix::fs::{Mode, chmod, chown};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// Root and the group may connect.
const ACCESS: Mode = Mode::from_raw_mode(0o660);

/// A socket that goes away with this.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
}

/// Listens at `path`, in place of a socket that a dead daemon left.
pub(crate) fn listen(path: &Path, group: u32) -> Result<(UnixListener, Socket), Fault> {
    let failed = |e: io::Error| Fault::new(path.display(), e);
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o711).create(dir).map_err(failed)?;
    }
    clear(path)?;
    // Bound beside its name and moved there with the rights it shall have: at no moment may others
    // connect, and who connects finds it listening.
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let _stale = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).map_err(failed)?;
    let owner = (Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::from_raw(group)));
    let prepared = chmod(&fresh, ACCESS)
        .and_then(|()| chown(&fresh, owner.0, owner.1))
        .map_err(io::Error::from)
        .and_then(|()| fs::rename(&fresh, path));
    if let Err(e) = prepared {
        let _removed = fs::remove_file(&fresh);
        return Err(failed(e));
    }
    Ok((listener, Socket { path: path.to_owned() }))
}

/// Makes sure that nobody serves at `path`.
fn clear(path: &Path) -> Result<(), Fault> {
    let failed = |e: io::Error| Fault::new(path.display(), e);
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
        Ok(meta) if !meta.file_type().is_socket() => {
            let e = Fault::new(path.display(), "is there and is no socket");
            return Err(e.with_advice("set server.socket to another path"));
        }
        Ok(_) => {}
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok_and(|stream| lives(&stream)) {
        let e = Fault::new(path.display(), "another daemon serves here");
        return Err(e.with_advice("stop it, or set server.socket to another path"));
    }
    fs::remove_file(path).map_err(failed)
}

/// Whether the process that listens at the other end is there. Of a daemon that was killed while it
/// started a program, that program's process may hold the socket for a moment.
fn lives(stream: &std::os::unix::net::UnixStream) -> bool {
    match rustix::net::sockopt::socket_peercred(stream) {
        Ok(peer) => rustix::process::test_kill_process(peer.pid) != Err(rustix::io::Errno::SRCH),
        Err(_) => true,
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), cause = %e, "the socket stays");
        }
    }
}
