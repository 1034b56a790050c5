//! Plugins that do what the interface is for.

use crate::running::{Plugin, node, notes, until};
use cri_api::v1;
use cri_tests::{Client, container, pod};
use std::os::unix::fs::symlink;
use std::path::Path;

#[test]
fn a_plugin_hears_a_life_in_order_and_each_event_once() {
    let Some((node, image)) = node("nri-life", "") else { return };
    let plugin = Plugin::start(&node, "10-watch", "watch");
    node.run(async |client: &mut Client| {
        let of = pod("life");
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.launch(&pod, &container("main", &image, "sleep 1000"), &of).await;
        client.stop(&id, 0).await.expect("stop");
        client.remove(&id).await.expect("remove");
        // Its end is told before the pod's, though nobody stops it.
        client.launch(&pod, &container("left", &image, "sleep 1000"), &of).await;
        client.stop_pod(&pod).await.expect("stop");
        client.stop_pod(&pod).await.expect("stop again");
        client.remove_pod(&pod).await.expect("remove");
    });
    let heard = plugin.notes();
    let life = |name: &str| {
        ["CreateContainer", "PostCreateContainer", "START_CONTAINER", "PostStartContainer"]
            .map(|call| format!("{call} life {name}"))
    };
    let mut wanted = vec!["Configure podloom".to_owned(), "Synchronize".to_owned()];
    wanted.push("RunPodSandbox life".to_owned());
    wanted.extend(life("main"));
    wanted.extend(["StopContainer life main", "RemoveContainer life main"].map(str::to_owned));
    wanted.extend(life("left"));
    let ends = [
        "StopContainer life left",
        "StopPodSandbox life",
        "RemoveContainer life left",
        "RemovePodSandbox life",
    ];
    wanted.extend(ends.map(str::to_owned));
    assert_eq!(heard, wanted);
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn a_container_is_what_a_plugin_made_of_it() {
    let Some((node, image)) = node("nri-adjust", "") else { return };
    let first = Plugin::start(&node, "10-one", "adjust");
    node.run(async |client: &mut Client| {
        let of = pod("adjusted");
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.launch(&pod, &container("main", &image, "sleep 1000"), &of).await;
        let env = client.says(&id, &["env"]).await;
        assert!(env.contains("ADJUSTED_BY=one\n") && !env.contains("FROM_IMAGE"), "{env}");
        assert!(client.says(&id, &["mount"]).await.contains("on /adjusted type tmpfs"));
        assert!(client.says(&id, &["sh", "-c", "ulimit -c"]).await.starts_with('0'));
        let status = client.container(&id).await.expect("status");
        let limits = status.resources.expect("resources").linux.expect("limits");
        assert_eq!(limits.cpu_shares, 123);
        // An update that says nothing of it leaves it so.
        let limits =
            v1::LinuxContainerResources { memory_limit_in_bytes: 64 << 20, ..Default::default() };
        client.update(&id, limits).await.expect("update");
        let status = client.container(&id).await.expect("status");
        let limits = status.resources.expect("resources").linux.expect("limits");
        assert_eq!((limits.cpu_shares, limits.memory_limit_in_bytes), (123, 64 << 20));

        let _second = Plugin::start(&node, "20-two", "adjust");
        let refused = client.create(&pod, &container("both", &image, "true"), &of).await;
        let refused = refused.expect_err("both set the same");
        let text = refused.message();
        assert!(text.contains("\"10-one\" and \"20-two\" both set"), "{text}");
        assert_eq!(
            client
                .runtime
                .list_containers(v1::ListContainersRequest::default())
                .await
                .expect("list")
                .into_inner()
                .containers
                .len(),
            1
        );
        client.remove_pod(&pod).await.expect("remove");
    });
    assert!(first.notes().contains(&"PostUpdateContainer adjusted main".to_owned()));
    assert!(first.notes().contains(&"RemoveContainer adjusted both".to_owned()));
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn a_plugin_that_comes_late_misses_nothing() {
    let Some((node, image)) = node("nri-late", "") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("late");
        let pod = client.run_pod(&of).await.expect("run");
        client.launch(&pod, &container("before", &image, "sleep 1000"), &of).await;
        let gone = client.launch(&pod, &container("gone", &image, "true"), &of).await;
        client.ended(&gone).await;
        let plugin = Plugin::begin(&node, "10-late", "slow");
        plugin.noted("Synchronize");
        // It is hearing what is there: this one waits until it has heard.
        client.launch(&pod, &container("meanwhile", &image, "sleep 1000"), &of).await;
        let heard = plugin.notes();
        assert_eq!(heard[1], "Synchronize before late", "what has ended is not told");
        assert!(heard.contains(&"CreateContainer late meanwhile".to_owned()), "{heard:?}");

        let limiting = Plugin::start(&node, "20-limit", "limit");
        limiting.noted("failed no-such-container");
        let list = client.runtime.list_containers(v1::ListContainersRequest::default()).await;
        for one in list.expect("list").into_inner().containers {
            let running = one.state() == v1::ContainerState::ContainerRunning;
            let status = client.container(&one.id).await.expect("status");
            let shares = status.resources.and_then(|r| r.linux).map(|linux| linux.cpu_shares);
            assert!(!running || shares == Some(77), "{one:?}: {shares:?}");
        }
        client.remove_pod(&pod).await.expect("remove");
    });
}

#[test]
fn a_refused_pod_is_undone_and_can_be_made_later() {
    let Some((node, _)) = node("nri-refuse", "") else { return };
    let plugin = Plugin::start(&node, "10-no", "refuse-pod");
    node.run(async |client: &mut Client| {
        let of = pod("refused");
        let refused = client.run_pod(&of).await.expect_err("refused");
        let text = refused.message();
        assert!(text.contains("NRI plugin 10-no") && text.contains("does not like it"), "{text}");
        assert_eq!(node.leftovers(), Vec::<String>::new());
        let ends = ["StopPodSandbox refused", "RemovePodSandbox refused"];
        assert_eq!(plugin.notes()[3..], ends.map(str::to_owned));
        drop(plugin);
        until("it is dropped", || node.log().contains("an NRI plugin was dropped"));
        let pod = client.run_pod(&of).await.expect("nobody refuses it now");
        client.remove_pod(&pod).await.expect("remove");
    });
}

#[test]
fn plugins_of_the_directory_are_started_configured_and_ended() {
    let Some(mut node) = cri_tests::Node::prepare("nri-started") else { return };
    let (dir, file) = (node.path("plugins"), node.path("notes"));
    node.write("plugins/readme", "");
    symlink(env!("CARGO_BIN_EXE_cri-nri-plugin"), dir.join("15-own")).expect("link");
    node.write("plugin-conf/own.conf", &format!("watch {}\n", file.display()));
    let lines = format!(
        "[nri]\nplugin_path = {dir:?}\nplugin_config_path = {:?}\nrequired_plugins = [\"own\"]\n",
        node.path("plugin-conf")
    );
    node.write("config.d/nri.toml", &lines);
    node.serve();
    assert_eq!(notes(&file), ["Configure podloom", "Synchronize"], "before anybody is served");
    assert!(node.stop(), "ends well");
    until("it was told", || notes(&file).contains(&"Shutdown".to_owned()));
    until("nothing of it is left", || !runs(&dir.join("15-own")));
}

/// Whether a process was started by this path.
fn runs(path: &Path) -> bool {
    let line = |pid: &String| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_it = |pid: &String| line(pid).starts_with(path.as_os_str().as_encoded_bytes());
    lab::names(Path::new("/proc")).iter().any(is_it)
}
