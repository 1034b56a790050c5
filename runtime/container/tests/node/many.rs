//! Many at once.

use crate::stage::{Stage, script, waiting};
use cri_api::v1::{NamespaceMode, NamespaceOption};
use std::time::Duration;
use tokio::task::JoinSet;

/// Containers at once.
const MANY: usize = 50;

#[test]
fn fifty_at_once() {
    let stage = Stage::new("c-many");
    stage.run(async {
        let node = stage.open().await;
        let mut pods = Vec::new();
        for at in 0..5 {
            pods.push(node.pod(&format!("many{at}")).await);
        }
        let mut works = JoinSet::new();
        for at in 0..MANY {
            let (containers, pod) = (node.containers.clone(), pods[at % pods.len()].clone());
            works.spawn(async move {
                let id = containers.create(&pod, waiting(&format!("c{at}")), None).await?;
                containers.start(&id).await?;
                let command = format!("while ! test -e /tmp/ready; do sleep 0.05; done; echo {at}");
                let command = ["sh", "-c", &command].map(str::to_owned).to_vec();
                let said = containers.exec_sync(&id, command, None).await?;
                assert_eq!(said.stdout, format!("{at}\n").into_bytes());
                containers.stop(&id, Duration::from_secs(20)).await?;
                assert_eq!(containers.get(&id)?.status().exit_code, 0);
                containers.remove(&id).await
            });
        }
        while let Some(done) = works.join_next().await {
            done.expect("no panic").expect("a whole life");
        }
        assert_eq!(node.containers.list().len(), 0);
        for pod in &pods {
            node.remove(pod).await;
        }
    });
    stage.assert_clean();
}

#[test]
fn containers_see_the_processes_that_they_should() {
    let stage = Stage::new("c-pids");
    stage.run(async {
        let node = stage.open().await;
        let shared = crate::stage::with_spaces(crate::stage::pod("pids"), |spaces| {
            spaces.pid = NamespaceMode::Pod.into();
        });
        let pod = node.pods.run(shared, "").await.expect("pod");
        let with = |name: &str, text: &str, pid: NamespaceMode, target: &str| {
            crate::stage::secured(script(name, text), |c| {
                c.namespace_options = Some(NamespaceOption {
                    pid: pid.into(),
                    target_id: target.to_owned(),
                    ..NamespaceOption::default()
                });
            })
        };
        let (in_pod, own) = (NamespaceMode::Pod, NamespaceMode::Container);
        let one = node.start(&pod, with("one", "exec sleep 6501", in_pod, "")).await;
        let two = node.start(&pod, with("two", "sleep 6502 & exec sleep 6503", in_pod, "")).await;
        let seen = node.sh(&one, "ps | grep -c 's[l]eep 650[123]'").await;
        assert_eq!(seen, "3", "all of the pod");
        let alone = node.start(&pod, with("alone", "exec sleep 6504", own, "")).await;
        assert_eq!(node.sh(&alone, "ps | grep -c 's[l]eep 650'").await, "1");
        let look = with("look", "exec sleep 6505", NamespaceMode::Target, &alone);
        let look = node.start(&pod, look).await;
        assert_eq!(node.sh(&look, "ps | grep -c 's[l]eep 650[45]'").await, "2");
        let lost = with("lost", "true", NamespaceMode::Target, "none");
        assert_eq!(node.refused(&pod, lost).await.kind(), container::Kind::NotFound);
        node.containers.stop(&two, Duration::ZERO).await.expect("stop");
        all_gone(&node, &one).await;
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

/// What a container left in the pod's namespace ends with it.
async fn all_gone(node: &crate::stage::Node, id: &str) {
    let begun = std::time::Instant::now();
    while node.sh(id, "ps | grep -c 's[l]eep 650[23]' || true").await != "0" {
        assert!(begun.elapsed() < crate::stage::SOON);
    }
}
