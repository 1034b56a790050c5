//! Containers through the CRI: life, ends, logs, commands, limits.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

use cri_api::v1;
use cri_tests::{BUSY, Client, Node, container, pod};
use std::time::Duration;
use tonic::Code;

/// A node, and the image with busybox on it.
fn node(name: &str) -> Option<(Node, String)> {
    let node = Node::start(name)?;
    let image = node.image(BUSY, "1");
    node.run(async |client: &mut Client| client.pull(&image).await);
    Some((node, image))
}

#[test]
fn a_container_lives_and_leaves_nothing() {
    let Some((node, image)) = node("containers-life") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("life");
        let pod = client.run_pod(&of).await.expect("run");
        let mut config = container("main", &image, "echo begun; exec sleep 1000");
        config.labels.insert("app".to_owned(), "web".to_owned());
        let id = client.create(&pod, &config, &of).await.expect("create");
        let status = client.container(&id).await.expect("status");
        assert_eq!(status.state(), v1::ContainerState::ContainerCreated);
        assert!(status.created_at > 0 && status.started_at == 0);
        client.start(&id).await.expect("start");
        let status = client.container(&id[..12]).await.expect("status by a short id");
        assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
        assert!(status.started_at >= status.created_at && status.finished_at == 0);
        assert_eq!(status.image.expect("image").image, image);
        assert!(status.image_ref.contains("@sha256:"), "{}", status.image_ref);
        assert!(status.image_id.starts_with("sha256:"), "{}", status.image_id);
        assert_eq!(client.says(&id, &["echo", "hello"]).await, "hello\n");
        assert_eq!(client.says(&id, &["hostname"]).await, "life\n");

        client.stop(&id, 1).await.expect("stop");
        client.stop(&id, 1).await.expect("stop again");
        let status = client.container(&id).await.expect("status");
        assert_eq!(status.state(), v1::ContainerState::ContainerExited);
        assert!(status.finished_at >= status.started_at);
        let log = std::fs::read_to_string(&status.log_path).expect("log");
        assert!(log.ends_with("stdout F begun\n"), "{log}");
        client.remove(&id).await.expect("remove");
        client.remove(&id).await.expect("remove again");
        client.stop(&id, 0).await.expect("stop what is removed");
        assert_eq!(client.container(&id).await.expect_err("gone").code(), Code::NotFound);
        client.remove_pod(&pod).await.expect("remove");
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn ends_are_told_as_they_were() {
    let Some((node, image)) = node("containers-ends") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("ends");
        let pod = client.run_pod(&of).await.expect("run");
        for (name, script, code, reason) in [
            ("well", "exit 0", 0, "Completed"),
            ("badly", "exit 7", 7, "Error"),
            ("killed", "sh -c 'kill -9 $$'; exit $?", 137, "Error"),
        ] {
            let id = client.launch(&pod, &container(name, &image, script), &of).await;
            let status = client.ended(&id).await;
            assert_eq!((status.exit_code, status.reason.as_str()), (code, reason), "{name}");
        }
        let mut absent = container("absent", &image, "");
        absent.command = vec!["/bin/no-such-program".to_owned()];
        let id = client.create(&pod, &absent, &of).await;
        // Either call may be the one that finds out.
        let refused = match id {
            Err(refused) => refused,
            Ok(id) => client.start(&id).await.expect_err("no such program"),
        };
        assert!(refused.message().contains("no-such-program"), "{}", refused.message());
        // The pod takes all of its containers with it.
        client.remove_pod(&pod).await.expect("remove");
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn the_grace_of_a_stop_is_kept() {
    let Some((node, image)) = node("containers-grace") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("grace");
        let pod = client.run_pod(&of).await.expect("run");
        let polite = "trap 'exit 3' TERM; while true; do sleep 0.05; done";
        let id = client.launch(&pod, &container("polite", &image, polite), &of).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.stop(&id, 20).await.expect("stop");
        assert_eq!(client.container(&id).await.expect("status").exit_code, 3);
        let deaf = "trap '' TERM; while true; do sleep 0.05; done";
        let id = client.launch(&pod, &container("deaf", &image, deaf), &of).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun = std::time::Instant::now();
        client.stop(&id, 1).await.expect("stop");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(client.container(&id).await.expect("status").exit_code, 137);
        client.remove_pod(&pod).await.expect("remove");
    });
}

#[test]
fn commands_in_containers() {
    let Some((node, image)) = node("containers-exec") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("exec");
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.launch(&pod, &container("main", &image, "sleep 1000"), &of).await;
        let answer = client.exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 4"]).await;
        let answer = answer.expect("exec");
        assert_eq!(
            (answer.stdout.as_slice(), answer.stderr.as_slice()),
            (&b"out\n"[..], &b"err\n"[..])
        );
        assert_eq!(answer.exit_code, 4);

        let exec = |cmd: &[&str], timeout| v1::ExecSyncRequest {
            container_id: id.clone(),
            cmd: cmd.iter().map(|word| (*word).to_owned()).collect(),
            timeout,
        };
        let begun = std::time::Instant::now();
        let late = client.runtime.exec_sync(exec(&["sleep", "100"], 1)).await;
        assert_eq!(late.expect_err("too slow").code(), Code::DeadlineExceeded);
        assert!(begun.elapsed() < Duration::from_secs(10));
        let empty = client.runtime.exec_sync(exec(&[], 1)).await.expect_err("no command");
        assert_eq!(empty.code(), Code::InvalidArgument);
        // What it leaves behind does not hold it up.
        let begun = std::time::Instant::now();
        let left = client.exec(&id, &["sh", "-c", "sleep 100 & echo done"]).await.expect("exec");
        assert_eq!(left.stdout, b"done\n");
        assert!(begun.elapsed() < Duration::from_secs(10));
        // Much output is bounded, and the answer still fits.
        let much =
            client.exec(&id, &["sh", "-c", "dd if=/dev/zero bs=1M count=20 2>/dev/null"]).await;
        let much = much.expect("exec").stdout.len();
        assert!((8 << 20..=16 << 20).contains(&much), "{much}");

        client.stop(&id, 0).await.expect("stop");
        let over = client.exec(&id, &["true"]).await.expect_err("it has ended");
        assert_eq!(over.code(), Code::FailedPrecondition);
        client.remove_pod(&pod).await.expect("remove");
    });
}

#[test]
fn limits_change_and_logs_are_rotated() {
    let Some((node, image)) = node("containers-change") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("change");
        let pod = client.run_pod(&of).await.expect("run");
        let script = "while true; do echo tick; sleep 0.02; done";
        let id = client.launch(&pod, &container("ticks", &image, script), &of).await;
        let resources = v1::LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            cpu_shares: 512,
            ..Default::default()
        };
        client.update(&id, resources).await.expect("update");
        let told = client.container(&id).await.expect("status").resources.expect("resources");
        assert_eq!(told.linux.expect("linux").memory_limit_in_bytes, 64 << 20);

        let path = client.container(&id).await.expect("status").log_path;
        let old = format!("{path}.old");
        std::fs::rename(&path, &old).expect("rename");
        let request = v1::ReopenContainerLogRequest { container_id: id.clone() };
        client.runtime.reopen_container_log(request).await.expect("reopen");
        for _ in 0..100 {
            if std::fs::read_to_string(&path).is_ok_and(|log| log.contains("tick")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(std::fs::read_to_string(&path).expect("new log").contains("stdout F tick"));
        assert!(std::fs::read_to_string(&old).expect("old log").ends_with('\n'));
        client.remove_pod(&pod).await.expect("remove");
    });
}

#[test]
fn lists_are_filtered() {
    let Some((node, image)) = node("containers-lists") else { return };
    node.run(async |client: &mut Client| {
        let (first, second) = (pod("first"), pod("second"));
        let one = client.run_pod(&first).await.expect("run");
        let two = client.run_pod(&second).await.expect("run");
        let mut config = container("web", &image, "sleep 1000");
        config.labels.insert("app".to_owned(), "web".to_owned());
        let web = client.launch(&one, &config, &first).await;
        let data = client.create(&two, &container("data", &image, "true"), &second).await;
        let data = data.expect("create");
        let running =
            v1::ContainerStateValue { state: v1::ContainerState::ContainerRunning as i32 };
        let all = v1::ContainerFilter::default;
        let labels = [("app".to_owned(), "web".to_owned())].into_iter().collect();
        for (filter, wanted) in [
            (all(), vec![&data, &web]),
            (v1::ContainerFilter { id: web[..10].to_owned(), ..all() }, vec![&web]),
            (v1::ContainerFilter { pod_sandbox_id: two.clone(), ..all() }, vec![&data]),
            (v1::ContainerFilter { state: Some(running), ..all() }, vec![&web]),
            (v1::ContainerFilter { label_selector: labels, ..all() }, vec![&web]),
            (
                v1::ContainerFilter { pod_sandbox_id: two.clone(), state: Some(running), ..all() },
                vec![],
            ),
        ] {
            let request = v1::ListContainersRequest { filter: Some(filter.clone()) };
            let list = client.runtime.list_containers(request).await.expect("list").into_inner();
            let ids: Vec<_> = list.containers.iter().map(|one| &one.id).collect();
            assert_eq!(ids, wanted, "{filter:?}");
            let request = v1::StreamContainersRequest { filter: Some(filter) };
            let stream = client.runtime.stream_containers(request).await.expect("stream");
            let piece = stream.into_inner().message().await.expect("piece").expect("one");
            assert_eq!(piece.containers, list.containers);
        }
        for id in [one, two] {
            client.remove_pod(&id).await.expect("remove");
        }
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn failures_have_the_codes_that_clients_expect() {
    let Some((node, image)) = node("containers-failures") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("failures");
        let config = container("main", &image, "true");
        let absent = client.create("absent", &config, &of).await.expect_err("no such pod");
        assert_eq!(absent.code(), Code::NotFound);
        let pod = client.run_pod(&of).await.expect("run");
        let other = container("other", "127.0.0.1:1/absent:1", "true");
        let absent = client.create(&pod, &other, &of).await.expect_err("no such image");
        assert_eq!(absent.code(), Code::NotFound, "{}", absent.message());
        let request =
            v1::CreateContainerRequest { pod_sandbox_id: pod.clone(), ..Default::default() };
        let refused = client.runtime.create_container(request).await.expect_err("no configuration");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(client.start("absent").await.expect_err("absent").code(), Code::NotFound);

        let id = client.launch(&pod, &config, &of).await;
        client.ended(&id).await;
        let again = client.start(&id).await.expect_err("it has ended");
        assert_eq!(again.code(), Code::FailedPrecondition);
        let taken = client.create(&pod, &config, &of).await.expect_err("the name is taken");
        assert_eq!(taken.code(), Code::AlreadyExists);
        let request =
            v1::CheckpointContainerRequest { container_id: id.clone(), ..Default::default() };
        let refused = client.runtime.checkpoint_container(request).await.expect_err("not done");
        assert_eq!(refused.code(), Code::Unimplemented);
        let request = v1::ReopenContainerLogRequest { container_id: id.clone() };
        let refused = client.runtime.reopen_container_log(request).await.expect_err("ended");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        for cmd in [vec!["true".to_owned()], vec![]] {
            let request = v1::ExecRequest {
                container_id: id.clone(),
                cmd,
                stdout: true,
                ..Default::default()
            };
            let refused = client.runtime.exec(request).await.expect_err("ended");
            assert_eq!(refused.code(), Code::FailedPrecondition);
        }
        let request = v1::AttachRequest {
            container_id: "absent".to_owned(),
            stdout: true,
            ..Default::default()
        };
        assert_eq!(
            client.runtime.attach(request).await.expect_err("absent").code(),
            Code::NotFound
        );
        for (name, port, wanted) in
            [("absent", 80, Code::NotFound), (pod.as_str(), 70_000, Code::InvalidArgument)]
        {
            let request =
                v1::PortForwardRequest { pod_sandbox_id: name.to_owned(), port: vec![port] };
            let refused = client.runtime.port_forward(request).await.expect_err("refused");
            assert_eq!(refused.code(), wanted);
        }
        client.stop_pod(&pod).await.expect("stop");
        let stopped = client.create(&pod, &container("late", &image, "true"), &of).await;
        assert_eq!(stopped.expect_err("the pod is stopped").code(), Code::FailedPrecondition);
        client.remove_pod(&pod).await.expect("remove");
    });
}
