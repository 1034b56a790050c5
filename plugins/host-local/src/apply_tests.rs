//! The verbs on real directories, beside programs that do as they like.

use super::*;
use crate::range::bits;
use crate::scratch::{Random, Scratch};
use cni_types::{Args, NetConf};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

struct Bench {
    scratch: Scratch,
    config: Config,
    boot: Boot,
}

fn attachment(name: &str) -> Attachment {
    Attachment { container_id: name.to_owned(), ifname: "eth0".to_owned() }
}

impl Bench {
    fn new(ranges: Value) -> Bench {
        Bench::below(&std::env::temp_dir(), ranges)
    }

    fn below(parent: &Path, ranges: Value) -> Bench {
        let scratch = Scratch::below(parent);
        let config = Bench::config(&scratch, ranges);
        Bench { scratch, config, boot: Boot::of(b"00000000-0000-0000-0000-000000000001") }
    }

    fn config(scratch: &Scratch, ranges: Value) -> Config {
        let conf = NetConf::from_value(json!({
            "cniVersion": "1.1.0", "name": "net", "type": "host-local",
            "ipam": {"dataDir": scratch.path(), "ranges": ranges}
        }));
        Config::read(&conf.expect("conf"), &Args::default()).expect("config")
    }

    fn dir(&self) -> PathBuf {
        self.scratch.path().join("net")
    }

    fn index(&self) -> PathBuf {
        self.scratch.path().join(".podloom/net/index")
    }

    fn add(&self, name: &str) -> Result<Vec<String>> {
        let result = add(&self.config, &attachment(name), self.boot.clone())?;
        Ok(result.ips.iter().map(|ip| ip.address.ip().to_string()).collect())
    }

    fn asking(&self, name: &str, ip: &str) -> Result<Vec<String>> {
        let requested = vec![bits(ip.parse().expect("ip"))];
        let config = Config { requested, ..self.config.clone() };
        let result = add(&config, &attachment(name), self.boot.clone())?;
        Ok(result.ips.iter().map(|ip| ip.address.ip().to_string()).collect())
    }

    fn del(&self, name: &str) {
        del(&self.config.place, &attachment(name), self.boot.clone()).expect("DEL");
    }

    fn check(&self, name: &str, ip: &str) -> Result<()> {
        let prev = json!({"ips": [{"address": ip}]});
        let prev = CniResult::from_value(&prev, cni_types::Version::LATEST).expect("result");
        check(&self.config, &attachment(name), &prev, self.boot.clone())
    }

    fn gc(&self, valid: &[&str]) {
        let valid: Vec<_> = valid.iter().map(|name| attachment(name)).collect();
        gc(&self.config.place, &valid, self.boot.clone()).expect("GC");
    }

    fn status(&self) -> Result<()> {
        status(&self.config, self.boot.clone())
    }

    fn leases(&self) -> BTreeMap<String, String> {
        let mut leases = BTreeMap::new();
        for entry in fs::read_dir(self.dir()).expect("directory").flatten() {
            let name = entry.file_name().into_string().expect("name");
            if name.parse::<std::net::IpAddr>().is_ok() {
                let text = fs::read(entry.path()).unwrap_or_default();
                leases.insert(name, String::from_utf8_lossy(&text).replace("\r\neth0", ""));
            } else {
                assert!(name == "lock" || name.starts_with("last_reserved_ip."), "{name}");
            }
        }
        leases
    }
}

fn v4(subnet: &str) -> Value {
    json!([[{"subnet": subnet}]])
}

#[test]
fn the_files_are_those_of_the_reference() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new(json!([[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]));
    assert_eq!(bench.add("one").expect("ADD"), ["10.0.0.2", "fd00::2"]);
    let text = |name: &str| fs::read_to_string(bench.dir().join(name)).expect(name);
    assert_eq!(text("10.0.0.2"), "one\r\neth0");
    assert_eq!(text("fd00::2"), "one\r\neth0");
    assert_eq!(text("last_reserved_ip.0"), "10.0.0.2");
    assert_eq!(text("last_reserved_ip.1"), "fd00::2");
    assert_eq!(text("lock"), "");
    for (name, mode) in [("10.0.0.2", 0o600), ("last_reserved_ip.1", 0o600), ("lock", 0o750)] {
        let found = fs::metadata(bench.dir().join(name)).expect(name).permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    assert_eq!(bench.add("two").expect("ADD"), ["10.0.0.3", "fd00::3"]);
    assert_eq!(bench.asking("three", "10.0.0.200").expect("ADD"), ["10.0.0.200", "fd00::4"]);
    assert_eq!(text("last_reserved_ip.0"), "10.0.0.200");
    assert_eq!(bench.asking("four", "10.0.0.9").expect("ADD"), ["10.0.0.9", "fd00::5"]);
    assert_eq!(text("last_reserved_ip.0"), "10.0.0.9", "shorter than what was there before");
}

#[test]
fn a_second_add_and_a_taken_address_are_conflicts() {
    let bench = Bench::new(v4("10.0.0.0/24"));
    bench.add("one").expect("ADD");
    let error = bench.add("one").expect_err("second ADD");
    assert_eq!(error.code, Code::Conflict);
    assert!(error.msg.contains("10.0.0.2"), "{error}");
    let error = bench.asking("two", "10.0.0.2").expect_err("taken");
    assert_eq!(error.code, Code::Conflict);
    assert!(error.details.contains("one/eth0"), "{error}");
    // The oldest form names no interface and counts for all.
    fs::write(bench.dir().join("10.0.0.77"), "old").expect("write");
    assert_eq!(bench.add("old").expect_err("held").code, Code::Conflict);
    assert_eq!(bench.leases().len(), 2);
}

#[test]
fn dual_stack_is_all_or_nothing() {
    let bench = Bench::new(json!([[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/126"}]]));
    bench.add("one").expect("ADD");
    bench.add("two").expect("ADD");
    let error = bench.add("three").expect_err("no IPv6 address is left");
    assert_eq!(error.code, Code::PoolExhausted);
    assert!(error.msg.contains("range set 1 (fd00::1-fd00::3)"), "{error}");
    assert_eq!(bench.leases().len(), 4, "nothing of the failed ADD is left");
    assert_eq!(bench.status().expect_err("exhausted").code, Code::NotAvailable);
    bench.del("one");
    bench.status().expect("one is free");
    assert_eq!(bench.add("four").expect("ADD"), ["10.0.0.4", "fd00::2"]);
}

#[test]
fn del_frees_the_attachment_and_nothing_else() {
    let bench = Bench::new(v4("10.0.0.0/24"));
    bench.del("nobody");
    assert!(!bench.dir().exists(), "DEL makes no directory");
    bench.add("one").expect("ADD");
    bench.add("two").expect("ADD");
    bench.del("on");
    bench.del("one");
    bench.del("one");
    assert_eq!(bench.leases().into_keys().collect::<Vec<_>>(), ["10.0.0.3"]);
    fs::write(bench.dir().join("10.0.0.50"), "old\n").expect("write");
    bench.del("old");
    assert_eq!(bench.leases().len(), 1);
}

#[test]
fn check_wants_the_very_addresses() {
    let bench = Bench::new(v4("10.0.0.0/24"));
    assert_eq!(bench.check("one", "10.0.0.2/24").expect_err("no directory").code, Code::Drift);
    assert!(!bench.dir().exists(), "CHECK makes no directory");
    bench.add("one").expect("ADD");
    bench.add("two").expect("ADD");
    bench.check("one", "10.0.0.2/24").expect("CHECK");
    for (ip, cause) in [
        ("10.0.0.3/24", "is leased to two/eth0"),
        ("10.0.0.4/24", "is not leased"),
        ("192.0.2.1/24", "no address of it is leased"),
    ] {
        let error = bench.check("one", ip).expect_err(ip);
        assert_eq!(error.code, Code::Drift);
        assert!(error.msg.contains(cause), "{error}");
    }
}

#[test]
fn gc_keeps_the_valid_and_frees_the_rest() {
    let bench = Bench::new(v4("10.0.0.0/24"));
    bench.gc(&[]);
    assert!(!bench.dir().exists(), "GC makes no directory");
    for name in ["a", "b", "c"] {
        bench.add(name).expect("ADD");
    }
    fs::write(bench.dir().join("10.0.0.90"), "a").expect("old form of a");
    fs::write(bench.dir().join("10.0.0.91"), "d").expect("old form of d");
    fs::write(bench.dir().join("10.0.0.92"), "e\r\neth0").expect("another program's");
    fs::write(bench.dir().join("10.0.0.93"), "").expect("torn");
    bench.gc(&["a", "c"]);
    let left: Vec<_> = bench.leases().into_iter().map(|(ip, id)| format!("{ip} {id}")).collect();
    assert_eq!(left, ["10.0.0.2 a", "10.0.0.4 c", "10.0.0.90 a"]);
    bench.gc(&[]);
    assert!(bench.leases().is_empty());
}

#[test]
fn a_lease_of_an_earlier_boot_is_free_again() {
    let mut bench = Bench::new(v4("10.0.0.0/29"));
    for name in ["a", "b", "c", "d", "e"] {
        bench.add(name).expect("ADD");
    }
    bench.boot = Boot::of(b"00000000-0000-0000-0000-000000000002");
    let error = bench.check("a", "10.0.0.2/29").expect_err("of the boot before");
    assert!(error.msg.contains("is not leased"), "{error}");
    bench.status().expect("all are free");
    assert_eq!(bench.leases().len(), 5, "a look changes nothing");
    // Made in this boot by another program, with an address and owner of before.
    fs::remove_file(bench.dir().join("10.0.0.3")).expect("remove");
    fs::write(bench.dir().join("10.0.0.3"), "b\r\neth0").expect("write");
    assert_eq!(bench.add("a").expect("a container may come again"), ["10.0.0.2"]);
    let left = bench.leases();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!((left["10.0.0.2"].as_str(), left["10.0.0.3"].as_str()), ("a", "b"));
    assert_eq!(bench.add("b").expect_err("still held").code, Code::Conflict);
}

#[test]
fn what_a_power_cut_or_kill_leaves_blocks_nothing() {
    let bench = Bench::new(v4("10.0.0.0/29"));
    bench.add("a").expect("ADD");
    for (name, text) in [
        ("10.0.0.3", &b""[..]),
        ("10.0.0.4", b"\0\0\0\0\0"),
        ("10.0.0.5", b"\r\n"),
        ("last_reserved_ip.0", b"10.0."),
        (".podloom-new-lease", b"half"),
    ] {
        fs::write(bench.dir().join(name), text).expect(name);
    }
    bench.status().expect("three are free");
    let given: Vec<_> =
        ["b", "c", "d", "e"].iter().map(|name| bench.add(name).expect("ADD")[0].clone()).collect();
    assert_eq!(given, ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    assert_eq!(bench.leases().len(), 5);
}

#[test]
fn an_unusable_index_is_replaced() {
    let bench = Bench::new(v4("10.0.0.0/24"));
    bench.add("a").expect("ADD");
    for text in [&b""[..], b"podloom1", &[0xff; 50_000]] {
        fs::write(bench.index(), text).expect("write");
        bench.del("nobody");
        assert_eq!(bench.add("a").expect_err("held").code, Code::Conflict);
        bench.check("a", "10.0.0.2/24").expect("CHECK");
    }
    fs::remove_dir_all(bench.index().parent().expect("parent")).expect("remove");
    bench.del("a");
    assert!(bench.leases().is_empty());
    assert!(!bench.index().exists(), "only ADD makes it");
}

#[test]
fn links_and_directories_are_never_followed() {
    let bench = Bench::new(v4("10.0.0.0/29"));
    bench.add("a").expect("ADD");
    let outside = bench.scratch.path().join("outside");
    fs::write(&outside, "b\r\neth0").expect("write");
    std::os::unix::fs::symlink(&outside, bench.dir().join("10.0.0.3")).expect("link");
    fs::create_dir(bench.dir().join("10.0.0.4")).expect("directory");
    bench.del("b");
    bench.gc(&["a"]);
    assert_eq!(fs::read_to_string(&outside).expect("read"), "b\r\neth0");
    assert!(bench.dir().join("10.0.0.3").symlink_metadata().is_ok(), "not ours to remove");
    assert_eq!(bench.add("b").expect("ADD"), ["10.0.0.5"]);
    assert_eq!(bench.asking("c", "10.0.0.3").expect_err("taken").code, Code::Conflict);
    // The network's directory, the lock and the cursor as links to the outside.
    let other = bench.scratch.path().join("other");
    fs::rename(bench.dir(), &other).expect("move");
    std::os::unix::fs::symlink(&other, bench.dir()).expect("link");
    let error = bench.add("d").expect_err("a link");
    assert_eq!(error.code, Code::Io);
    assert!(error.details.contains("links are not followed"), "{error}");
    fs::remove_file(bench.dir()).expect("remove");
    fs::rename(&other, bench.dir()).expect("move back");
    for name in ["lock", "last_reserved_ip.0"] {
        fs::remove_file(bench.dir().join(name)).expect(name);
        std::os::unix::fs::symlink(&outside, bench.dir().join(name)).expect("link");
        assert_eq!(bench.add("d").expect_err(name).code, Code::Io);
        assert_eq!(fs::read_to_string(&outside).expect("read"), "b\r\neth0");
        fs::remove_file(bench.dir().join(name)).expect(name);
    }
    assert_eq!(bench.add("d").expect("ADD"), ["10.0.0.6"]);
}

/// A program that knows the directory but not the index, as the reference does.
fn meddle(bench: &Bench, random: &mut Random, live: &mut BTreeMap<String, String>, n: u64) {
    let ip = format!("10.0.0.{}", 2 + random.below(13));
    match random.below(6) {
        0..=2 if !live.contains_key(&ip) => {
            let owner = format!("foreign{n}");
            fs::write(bench.dir().join(&ip), format!("{owner}\r\neth0")).expect("write");
            if random.below(2) == 0 {
                fs::write(bench.dir().join("last_reserved_ip.0"), &ip).expect("write");
            }
            live.insert(ip, owner);
        }
        0..=3 if live.remove(&ip).is_some() => {
            fs::remove_file(bench.dir().join(&ip)).expect("remove");
        }
        0..=3 => {}
        4 => drop(fs::remove_file(bench.index())),
        _ if !live.contains_key(&ip) => fs::write(bench.dir().join(&ip), "").expect("torn"),
        _ => {}
    }
}

fn random_history(seed: u64, parent: &Path) {
    let mut bench = Bench::below(parent, v4("10.0.0.0/28"));
    let mut random = Random::new(seed);
    let mut live: BTreeMap<String, String> = BTreeMap::new();
    bench.add("first").expect("ADD");
    live.insert("10.0.0.2".to_owned(), "first".to_owned());
    for n in 0..300 {
        match random.below(12) {
            0..=4 => match bench.add(&format!("own{n}")) {
                Ok(ips) => assert!(live.insert(ips[0].clone(), format!("own{n}")).is_none()),
                Err(error) => {
                    assert_eq!(error.code, Code::PoolExhausted, "seed {seed}: {error}");
                    assert_eq!(live.len(), 13, "seed {seed}: an address was free");
                }
            },
            5..=8 => {
                let nth = random.below(live.len().max(1) as u64) as usize;
                if let Some((ip, owner)) = live.iter().nth(nth) {
                    bench.check(owner, &format!("{ip}/28")).expect("CHECK");
                    bench.del(owner);
                    let ip = ip.clone();
                    live.remove(&ip);
                }
            }
            9 => assert_eq!(bench.status().is_ok(), live.len() < 13, "seed {seed}"),
            10 => meddle(&bench, &mut random, &mut live, n),
            _ if random.below(10) == 0 => {
                // Only leases that the index knows can be told from those of the new boot here.
                bench.del("nobody");
                let id = format!("00000000-0000-0000-0000-{n:012}");
                bench.boot = Boot::of(id.as_bytes());
                live.clear();
            }
            _ => {
                let keep: Vec<_> = live.values().filter(|_| random.below(4) > 0).cloned().collect();
                bench.gc(&keep.iter().map(String::as_str).collect::<Vec<_>>());
                live.retain(|_, owner| keep.contains(owner));
            }
        }
    }
    bench.gc(&[]);
    assert!(bench.leases().is_empty());
}

#[test]
fn random_histories_with_another_program_keep_every_lease() {
    for seed in 1..=12 {
        random_history(seed, &std::env::temp_dir());
    }
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        for seed in 20..=30 {
            random_history(seed, memory);
        }
    }
}
