//! The commands for pods and containers, as they are typed.

use crate::args::EXIT_CODES;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Commands that ask the daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum Runtime {
    /// List pods.
    Pods(Asked<Pods>),
    /// List containers.
    Ps(Asked<Ps>),
    /// Run a container of an image in a pod of its own.
    Run(Asked<Run>),
    /// Run a command in a container.
    Exec(Asked<Exec>),
    /// Attach to a container's own process.
    Attach(Asked<Attach>),
    /// Show what a container wrote.
    Logs(Asked<Logs>),
    /// Forward local ports to a pod.
    PortForward(Asked<PortForward>),
    /// Show what containers use.
    Stats(Asked<Stats>),
    /// Show what happens to containers, as it happens.
    Events(Asked<Events>),
    /// Show everything about a pod or a container.
    Inspect(Asked<Inspect>),
    /// Stop containers or pods.
    Stop(Asked<Stop>),
    /// Remove containers or pods.
    Rm(Asked<Rm>),
    /// Show the versions of this command and of the daemon.
    Version(Asked<Nothing>),
    /// Show the state of the daemon.
    Info(Asked<Nothing>),
}

/// A command and whom to ask.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Asked<T: Args> {
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub(crate) place: Place,
    /// What is asked.
    #[command(flatten)]
    pub(crate) what: T,
}

/// Where the daemon is, and the form of the output.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Socket of the daemon; unix:// before it is accepted.
    #[arg(
        long,
        env = "CONTAINER_RUNTIME_ENDPOINT",
        value_name = "SOCKET",
        default_value = "/run/podloom/podloom.sock"
    )]
    pub(crate) socket: String,
    /// Form of what is printed.
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Form,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs, to be read by people.
    Yaml,
}

/// A command without arguments.
#[derive(Debug, Args)]
pub(crate) struct Nothing {}

/// `podloom pods`.
#[derive(Debug, Args)]
pub(crate) struct Pods {
    /// Only those of this namespace.
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Only IDs.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `podloom ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Those that do not run, too.
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only those of this pod: its ID, the beginning of it, or its name.
    #[arg(long, value_name = "POD")]
    pub(crate) pod: Option<String>,
    /// Only IDs.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `podloom run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Name of the pod and its container [default: made from the image's name].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Namespace of the pod.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// Variables of the environment, NAME=VALUE.
    #[arg(short, long, value_name = "VARIABLE")]
    pub(crate) env: Vec<String>,
    /// Ports of the node that lead to the pod, HOST:CONTAINER, also with /udp or /sctp.
    #[arg(short, long, value_name = "PORTS")]
    pub(crate) publish: Vec<String>,
    /// Directories or files of the node, HOST:CONTAINER, also with :ro.
    #[arg(short, long, value_name = "PATHS")]
    pub(crate) volume: Vec<String>,
    /// Use the node's network.
    #[arg(long)]
    pub(crate) host_network: bool,
    /// How to run the container: a handler of the daemon's configuration.
    #[arg(long, value_name = "HANDLER", default_value = "", hide_default_value = true)]
    pub(crate) handler: String,
    /// Directory for the pod's logs, in one of its own.
    #[arg(long, value_name = "DIR", default_value = "/var/log/pods")]
    pub(crate) log_dir: PathBuf,
    /// Attach this command's input and output to the container.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the container a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Remove the pod and its logs when the container has ended; its exit code becomes this command's.
    #[arg(long)]
    pub(crate) rm: bool,
    /// The image.
    pub(crate) image: String,
    /// Program and arguments [default: the image's].
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `podloom exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Pass this command's input on.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// The container: its ID, the beginning of it, or its name.
    pub(crate) container: String,
    /// Program and arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `podloom attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Pass this command's input on.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// The container has a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// The container: its ID, the beginning of it, or its name.
    pub(crate) container: String,
}

/// `podloom logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on until the container has ended.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last lines.
    #[arg(short = 'n', long, value_name = "LINES")]
    pub(crate) tail: Option<usize>,
    /// The time before each line.
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// The container: its ID, the beginning of it, or its name.
    pub(crate) container: String,
}

/// `podloom port-forward`.
#[derive(Debug, Args)]
pub(crate) struct PortForward {
    /// Address to listen at.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) address: std::net::IpAddr,
    /// The pod: its ID, the beginning of it, or its name.
    pub(crate) pod: String,
    /// Ports, LOCAL:POD or one for both; LOCAL 0 takes a free one.
    #[arg(required = true, value_parser = ports)]
    pub(crate) ports: Vec<(u16, u16)>,
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let (local, pod) = text.split_once(':').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is not a port"));
    match (port(local)?, port(pod)?) {
        (_, 0) => Err("a pod has no port 0".to_owned()),
        ports => Ok(ports),
    }
}

/// `podloom stats`.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Only these containers [default: all that run].
    pub(crate) containers: Vec<String>,
}

/// `podloom events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// End after so many.
    #[arg(short, long, value_name = "NUMBER")]
    pub(crate) count: Option<usize>,
}

/// `podloom inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Pods or containers: IDs, the beginnings of them, or names.
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

/// `podloom stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Seconds a container may take to end before it is killed.
    #[arg(short, long, value_name = "SECONDS", default_value = "10")]
    pub(crate) timeout: i64,
    /// Pods or containers: IDs, the beginnings of them, or names.
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

/// `podloom rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Those that run, too.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Pods or containers: IDs, the beginnings of them, or names.
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

impl Place {
    /// The path of the socket.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(self.socket.trim_start_matches("unix://"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_pairs() {
        assert_eq!(ports("80"), Ok((80, 80)));
        assert_eq!(ports("8080:80"), Ok((8080, 80)));
        assert_eq!(ports("0:80"), Ok((0, 80)));
        for wrong in ["0", "80:0", "x", "80:", "70000", ":80"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }
}
