use super::super::samples::{mapping, owner};
use super::*;

struct Dir(Registry);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("podloom-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Dir(Registry::new(path))
    }

    fn claim(&self, owner: &Owner, texts: &[&str], real: bool) -> Result<Granted> {
        let held = held(owner, texts);
        self.0.lock()?.claim(owner, &held, &mut |_| Ok(real))
    }

    fn ports(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.0.dir.join("ports"))
            .expect("ports")
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.dir);
    }
}

fn held(owner: &Owner, texts: &[&str]) -> Held {
    Held {
        ifname: owner.ifname.clone(),
        backend: Backend::Nftables,
        chain: String::new(),
        pods: vec!["10.0.0.2/24".parse().expect("pod")],
        mappings: texts.iter().map(|t| mapping(t)).collect(),
        entries: Vec::new(),
        placed: None,
    }
}

fn other() -> Owner {
    Owner { container_id: "other".into(), ..owner() }
}

#[test]
fn a_port_that_is_taken_is_refused_with_its_owner_named() {
    let dir = Dir::new("taken");
    drop(dir.claim(&owner(), &["tcp 80 8080 192.0.2.1"], false).expect("first"));
    let error = dir.claim(&other(), &["tcp 81 1", "tcp 80 1"], true).err().expect("taken");
    assert_eq!(error.code, Code::Conflict);
    assert!(error.msg.contains("icee6giejonei6so") && error.msg.contains("test"), "{error}");
    assert!(error.msg.contains("192.0.2.1:80/tcp"), "{error}");
    assert_eq!(dir.ports(), ["tcp-80"], "nothing of a refused request stays");
    drop(dir.claim(&other(), &["tcp 80 1 192.0.2.2", "udp 80 1"], true).expect("elsewhere"));
    assert_eq!(dir.ports(), ["tcp-80", "udp-80"]);
}

#[test]
fn a_claim_without_rule_gives_way_unless_its_owner_is_at_work() {
    let dir = Dir::new("stale");
    let working = dir.claim(&owner(), &["tcp 80 1"], false).expect("first");
    let error = dir.claim(&other(), &["tcp 80 1"], false).err().expect("at work");
    assert_eq!(error.code, Code::Conflict);
    drop(working);
    drop(dir.claim(&other(), &["tcp 80 1"], false).expect("stale"));
    dir.0.lock().expect("lock").release(&owner()).expect("release");
    assert_eq!(dir.ports(), ["tcp-80"], "the new owner's claim stays");
    dir.0.lock().expect("lock").release(&other()).expect("release");
    assert_eq!(dir.ports(), Vec::<String>::new());
    assert_eq!(dir.0.records().expect("records"), vec![]);
}

#[test]
fn a_retry_replaces_its_own_claims() {
    let dir = Dir::new("retry");
    drop(dir.claim(&owner(), &["tcp 80 1", "tcp 81 1", "tcp 82 1 192.0.2.1"], true).expect("1"));
    let texts = ["tcp 80 2", "tcp 82 1 192.0.2.1", "tcp 82 1 192.0.2.2"];
    drop(dir.claim(&owner(), &texts, true).expect("2"));
    assert_eq!(dir.ports(), ["tcp-80", "tcp-82"]);
    let claims: Vec<Claim> = read(&dir.0.dir.join("ports/tcp-82")).expect("read").expect("some");
    assert_eq!(claims.len(), 2);
    let second = Owner { ifname: "eth1".into(), ..owner() };
    drop(dir.claim(&second, &["tcp 80 1", "tcp 90 1"], true).expect("the same container"));
    dir.0.lock().expect("lock").release(&owner()).expect("release");
    assert_eq!(dir.ports(), ["tcp-80", "tcp-90"]);
    assert!(dir.claim(&other(), &["tcp 80 1"], true).is_err(), "still held by the second");
    let record = dir.0.record("test", &owner().container_id).expect("read").expect("record");
    assert!(record.of("eth0").is_none() && record.of("eth1").is_some());
}

#[test]
fn earlier_rules_are_taken_in_once() {
    let dir = Dir::new("adopt");
    let listed = Listed {
        mapping: mapping("tcp 80 1 0.0.0.0"),
        target: "10.0.0.9".parse().expect("address"),
        owner: Owner { network: String::new(), container_id: "old".into(), ifname: String::new() },
    };
    let lock = dir.0.lock().expect("lock");
    lock.adopt_once(|| Ok(vec![(Backend::Nftables, listed.clone())])).expect("adopt");
    lock.adopt_once(|| panic!("a second listing")).expect("known");
    drop(lock);
    let error = dir.claim(&owner(), &["tcp 80 1"], true).err().expect("taken");
    assert!(error.msg.contains("\"old\""), "{error}");
    let same = Owner { container_id: "old".into(), ..owner() };
    drop(dir.claim(&same, &["tcp 80 1"], true).expect("the same container takes it over"));
}

#[test]
fn what_a_crash_cut_short_is_no_obstacle() {
    let dir = Dir::new("crash");
    drop(dir.claim(&owner(), &["tcp 80 1"], true).expect("first"));
    fs::write(dir.0.dir.join("ports/tcp-80"), "").expect("empty");
    fs::write(dir.0.dir.join("records/.half"), "{").expect("half");
    drop(dir.claim(&other(), &["tcp 80 1"], true).expect("an empty file is no claim"));
    dir.0.lock().expect("lock").collect("test", &|id, _| id == "other").expect("collect");
    assert!(!dir.0.dir.join("records/.half").exists());
    assert_eq!(dir.0.records().expect("records").len(), 1);
    assert_eq!(dir.ports(), ["tcp-80"]);
}
