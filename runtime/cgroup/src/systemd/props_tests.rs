use super::*;

fn of(json: &str, names: Names) -> Vec<(String, Value)> {
    let resources = serde_json::from_str(json).unwrap();
    let numbers = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n 65 sd\n";
    let all = properties(&resources, names, numbers).unwrap();
    all.into_iter().map(|p| (p.name, p.value)).collect()
}

fn named(all: &[(&str, u64)]) -> Vec<(String, Value)> {
    all.iter().map(|(n, v)| ((*n).to_owned(), Value::U64(*v))).collect()
}

#[test]
fn limits_by_both_names() {
    let json = r#"{"memory": {"limit": 1000, "swap": 1500, "reservation": 10},
        "cpu": {"shares": 1024, "quota": 50001, "period": 100000},
        "pids": {"limit": -1}, "blockIO": {"weight": 1000}}"#;
    let v2 = [
        ("MemoryMax", 1000),
        ("MemoryLow", 10),
        ("MemorySwapMax", 500),
        ("CPUWeight", 100),
        ("CPUQuotaPeriodUSec", 100_000),
        ("CPUQuotaPerSecUSec", 510_000),
        ("TasksMax", INFINITY),
        ("IOWeight", 10_000),
    ];
    assert_eq!(of(json, Names::V2), named(&v2));
    let v1 = [
        ("MemoryLimit", 1000),
        ("CPUShares", 1024),
        ("CPUQuotaPeriodUSec", 100_000),
        ("CPUQuotaPerSecUSec", 510_000),
        ("TasksMax", INFINITY),
        ("BlockIOWeight", 1000),
    ];
    assert_eq!(of(json, Names::V1), named(&v1));
}

#[test]
fn lists_become_masks() {
    assert_eq!(cpu_mask("0-2,9").unwrap(), [7, 2]);
    assert_eq!(cpu_mask("").unwrap(), [0u8; 0]);
    let got = of(r#"{"cpu": {"cpus": "1", "idle": 1, "shares": 5}}"#, Names::V2);
    assert_eq!(got, [("AllowedCPUs".to_owned(), Value::Bytes(vec![2]))]);
}

#[test]
fn files_of_v2() {
    let json = r#"{"unified": {"memory.high": "max", "cpu.max": "1 2", "pids.max": "7",
        "memory.oom.group": "1", "memory.min": "junk"}}"#;
    let text = ("OOMPolicy".to_owned(), Value::Text("kill".to_owned()));
    let mut want = named(&[("MemoryHigh", INFINITY)]);
    want.push(text);
    want.extend(named(&[("TasksMax", 7)]));
    assert_eq!(of(json, Names::V2), want);
    assert!(of(json, Names::V1).is_empty());
}

#[test]
fn devices_that_systemd_can_say() {
    let json = |more: &str| {
        format!(
            r#"{{"devices": [{{"allow": false}},
            {{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}},
            {{"allow": true, "type": "c", "major": 136, "access": "rw"}},
            {{"allow": true, "type": "b", "access": "m"}}{more}]}}"#
        )
    };
    let pairs = |all: &[(&str, &str)]| {
        Value::Pairs(all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    };
    let got = of(&json(""), Names::V2);
    assert_eq!(got[0].1, Value::Text("strict".to_owned()));
    assert_eq!(got[1].1, pairs(&[]));
    assert_eq!(got[2].1, pairs(&[("/dev/char/1:3", "rwm"), ("char-pts", "rw"), ("block-*", "m")]));
    // No name for the number; a name with two numbers; a minor number of all kinds; all.
    for more in [
        r#",{"allow": true, "type": "c", "major": 77}"#,
        r#",{"allow": true, "type": "b", "major": 8}"#,
        r#",{"allow": true, "type": "c", "minor": 1}"#,
        r#",{"allow": true}"#,
    ] {
        let got = of(&json(more), Names::V2);
        assert_eq!(got[0].1, Value::Text("auto".to_owned()), "{more}");
        assert_eq!(got.len(), 2);
    }
}
