use super::plan as v2;
use crate::error::Kind;
use crate::plan_v1::plan as v1;
use crate::step::Step;
use runtime_spec::Resources;

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

fn text(steps: &[Step]) -> Vec<String> {
    steps.iter().map(|s| format!("{}={}", s.file, s.value)).collect()
}

const COMMON: &str = r#"{
    "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0"},
    "memory": {"limit": 1000, "swap": 1500, "reservation": 500, "kernel": 7, "kernelTCP": 7},
    "pids": {"limit": 32},
    "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
    "rdma": {"mlx5_1": {"hcaHandles": 3}}
}"#;

#[test]
fn one_configuration_on_v2() {
    let mut got = text(&v2(&resources(COMMON)).unwrap());
    got.sort();
    let mut want = [
        "cpu.weight=100",
        "cpu.max=50000 100000",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "memory.swap.max=500",
        "memory.max=1000",
        "memory.low=500",
        "pids.max=32",
        "io.bfq.weight=500",
        "io.max=8:0 rbps=9",
        "hugetlb.2MB.max=4",
        "hugetlb.2MB.rsvd.max=4",
        "rdma.max=mlx5_1 hca_handle=3",
    ];
    want.sort();
    assert_eq!(got, want);
}

#[test]
fn one_configuration_on_v1() {
    let mut got = text(&v1(&resources(COMMON)).unwrap());
    got.sort();
    let mut want = [
        "cpu.shares=1024",
        "cpu.cfs_period_us=100000",
        "cpu.cfs_quota_us=50000",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "memory.limit_in_bytes=1000",
        "memory.memsw.limit_in_bytes=1500",
        "memory.soft_limit_in_bytes=500",
        "memory.kmem.tcp.limit_in_bytes=7",
        "pids.max=32",
        "blkio.weight=500",
        "blkio.throttle.read_bps_device=8:0 9",
        "hugetlb.2MB.limit_in_bytes=4",
        "hugetlb.2MB.rsvd.limit_in_bytes=4",
        "rdma.max=mlx5_1 hca_handle=3",
    ];
    want.sort();
    assert_eq!(got, want);
}

#[test]
fn no_limit_and_nothing_said() {
    let none =
        resources(r#"{"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}"#);
    assert_eq!(
        text(&v2(&none).unwrap()),
        ["cpu.max=max", "memory.swap.max=max", "memory.max=max", "pids.max=max"]
    );
    let zero = resources(r#"{"memory": {"limit": 0}, "pids": {"limit": 0}, "cpu": {"shares": 0}}"#);
    assert!(v2(&zero).unwrap().is_empty() && v1(&zero).unwrap().is_empty());
    let period = v2(&resources(r#"{"cpu": {"period": 7}}"#)).unwrap();
    assert!(period[0].keep_first);
}

#[test]
fn idle_leaves_the_weight() {
    let idle = resources(r#"{"cpu": {"idle": 1, "shares": 5}}"#);
    assert_eq!(text(&v2(&idle).unwrap()), ["cpu.idle=1"]);
    assert_eq!(text(&v1(&idle).unwrap()), ["cpu.idle=1"]);
}

#[test]
fn unified_names_cannot_escape() {
    let of = |key: &str| {
        let mut r = Resources::default();
        r.unified.insert(key.into(), "1".into());
        v2(&r)
    };
    for bad in [
        "../x.y",
        "a/b.c",
        "..",
        ".",
        "",
        "memory",
        "cgroup.procs",
        "cgroup.kill",
        ".max",
        "a.",
        "cgroup.subtree_control",
        "cgroup.freeze",
        "cgroup.type",
        "cgroup.threads",
        "a.b\0",
    ] {
        assert_eq!(of(bad).unwrap_err().kind(), Kind::Invalid, "{bad:?}");
    }
    assert_eq!(text(&of("memory.high").unwrap()), ["memory.high=1"]);
    assert_eq!(text(&of("cgroup.max.depth").unwrap()), ["cgroup.max.depth=1"]);
    let lines = resources(r#"{"unified": {"io.max": "8:0 rbps=1\n\n 8:16 rbps=2\n"}}"#);
    assert_eq!(text(&v2(&lines).unwrap()), ["io.max=8:0 rbps=1", "io.max=8:16 rbps=2"]);
    assert_eq!(v1(&lines).unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn values_are_checked() {
    for bad in [
        r#"{"hugepageLimits": [{"pageSize": "../2MB", "limit": 4}]}"#,
        r#"{"hugepageLimits": [{"pageSize": "2M", "limit": 4}]}"#,
        r#"{"hugepageLimits": [{"pageSize": "MB", "limit": 4}]}"#,
        r#"{"rdma": {"a b": {}}}"#,
        r#"{"cpu": {"cpus": "0-x"}}"#,
        r#"{"memory": {"limit": 10, "swap": 5}}"#,
        r#"{"blockIO": {"weight": 5}}"#,
        r#"{"blockIO": {"throttleReadBpsDevice": [{"major": -8, "minor": 0, "rate": 9}]}}"#,
    ] {
        assert_eq!(v2(&resources(bad)).unwrap_err().kind(), Kind::Invalid, "{bad}");
        assert_eq!(v1(&resources(bad)).unwrap_err().kind(), Kind::Invalid, "{bad}");
    }
    assert!(v1(&resources(r#"{"memory": {"swappiness": 101}}"#)).is_err());
    assert!(v1(&resources(r#"{"cpu": {"shares": 1}}"#)).is_err());
    let name = r#"{"network": {"priorities": [{"name": "a b", "priority": 1}]}}"#;
    assert!(v1(&resources(name)).is_err());
    let rt = resources(r#"{"cpu": {"realtimeRuntime": 5}}"#);
    assert_eq!(v2(&rt).unwrap_err().kind(), Kind::Unsupported);
}
