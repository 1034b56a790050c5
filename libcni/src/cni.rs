//! One instance of the library, and one call of one plugin.

use crate::cache::{Cache, Key};
use crate::derive;
use crate::intent::{Intents, Journal};
use crate::invoke::{CallBegun, CallReport, Invocation, Invoke, Observe};
use crate::lock::{self, Held, Locks, Use};
use crate::record::{Entry, Record};
use crate::{Error, Kind, NetworkList, Pod, Programs, Result, Settings};
use cni_exec::{Output, Verb, interpret};
use cni_types::PluginType;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::RwLock;

/// Attaches containers to networks and keeps the records of it.
///
/// Cheap to clone: all clones share locks and settings. Operations on one container wait for each
/// other, also across processes; those on different containers run at the same time; GC of a
/// network runs alone.
#[derive(Clone, Debug)]
pub struct Cni {
    pub(crate) shared: Arc<Shared>,
    /// Variables with the caller's trace context.
    trace: Vec<(String, String)>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) invoker: Arc<dyn Invoke>,
    pub(crate) observer: Option<Arc<dyn Observe>>,
    pub(crate) cache: Cache,
    pub(crate) intents: Intents,
    locks: Locks,
    /// Held for reading by every ADD under way, also by those whose caller went away.
    pub(crate) work: Arc<RwLock<()>>,
}

/// All that is recorded about attachments.
#[derive(Debug, Default)]
pub struct Listing {
    /// What the cache holds, by file name.
    pub entries: Vec<Entry>,
    /// ADDs under way, and those whose caller was killed.
    pub unfinished: Vec<Record>,
    /// Files that could not be read.
    pub errors: Vec<Error>,
}

/// One call, but for what the instance knows itself.
pub(crate) struct Call<'a> {
    pub(crate) network: &'a str,
    pub(crate) plugin: &'a PluginType,
    pub(crate) verb: Verb,
    pub(crate) pod: Option<&'a Pod>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) journal: Option<&'a Journal>,
}

/// Runs file work beside the asynchronous tasks.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(e) => Err(Error::io(Kind::State, "file work", &std::io::Error::other(e))),
    }
}

impl Cni {
    /// An instance that runs real programs.
    pub fn new(settings: Settings) -> Cni {
        Cni::with_invoker(settings, Arc::new(Programs), None)
    }

    /// An instance whose calls are run by `invoker` and told to `observer`.
    pub fn with_invoker(
        settings: Settings,
        invoker: Arc<dyn Invoke>,
        observer: Option<Arc<dyn Observe>>,
    ) -> Cni {
        // What belongs to another cache directory is none of our business.
        let cache_dir = std::path::absolute(&settings.cache_dir);
        let cache_dir = cache_dir.unwrap_or_else(|_| settings.cache_dir.clone());
        let name = format!("libcni/{:016x}", lock::hash(&cache_dir.to_string_lossy()));
        let state = settings.run_dir.join(name);
        let shared = Shared {
            cache: Cache::new(&cache_dir, settings.records),
            intents: Intents::new(&state),
            locks: Locks::new(&state),
            settings,
            invoker,
            observer,
            work: Arc::new(RwLock::new(())),
        };
        Cni { shared: Arc::new(shared), trace: Vec::new() }
    }

    /// The same instance with a trace context for the plugins: `TRACEPARENT`, `TRACESTATE`,
    /// `BAGGAGE`. Without one, that of the process's environment is passed on.
    #[must_use]
    pub fn with_trace(&self, variables: Vec<(String, String)>) -> Cni {
        Cni { trace: variables, ..self.clone() }
    }

    /// What the instance works with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Waits for every ADD that is under way or being undone because its caller went away.
    pub async fn drain(&self) {
        let _all_done = self.shared.work.write().await;
    }

    /// What is recorded about attachments, of all networks and containers.
    ///
    /// # Errors
    /// [`Kind::Cache`] and [`Kind::State`] when a directory cannot be listed.
    pub async fn listing(&self) -> Result<Listing> {
        let shared = self.shared.clone();
        blocking(move || {
            let (entries, mut errors) = shared.cache.entries()?;
            let (intents, more) = shared.intents.all()?;
            errors.extend(more);
            let unfinished = intents.into_iter().map(|i| i.record).collect();
            Ok(Listing { entries, unfinished, errors })
        })
        .await
    }

    /// The record of one attachment; `None` if there is none.
    ///
    /// # Errors
    /// [`Kind::Request`] for an invalid name; [`Kind::Cache`] when it cannot be read.
    pub async fn record(&self, network: &str, pod: &Pod) -> Result<Option<Entry>> {
        let (shared, key) = (self.shared.clone(), Key::parse(network, &pod.attachment())?);
        blocking(move || shared.cache.get(&key)).await
    }

    pub(crate) async fn hold_network(&self, name: &str, how: Use) -> Result<Held> {
        let locks = &self.shared.locks;
        let held = locks.network(name, how).await;
        held.map_err(|e| Error::io(Kind::State, locks.path().display(), &e).network(name))
    }

    pub(crate) async fn hold_container(&self, id: &str) -> Result<Held> {
        let locks = &self.shared.locks;
        let held = locks.container(id).await;
        held.map_err(|e| Error::io(Kind::State, locks.path().display(), &e))
    }

    fn environment(&self, call: &Call<'_>) -> Result<Vec<(String, String)>> {
        let dirs = std::env::join_paths(&self.shared.settings.plugin_dirs)
            .map_err(|e| Error::io(Kind::Request, "CNI_PATH", &std::io::Error::other(e)))?;
        let mut env = vec![("CNI_COMMAND".to_owned(), call.verb.as_str().to_owned())];
        let mut set = |key: &str, value: &str| env.push((key.to_owned(), value.to_owned()));
        set("CNI_PATH", &dirs.to_string_lossy());
        if let Some(pod) = call.pod {
            set("CNI_CONTAINERID", pod.container_id.as_str());
            set("CNI_NETNS", &pod.netns);
            set("CNI_IFNAME", pod.ifname.as_str());
            set("CNI_ARGS", &pod.args_text()?);
        } else if call.verb == Verb::Version {
            // Plugins made with an old library look at these before they look at the verb.
            set("CNI_NETNS", "dummy");
            set("CNI_IFNAME", "dummy");
        }
        env.extend(self.trace.iter().cloned());
        Ok(env)
    }

    /// Runs one plugin and reads its answer; every error names network, plugin and verb.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Option<Value>> {
        let tag = |e: Error| e.plugin(call.plugin).verb(call.verb).network(call.network);
        let settings = &self.shared.settings;
        let found = self.shared.invoker.find(call.plugin, &settings.plugin_dirs);
        let program = found.map_err(|e| {
            tag(Error::new(Kind::NoPlugin, without_prefix(e, &format!("plugin {}: ", call.plugin))))
        })?;
        let invocation = Invocation {
            program,
            plugin: call.plugin.clone(),
            verb: call.verb,
            env: self.environment(&call).map_err(tag)?,
            stdin: call.stdin.clone(),
        };
        let started = |pid| {
            if let Some(journal) = call.journal {
                journal.started(pid);
            }
        };
        if let Some(observer) = &self.shared.observer {
            let container_id = call.pod.map_or("", |pod| pod.container_id.as_str());
            let (plugin, verb) = (call.plugin.as_str(), call.verb);
            observer.begun(&CallBegun { network: call.network, plugin, verb, container_id });
        }
        let begin = Instant::now();
        let run = self.shared.invoker.run(&invocation, &started);
        let (answer, stderr) = match tokio::time::timeout(settings.call_deadline, run).await {
            Err(_) => (Err(Error::timeout(settings.call_deadline)), Vec::new()),
            Ok(Err(e)) => {
                let subject = invocation.program.display();
                (Err(Error::io(Kind::Broken, subject, &e)), Vec::new())
            }
            Ok(Ok(output)) => read_answer(&invocation, output),
        };
        let answer = answer.map_err(tag);
        self.report(&call, &invocation, begin.elapsed(), (&stderr, answer.as_ref().err()));
        answer
    }

    fn report(
        &self,
        call: &Call<'_>,
        invocation: &Invocation,
        took: Duration,
        (stderr, failure): (&[u8], Option<&Error>),
    ) {
        let Some(observer) = &self.shared.observer else { return };
        observer.finished(&CallReport {
            network: call.network.to_owned(),
            plugin: call.plugin.as_str().to_owned(),
            program: invocation.program.clone(),
            verb: call.verb,
            container_id: call.pod.map(|p| p.container_id.to_string()).unwrap_or_default(),
            took,
            stderr: crate::error::tail(stderr),
            failure: failure.map(ToString::to_string),
        });
    }

    /// Asks every plugin of a network, in order, about the network itself.
    pub(crate) async fn ask(
        &self,
        list: &NetworkList,
        plugin: &crate::PluginConf,
        verb: Verb,
        stdin: Vec<u8>,
    ) -> Result<()> {
        let network = list.name.as_str();
        let call = Call { network, plugin: &plugin.plugin, verb, pod: None, stdin, journal: None };
        self.call(call).await.map(|_| ())
    }

    /// Runs one plugin of a chain for DEL or CHECK.
    pub(crate) async fn step(
        &self,
        verb: Verb,
        (list, plugin): (&NetworkList, &crate::PluginConf),
        pod: &Pod,
        prev_result: Option<&Value>,
    ) -> Result<()> {
        let stdin = derive::attachment(list, plugin, prev_result, &pod.capability_args);
        let network = list.name.as_str();
        let pod = Some(pod);
        let call = Call { network, plugin: &plugin.plugin, verb, pod, stdin, journal: None };
        self.call(call).await.map(|_| ())
    }
}

/// The same error without the subject that [`Error`] names itself.
fn without_prefix(mut error: cni_types::Error, prefix: &str) -> cni_types::Error {
    if let Some(rest) = error.msg.strip_prefix(prefix) {
        error.msg = rest.to_owned();
    }
    error
}

/// The document that a plugin printed, with its standard error.
fn read_answer(call: &Invocation, mut output: Output) -> (Result<Option<Value>>, Vec<u8>) {
    let stderr = std::mem::take(&mut output.stderr);
    let answer = interpret(call.plugin.as_str(), call.verb, &output).map_err(|e| {
        // What the plugin did not say itself begins with this.
        let prefix = format!("plugin {} {}: ", call.plugin, call.verb);
        let kind = if e.msg.starts_with(&prefix) { Kind::Broken } else { Kind::Plugin };
        Error::new(kind, without_prefix(e, &prefix)).stderr(&stderr)
    });
    (answer, stderr)
}
