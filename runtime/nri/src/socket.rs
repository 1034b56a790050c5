//! Where plugins connect.

use crate::join::join;
use crate::nri::Inner;
use container::{Error, Result};
use rustix::fs::{Mode, chmod};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};

/// Who may connect: root. A plugin can change any container.
const ACCESS: Mode = Mode::from_raw_mode(0o600);

/// Connections that are not plugins yet; more wait.
const JOINING: usize = 16;

/// Listens until this is over.
///
/// # Errors
/// The socket cannot be made. That another program serves there is told in the log only: nodes that
/// change over from another runtime have both for a while, and required plugins are missed anyway.
pub(crate) fn listen(inner: &Arc<Inner>) -> Result<()> {
    let Some(path) = inner.settings.socket.clone() else { return Ok(()) };
    let listener = match bind(&path).map_err(|e| Error::io(path.display(), &e))? {
        Some(listener) => listener,
        None => {
            let path = path.display();
            tracing::error!(%path, "another program serves NRI plugins here; none can connect");
            return Ok(());
        }
    };
    tracing::info!(path = %path.display(), "NRI plugins may connect");
    let inner = inner.clone();
    tokio::spawn(async move {
        let mut over = inner.over.subscribe();
        let accepting = accept(&inner, &listener);
        tokio::select! {
            () = accepting => {}
            () = ended(&mut over) => {}
        }
        if let Err(e) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), cause = %e, "the socket of plugins stays");
        }
    });
    Ok(())
}

async fn ended(over: &mut watch::Receiver<bool>) {
    // The sender lives as long as the interface; without it this is over as well.
    let _seen = over.wait_for(|over| *over).await;
}

async fn accept(inner: &Arc<Inner>, listener: &UnixListener) {
    let places = Arc::new(Semaphore::new(JOINING));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let inner = inner.clone();
                tokio::spawn(async move {
                    join(inner, stream, None).await;
                    drop(place);
                });
            }
            Err(e) => {
                // Too many open files: a moment later there may be room.
                tracing::warn!(cause = %e, "an NRI plugin could not connect");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The socket, in place of one that a dead process left; none if somebody serves there.
fn bind(path: &Path) -> io::Result<Option<UnixListener>> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(io::Error::other("is there and is no socket; set nri.socket_path"));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => return Ok(None),
        Ok(_) => {}
    }
    // Bound beside its name and moved there with the rights it shall have: at no moment may others
    // connect.
    let fresh = PathBuf::from(format!("{}.new-{}", path.display(), std::process::id()));
    let _stale = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    let placed = chmod(&fresh, ACCESS).map_err(io::Error::from);
    if let Err(e) = placed.and_then(|()| fs::rename(&fresh, path)) {
        let _removed = fs::remove_file(&fresh);
        return Err(e);
    }
    Ok(Some(listener))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_served_one_is_not() {
        let dir = std::env::temp_dir().join(format!("podloom-nri-socket-{}", std::process::id()));
        let path = dir.join("below").join("nri.sock");
        let first = bind(&path).expect("bound").expect("free");
        assert!(bind(&path).expect("looked at").is_none(), "it is served");
        drop(first);
        let second = bind(&path).expect("bound").expect("its server is dead");
        let mode = fs::metadata(&path).expect("metadata").permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
        drop(second);
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "").expect("file");
        assert!(bind(&path).is_err(), "it is no socket");
        fs::remove_dir_all(dir).expect("removed");
    }
}
