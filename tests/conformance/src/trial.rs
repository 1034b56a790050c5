//! A subject on a node, and the demands that every case shares.

use crate::subject::{Subject, Wiring, wire};
use cni_types::{CniResult, Version};
use lab::{Lab, Outcome, Plugin, Pod, Snapshot};
use serde_json::Value;
use std::path::Path;

/// Any code: for [`Trial::refused`].
const ANY: u64 = 0;

/// A subject on a node of its own, with two pods.
#[derive(Debug)]
pub struct Trial<'s> {
    /// The subject.
    pub subject: &'s Subject,
    /// The node.
    pub lab: Lab,
    /// The first pod.
    pub a: Member,
    /// The second pod.
    pub b: Member,
    before: State,
    // Its wiring is part of the state before.
    _warm: Option<Member>,
}

/// A pod with its configuration.
#[derive(Debug)]
pub struct Member {
    /// The pod.
    pub pod: Pod,
    /// The configuration for ADD; with `prevResult` for a chained plugin.
    pub conf: Value,
}

/// The node's state and that of both pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    node: Snapshot,
    pods: Vec<String>,
}

impl<'s> Trial<'s> {
    /// A node that has seen one ADD and DEL of another pod already.
    pub fn new(subject: &'s Subject, case: &str) -> Trial<'s> {
        let mut trial = Trial::cold(subject, case);
        let other = trial.member("warm", 3);
        trial.add(&other).ok();
        trial.del(&other).ok();
        trial.before = trial.state();
        trial._warm = Some(other);
        trial
    }

    /// A node that has not met the plugin.
    pub fn cold(subject: &'s Subject, case: &str) -> Trial<'s> {
        let lab = Lab::new(&format!("{}-{case}", subject.name));
        let (a, b) = (member(&lab, subject, "a", 1), member(&lab, subject, "b", 2));
        let before = State { node: subject.maker.snapshot(&lab), pods: pods(&[&a, &b]) };
        Trial { subject, lab, a, b, before, _warm: None }
    }

    /// A further pod. `number` sets its ports and addresses apart; 1 and 2 are taken.
    pub fn member(&self, name: &str, number: u8) -> Member {
        member(&self.lab, self.subject, name, number)
    }

    /// The configuration for the verbs of the node.
    pub fn conf(&self) -> Value {
        let mut conf = (self.subject.conf)(&self.lab, 0);
        conf["cniVersion"] = self.version().as_str().into();
        conf
    }

    /// The version of the specification that the trial is about.
    pub fn version(&self) -> Version {
        self.subject.version()
    }

    /// Those of `verbs` that the version has.
    pub fn verbs<'v>(&self, verbs: &'v [&'v str]) -> impl Iterator<Item = &'v str> + use<'v> {
        let version = self.version();
        verbs.iter().copied().filter(move |verb| match *verb {
            "GC" | "STATUS" => version.has_gc(),
            "CHECK" => version.has_check(),
            _ => true,
        })
    }

    /// The code of a failure for which the specification has none: this one, if it is podloom's
    /// plugin; otherwise any.
    pub fn own(&self, code: u64) -> u64 {
        if self.subject.maker.is_podloom() { code } else { ANY }
    }

    /// The plugin, to be run.
    pub fn plugin(&self) -> Plugin<'_> {
        self.subject.maker.plugin(&self.lab, self.subject.plugin)
    }

    /// ADD.
    pub fn add(&self, member: &Member) -> Outcome {
        self.plugin().add(&member.pod, self.subject.ifname, &member.conf)
    }

    /// DEL as a runtime runs it that has lost the result of ADD.
    pub fn del(&self, member: &Member) -> Outcome {
        let mut conf = member.conf.clone();
        conf.as_object_mut().expect("a configuration").remove("prevResult");
        self.plugin().del(&member.pod, self.subject.ifname, &conf)
    }

    /// CHECK with the result of ADD.
    pub fn check(&self, member: &Member, result: &Value) -> Outcome {
        self.plugin().check(&member.pod, self.subject.ifname, &member.conf, result)
    }

    /// GC that keeps the attachments of `valid`.
    pub fn gc(&self, valid: &[&Member]) -> Outcome {
        let list: Vec<_> = valid.iter().map(|m| (m.pod.id(), self.subject.ifname)).collect();
        self.plugin().gc(&self.conf(), &list)
    }

    /// What there is now, on the node and in the pods.
    pub fn state(&self) -> State {
        State { node: self.snapshot(), pods: pods(&[&self.a, &self.b]) }
    }

    /// What there is now on the node.
    pub fn snapshot(&self) -> Snapshot {
        self.subject.maker.snapshot(&self.lab)
    }

    /// What there was when the trial began.
    pub fn before(&self) -> &State {
        &self.before
    }

    /// Demands that the node and the pods are as when the trial began.
    ///
    /// # Panics
    /// When they are not.
    #[track_caller]
    pub fn nothing_left(&self, after: &str) {
        self.same(&self.before, after);
    }

    /// Demands that nothing changed since `then`.
    ///
    /// # Panics
    /// When something did.
    #[track_caller]
    pub fn same(&self, then: &State, after: &str) {
        let now = self.state();
        let diff = then.node.diff(&now.node);
        assert!(diff.is_empty(), "{}: {after}: the node changed:\n{diff}", self.subject.name);
        assert_eq!(then.pods, now.pods, "{}: {after}: a pod changed", self.subject.name);
    }

    /// Demands that nothing is there that was not when the trial began; less is no fault.
    ///
    /// # Panics
    /// When there is more.
    #[track_caller]
    pub fn nothing_added(&self, after: &str) {
        let diff = self.before.node.diff(&self.snapshot());
        assert!(diff.added.is_empty(), "{}: {after}: left on the node:\n{diff}", self.subject.name);
    }

    /// Demands that nothing is on the node that was not `then`, once the kernel has taken the
    /// links of a namespace that is gone, which it does in its own time.
    ///
    /// # Panics
    /// When something stays.
    #[track_caller]
    pub fn nothing_stays(&self, then: &State, after: &str) {
        let start = std::time::Instant::now();
        loop {
            let diff = then.node.diff(&self.snapshot());
            if diff.added.is_empty() {
                return;
            }
            let patient = start.elapsed() < lab::PATIENCE;
            assert!(patient, "{}: {after}: left on the node:\n{diff}", self.subject.name);
        }
    }

    /// Demands a failure with this code. The messages of podloom's plugins name `about`, and their
    /// documents are of the version `version`; of others a case of its own demands that.
    ///
    /// # Panics
    /// When the outcome is anything else.
    #[track_caller]
    pub fn refused(&self, outcome: &Outcome, code: u64, about: &str, version: &str) {
        if !self.subject.maker.is_podloom() {
            return self.refused_naming(outcome, code, "");
        }
        self.refused_naming(outcome, code, about);
        assert!(!outcome.msg().contains('\n'), "the message has several lines: {outcome}");
        self.of_version(&outcome.error(), version, &outcome.what);
    }

    /// Demands that a document is of this version.
    ///
    /// # Panics
    /// When it is of another, or does not say.
    #[track_caller]
    pub fn of_version(&self, document: &Value, version: &str, what: &str) {
        let told = &document["cniVersion"];
        let name = self.subject.name;
        assert!(told == version, "{name}: {what}: cniVersion is {told}, not {version}: {document}");
    }

    /// Demands a failure with this code, whose message names `about`, whoever made the plugin.
    ///
    /// # Panics
    /// When the outcome is anything else.
    #[track_caller]
    pub fn refused_naming(&self, outcome: &Outcome, code: u64, about: &str) {
        let doc = outcome.error();
        let what = format!("{}: {outcome}", self.subject.name);
        assert!(code == ANY || doc["code"] == code, "the code is not {code}: {what}");
        let msg = doc["msg"].as_str().unwrap_or_default();
        assert!(!msg.trim().is_empty() && msg.contains(about), "{about:?} is not named: {what}");
    }

    /// Demands a failure of this code that has left nothing behind.
    ///
    /// # Panics
    /// When the outcome is anything else.
    #[track_caller]
    pub fn refused_cleanly(&self, outcome: &Outcome, code: u64, about: &str) {
        self.refused(outcome, code, about, self.version().as_str());
        self.nothing_left(&outcome.what);
    }
}

impl State {
    /// The node's part.
    pub fn node(&self) -> &Snapshot {
        &self.node
    }

    /// Whether the pods are the same in both.
    pub(crate) fn same_pods(&self, other: &State) -> bool {
        self.pods == other.pods
    }
}

impl Member {
    /// The configuration with `value` at `pointer`; missing parents are made.
    pub fn with(&self, pointer: &str, value: Value) -> Value {
        set(&self.conf, pointer, value)
    }

    /// The configuration of another version, with `prevResult` in its form.
    pub fn of_version(&self, version: Version) -> Value {
        let mut conf = self.conf.clone();
        conf["cniVersion"] = version.as_str().into();
        if let Some(prev) = conf.get("prevResult") {
            let result = CniResult::from_value(prev, Version::LATEST).expect("prevResult");
            conf["prevResult"] = result.to_value(version).expect("prevResult");
        }
        conf
    }

    /// The namespace's path.
    pub fn netns(&self) -> &Path {
        self.pod.path()
    }
}

/// `conf` with `value` at `pointer`; missing parents are made.
pub(crate) fn set(conf: &Value, pointer: &str, value: Value) -> Value {
    let mut conf = conf.clone();
    let mut place = &mut conf;
    for part in pointer.split('/').skip(1) {
        place = match part.parse::<usize>() {
            Ok(index) if place.is_array() => &mut place[index],
            _ => &mut place[part],
        };
    }
    *place = value;
    conf
}

fn member(lab: &Lab, subject: &Subject, name: &str, number: u8) -> Member {
    let pod = lab.pod(name);
    let mut conf = (subject.conf)(lab, number);
    conf["cniVersion"] = subject.version().as_str().into();
    let mut member = Member { pod, conf };
    let result = match subject.wiring {
        Wiring::Plugin => return member,
        Wiring::Before => wire(lab, &member.pod, number),
        Wiring::Chain(earlier) => earlier(lab, &member.pod, number),
    };
    member.conf["prevResult"] = result;
    member.conf = member.of_version(subject.version());
    member
}

/// Links and global addresses of the pods that still exist.
fn pods(members: &[&Member]) -> Vec<String> {
    let mut lines = Vec::new();
    for member in members.iter().filter(|m| m.netns().exists()) {
        for link in member.pod.ip_json("addr show").as_array().into_iter().flatten() {
            let name = link["ifname"].as_str().unwrap_or_default();
            let up = link["flags"].as_array().is_some_and(|f| f.iter().any(|f| f == "UP"));
            // The kernel gives lo its addresses, and does not always take them back.
            let addresses = if name == "lo" { Vec::new() } else { member.pod.addresses(name) };
            lines.push(format!("{}: {name} up {up} {addresses:?}", member.pod.name()));
        }
        for family in ["-4", "-6"] {
            let rules = member.pod.ip_json(&format!("{family} rule show"));
            // Rules for all sources are the kernel's: some it makes with a link, and keeps.
            let of_hosts = rules.as_array().into_iter().flatten().filter(|r| r["src"] != "all");
            let line = |r: &Value| format!("{}: rule from {}", member.pod.name(), r["src"]);
            lines.extend(of_hosts.map(line));
        }
    }
    lines
}
