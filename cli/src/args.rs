//! The command line as it is typed.

pub(crate) use crate::image::args::Image;
pub(crate) use crate::runtime::args::Runtime;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Told at the end of `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a plugin failed, or printed what is no answer
  2    the command line is wrong
  3    there is no such network, attachment, plugin, image, pod or container
  4    a configuration, image or archive is invalid or refused, or does not fit what is asked
  5    the record of an attachment, a lock or the image store cannot be used
  6    status: a network cannot serve ADD
  7    check: the attachment is not as ADD left it
  8    a registry denies, cannot be reached, is too slow, or sends something else than it should
  9    the daemon or a stream of it cannot be reached, or broke off
  124  a plugin did not answer in time and was killed, or the daemon did not
  130  interrupted; what had been begun was undone, or goes on the next time (image pull)
exec and run --rm end with the exit code of the command in the container.";

/// podloom: pods, their networks and their images on this node.
#[derive(Debug, Parser)]
#[command(name = "podloom", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to work on.
    #[command(subcommand)]
    pub(crate) area: Area,
}

/// The areas of the command.
#[derive(Debug, Subcommand)]
pub(crate) enum Area {
    /// Networks and attachments of containers (CNI).
    Net(Box<Net>),
    /// Images of this node.
    Image(Box<Image>),
    /// Pods and containers, by way of the daemon.
    #[command(flatten)]
    Runtime(Box<Runtime>),
}

/// `podloom net`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Net {
    /// Where things are.
    #[command(flatten)]
    pub(crate) place: Place,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: NetCommand,
}

/// Directories, limits and the form of the output, for every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Directory with the networks' configuration files.
    #[arg(long, global = true, env = "NETCONFPATH", value_name = "DIR",
          default_value = libcni::DEFAULT_CONF_DIR)]
    pub(crate) conf_dir: PathBuf,
    /// Directory with plugins; may be given several times, in the order of search.
    #[arg(long, global = true, env = "CNI_PATH", value_name = "DIR", value_delimiter = ':')]
    pub(crate) plugin_dir: Vec<PathBuf>,
    /// Directory with the records of attachments, shared with other runtimes.
    #[arg(long, global = true, value_name = "DIR", default_value = libcni::DEFAULT_CACHE_DIR)]
    pub(crate) cache_dir: PathBuf,
    /// Directory for locks and notes on unfinished work, in memory [default: /run/podloom].
    #[arg(long, global = true, env = "PODLOOM_RUN_DIR", value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Seconds that one call of one plugin may take before it is killed.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) timeout: std::time::Duration,
    /// Form of what is printed. `add` prints JSON unless it writes to a terminal, all others
    /// tables.
    #[arg(short, long, global = true, value_enum, value_name = "FORM")]
    pub(crate) output: Option<Form>,
    /// Tell every call of a plugin, its time and what it wrote to its standard error.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    if number.is_finite() && (0.001..=86_400.0).contains(&number) {
        return Ok(std::time::Duration::from_secs_f64(number));
    }
    Err("want 0.001 to 86400 seconds".to_owned())
}

/// The commands of `podloom net`.
#[derive(Debug, Subcommand)]
pub(crate) enum NetCommand {
    /// Attach a network namespace to a network.
    Add(Target),
    /// Verify an attachment.
    Check(Target),
    /// Detach a network namespace from a network, with the configuration of its `add`.
    Del(DelArgs),
    /// Free what no valid attachment owns.
    Gc(GcArgs),
    /// Say whether networks can serve `add`.
    Status(Networks),
    /// List networks and attachments.
    List,
    /// Show a network with its chain and versions, or one attachment.
    Show(ShowArgs),
    /// Verify configuration files, and that their plugins support them.
    Validate(ValidateArgs),
    /// Show pods on real networks at work, in namespaces that leave no trace. Needs root.
    Demo,
}

/// One attachment.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// The network's name.
    pub(crate) network: String,
    /// Path of the network namespace, or its name below /run/netns.
    pub(crate) netns: String,
    /// What is said for the call.
    #[command(flatten)]
    pub(crate) call: CallArgs,
}

/// What a runtime says for one call.
#[derive(Clone, Debug, Args)]
pub(crate) struct CallArgs {
    /// Container ID [default: made from the namespace's path, as cnitool does].
    #[arg(long, value_name = "ID")]
    pub(crate) container_id: Option<String>,
    /// Name of the interface inside the namespace.
    #[arg(short, long, env = "CNI_IFNAME", value_name = "NAME", default_value = "eth0")]
    pub(crate) ifname: String,
    /// Extra arguments, KEY=VALUE separated by semicolons.
    #[arg(
        long,
        env = "CNI_ARGS",
        value_name = "ARGS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) args: String,
    /// Capability arguments, a JSON object like {"portMappings": [...]}.
    #[arg(
        long,
        env = "CAP_ARGS",
        value_name = "JSON",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) cap_args: String,
}

/// `podloom net del`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DelArgs {
    /// The network's name.
    pub(crate) network: String,
    /// Path or name of the network namespace; may be left out with --container-id.
    #[arg(required_unless_present = "container_id")]
    pub(crate) netns: Option<String>,
    /// What is said for the call.
    #[command(flatten)]
    pub(crate) call: CallArgs,
    /// Use the configuration directory's network even if that of `add` is recorded.
    #[arg(long)]
    pub(crate) current_conf: bool,
}

/// `podloom net gc`.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("valid").required(true).multiple(true)))]
pub(crate) struct GcArgs {
    /// The network's name.
    pub(crate) network: String,
    /// Accepted for cnitool's sake; GC is about no namespace.
    #[arg(hide = true)]
    pub(crate) netns: Option<String>,
    /// A valid attachment, CONTAINERID or CONTAINERID:IFNAME; may be given several times.
    #[arg(long, group = "valid", value_name = "ATTACHMENT")]
    pub(crate) keep: Vec<String>,
    /// File with valid attachments, "-" for standard input: lines as for --keep, or a JSON list
    /// of {"containerID", "ifname"}.
    #[arg(long, group = "valid", value_name = "FILE")]
    pub(crate) keep_from: Option<PathBuf>,
    /// Keep the recorded attachments whose network namespace still exists.
    #[arg(long, group = "valid")]
    pub(crate) keep_live: bool,
    /// Keep none: free all that the network has.
    #[arg(long, group = "valid", conflicts_with_all = ["keep", "keep_from", "keep_live"])]
    pub(crate) keep_none: bool,
    /// Only tell what would be freed.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `podloom net status`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Networks {
    /// The networks' names [default: all]. A path is skipped, as cnitool passes one.
    pub(crate) networks: Vec<String>,
}

/// `podloom net show`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// The network's name.
    pub(crate) network: String,
    /// Container ID, or path or name of a network namespace: shows that attachment.
    pub(crate) attachment: Option<String>,
    /// Name of the attachment's interface.
    #[arg(short, long, env = "CNI_IFNAME", value_name = "NAME", default_value = "eth0")]
    pub(crate) ifname: String,
}

/// `podloom net validate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The files [default: all of the configuration directory].
    pub(crate) files: Vec<PathBuf>,
    /// Only read the files; run no plugin.
    #[arg(long)]
    pub(crate) no_run: bool,
}
