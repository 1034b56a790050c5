//! What a group uses, told.

mod support;

use support::{create, end, has, resources, run_in, until};

#[test]
fn what_a_group_uses() {
    let group = create("stats");
    // So little that it is held back on a busy machine, too.
    let limits = r#"{"memory": {"limit": 134217728}, "pids": {"limit": 77},
        "cpu": {"quota": 5000, "period": 100000}}"#;
    let limited = ["memory", "pids", "cpu"].iter().all(|c| has(&group, c));
    if limited {
        group.apply(&resources(limits)).unwrap();
    }
    let script = "x=$(head -c 300k /dev/zero | tr '\\0' x); while :; do :; done";
    let child = run_in(&group, script);
    until("it was held back", || {
        let stats = group.stats().unwrap();
        stats.cpu.usage.total > 20_000_000
            && (!limited
                || stats.memory.usage.usage > 300_000
                    && stats.pids.current == 1
                    && stats.cpu.throttling.throttled_periods > 0
                    // Counted only when a period of being held back has ended.
                    && stats.cpu.throttling.throttled_time > 0)
    });
    let stats = group.stats().unwrap();
    assert!(stats.cpu.usage.user > 0 || stats.cpu.usage.kernel > 0, "{stats:?}");
    if has(&group, "cpuset") {
        assert!(stats.cpuset.cpus.contains(&0) && stats.cpuset.mems.contains(&0));
    }
    if limited {
        assert_eq!(stats.memory.usage.limit, 134_217_728);
        assert!(stats.memory.usage.usage > 100_000, "{:?}", stats.memory.usage);
        assert!(stats.memory.raw.len() > 10);
        assert_eq!((stats.pids.current, stats.pids.limit), (1, 77));
        assert!(stats.cpu.throttling.throttled_time > 0);
    } else {
        lab::skip("limits: this machine lacks the controllers");
    }
    let json = serde_json::to_value(&stats).unwrap();
    for path in ["/cpu/usage/total", "/cpu/throttling", "/memory/usage/limit", "/memory/kernelTCP"]
    {
        assert!(json.pointer(path).is_some(), "{path}: {json}");
    }
    end(&group, child);
    assert_eq!(group.stats().unwrap(), cgroup::stats::Stats::default());
}
