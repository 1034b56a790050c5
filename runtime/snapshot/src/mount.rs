//! How a snapshot is mounted, and mounting it.

use crate::error::{Error, Kind};
use crate::idmap::{self, Attribute};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, move_mount, open_tree, unmount,
};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Layers an overlay can have (`OVL_MAX_STACK` of the kernel).
const MOST_LAYERS: usize = 500;
/// Longest string that fsconfig(2) takes, its NUL included.
const MOST_STRING: usize = 256;
/// Longest options of mount(2), its NUL included.
const MOST_OPTIONS: usize = 4096;

/// Directory of a snapshot where layers are mounted for a moment, on kernels that want that.
pub(crate) const LAYERS: &str = "layers";

/// Layers of an overlay mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// Read-only directories, the top one first.
    pub lower: Vec<PathBuf>,
    /// Where changes go, and the kernel's working directory beside it.
    pub upper: Option<(PathBuf, PathBuf)>,
    /// Whether marks are `user.overlay.*`, as a process without privileges can set.
    pub user_xattr: bool,
    /// Whether what is written need not survive a power cut: the kernel then writes out nothing when
    /// the mount ends, nor when a process in it asks for it. Such an upper directory can be mounted
    /// once only. Kernels before 5.10 do not know it and mount as usual.
    pub volatile: bool,
    /// An empty directory where layers with mapped ids can be mounted while the overlay is made:
    /// kernels before 6.13 take them in no other way.
    pub place: Option<PathBuf>,
}

/// A mount to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// An overlay; read-only without an upper directory.
    Overlay(Layers),
    /// A directory as it is.
    Bind {
        /// The directory.
        source: PathBuf,
        /// Whether nothing may be written.
        read_only: bool,
    },
}

impl Mount {
    /// Makes the mount, attached nowhere: dropping the descriptor ends it.
    ///
    /// With `userns`, files of the read-only layers appear with the ids that this user namespace
    /// maps theirs to. (A bind mount needs none: its files were made for the ids.)
    ///
    /// # Errors
    /// [`Kind::Unsupported`] when the kernel cannot do it, with what it said; [`Kind::Io`] else.
    pub fn open(&self, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
        match self {
            Mount::Overlay(layers) => layers.open(userns),
            Mount::Bind { source, read_only } => {
                let mount = clone(source)?;
                if *read_only {
                    idmap::set(mount.as_fd(), Attribute::ReadOnly)
                        .map_err(|e| Error::io(source, "make the mount read-only", e))?;
                }
                Ok(mount)
            }
        }
    }

    /// The same mount for files that end with this boot; see [`Layers::volatile`].
    #[must_use]
    pub fn volatile(self) -> Mount {
        match self {
            Mount::Overlay(layers) => Mount::Overlay(Layers { volatile: true, ..layers }),
            bind @ Mount::Bind { .. } => bind,
        }
    }

    /// Makes the mount at `target`.
    ///
    /// # Errors
    /// As [`Mount::open`].
    pub fn attach(&self, userns: Option<BorrowedFd<'_>>, target: &Path) -> Result<(), Error> {
        let mount = self.open(userns)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(mount.as_fd(), "", CWD, target, flags)
            .map_err(|e| Error::io(target, "attach the mount", e))
    }
}

/// A detached mount of the directory `source`, without what is mounted beneath.
fn clone(source: &Path) -> Result<OwnedFd, Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, source, flags).map_err(|e| Error::io(source, "clone the mount", e))
}

impl Layers {
    fn open(&self, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
        if self.lower.len() > MOST_LAYERS {
            let detail =
                format!("{} layers; an overlay has at most {MOST_LAYERS}", self.lower.len());
            return Err(Error::new(Kind::Unsupported, self.subject(), detail));
        }
        if self.volatile {
            // A kernel that does not know it says the same as to any other mistake.
            let asked = self.open_as_it_is(userns);
            let plain = || Layers { volatile: false, ..self.clone() }.open_as_it_is(userns);
            return asked.or_else(|_| plain());
        }
        self.open_as_it_is(userns)
    }

    fn open_as_it_is(&self, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Error> {
        match self.open_new(userns) {
            // Kernels before 6.7 know no `lowerdir+`, and those before 6.13 want a path for it.
            Err(Failed::NoAppend) => match userns {
                None => self.open_old(),
                Some(userns) => self.open_by_paths(userns),
            },
            Err(Failed::Other(e)) => Err(e),
            Ok(mount) => Ok(mount),
        }
    }

    fn subject(&self) -> String {
        let path = self.upper.as_ref().map(|(upper, _)| upper).or(self.lower.first());
        path.map(|path| path.display().to_string()).unwrap_or_default()
    }

    fn open_new(&self, userns: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Failed> {
        let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| {
            let error = Error::io(Path::new(&self.subject()), "open an overlay", e);
            Failed::Other(error.of(Kind::Unsupported))
        })?;
        let said =
            |doing: &str, path: &Path, e: Errno| Failed::Other(refused(&overlay, doing, path, e));
        // A detached mount is gone with its descriptor: those of layers stay until the overlay is.
        let mut mapped = Vec::new();
        for path in &self.lower {
            mapped.extend(self.add_lower(&overlay, path, userns)?);
        }
        if let Some((upper, work)) = &self.upper {
            for (key, path) in [("upperdir", upper), ("workdir", work)] {
                set_path(&overlay, key, path).map_err(|e| said("set the directory", path, e))?;
            }
        }
        for (key, value) in self.options() {
            let set = match value {
                Some(value) => fsconfig_set_string(overlay.as_fd(), key, value),
                None => fsconfig_set_flag(overlay.as_fd(), key),
            };
            set.map_err(|e| said(key, Path::new(&self.subject()), e))?;
        }
        let subject = self.subject();
        let subject = Path::new(&subject);
        fsconfig_create(overlay.as_fd()).map_err(|e| said("make the overlay", subject, e))?;
        let attributes = match self.upper {
            Some(_) => MountAttrFlags::empty(),
            None => MountAttrFlags::MOUNT_ATTR_RDONLY,
        };
        fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|e| said("mount the overlay", subject, e))
    }

    /// What is set whatever the module's defaults: files of a layer must be whole by themselves.
    fn options(&self) -> Vec<(&'static str, Option<&'static str>)> {
        let mut options = match self.user_xattr {
            true => vec![("userxattr", None)],
            false => {
                vec![
                    ("redirect_dir", Some("off")),
                    ("metacopy", Some("off")),
                    ("index", Some("off")),
                ]
            }
        };
        if self.volatile && self.upper.is_some() {
            options.push(("volatile", None));
        }
        options
    }

    fn add_lower(
        &self,
        overlay: &OwnedFd,
        path: &Path,
        userns: Option<BorrowedFd<'_>>,
    ) -> Result<Option<OwnedFd>, Failed> {
        let Some(userns) = userns else {
            return match set_path(overlay, "lowerdir+", path) {
                Err(Errno::INVAL) => Err(self.append_or(overlay, path)),
                Err(e) => Err(Failed::Other(refused(overlay, "add the layer", path, e))),
                Ok(()) => Ok(None),
            };
        };
        let layer = mapped(path, userns).map_err(Failed::Other)?;
        match fsconfig_set_fd(overlay.as_fd(), "lowerdir+", layer.as_fd()) {
            Err(Errno::INVAL | Errno::BADF) => Err(self.append_or(overlay, path)),
            Err(e) => Err(Failed::Other(refused(overlay, "add the layer", path, e))),
            Ok(()) => Ok(Some(layer)),
        }
    }

    /// The overlay of layers with mapped ids, each mounted for a moment where it has a path.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] before Linux 5.19, or without a place; [`Kind::Io`] else.
    pub fn open_by_paths(&self, userns: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
        let Some(place) = &self.place else {
            let detail = "id-mapped layers need Linux 6.13, or a place to mount them";
            return Err(Error::new(Kind::Unsupported, self.subject(), detail));
        };
        // All of them go with the one that they are mounted in.
        let _stage = Stage::new(place)?;
        let mut lower = Vec::with_capacity(self.lower.len());
        for (number, path) in self.lower.iter().enumerate() {
            let layer = mapped(path, userns)?;
            let at = place.join(number.to_string());
            std::fs::create_dir(&at).map_err(|e| Error::io(&at, "make a directory", e))?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(layer.as_fd(), "", CWD, &at, flags)
                .map_err(|e| Error::io(&at, "attach the layer", e))?;
            lower.push(at);
        }
        Layers { lower, place: None, ..self.clone() }.open(None)
    }

    /// Whether "invalid" was said of the key, or of the layer.
    fn append_or(&self, overlay: &OwnedFd, path: &Path) -> Failed {
        let text = messages(overlay);
        if text.is_empty() || text.contains("Unknown parameter") {
            return Failed::NoAppend;
        }
        let detail = format!("cannot be a layer of an overlay: {text}");
        Failed::Other(Error::new(Kind::Unsupported, path.display(), detail))
    }

    /// mount(2), whose options have to fit a page, taken off its place at once.
    fn open_old(&self) -> Result<OwnedFd, Error> {
        let (options, place) = self.old_options()?;
        let flags = if self.upper.is_some() { MountFlags::empty() } else { MountFlags::RDONLY };
        // The mount covers the place only until its clone is taken.
        rustix::mount::mount("overlay", &place, "overlay", flags, options.as_c_str())
            .map_err(|e| Error::io(&place, "mount the overlay", e).of(Kind::Unsupported))?;
        let mount = clone(&place);
        unmount(&place, UnmountFlags::DETACH)
            .map_err(|e| Error::io(&place, "take off the overlay", e))?;
        mount
    }

    /// Options of mount(2), and where it can be mounted for a moment.
    fn old_options(&self) -> Result<(CString, PathBuf), Error> {
        let mut text = b"lowerdir=".to_vec();
        for (at, path) in self.lower.iter().enumerate() {
            if at > 0 {
                text.push(b':');
            }
            escape(path, &mut text);
        }
        if let Some((upper, work)) = &self.upper {
            text.extend_from_slice(b",upperdir=");
            escape(upper, &mut text);
            text.extend_from_slice(b",workdir=");
            escape(work, &mut text);
        }
        for (key, value) in self.options() {
            let value = value.map(|value| format!("={value}")).unwrap_or_default();
            text.extend_from_slice(format!(",{key}{value}").as_bytes());
        }
        if text.len() >= MOST_OPTIONS {
            let detail = format!(
                "{} layers do not fit the options of this kernel's mount; Linux 6.7 has room",
                self.lower.len()
            );
            return Err(Error::new(Kind::Unsupported, self.subject(), detail));
        }
        let place = self.upper.as_ref().map(|(upper, _)| upper).or(self.lower.first());
        let place = place.cloned().unwrap_or_default();
        let options = CString::new(text)
            .map_err(|e| Error::io(&place, "name the layers", std::io::Error::other(e)))?;
        Ok((options, place))
    }
}

/// A detached mount of a layer, with mapped ids.
fn mapped(path: &Path, userns: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    let layer = clone(path)?;
    idmap::set(layer.as_fd(), Attribute::Mapped(userns)).map_err(|e| {
        Error::io(path, "map the ids of the layer's mount", e).of(Kind::Unsupported)
    })?;
    Ok(layer)
}

/// A file system in memory at a directory, taken off with all that is mounted in it.
struct Stage<'a>(&'a Path);

impl Stage<'_> {
    fn new(place: &Path) -> Result<Stage<'_>, Error> {
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        rustix::mount::mount("layers", place, "tmpfs", flags, c"mode=700")
            .map_err(|e| Error::io(place, "mount a place for the layers", e))?;
        Ok(Stage(place))
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // What stays is taken off when the snapshot is removed.
        unmount(self.0, UnmountFlags::DETACH).ok();
    }
}

enum Failed {
    /// The kernel does not know how to append a layer.
    NoAppend,
    Other(Error),
}

/// `:`, `,` and `\` separate in the options of mount(2).
fn escape(path: &Path, into: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            into.push(b'\\');
        }
        into.push(*byte);
    }
}

/// Sets a path, by a descriptor of it where it is too long for the call.
fn set_path(overlay: &OwnedFd, key: &str, path: &Path) -> Result<(), Errno> {
    if path.as_os_str().len() < MOST_STRING {
        return fsconfig_set_string(overlay.as_fd(), key, path);
    }
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    let name = format!("/proc/self/fd/{}", dir.as_raw_fd());
    fsconfig_set_string(overlay.as_fd(), key, name)
}

/// What the kernel wrote about a mount being configured.
fn messages(overlay: &OwnedFd) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 1024];
    // One message a read; "no data" ends them.
    while let Ok(count) = rustix::io::read(overlay, &mut buffer) {
        if count == 0 || all.len() > 8 {
            break;
        }
        let text = String::from_utf8_lossy(&buffer[..count]);
        all.push(text.trim_end().trim_start_matches(['e', 'w', 'i', ' ']).to_owned());
    }
    all.join("; ")
}

fn refused(overlay: &OwnedFd, doing: &str, path: &Path, e: Errno) -> Error {
    let text = messages(overlay);
    let doing = if text.is_empty() { doing.to_owned() } else { format!("{doing} ({text})") };
    let kind = match e {
        Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV => Kind::Unsupported,
        _ => Kind::Io,
    };
    Error::io(path, &doing, e).of(kind)
}
