//! Many processes at once, and the reference plugin on the same directory at the same time.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use serde_json::json;
use stage::{Stage, command, finish, ours, reference, start};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;

#[test]
fn fifty_adds_at_once_get_different_addresses_and_fifty_dels_free_them() {
    let stage = Stage::new(json!([[{"subnet": "10.7.0.0/24"}], [{"subnet": "fd07::/64"}]]));
    for round in 0..3 {
        let ids: Vec<_> = (0..50).map(|n| format!("r{round}c{n}")).collect();
        let running: Vec<_> =
            ids.iter().map(|id| start(&mut command(&ours(), "ADD", id), &stage.conf())).collect();
        let mut seen = BTreeSet::new();
        for child in running {
            let ips = finish(child).expect("ADD").ips();
            assert_eq!(ips.len(), 2);
            for ip in ips {
                assert!(seen.insert(ip.clone()), "{ip} was given out twice");
            }
        }
        assert_eq!(stage.leases().len(), 100);
        let running: Vec<_> =
            ids.iter().map(|id| start(&mut command(&ours(), "DEL", id), &stage.conf())).collect();
        for child in running {
            finish(child).expect("DEL");
        }
        assert!(stage.leases().is_empty());
    }
}

/// A few workers add and delete with a program chosen at random, sharing one small pool.
#[test]
fn both_plugins_share_a_directory_at_the_same_time() {
    let Some(reference) = reference() else { return };
    let stage = Stage::new(json!([[{"subnet": "10.7.0.0/27"}], [{"subnet": "fd07::/123"}]]));
    let live: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let worker = |number: u64| {
        let programs: [PathBuf; 2] = [ours(), reference.clone()];
        let mut seed = number * 7919 + 1;
        let mut random = |limit: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % limit
        };
        let mut own: Vec<(String, Vec<String>)> = Vec::new();
        for n in 0.. {
            let program = &programs[random(2) as usize];
            let id = format!("w{number}n{n}");
            if n < 60 && own.len() < 5 && random(3) > 0 {
                let ips = stage.add(program, &id).expect("ADD").ips();
                assert_eq!(ips.len(), 2);
                let mut live = live.lock().expect("live");
                for ip in &ips {
                    let other = live.insert(ip.clone(), id.clone());
                    assert_eq!(other, None, "{ip} is in use and was given to {id}");
                }
                own.push((id, ips));
            } else if !own.is_empty() {
                let (id, ips) = own.remove(random(own.len() as u64) as usize);
                // Before the lease goes: another worker may get the address right after.
                let mut live = live.lock().expect("live");
                ips.iter().for_each(|ip| drop(live.remove(ip)));
                drop(live);
                stage.del(program, &id).expect("DEL");
            } else if n >= 60 {
                break;
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|n| scope.spawn(move || worker(n))).collect();
        workers.into_iter().for_each(|w| w.join().expect("worker"));
    });
    assert_eq!(stage.leases(), BTreeMap::new());
}

#[test]
fn each_plugin_cleans_up_after_the_other() {
    let Some(reference) = reference() else { return };
    let stage = Stage::new(json!([[{"subnet": "10.7.0.0/24"}]]));
    for (adder, other) in [(ours(), reference.clone()), (reference.clone(), ours())] {
        let ips = stage.add(&adder, "a").expect("ADD").ips();
        assert!(!stage.add(&other, "a").ok, "a second ADD is refused by either");
        let mut check = stage.conf();
        check["prevResult"] =
            json!({"cniVersion": "1.0.0", "ips": [{"address": format!("{}/24", ips[0])}]});
        stage.run(&other, "CHECK", "a", &check).expect("CHECK");
        stage.del(&other, "a").expect("DEL");
        assert!(!stage.run(&adder, "CHECK", "a", &check).ok);
        assert!(stage.leases().is_empty());
    }
    stage.add(&reference, "kept").expect("ADD");
    stage.add(&reference, "lost").expect("ADD");
    stage.gc(&["kept"]).expect("GC");
    let owners: Vec<_> = stage.leases().into_values().collect();
    assert_eq!(owners, ["kept\r\neth0"]);
}

#[test]
fn both_plugins_go_round_the_range_together() {
    let Some(reference) = reference() else { return };
    let stage = Stage::new(json!([[{"subnet": "10.7.0.0/28"}]]));
    let mut order = Vec::new();
    for n in 0..13 {
        let program = if n % 3 == 0 { &reference } else { &ours() };
        let id = format!("c{n}");
        order.extend(stage.add(program, &id).expect("ADD").ips());
        stage.del(program, &id).expect("DEL");
    }
    let wanted: Vec<_> = (2..15).map(|last| format!("10.7.0.{last}")).collect();
    assert_eq!(order, wanted, "no address comes twice before all came once");
}
