//! What containers have mounted: of the node, of images.

use crate::distant::{self, Mounts};
use crate::rootfs::{self, Tree, of_snapshot};
use crate::spec::{Access, Bind, Origin, Wanted};
use crate::{Error, Kind, Result, Settings};
use cri_api::v1::MountPropagation;
use image::ImageService;
use rustix::fs::{CWD, FileType, Mode, OFlags, StatxFlags};
use rustix::mount::{MoveMountFlags, move_mount};
use snapshot::SnapshotKind;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long the file system of a source may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Where the mounts of one container come from.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) images: &'a ImageService,
    pub(crate) settings: &'a Settings,
    /// The program `podloom-shim`, which looks at mounts that may hang.
    pub(crate) shim: &'a Path,
    /// The container.
    pub(crate) id: &'a str,
    pub(crate) run_dir: &'a Path,
    pub(crate) user: Option<&'a sandbox::User>,
}

/// Name of the snapshot of a volume.
pub(crate) fn volume_name(id: &str, number: usize) -> String {
    format!("{id}.volume{number}")
}

/// Where a volume is mounted, and where the part of it that is wanted.
pub(crate) fn volume_places(run_dir: &Path, number: usize) -> [PathBuf; 2] {
    let volumes = run_dir.join("volumes");
    [volumes.join(number.to_string()), volumes.join(format!("{number}.part"))]
}

impl Sources<'_> {
    /// The binds of all mounts. On failure, what was mounted stays, to be undone with the container.
    ///
    /// # Errors
    /// A source is not there and may not be made, or does not propagate; an image is not here.
    pub(crate) fn binds(&self, wanted: &[Wanted]) -> Result<Vec<Bind>> {
        let mut volumes = 0;
        let mut binds = Vec::with_capacity(wanted.len());
        let of_node = OfNode::begin(wanted, self.shim, &self.settings.absent_sources_to_refuse);
        for mount in wanted {
            binds.push(match &mount.origin {
                Origin::Node { path, access, propagation, ids } => {
                    let source = of_node.next(path)?;
                    let (access, propagation) = (*access, *propagation);
                    let bind = Bind::new(&source, &mount.destination, access);
                    Bind { propagation, ids: ids.clone(), ..bind }
                }
                Origin::Image { image, sub_path } => {
                    let source = self.of_image(volumes, image, sub_path)?;
                    volumes += 1;
                    let bind = Bind::new(&source, &mount.destination, Access::ReadAll);
                    Bind { inert: true, ..bind }
                }
            });
        }
        Ok(binds)
    }

    fn of_image(&self, number: usize, image: &str, sub_path: &str) -> Result<PathBuf> {
        let found = self.images.resolve(image).map_err(|e| missing(image, &e))?;
        let [place, part] = volume_places(self.run_dir, number);
        let name = volume_name(self.id, number);
        let (kind, user) = (SnapshotKind::View, self.user);
        let (image, target) = (&found.id, place.as_path());
        rootfs::mount(self.images, &rootfs::Wanted { name: &name, image, kind, user, target })?;
        if sub_path.is_empty() {
            return Ok(place);
        }
        let tree = Tree::open(&place)?;
        let wrong = |e: &snapshot::Error| {
            let subject = format!("path {sub_path:?} in image {image}");
            Error::new(of_snapshot(e).kind(), subject, e)
        };
        let found = snapshot::sub_path(tree.root(), sub_path).map_err(|e| wrong(&e))?;
        let mount = snapshot::sub_path_mount(tree.root(), sub_path).map_err(|e| wrong(&e))?;
        let fail = |e: rustix::io::Errno| Error::io(part.display(), &e.into());
        let stat = rustix::fs::fstat(&found).map_err(fail)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => sandbox::disk::make_dir(&part)?,
            _ => {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(rustix::fs::open(&part, flags, Mode::from_raw_mode(0o600)).map_err(fail)?);
            }
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(mount.as_fd(), "", CWD, &part, flags).map_err(fail)?;
        Ok(part)
    }
}

/// The sources that are on the node, found by a thread of its own: a file system whose server is gone
/// holds that thread up, and nobody else for longer than [`ANSWER`].
struct OfNode(Receiver<Result<PathBuf>>);

impl OfNode {
    fn begin(wanted: &[Wanted], shim: &Path, to_refuse: &[PathBuf]) -> OfNode {
        let (sender, found) = channel();
        let of_node = |mount: &Wanted| match &mount.origin {
            Origin::Node { path, propagation, .. } => {
                Some((path.clone(), *propagation, to_refuse.contains(path)))
            }
            Origin::Image { .. } => None,
        };
        let sources: Vec<_> = wanted.iter().filter_map(of_node).collect();
        if !sources.is_empty() {
            let shim = shim.to_owned();
            std::thread::spawn(move || {
                let mounts = Mounts::read();
                for (path, propagation, is_refused) in sources {
                    let answered = match &mounts {
                        Ok(mounts) if mounts.are_distant_to(&path) => {
                            distant::wait_for_answer(&shim, &path)
                        }
                        Ok(_) => Ok(()),
                        Err(e) => Err(e.clone()),
                    };
                    let found = answered.and_then(|()| find(&path, propagation, is_refused));
                    // Nobody waits any more once one has failed.
                    if sender.send(found).is_err() {
                        return;
                    }
                }
            });
        }
        OfNode(found)
    }

    /// The next one, which is at `path`.
    fn next(&self, path: &Path) -> Result<PathBuf> {
        self.0.recv_timeout(ANSWER).unwrap_or_else(|_| {
            let subject = format!("mount of {}", path.display());
            let cause = format!("its file system has given no answer for {ANSWER:?}");
            let e = Error::new(Kind::Deadline, subject, cause);
            Err(e.with_advice("see whether its server is there; umount -f -l ends a dead mount"))
        })
    }
}

/// Finds a source on the node, or makes it.
fn find(path: &Path, propagation: MountPropagation, is_refused: bool) -> Result<PathBuf> {
    let fail = |e: &std::io::Error| Error::io(format!("mount of {}", path.display()), e);
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            if is_refused {
                let subject = format!("mount of {}", path.display());
                return Err(Error::new(Kind::Invalid, subject, "is not on this node"));
            }
            let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
            made.map_err(|e| fail(&e))?;
            path.canonicalize().map_err(|e| fail(&e))?
        }
        Err(e) => return Err(fail(&e)),
    };
    check_propagation(&real, propagation)?;
    Ok(real)
}

fn missing(image: &str, e: &image::Error) -> Error {
    let kind = match e.kind() {
        image::Kind::NotFound => Kind::NotFound,
        image::Kind::Ambiguous => Kind::Invalid,
        _ => Kind::Io,
    };
    Error::new(kind, format!("image {image:?}"), e).with_advice("pull it first")
}

/// The image of a container.
///
/// # Errors
/// It is not here.
pub(crate) fn image_of(images: &ImageService, text: &str) -> Result<image::Summary> {
    images.resolve(text).map_err(|e| missing(text, &e))
}

/// What propagates must be on a mount that does.
fn check_propagation(path: &Path, wanted: MountPropagation) -> Result<()> {
    let shared: &[&str] = match wanted {
        MountPropagation::PropagationPrivate => return Ok(()),
        MountPropagation::PropagationHostToContainer => &["shared:", "master:"],
        MountPropagation::PropagationBidirectional => &["shared:"],
    };
    let fail = |e: &std::io::Error| Error::io(format!("mount of {}", path.display()), e);
    let stat = rustix::fs::statx(CWD, path, rustix::fs::AtFlags::empty(), StatxFlags::MNT_ID);
    let id = stat.map_err(|e| fail(&e.into()))?.stx_mnt_id;
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(|e| fail(&e))?;
    let start = format!("{id} ");
    let line = table.lines().find(|line| line.starts_with(&start)).unwrap_or_default();
    // Optional fields stand between the sixth and a lone hyphen (proc_pid_mountinfo(5)).
    let mut optional = line.split(' ').skip(6).take_while(|field| *field != "-");
    if optional.any(|field| shared.iter().any(|kind| field.starts_with(kind))) {
        return Ok(());
    }
    let subject = format!("mount of {}", path.display());
    let e = Error::new(Kind::Invalid, subject, "is on a mount that does not propagate");
    Err(e.with_advice("make that mount of the node shared: mount --make-shared"))
}
