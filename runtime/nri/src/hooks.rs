//! The points in the life of pods and containers at which plugins are asked.

use crate::apply;
use crate::book::NewPod;
use crate::describe;
use crate::limits;
use crate::merge::{self, Creation, Others, Updating};
use crate::nri::{Inner, Nri, Refusals};
use crate::plugin::About;
use crate::v1alpha1::{Container as Shown, PluginInstance};
use crate::v1alpha1::{
    Event, PostCreateContainerRequest, PostStartContainerRequest, PostUpdateContainerRequest,
    PostUpdatePodSandboxRequest, RemoveContainerRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, StartContainerRequest, StopContainerRequest, StopContainerResponse,
    StopPodSandboxRequest, UpdatePodSandboxRequest, ValidateContainerAdjustmentRequest,
    ValidateContainerAdjustmentResponse,
};
use crate::validate;
use container::{Adjusted, Error, Future, Hooks, Kind, Peer, Result};
use cri_api::v1::LinuxContainerResources;
use runtime_spec::Spec;
use sandbox::{Network, Sandbox, Update, blocking};
use std::sync::Arc;

/// A request about a pod.
macro_rules! of_pod {
    ($inner:expr, $event:ident, $request:ident, $pod:expr, $refusals:expr) => {{
        let about = About { pod: $pod, container: None };
        let argument = $request { pod: Some(about.pod.clone()) };
        $inner.tell(Event::$event, (&argument, &about), $refusals).await
    }};
}

/// A request about a container.
macro_rules! of_container {
    ($inner:expr, $event:ident, $request:ident, $peer:expr, $refusals:expr) => {{
        let pod = $inner.pod($peer.pod);
        let container = $inner.container($peer.container).await;
        let about = About { pod, container: Some(container) };
        let argument =
            $request { pod: Some(about.pod.clone()), container: about.container.clone() };
        $inner.tell(Event::$event, (&argument, &about), $refusals).await
    }};
}

impl sandbox::Hooks for Nri {
    fn run<'a>(&'a self, pod: &'a Arc<Sandbox>, network: &'a Network) -> sandbox::Future<'a, ()> {
        Box::pin(self.inner.run_pod(pod, network))
    }

    fn made(&self, pod: &Sandbox) {
        self.inner.book.not_new_pod(pod.id());
    }

    fn undone<'a>(&'a self, pod: &'a Arc<Sandbox>) -> sandbox::Future<'a, ()> {
        Box::pin(async move {
            if !self.inner.book.not_new_pod(pod.id()) {
                return Ok(());
            }
            let Some(_turn) = self.inner.turn_if_heard().await else { return Ok(()) };
            let shown = self.inner.pod(pod);
            let stopped = of_pod!(
                self.inner,
                StopPodSandbox,
                StopPodSandboxRequest,
                shown.clone(),
                Refusals::AreTold
            );
            let removed = of_pod!(
                self.inner,
                RemovePodSandbox,
                RemovePodSandboxRequest,
                shown,
                Refusals::AreTold
            );
            Error::join(stopped.err().into_iter().chain(removed.err()).collect())
        })
    }
}

impl Hooks for Nri {
    fn update_pod<'a>(&'a self, pod: &'a Sandbox, update: &'a Update) -> Future<'a, ()> {
        Box::pin(async move {
            let Some(_turn) = self.inner.turn_if_heard().await else { return Ok(()) };
            let about = About { pod: self.inner.pod(pod), container: None };
            let argument = UpdatePodSandboxRequest {
                pod: Some(about.pod.clone()),
                overhead_linux_resources: update.overhead.as_ref().map(limits::from_cri),
                linux_resources: update.resources.as_ref().map(limits::from_cri),
            };
            let event = Event::UpdatePodSandbox;
            self.inner.tell(event, (&argument, &about), Refusals::Count).await
        })
    }

    fn updated_pod<'a>(&'a self, pod: &'a Sandbox) -> Future<'a, ()> {
        Box::pin(async move {
            let Some(_turn) = self.inner.turn_if_heard().await else { return Ok(()) };
            let shown = self.inner.pod(pod);
            of_pod!(
                self.inner,
                PostUpdatePodSandbox,
                PostUpdatePodSandboxRequest,
                shown,
                Refusals::AreTold
            )
        })
    }

    fn stop_pod<'a>(&'a self, pod: &'a Arc<Sandbox>) -> Future<'a, ()> {
        Box::pin(self.inner.stop_pod(pod))
    }

    fn remove_pod<'a>(&'a self, pod: &'a Arc<Sandbox>) -> Future<'a, ()> {
        Box::pin(async move {
            self.inner.book.forget(pod.id());
            let Some(_turn) = self.inner.turn_if_heard().await else { return Ok(()) };
            let shown = self.inner.pod(pod);
            of_pod!(self.inner, RemovePodSandbox, RemovePodSandboxRequest, shown, Refusals::AreTold)
        })
    }

    fn create<'a>(&'a self, peer: Peer<'a>, spec: Spec) -> Future<'a, Adjusted> {
        Box::pin(self.inner.create(peer, spec))
    }

    fn created<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        Box::pin(async move {
            self.inner.book.not_new_container(peer.container.id());
            let Some(_turn) = self.inner.turn_if_heard().await else { return Ok(()) };
            of_container!(
                self.inner,
                PostCreateContainer,
                PostCreateContainerRequest,
                peer,
                Refusals::AreTold
            )
        })
    }

    fn undone<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        Box::pin(async move {
            self.inner.book.not_new_container(peer.container.id());
            let stopped = self.inner.stopped(peer).await;
            let Some(_turn) = self.inner.turn_if_heard().await else { return stopped };
            let removed = of_container!(
                self.inner,
                RemoveContainer,
                RemoveContainerRequest,
                peer,
                Refusals::AreTold
            );
            Error::join(stopped.err().into_iter().chain(removed.err()).collect())
        })
    }

    fn start<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        Box::pin(async move {
            let Some(_turn) = self.inner.turn_if_heard().await else { return Ok(()) };
            of_container!(self.inner, StartContainer, StartContainerRequest, peer, Refusals::Count)
        })
    }

    fn started<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        Box::pin(async move {
            let Some(_turn) = self.inner.turn_if_heard().await else { return Ok(()) };
            of_container!(
                self.inner,
                PostStartContainer,
                PostStartContainerRequest,
                peer,
                Refusals::AreTold
            )
        })
    }

    fn update<'a>(
        &'a self,
        peer: Peer<'a>,
        resources: LinuxContainerResources,
    ) -> Future<'a, LinuxContainerResources> {
        Box::pin(self.inner.update(peer, resources))
    }

    fn updated<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        Box::pin(async move {
            let Some(_turn) = self.inner.turn_if_heard().await else { return Ok(()) };
            of_container!(
                self.inner,
                PostUpdateContainer,
                PostUpdateContainerRequest,
                peer,
                Refusals::AreTold
            )
        })
    }

    fn stopped<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        Box::pin(self.inner.stopped(peer))
    }

    fn remove<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        Box::pin(async move {
            // Its end comes first, whoever is faster.
            let stopped = self.inner.stopped(peer).await;
            let Some(_turn) = self.inner.turn_if_heard().await else { return stopped };
            let removed = of_container!(
                self.inner,
                RemoveContainer,
                RemoveContainerRequest,
                peer,
                Refusals::AreTold
            );
            Error::join(stopped.err().into_iter().chain(removed.err()).collect())
        })
    }
}

impl Inner {
    async fn run_pod(&self, pod: &Arc<Sandbox>, network: &Network) -> Result<()> {
        let new = NewPod { pod: pod.clone(), network: network.clone() };
        if self.book.new_pod(new) {
            return Ok(());
        }
        let _turn = self.turn().await;
        let shown = describe::pod(pod, network);
        of_pod!(self, RunPodSandbox, RunPodSandboxRequest, shown, Refusals::Count)
    }

    /// The ends of its containers come first.
    async fn stop_pod(self: &Arc<Self>, pod: &Arc<Sandbox>) -> Result<()> {
        if self.book.is_quiet() {
            return Ok(());
        }
        let mut errors = Vec::new();
        for container in self.containers()?.of_pod(pod.id()) {
            errors.extend(self.stopped(Peer { pod, container: &container }).await.err());
        }
        let _turn = self.turn().await;
        if self.book.stopped(pod) {
            let shown = self.pod(pod);
            let told =
                of_pod!(self, StopPodSandbox, StopPodSandboxRequest, shown, Refusals::AreTold);
            errors.extend(told.err());
        }
        Error::join(errors)
    }

    async fn create(self: &Arc<Self>, peer: Peer<'_>, spec: Spec) -> Result<Adjusted> {
        let why = |name: &str| self.book.why_lost(name);
        if self.book.new_container(peer.container) {
            validate::present(&self.required(peer)?, &[], why)?;
            return Ok(Adjusted { spec, resources: None });
        }
        let _turn = self.turn().await;
        let before = self.container_of(peer.container, Some(spec.clone())).await;
        let mut creation = Creation::new(self.pod(peer.pod), before.clone());
        let asked = self.adjust(&mut creation).await?;
        let names: Vec<_> = asked.iter().map(|plugin| plugin.name.clone()).collect();
        validate::present(&self.required(peer)?, &names, why)?;
        validate::allowed(&self.settings.refused, &before, &creation.others.owners)?;
        self.validate(&creation, before, asked).await?;
        let Creation { adjust, others, .. } = creation;
        let resources = adjust.linux.as_ref().and_then(|linux| linux.resources.as_ref());
        let resources = resources.map(|resources| limits::to_cri(resources).0);
        let dirs = self.settings.cdi_dirs.clone();
        let spec = blocking(move || {
            let mut spec = spec;
            apply::apply(&mut spec, adjust, &dirs)?;
            Ok(spec)
        });
        let spec = spec.await?;
        self.carry_out(others).await;
        Ok(Adjusted { spec, resources })
    }

    /// Plugins that must see a container.
    fn required(&self, peer: Peer<'_>) -> Result<Vec<String>> {
        let (pod, container) = (peer.pod.config(), peer.container.metadata());
        validate::required(&self.settings, &pod.annotations, &container.name)
    }

    /// Asks all plugins, and returns who saw the container.
    async fn adjust(&self, creation: &mut Creation) -> Result<Vec<PluginInstance>> {
        let mut asked = Vec::new();
        for plugin in self.book.plugins() {
            let event = Event::CreateContainer;
            if plugin.wants(event) {
                let request = creation.request();
                let limit = self.settings.request;
                match plugin.wish(event, &request, limit).await {
                    Ok(answer) => creation.take(answer, &plugin.name).map_err(unfit)?,
                    Err(failure) => {
                        self.failed(&plugin, event, &failure)?;
                        continue;
                    }
                }
            }
            let (name, index) = (plugin.identity.name.clone(), plugin.identity.index.clone());
            asked.push(PluginInstance { name, index });
        }
        Ok(asked)
    }

    /// Asks those plugins that judge what others want. One that cannot be asked has not agreed.
    async fn validate(
        &self,
        creation: &Creation,
        before: Shown,
        plugins: Vec<PluginInstance>,
    ) -> Result<()> {
        let event = Event::ValidateContainerAdjustment;
        let validators = self.book.who_wants(event);
        if validators.is_empty() {
            return Ok(());
        }
        let request = ValidateContainerAdjustmentRequest {
            pod: creation.request().pod,
            container: Some(before),
            adjust: Some(creation.adjust.clone()),
            update: creation.others.updates.clone(),
            owners: Some(creation.others.owners.clone()),
            plugins,
        };
        for plugin in validators {
            let answer: Result<ValidateContainerAdjustmentResponse, _> =
                plugin.wish(event, &request, self.settings.request).await;
            let subject = format!("NRI plugin {}", plugin.name);
            match answer {
                Ok(answer) if !answer.reject => {}
                Ok(answer) => {
                    let cause = format!("rejects what plugins want: {}", answer.reason);
                    return Err(Error::new(Kind::Precondition, subject, cause));
                }
                Err(failure) => {
                    self.failed(&plugin, event, &failure)?;
                    let cause = format!("could not judge what plugins want: it {failure}");
                    return Err(Error::new(Kind::Precondition, subject, cause));
                }
            }
        }
        Ok(())
    }

    async fn update(
        self: &Arc<Self>,
        peer: Peer<'_>,
        resources: LinuxContainerResources,
    ) -> Result<LinuxContainerResources> {
        let Some(_turn) = self.turn_if_heard().await else { return Ok(resources) };
        let (pod, container) = (self.pod(peer.pod), self.container(peer.container).await);
        let mut updating = Updating::new(pod, container, limits::from_cri(&resources));
        let event = Event::UpdateContainer;
        for plugin in self.book.who_wants(event) {
            let limit = self.settings.request;
            match plugin.wish(event, updating.request(), limit).await {
                Ok(answer) => updating.take(answer, &plugin.name).map_err(unfit)?,
                Err(failure) => self.failed(&plugin, event, &failure)?,
            }
        }
        let (asked, others) = updating.finish();
        self.carry_out(others).await;
        let (mut adjusted, rest) = limits::to_cri(&asked);
        if !rest.is_empty() {
            let container = peer.container.id();
            tracing::warn!(container, rest = rest.join(", "), "can be set at creation only");
        }
        adjusted.oom_score_adj = resources.oom_score_adj;
        Ok(adjusted)
    }

    /// Tells the end of a container, once.
    async fn stopped(self: &Arc<Self>, peer: Peer<'_>) -> Result<()> {
        if self.book.ended_quietly(peer.container.id()) {
            return Ok(());
        }
        let _turn = self.turn().await;
        if !self.book.ended(peer.container.id()) {
            return Ok(());
        }
        let (pod, container) = (self.pod(peer.pod), self.container(peer.container).await);
        let request = StopContainerRequest { pod: Some(pod), container: Some(container) };
        let (mut others, mut errors) = (Others::default(), Vec::new());
        let event = Event::StopContainer;
        for plugin in self.book.who_wants(event) {
            let limit = self.settings.request;
            let answer: Result<StopContainerResponse, _> =
                plugin.wish(event, &request, limit).await;
            let taken = match answer {
                Ok(answer) => {
                    merge::stopped(&mut others, answer.update, &plugin.name).map_err(unfit)
                }
                Err(failure) => self.failed(&plugin, event, &failure),
            };
            errors.extend(taken.err());
        }
        self.carry_out(others).await;
        Error::join(errors)
    }
}

/// Plugins that contradict each other.
fn unfit(cause: impl std::fmt::Display) -> Error {
    let e = Error::new(Kind::Precondition, "NRI", cause);
    e.with_advice("configure one of them otherwise, or stop it")
}
