//! The command line.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The CRI server: pods, containers and images for kubelet.
#[derive(Debug, Parser)]
#[command(name = "podloomd", version)]
pub(crate) struct Cli {
    /// The configuration file; drop-ins are in config.d beside it.
    #[arg(long, global = true, value_name = "FILE", default_value = runtime_config::DEFAULT_FILE)]
    pub(crate) config: PathBuf,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do; without a command the daemon serves.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve,
    /// Show or check the configuration.
    Config {
        /// What to do with it.
        #[arg(value_enum)]
        what: What,
    },
}

/// What to do with the configuration.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum What {
    /// Print a file with all defaults and what they are for.
    Default,
    /// Print what is in force: file and drop-ins.
    Dump,
    /// Say what is wrong; nothing if all is well.
    Check,
}
