//! The command line of `podloom image` as it is typed.

use crate::args::{EXIT_CODES, Form};
use clap::{Args, Subcommand, ValueEnum};
use image::{Platform, Reference};
use std::path::PathBuf;

/// `podloom image`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Image {
    /// Where things are.
    #[command(flatten)]
    pub(crate) place: ImagePlace,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

/// Directories and the form of the output, for every command about images.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImagePlace {
    /// Directory with the image store and the unpacked layers.
    #[arg(
        long,
        global = true,
        env = "PODLOOM_ROOT",
        value_name = "DIR",
        default_value = "/var/lib/podloom"
    )]
    pub(crate) root: PathBuf,
    /// Form of what is printed.
    #[arg(short, long, global = true, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: ListForm,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListForm {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For people and programs.
    Yaml,
}

impl ListForm {
    /// The form in which faults are told.
    pub(crate) fn fault_form(self) -> Option<Form> {
        (self == ListForm::Json).then_some(Form::Json)
    }
}

/// The commands of `podloom image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Fetch images from their registries.
    Pull(PullArgs),
    /// List images.
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Remove images, or names of them.
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Show all that is known of images.
    Inspect(InspectArgs),
    /// Take images in from an OCI layout, OCI archive or docker archive.
    Import(ImportArgs),
    /// Write images to an OCI layout, OCI archive or docker archive.
    Export(ExportArgs),
    /// Remove images that no tag means any more, and leftovers of unfinished pulls.
    Prune(PruneArgs),
}

/// `podloom image pull`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PullArgs {
    /// The images, HOST/PATH:TAG or HOST/PATH@DIGEST.
    #[arg(required = true, value_parser = reference)]
    pub(crate) references: Vec<Reference>,
    /// Platform, like linux/arm64 [default: this machine's].
    #[arg(long, value_name = "OS/ARCH", value_parser = platform)]
    pub(crate) platform: Option<Platform>,
    /// User and password for the registry. Seen by who lists processes: prefer --authfile.
    #[arg(long, value_name = "USER:PASSWORD", value_parser = credentials)]
    pub(crate) creds: Option<image::Credentials>,
    /// File with credentials, in the format of docker's config.json.
    #[arg(long, env = "REGISTRY_AUTH_FILE", value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// Directory with HOST/hosts.toml for mirrors and certificates; may be given several times
    /// [default: /etc/podloom/certs.d, /etc/containerd/certs.d].
    #[arg(long, value_name = "DIR")]
    pub(crate) certs_dir: Vec<PathBuf>,
    /// Speak to the registries without TLS.
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Keep no compressed layers: less disk, but no export.
    #[arg(long)]
    pub(crate) drop_blobs: bool,
    /// Show no progress; print the image IDs alone.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `podloom image ls`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LsArgs {
    /// Only these images [default: all].
    pub(crate) images: Vec<String>,
    /// Print the image IDs alone.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Do not shorten IDs.
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// `podloom image rm`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RmArgs {
    /// The images, by name, digest or ID.
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// Also images that a container uses; what it needs stays until it ends.
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `podloom image inspect`.
#[derive(Clone, Debug, Args)]
pub(crate) struct InspectArgs {
    /// The images, by name, digest or ID.
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}

/// `podloom image import`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImportArgs {
    /// Directory or archive, "-" for standard input.
    pub(crate) path: PathBuf,
    /// Name for an archive of one image [default: the names in the archive].
    #[arg(long, value_name = "NAME", value_parser = reference)]
    pub(crate) name: Option<Reference>,
    /// Platform, like linux/arm64 [default: this machine's].
    #[arg(long, value_name = "OS/ARCH", value_parser = platform)]
    pub(crate) platform: Option<Platform>,
    /// Show no progress; print the image IDs alone.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `podloom image export`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// Where to write, "-" for standard output.
    pub(crate) path: PathBuf,
    /// The images, by name, digest or ID.
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// The form of what is written.
    #[arg(long, value_enum, value_name = "FORM", default_value = "oci-archive")]
    pub(crate) format: ExportForm,
    /// Compress an archive with gzip.
    #[arg(long)]
    pub(crate) gzip: bool,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportForm {
    /// An OCI layout as a tar file.
    OciArchive,
    /// An OCI layout in a directory.
    OciLayout,
    /// What `docker load` reads.
    DockerArchive,
}

/// `podloom image prune`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PruneArgs {
    /// All images that no container uses.
    #[arg(short, long)]
    pub(crate) all: bool,
}

fn reference(text: &str) -> Result<Reference, String> {
    text.parse().map_err(|e: image::ReferenceError| e.to_string())
}

fn platform(text: &str) -> Result<Platform, String> {
    text.parse().map_err(|e: image::ReferenceError| e.to_string())
}

fn credentials(text: &str) -> Result<image::Credentials, String> {
    // The text is not repeated: it holds a password.
    let (user, password) = text.split_once(':').ok_or("want USER:PASSWORD")?;
    Ok(image::Credentials::password(user, password))
}
