use super::*;

/// Answers ADD with an empty result and panics on GC.
struct Probe;

impl Plugin for Probe {
    const ABOUT: &'static str = "probe";

    fn add(_: &Call) -> Result<CniResult> {
        Ok(CniResult::default())
    }

    fn del(call: &Call) -> Result<()> {
        assert!(call.netns.is_none());
        Ok(())
    }

    fn check(_: &Call) -> Result<()> {
        Ok(())
    }

    fn gc(_: &NodeCall) -> Result<()> {
        panic!("defect")
    }

    fn status(_: &NodeCall) -> Result<()> {
        Err(Error::new(Code::NotAvailable, "pool: exhausted"))
    }
}

const CONF: &str = r#"{"cniVersion":"1.1.0","name":"net","type":"probe"}"#;

fn ask(pairs: &[(&str, &str)], stdin: &str) -> (Result<Option<Value>>, String) {
    let mut version = Version::LATEST.as_str().to_owned();
    let environment = Environment::of(pairs);
    let outcome = answer::<Probe>(&environment, stdin.as_bytes(), &mut version);
    (outcome, version)
}

fn with(
    command: &'static str,
    more: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    let mut pairs = vec![
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "pod"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
    ];
    pairs.extend_from_slice(more);
    pairs
}

fn code(pairs: &[(&str, &str)], stdin: &str) -> Code {
    ask(pairs, stdin).0.expect_err("an error").code
}

#[test]
fn version_answers_in_the_version_of_the_question() {
    for (stdin, expected) in
        [(r#"{"cniVersion":"0.4.0"}"#, "0.4.0"), ("", "1.1.0"), ("{}", "1.1.0")]
    {
        let doc = ask(&[("CNI_COMMAND", "VERSION")], stdin).0.expect("answer").expect("document");
        assert_eq!(doc["cniVersion"], expected);
        assert_eq!(doc["supportedVersions"].as_array().map(Vec::len), Some(7));
    }
}

#[test]
fn missing_variables_are_named_together() {
    let error = ask(&[("CNI_COMMAND", "ADD"), ("CNI_PATH", "/x")], CONF).0.expect_err("missing");
    assert_eq!(error.code, Code::InvalidEnvironment);
    assert!(error.msg.starts_with("CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME: "), "{error}");
    assert_eq!(code(&[("CNI_COMMAND", "GC")], CONF), Code::InvalidEnvironment);
    assert_eq!(code(&with("FROB", &[]), CONF), Code::InvalidEnvironment);
}

#[test]
fn the_configuration_is_judged_before_the_plugin_runs() {
    assert_eq!(code(&with("DEL", &[]), "{"), Code::Decode);
    assert_eq!(code(&with("DEL", &[]), "[]"), Code::Decode);
    assert_eq!(code(&with("DEL", &[]), &"[".repeat(100_000)), Code::Decode);
    assert_eq!(
        code(&with("DEL", &[]), r#"{"cniVersion":"1.1.0","type":"a"}"#),
        Code::InvalidConfig
    );
    let (outcome, version) =
        ask(&with("DEL", &[]), r#"{"cniVersion":"7.0.0","name":"a","type":"a"}"#);
    assert_eq!(outcome.expect_err("version").code, Code::IncompatibleVersion);
    assert_eq!(version, "7.0.0");
}

#[test]
fn verbs_newer_than_the_configuration_are_refused() {
    let old = r#"{"cniVersion":"0.3.1","name":"net","type":"probe"}"#;
    for verb in ["CHECK", "GC", "STATUS"] {
        assert_eq!(code(&with(verb, &[("CNI_NETNS", "/x")]), old), Code::IncompatibleVersion);
    }
}

#[test]
fn a_namespace_is_needed_but_for_del() {
    for (path, verb) in
        [("/nonexistent", "ADD"), ("/etc/passwd", "ADD"), ("/proc/self/ns/mnt", "CHECK")]
    {
        assert_eq!(code(&with(verb, &[("CNI_NETNS", path)]), CONF), Code::InvalidNetns, "{path}");
    }
    for path in ["", "/nonexistent", "/etc/passwd", "/proc/self/ns/net"] {
        ask(&with("DEL", &[("CNI_NETNS", path)]), CONF).0.expect(path);
    }
    let own = ask(&with("ADD", &[("CNI_NETNS", "/proc/self/ns/net")]), CONF).0.expect_err("own");
    assert_eq!(own.code, Code::InvalidNetns);
    let over = [("CNI_NETNS", "/proc/self/ns/net"), ("CNI_NETNS_OVERRIDE", "1")];
    ask(&with("ADD", &over), CONF).0.expect("overridden");
}

#[test]
fn hostile_names_never_reach_the_plugin() {
    for pair in
        [("CNI_CONTAINERID", "../x"), ("CNI_IFNAME", "a/b"), ("CNI_IFNAME", "1234567890123456")]
    {
        let mut pairs = with("DEL", &[]);
        pairs.retain(|(key, _)| *key != pair.0);
        pairs.push(pair);
        assert_eq!(code(&pairs, CONF), Code::InvalidEnvironment);
    }
    assert_eq!(code(&with("DEL", &[("CNI_ARGS", "a;b")]), CONF), Code::InvalidEnvironment);
}

#[test]
fn results_and_errors_come_back() {
    let over = [("CNI_NETNS", "/proc/self/ns/net"), ("CNI_NETNS_OVERRIDE", "true")];
    let doc = ask(&with("ADD", &over), CONF).0.expect("result").expect("document");
    assert_eq!(doc["cniVersion"], "1.1.0");
    assert_eq!(code(&with("CHECK", &over), CONF), Code::InvalidConfig);
    assert_eq!(code(&with("STATUS", &[]), CONF), Code::NotAvailable);
    assert_eq!(code(&with("GC", &[]), CONF), Code::InvalidConfig);
    let list = r#"{"cniVersion":"1.1.0","name":"n","type":"p","cni.dev/valid-attachments":null}"#;
    let (outcome, _) = ask(&with("GC", &[]), list);
    assert_eq!(outcome.expect_err("the panic").code, Code::Internal);
}
