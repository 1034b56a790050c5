//! `podloom net`: networks and attachments.

mod attach;
mod gc;
mod list;
mod show;
mod status;
mod target;
mod validate;

use crate::args::{Form, Net, NetCommand, Place};
use crate::fault::{Fault, Result};
use crate::print;
use libcni::{CallReport, Cni, Observe, Programs, Settings};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// The place to work in, made ready.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) cni: Cni,
    pub(crate) conf_dir: PathBuf,
    form: Option<Form>,
}

impl Desk {
    fn new(place: &Place) -> Desk {
        let mut settings = Settings {
            cache_dir: place.cache_dir.clone(),
            call_deadline: place.timeout,
            ..Settings::default()
        };
        if !place.plugin_dir.is_empty() {
            settings.plugin_dirs.clone_from(&place.plugin_dir);
        }
        if let Some(dir) = &place.run_dir {
            settings.run_dir.clone_from(dir);
        }
        let observer: Option<Arc<dyn Observe>> =
            if place.verbose { Some(Arc::new(Teller)) } else { None };
        Desk {
            cni: Cni::with_invoker(settings, Arc::new(Programs), observer),
            conf_dir: place.conf_dir.clone(),
            form: place.output,
        }
    }

    fn is_json(&self) -> bool {
        self.form == Some(Form::Json)
    }
}

/// Tells every call on standard error.
#[derive(Debug)]
struct Teller;

impl Observe for Teller {
    fn finished(&self, report: &CallReport) {
        let took = report.took.as_secs_f64() * 1000.0;
        let outcome = if report.failure.is_some() { "failed" } else { "ok" };
        print::note(&format!(
            "{} {} {took:.1} ms {outcome}",
            report.verb,
            report.program.display()
        ));
        for line in report.stderr.lines() {
            print::note(&format!("  {line}"));
        }
    }
}

/// Runs one command to its end.
pub(crate) fn run(net: Net) -> Result<()> {
    if matches!(net.command, NetCommand::Demo) {
        return crate::demo::run(&net.place);
    }
    let desk = Desk::new(&net.place);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Fault::new(5, "runtime", e.to_string()))?;
    let outcome = runtime.block_on(until_interrupted(&desk.cni, command(&desk, net.command)));
    // Without waiting: an interrupted command may leave a thread behind that waits for a lock.
    runtime.shutdown_background();
    outcome
}

async fn command(desk: &Desk, command: NetCommand) -> Result<()> {
    match command {
        NetCommand::Add(target) => attach::add(desk, &target).await,
        NetCommand::Check(target) => attach::check(desk, &target).await,
        NetCommand::Del(del) => attach::del(desk, &del).await,
        NetCommand::Gc(gc) => gc::gc(desk, &gc).await,
        NetCommand::Status(networks) => status::status(desk, &networks).await,
        NetCommand::List => list::list(desk).await,
        NetCommand::Show(show) => show::show(desk, &show).await,
        NetCommand::Validate(files) => validate::validate(desk, &files).await,
        // Ran before there was a desk: it has its own place.
        NetCommand::Demo => Ok(()),
    }
}

/// The outcome of `work`; an interrupt ends it early, after what it had begun is undone.
pub(crate) async fn until_interrupted<T>(
    cni: &Cni,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let watch = |kind| signal(kind).map_err(|e| Fault::new(5, "signals", e.to_string()));
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let early = {
        tokio::pin!(work);
        tokio::select! {
            outcome = &mut work => return outcome,
            _ = interrupt.recv() => Fault::interrupted(),
            _ = terminate.recv() => Fault::interrupted(),
        }
    };
    cni.drain().await;
    Err(early)
}
