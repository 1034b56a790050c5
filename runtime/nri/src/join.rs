//! How a plugin comes to be one: it registers, is configured, hears what is there.

use crate::link::{Answer, Link, Serve, Side};
use crate::nri::Inner;
use crate::plugin::{Identity, Plugin};
use crate::v1alpha1::{
    ConfigureRequest, ContainerUpdate, Empty, RegisterPluginRequest, UpdateContainersRequest,
    UpdateContainersResponse,
};
use crate::wire::{Status, code};
use bytes::Bytes;
use container::Result;
use prost::Message;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::oneshot;

/// Version of the interface that plugins are told.
const NRI_VERSION: &str = "v0.12.0";

/// Plugins at one time; more are refused.
const PLUGINS_MAX: usize = 64;

/// New limits that a plugin may want at once.
const UPDATES_MAX: usize = 4096;

/// A program that this started.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) identity: Identity,
    pub(crate) config: String,
    pub(crate) child: Child,
}

/// Makes a plugin of who is at the other end. Returns when it is one, or is none.
pub(crate) async fn join(inner: Arc<Inner>, stream: UnixStream, launched: Option<Launched>) {
    let (told, registered) = oneshot::channel();
    let server = Arc::new(Server {
        inner: Arc::downgrade(&inner),
        registering: Mutex::new(Some(told)),
        known: launched.as_ref().map(|launched| launched.identity.clone()),
        name: OnceLock::new(),
    });
    let link = Link::new(stream, Side::Runtime, server);
    let mut who = launched.as_ref().map(|launched| launched.identity.clone());
    let registered = tokio::select! {
        registered = tokio::time::timeout(inner.settings.registration, registered) => {
            match registered {
                Ok(Ok(identity)) => Ok(identity),
                // The server lives as long as the link.
                Ok(Err(_)) => Err("hung up".to_owned()),
                Err(_) => {
                    Err(format!("did not register in {:?}", inner.settings.registration))
                }
            }
        }
        why = link.closed() => Err(why),
    };
    let outcome = match registered {
        Err(why) => {
            link.close(&why);
            drop_child(launched);
            Err(why)
        }
        Ok(identity) => {
            who = Some(identity.clone());
            let config = launched.as_ref().map(|one| one.config.clone()).unwrap_or_default();
            let child = launched.map(|launched| launched.child);
            let plugin = Plugin::new(identity, link, inner.measure.clone(), child);
            inner.take_in(Arc::new(plugin), config).await
        }
    };
    let Err(why) = outcome else { return };
    let name = who.as_ref().map(Identity::full);
    tracing::error!(plugin = name.as_deref().unwrap_or("?"), why, "no NRI plugin was made of it");
    if let Some(identity) = who {
        inner.book.note_lost(&identity.name, &why);
        inner.measure.dropped(&identity.full());
    }
}

/// Ends a program that became no plugin.
fn drop_child(launched: Option<Launched>) {
    let Some(Launched { identity, mut child, .. }) = launched else { return };
    tokio::spawn(async move {
        if let Err(e) = child.kill().await {
            tracing::warn!(plugin = identity.full(), cause = %e, "its program may still run");
        }
    });
}

impl Inner {
    /// Configures a plugin, tells it what is there, and has it hear events from then on.
    async fn take_in(self: &Arc<Self>, plugin: Arc<Plugin>, config: String) -> Result<(), String> {
        let outcome = async {
            if self.book.plugins().len() >= PLUGINS_MAX {
                return Err(format!("is one of over {PLUGINS_MAX}"));
            }
            let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            let request = ConfigureRequest {
                config,
                runtime_name: "podloom".to_owned(),
                runtime_version: self.settings.version.clone(),
                registration_timeout: millis(self.settings.registration),
                request_timeout: millis(self.settings.request),
                nri_version: NRI_VERSION.to_owned(),
            };
            plugin.configure(&request, self.settings.request).await?;
            self.synchronize(&plugin).await
        };
        let outcome = outcome.await;
        if let Err(why) = &outcome {
            plugin.end(why);
            return outcome;
        }
        let (inner, link) = (self.clone(), plugin.link.clone());
        tokio::spawn(async move {
            let why = link.closed().await;
            inner.drop_plugin(&plugin, &why);
        });
        outcome
    }

    /// While it hears what is there, nobody hears of events: what is made meanwhile it hears of
    /// afterwards, so that it misses nothing.
    async fn synchronize(self: &Arc<Self>, plugin: &Arc<Plugin>) -> Result<(), String> {
        let joining = self.book.joining();
        let _turn = self.turn().await;
        let (pods, containers) = self.all().await.map_err(|e| e.to_string())?;
        let (of_pods, of_containers) = (pods.len(), containers.len());
        let limit = self.settings.synchronization;
        let updates = plugin.synchronize(pods, containers, limit).await?;
        let count = self.book.add(plugin);
        drop(joining);
        self.measure.connected(count);
        let name = plugin.name.as_str();
        tracing::info!(plugin = name, of_pods, of_containers, "an NRI plugin is connected");
        for update in updates.iter().take(UPDATES_MAX) {
            if let Err(e) = self.limit(update).await {
                let container = update.container_id.as_str();
                tracing::warn!(plugin = name, container, error = %e, "limits were not set");
            }
        }
        Ok(())
    }
}

/// Answers what a plugin asks.
#[derive(Debug)]
struct Server {
    inner: Weak<Inner>,
    registering: Mutex<Option<oneshot::Sender<Identity>>>,
    /// Who it is, where this started it.
    known: Option<Identity>,
    /// Who it is, once it has registered.
    name: OnceLock<String>,
}

impl Serve for Server {
    fn serve(&self, method: &str, payload: Bytes) -> Answer {
        match method {
            "RegisterPlugin" => {
                let answer = self.register(payload).map(|()| Empty {}.encode_to_vec());
                Box::pin(async move { answer })
            }
            "UpdateContainers" => match (self.inner.upgrade(), self.name.get()) {
                (Some(inner), Some(name)) => Box::pin(update(inner, name.clone(), payload)),
                _ => Box::pin(async { Err(Status::new(code::UNKNOWN, "register first")) }),
            },
            other => {
                let text = format!("method {other} is not known");
                Box::pin(async move { Err(Status::new(code::UNIMPLEMENTED, text)) })
            }
        }
    }
}

fn undecoded(e: prost::DecodeError) -> Status {
    Status::new(code::INVALID_ARGUMENT, e)
}

impl Server {
    fn register(&self, payload: Bytes) -> Result<(), Status> {
        let request = RegisterPluginRequest::decode(payload).map_err(undecoded)?;
        let identity = match &self.known {
            Some(identity) => identity.clone(),
            None => Identity::new(&request.plugin_idx, &request.plugin_name)
                .map_err(|cause| Status::new(code::INVALID_ARGUMENT, cause))?,
        };
        let told = self.registering.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(told) = told else {
            return Err(Status::new(code::INVALID_ARGUMENT, "is registered already"));
        };
        tracing::debug!(plugin = identity.full(), version = request.nri_version, "registers");
        // The first and only one.
        let _first = self.name.set(identity.full());
        // Too late: whoever waited has given it up.
        let _gone = told.send(identity);
        Ok(())
    }
}

/// Sets limits that no event asked for. It takes no turn: a plugin may ask while it answers an event.
async fn update(inner: Arc<Inner>, plugin: String, payload: Bytes) -> Result<Vec<u8>, Status> {
    let request = UpdateContainersRequest::decode(payload).map_err(undecoded)?;
    if request.update.len() > UPDATES_MAX {
        let text = format!("over {UPDATES_MAX} updates at once");
        return Err(Status::new(code::RESOURCE_EXHAUSTED, text));
    }
    let mut failed: Vec<ContainerUpdate> = Vec::new();
    for update in request.update {
        if let Err(e) = inner.limit(&update).await {
            let container = update.container_id.as_str();
            tracing::warn!(plugin, container, error = %e, "limits were not set");
            failed.extend((!update.ignore_failure).then_some(update));
        }
    }
    inner.evict(request.evict);
    Ok(UpdateContainersResponse { failed }.encode_to_vec())
}
