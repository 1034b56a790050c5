//! podloom-shim: one small process for each pod. It is the parent of the pod's containers, keeps their
//! logs, and knows how they ended, whatever becomes of the daemon.
//!
//! The main thread waits for all there is to wait for and owns all state ([`serve`]). What may block is
//! done by short-lived threads, whose outcome the main thread applies ([`work`]). The output of each
//! container is copied by a thread of its own ([`copy`]): a disk that hangs stops that container's
//! output and nothing else.

mod arguments;
mod clients;
mod container;
mod copy;
mod end;
mod engine;
mod error;
mod exits;
mod init;
mod look;
mod memory;
mod namespaces;
mod pod;
mod program;
mod reap;
mod request;
mod serve;
mod stdio;
mod work;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let [verb, path] = &std::env::args().skip(1).collect::<Vec<_>>()[..]
        && verb == "look"
    {
        look::look(path);
        return ExitCode::SUCCESS;
    }
    let served = arguments::Arguments::read(std::env::args().skip(1)).and_then(serve::run);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The last line of the shim's log; nobody else is left to be told.
            let _ = writeln!(std::io::stderr(), "podloom-shim: {error}");
            ExitCode::FAILURE
        }
    }
}
