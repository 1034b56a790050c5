use super::*;
use crate::v1alpha1::{
    CdiDevice, Hook, KeyValue, LinuxContainerUpdate, LinuxCpu, LinuxMemory, LinuxNamespace, Mount,
    OptionalInt64, OptionalUInt64, PosixRlimit,
};

fn creation() -> Creation {
    let container = Container {
        id: "new".to_owned(),
        env: vec!["A=image".to_owned(), "B=image".to_owned()],
        mounts: vec![mount("/data")],
        ..Container::default()
    };
    Creation::new(PodSandbox::default(), container)
}

fn mount(destination: &str) -> Mount {
    Mount { destination: destination.to_owned(), ..Mount::default() }
}

fn variable(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_owned() }
}

fn adjusting(adjust: ContainerAdjustment) -> CreateContainerResponse {
    CreateContainerResponse { adjust: Some(adjust), ..CreateContainerResponse::default() }
}

fn shares(value: u64) -> LinuxResources {
    let cpu = LinuxCpu { shares: Some(OptionalUInt64 { value }), ..LinuxCpu::default() };
    LinuxResources { cpu: Some(cpu), ..LinuxResources::default() }
}

fn memory(value: i64) -> LinuxResources {
    let memory = LinuxMemory { limit: Some(OptionalInt64 { value }), ..LinuxMemory::default() };
    LinuxResources { memory: Some(memory), ..LinuxResources::default() }
}

fn limiting(id: &str, resources: LinuxResources) -> ContainerUpdate {
    let linux = Some(LinuxContainerUpdate { resources: Some(resources) });
    ContainerUpdate { container_id: id.to_owned(), linux, ignore_failure: false }
}

#[test]
fn the_next_plugin_sees_what_the_one_before_adjusted() {
    let mut creation = creation();
    let first = ContainerAdjustment {
        env: vec![variable("A", "first"), variable("-B", ""), variable("C", "new")],
        mounts: vec![mount("-/data"), mount("/more")],
        annotations: [("note".to_owned(), "first".to_owned())].into(),
        args: vec!["sh".to_owned()],
        linux: Some(LinuxContainerAdjustment {
            resources: Some(shares(5)),
            ..LinuxContainerAdjustment::default()
        }),
        ..ContainerAdjustment::default()
    };
    creation.take(adjusting(first), "10-a").expect("adjusted");
    let seen = creation.request().container.expect("container");
    assert_eq!(seen.env, ["A=first", "C=new"]);
    assert_eq!(seen.mounts, [mount("/more")]);
    assert_eq!(seen.annotations["note"], "first");
    assert_eq!(seen.args, ["sh"]);
    let limits = seen.linux.expect("linux").resources.expect("limits");
    assert_eq!(limits.cpu.expect("cpu").shares, Some(OptionalUInt64 { value: 5 }));
    // What is taken away is told, for the configuration to lose it.
    assert!(creation.adjust.mounts.contains(&mount("-/data")));
    assert!(creation.adjust.env.contains(&variable("-B", "")));
}

#[test]
fn two_that_set_the_same_are_both_named() {
    let wishes: Vec<(&str, ContainerAdjustment)> = vec![
        ("Env", ContainerAdjustment { env: vec![variable("A", "x")], ..Default::default() }),
        ("Mounts", ContainerAdjustment { mounts: vec![mount("/m")], ..Default::default() }),
        ("Args", ContainerAdjustment { args: vec!["x".to_owned()], ..Default::default() }),
        (
            "Annotations",
            ContainerAdjustment {
                annotations: [("k".to_owned(), "v".to_owned())].into(),
                ..Default::default()
            },
        ),
        (
            "Rlimits",
            ContainerAdjustment {
                rlimits: vec![PosixRlimit { r#type: "RLIMIT_CORE".to_owned(), hard: 1, soft: 1 }],
                ..Default::default()
            },
        ),
        (
            "CdiDevices",
            ContainerAdjustment {
                cdi_devices: vec![CdiDevice { name: "v.com/c=1".to_owned() }],
                ..Default::default()
            },
        ),
        (
            "CPUShares",
            ContainerAdjustment {
                linux: Some(LinuxContainerAdjustment {
                    resources: Some(shares(1)),
                    ..Default::default()
                }),
                ..Default::default()
            },
        ),
        (
            "Namespace",
            ContainerAdjustment {
                linux: Some(LinuxContainerAdjustment {
                    namespaces: vec![LinuxNamespace {
                        r#type: "-network".to_owned(),
                        path: String::new(),
                    }],
                    ..Default::default()
                }),
                ..Default::default()
            },
        ),
    ];
    for (name, wish) in wishes {
        let mut creation = creation();
        creation.take(adjusting(wish.clone()), "10-a").expect("the first");
        let e = creation.take(adjusting(wish), "20-b").expect_err("the second").to_string();
        assert!(e.starts_with(&format!("plugins \"10-a\" and \"20-b\" both set {name}")), "{e}");
    }
}

#[test]
fn hooks_are_added_by_all() {
    let mut creation = creation();
    for (plugin, path) in [("10-a", "/a"), ("20-b", "/b")] {
        let hook = Hook { path: path.to_owned(), ..Hook::default() };
        let hooks = Some(Hooks { poststart: vec![hook], ..Hooks::default() });
        let wish = ContainerAdjustment { hooks, ..ContainerAdjustment::default() };
        creation.take(adjusting(wish), plugin).expect("added");
    }
    assert_eq!(creation.adjust.hooks.as_ref().expect("hooks").poststart.len(), 2);
    let owners = crate::owners::owners_of(&creation.others.owners, "new", Field::OciHooks);
    assert_eq!(owners.as_deref(), Some("10-a,20-b"));
}

#[test]
fn a_plugin_may_take_away_what_another_set_and_set_it_anew() {
    let mut creation = creation();
    let set = |value| ContainerAdjustment { env: vec![variable("A", value)], ..Default::default() };
    creation.take(adjusting(set("a")), "10-a").expect("set");
    let mut instead = set("b");
    instead.env.push(variable("-A", ""));
    creation.take(adjusting(instead), "20-b").expect("set anew");
    assert_eq!(creation.request().container.expect("container").env, ["B=image", "A=b"]);
    assert!(creation.take(adjusting(set("c")), "30-c").is_err(), "a third sets it");
}

#[test]
fn limits_of_others_are_one_entry_a_container() {
    let mut creation = creation();
    let update = vec![limiting("old", shares(1)), limiting("older", shares(2))];
    let answer = CreateContainerResponse { update, ..CreateContainerResponse::default() };
    creation.take(answer, "10-a").expect("taken");
    let update = vec![limiting("old", memory(9))];
    let answer = CreateContainerResponse { update, ..CreateContainerResponse::default() };
    creation.take(answer.clone(), "20-b").expect("another limit");
    assert_eq!(creation.others.updates.len(), 2);
    assert!(creation.take(answer.clone(), "30-c").is_err(), "the same limit");
    let mut ignored = answer;
    ignored.update[0].ignore_failure = true;
    creation.take(ignored, "30-c").expect("left out");
    let update = vec![limiting("new", shares(1))];
    let own = CreateContainerResponse { update, ..CreateContainerResponse::default() };
    assert_eq!(creation.take(own, "40-d"), Err(Unfit::UpdateOfNew("40-d".to_owned())));
}

#[test]
fn an_update_is_adjusted_one_after_the_other() {
    let container = Container { id: "c".to_owned(), ..Container::default() };
    let mut updating = Updating::new(PodSandbox::default(), container, memory(7));
    let update = vec![limiting("c", shares(3)), limiting("other", shares(4))];
    let answer = UpdateContainerResponse { update, ..UpdateContainerResponse::default() };
    updating.take(answer.clone(), "10-a").expect("taken");
    let next = updating.request().linux_resources.clone().expect("limits");
    assert_eq!(next.cpu.expect("cpu").shares, Some(OptionalUInt64 { value: 3 }));
    assert!(updating.take(answer, "20-b").is_err());
    let (limits, others) = updating.finish();
    assert_eq!(limits.memory.expect("memory").limit, Some(OptionalInt64 { value: 7 }));
    assert_eq!(others.updates.len(), 1);
}
