//! Hooks: what they see, and what they change.

use crate::stage::{Stage, waiting};
use container::{Adjusted, Error, Future, Hooks, Kind, Peer};
use cri_api::v1::LinuxContainerResources;
use runtime_spec::Spec;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Notes all calls; refuses containers named `refused` at creation and `late` at the start.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn note(&self, what: &str, peer: Peer<'_>) -> String {
        let name = peer.container.metadata().name.clone();
        assert_eq!(peer.pod.id(), peer.container.sandbox_id());
        self.0.lock().expect("notes").push(format!("{what} {name}"));
        name
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("notes"))
    }
}

fn refuse<T>(name: &str, refused: &str, otherwise: T) -> container::Result<T> {
    match name == refused {
        true => Err(Error::new(Kind::Precondition, "plugin", "does not want it")),
        false => Ok(otherwise),
    }
}

impl Hooks for Notes {
    fn create<'a>(&'a self, peer: Peer<'a>, mut spec: Spec) -> Future<'a, Adjusted> {
        let name = self.note("create", peer);
        spec.process.as_mut().expect("process").env.push("ADJUSTED=yes".to_owned());
        Box::pin(async move { refuse(&name, "refused", Adjusted { spec, resources: None }) })
    }

    fn created<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        self.note("created", peer);
        Box::pin(async { Ok(()) })
    }

    fn start<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        let name = self.note("start", peer);
        Box::pin(async move { refuse(&name, "late", ()) })
    }

    fn started<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        self.note("started", peer);
        Box::pin(async { Ok(()) })
    }

    fn update<'a>(
        &'a self,
        peer: Peer<'a>,
        mut resources: LinuxContainerResources,
    ) -> Future<'a, LinuxContainerResources> {
        self.note("update", peer);
        resources.cpu_shares = 77;
        Box::pin(async move { Ok(resources) })
    }

    fn updated<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        self.note("updated", peer);
        Box::pin(async { Ok(()) })
    }

    fn undone<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        self.note("undone", peer);
        Box::pin(async { Ok(()) })
    }

    fn stopped<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        self.note("stopped", peer);
        Box::pin(async { Ok(()) })
    }

    fn remove<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        self.note("remove", peer);
        Box::pin(async { Err(Error::new(Kind::Internal, "plugin", "stops no removal")) })
    }
}

#[test]
fn hooks_see_a_life_and_change_it() {
    let mut stage = Stage::new("c-hooks");
    let notes = Arc::new(Notes::default());
    stage.settings.hooks = notes.clone();
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("hooks").await;
        let id = node.start(&pod, waiting("c")).await;
        assert_eq!(node.sh(&id, "echo $ADJUSTED").await, "yes");
        let resources = LinuxContainerResources { cpu_shares: 10, ..Default::default() };
        let update = container::Update { resources: Some(resources), ..Default::default() };
        node.containers.update(&id, update).await.expect("update");
        let status = node.containers.get(&id).expect("container").status();
        assert_eq!(status.resources.expect("resources").cpu_shares, 77);
        node.containers.stop(&id, Duration::ZERO).await.expect("stop");
        lab::until("the end is told", crate::stage::SOON, || {
            notes.0.lock().expect("notes").iter().any(|note| note == "stopped c")
        });
        node.containers.remove(&id).await.expect("remove");
        let life =
            ["create", "created", "start", "started", "update", "updated", "stopped", "remove"];
        assert_eq!(notes.take(), life.map(|what| format!("{what} c")));
        let refused = node.containers.create(&pod, waiting("refused"), None).await;
        assert_eq!(refused.expect_err("refused").kind(), Kind::Precondition);
        assert_eq!(notes.take(), ["create refused", "undone refused"]);
        let late = node.containers.create(&pod, waiting("late"), None).await.expect("create");
        let refused = node.containers.start(&late).await.expect_err("refused");
        assert_eq!(refused.kind(), Kind::Precondition);
        node.remove(&pod).await;
    });
    stage.assert_clean();
}
