//! The life of a container: made, started, added to, stopped, removed.

use crate::stage::{Stage, assert_kind, script, waiting};
use container::{Change, Kind};
use cri_api::v1::ContainerState;
use std::time::Duration;

#[test]
fn a_container_lives_and_leaves_nothing() {
    let stage = Stage::new("c-life");
    stage.run(async {
        let node = stage.open().await;
        let mut events = node.containers.events();
        let pod = node.pod("life").await;
        let id = node.containers.create(&pod, waiting("main"), None).await.expect("create");
        let container = node.containers.get(&id[..8]).expect("by the beginning of its id");
        assert_eq!(container.state(), ContainerState::ContainerCreated);
        node.containers.start(&id).await.expect("start");
        let status = container.status();
        assert_eq!(status.state, ContainerState::ContainerRunning);
        assert!(status.pid > 0 && status.started_at > container.created_at());
        assert_eq!(node.sh(&id, "echo $OF $HOSTNAME; pwd; echo $HOME").await.lines().count(), 3);
        assert_kind(node.containers.start(&id).await, Kind::Precondition);
        node.ready(&id).await;
        node.containers.stop(&id, Duration::from_secs(10)).await.expect("stop");
        let status = container.status();
        assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
        assert!(status.finished_at >= status.started_at && status.pid == 0);
        node.containers.stop(&id, Duration::ZERO).await.expect("stop again");
        assert_kind(node.containers.start(&id).await, Kind::Precondition);
        node.containers.remove(&id).await.expect("remove");
        node.containers.remove(&id).await.expect("remove again");
        assert_kind(node.containers.get(&id).map(drop), Kind::NotFound);
        for change in [Change::Created, Change::Started, Change::Stopped, Change::Deleted] {
            assert_eq!(events.recv().await.expect("an event").change, change);
        }
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn exit_codes_are_told() {
    let stage = Stage::new("c-codes");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("codes").await;
        for (text, code, reason) in [
            ("exit 0", 0, "Completed"),
            ("exit 7", 7, "Error"),
            ("kill -9 $$; sleep 9", 137, "Error"),
        ] {
            let id = node.start(&pod, script(&format!("c{code}"), text)).await;
            if code == 137 {
                // The first process of a PID namespace is not killed from within.
                node.containers.stop(&id, Duration::ZERO).await.expect("stop");
            }
            assert_eq!(node.ended(&id).await, (code, reason.to_owned()), "{text}");
        }
        node.remove(&pod).await;
    });
    stage.assert_clean();
}
