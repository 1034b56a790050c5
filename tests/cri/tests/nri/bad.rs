//! Plugins that hang, die, or send what is no message; and those that are required.

use crate::running::{Plugin, node, until};
use cri_tests::{Client, container, pod};
use std::time::{Duration, Instant};
use tonic::Code;

/// Times that a test can wait for.
const SHORT: &str = "plugin_registration_timeout = \"1s\"\nplugin_request_timeout = \"500ms\"";

#[test]
fn a_bad_plugin_is_dropped_and_the_rest_goes_on() {
    let Some((node, image)) = node("nri-bad", SHORT) else { return };
    node.run(async |client: &mut Client| {
        let of = pod("bad");
        let pod = client.run_pod(&of).await.expect("run");
        for (behaviour, why) in [
            ("hang", "gave no answer in 500ms"),
            ("die", "hung up"),
            ("garbage", "sent a frame of 4294967295 bytes"),
            ("oversize", "sent a message of 2147483647 bytes"),
        ] {
            let full = format!("10-{behaviour}");
            let _plugin = Plugin::start(&node, &full, behaviour);
            let begun = Instant::now();
            let id = client.launch(&pod, &container(behaviour, &image, "sleep 1000"), &of).await;
            assert!(begun.elapsed() < Duration::from_secs(8), "{behaviour}: {:?}", begun.elapsed());
            let log = node.log();
            let line = log.lines().find(|line| line.contains("dropped") && line.contains(&full));
            assert!(line.is_some_and(|line| line.contains(why)), "{behaviour}: {line:?}");
            client.remove(&id).await.expect("remove");
        }
        client.remove_pod(&pod).await.expect("remove");
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn one_that_never_registers_holds_nobody_up() {
    let Some((node, image)) = node("nri-silent", SHORT) else { return };
    let silent = Plugin::begin(&node, "10-silent", "silent");
    node.run(async |client: &mut Client| {
        let of = pod("silent");
        let begun = Instant::now();
        let pod = client.run_pod(&of).await.expect("run");
        client.launch(&pod, &container("main", &image, "sleep 1000"), &of).await;
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        client.remove_pod(&pod).await.expect("remove");
    });
    silent.noted("closed: hung up");
    assert!(node.log().contains("did not register in 1s"), "{}", node.log());
}

#[test]
fn a_refusal_is_an_error_and_leaves_nothing() {
    let Some((node, image)) = node("nri-refusal", SHORT) else { return };
    let plugin = Plugin::start(&node, "10-no", "refuse");
    node.run(async |client: &mut Client| {
        let of = pod("refusal");
        let pod = client.run_pod(&of).await.expect("run");
        let refused = client.create(&pod, &container("main", &image, "true"), &of).await;
        let refused = refused.expect_err("refused");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let text = refused.message();
        assert!(text.contains("NRI plugin 10-no") && text.contains("does not like it"), "{text}");
        client.remove_pod(&pod).await.expect("remove");
    });
    assert!(plugin.notes().contains(&"RemoveContainer refusal main".to_owned()));
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn without_a_required_plugin_no_container_is_made() {
    let lines = format!(
        "{SHORT}\nrequired_plugins = [\"guard\"]\n\
         tolerate_missing_plugins_annotation = \"tolerate.example.com\""
    );
    let Some((node, image)) = node("nri-required", &lines) else { return };
    node.run(async |client: &mut Client| {
        let of = pod("required");
        let pod_id = client.run_pod(&of).await.expect("pods are made");
        let wanted = container("main", &image, "sleep 1000");
        let refused = client.create(&pod_id, &wanted, &of).await.expect_err("refused");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let text = refused.message();
        assert!(text.contains("\"guard\", which is not connected"), "{text}");

        let guard = Plugin::start(&node, "10-guard", "hang");
        let refused = client.create(&pod_id, &wanted, &of).await.expect_err("it hangs");
        let text = refused.message();
        assert!(text.contains("\"guard\", which was dropped because it gave no answer"), "{text}");
        drop(guard);

        let guard = Plugin::start(&node, "10-guard", "watch");
        let id = client.launch(&pod_id, &wanted, &of).await;
        client.remove(&id).await.expect("remove");
        drop(guard);
        until("it is dropped", || node.log().matches("an NRI plugin was dropped").count() == 2);
        let refused = client.create(&pod_id, &wanted, &of).await.expect_err("it is gone");
        assert!(refused.message().contains("it hung up"), "{}", refused.message());

        let mut without = pod("without");
        without.annotations.insert("tolerate.example.com".to_owned(), "true".to_owned());
        let other = client.run_pod(&without).await.expect("run");
        client.launch(&other, &container("main", &image, "sleep 1000"), &without).await;
        let mut own = pod("own");
        let key = "required-plugins.noderesource.dev/container.main";
        own.annotations.insert(key.to_owned(), "[\"other\"]".to_owned());
        let third = client.run_pod(&own).await.expect("run");
        let refused = client.create(&third, &container("main", &image, "true"), &own).await;
        assert!(refused.expect_err("refused").message().contains("\"other\""));
        for pod in [pod_id, other, third] {
            client.remove_pod(&pod).await.expect("remove");
        }
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}
