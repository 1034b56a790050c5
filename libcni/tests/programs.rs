//! Real programs: deadlines, kills, callers that are killed, locks between processes.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use libcni::{Cni, Kind, Settings, Valid, Verb};
use stage::{Stage, network};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Writes down the call, then answers ADD with what it was given.
const HONEST: &str = r#"
echo "$CNI_COMMAND $(basename $0) $CNI_CONTAINERID" >>"$(dirname $0)/../calls"
config=$(cat)
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}'
exit 0"#;

fn calls(stage: &Stage) -> Vec<String> {
    let text = fs::read_to_string(stage.dir.join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Whether the process is there; a zombie is not.
fn alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits for a condition that another process brings about.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 10 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_chain_of_programs_runs_and_failures_carry_stderr() {
    let stage = Stage::new();
    stage.plugin("a", HONEST);
    stage.plugin("b", "echo grumble >&2; exit 3");
    let cni = Cni::new(stage.settings.clone());
    let good = network("net", "1.0.0", &["a", "a"]);
    let added = cni.add(&good, &stage.pod("p")).await.expect("add");
    assert_eq!(added.result.ips.len(), 1);
    cni.del(&good, &stage.pod("p")).await.expect("del");
    assert_eq!(calls(&stage), ["ADD a p", "ADD a p", "DEL a p", "DEL a p"]);
    let error = cni.status(&network("net", "1.1.0", &["b"])).await.expect_err("status");
    assert_eq!(error.kind(), Kind::Broken);
    assert_eq!(
        error.to_string(),
        "network \"net\": plugin \"b\" STATUS: exited with code 3 without an error document \
         [stderr: grumble]"
    );
    let missing = cni.status(&network("net", "1.1.0", &["c"])).await.expect_err("missing");
    assert_eq!(missing.kind(), Kind::NoPlugin);
    assert!(missing.to_string().contains("plugin \"c\" STATUS: not found in CNI_PATH"));
}

#[tokio::test]
async fn the_environment_holds_the_call_and_the_trace_and_no_stray_parameters() {
    let stage = Stage::new();
    stage.plugin("a", "env | grep -E '^(CNI_|TRACE)' | sort >\"$(dirname $0)/../env\"");
    let trace = vec![("TRACEPARENT".to_owned(), "00-ab-cd-01".to_owned())];
    let cni = Cni::new(stage.settings.clone()).with_trace(trace);
    cni.status(&network("net", "1.1.0", &["a"])).await.expect("status");
    let env = fs::read_to_string(stage.dir.join("env")).expect("env");
    let path = stage.dir.join("bin");
    let expected =
        format!("CNI_COMMAND=STATUS\nCNI_PATH={}\nTRACEPARENT=00-ab-cd-01\n", path.display());
    assert_eq!(env, expected);
}

#[tokio::test]
async fn a_hung_plugin_is_killed_with_its_children() {
    let mut stage = Stage::new();
    stage.settings.call_deadline = Duration::from_millis(700);
    stage.plugin(
        "a",
        r#"
        pids="$(dirname $0)/../pids"
        [ "$CNI_COMMAND" = DEL ] && exit 0
        echo $$ >>$pids
        sleep 1000 & echo $! >>$pids
        setsid sh -c 'echo $$ >>'$pids'; exec sleep 1000' &
        wait"#,
    );
    let cni = Cni::new(stage.settings.clone());
    let begin = Instant::now();
    let net = network("net", "1.0.0", &["a"]);
    let error = cni.add(&net, &stage.pod("p")).await.expect_err("hangs");
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!((error.kind(), error.failed_verb()), (Kind::Timeout, Some(Verb::Add)));
    assert!(
        error
            .to_string()
            .contains("network \"net\": plugin \"a\" ADD: gave no answer within 0.7 s")
    );
    assert!(error.also().is_empty(), "{error}");
    let pids = fs::read_to_string(stage.dir.join("pids")).expect("pids");
    assert_eq!(pids.lines().count(), 3);
    wait_until("the end of all", || !pids.lines().any(alive));
}

#[tokio::test]
async fn a_daemon_left_behind_does_not_hold_the_call() {
    let stage = Stage::new();
    stage.plugin(
        "a",
        r#"
        sleep 30 & echo $! >"$(dirname $0)/../daemon"
        echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}'"#,
    );
    let begin = Instant::now();
    let cni = Cni::new(stage.settings.clone());
    let net = network("net", "1.0.0", &["a"]);
    let added = cni.add(&net, &stage.pod("p")).await.expect("add");
    assert_eq!(added.result.ips.len(), 1);
    assert!(begin.elapsed() < Duration::from_secs(8), "waited for the daemon");
    let pid = fs::read_to_string(stage.dir.join("daemon")).expect("pid");
    assert!(alive(&pid), "a daemon of a plugin that answered is left alone");
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().expect("pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("kill");
}

#[tokio::test]
async fn an_executable_that_is_being_written_is_tried_again() {
    let stage = Stage::new();
    let program = stage.dir.join("bin/a");
    fs::copy("/bin/true", &program).expect("copy");
    let writer = fs::OpenOptions::new().append(true).open(&program).expect("open");
    let closer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(writer);
    });
    let cni = Cni::new(stage.settings.clone());
    cni.status(&network("net", "1.1.0", &["a"])).await.expect("status");
    closer.join().expect("closer");
}

/// Not a test of its own: the caller that the tests below kill. It runs one ADD.
#[tokio::test]
async fn role_of_a_caller() {
    let Some(dir) = std::env::var_os("STAGE_DIR") else { return };
    let dir = Path::new(&dir);
    let settings = Settings {
        plugin_dirs: vec![dir.join("bin")],
        cache_dir: dir.join("cache"),
        run_dir: dir.join("run"),
        call_deadline: Duration::from_secs(30),
        ..Settings::default()
    };
    let pod = libcni::Pod::new("p", "eth0", &dir.join("netns").to_string_lossy()).expect("pod");
    let cni = Cni::new(settings);
    cni.add(&network("net", "1.1.0", &["a", "slow"]), &pod).await.expect("add");
}

fn start_caller(stage: &Stage) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(["--exact", "role_of_a_caller"]).env("STAGE_DIR", &stage.dir);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("caller")
}

/// A plugin that tells its process ID through a FIFO and then waits to be killed.
fn slow_plugin(stage: &Stage) {
    let fifo = stage.dir.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    let script = r#"
        echo "$CNI_COMMAND $(basename $0) $CNI_CONTAINERID" >>"$(dirname $0)/../calls"
        [ "$CNI_COMMAND" = ADD ] || exit 0
        echo $$ >"$(dirname $0)/../fifo"
        exec sleep 1000"#;
    stage.plugin("slow", script);
}

fn read_fifo(stage: &Stage) -> String {
    let fifo = fs::File::open(stage.dir.join("fifo")).expect("fifo");
    let mut line = String::new();
    BufReader::new(fifo).read_line(&mut line).expect("line");
    line.trim().to_owned()
}

#[tokio::test]
async fn an_add_whose_caller_was_killed_is_undone_by_gc() {
    let stage = Stage::new();
    stage.plugin("a", HONEST);
    slow_plugin(&stage);
    let mut caller = start_caller(&stage);
    let plugin = read_fifo(&stage);
    caller.kill().expect("kill");
    caller.wait().expect("wait");
    assert!(alive(&plugin), "the plugin outlives its caller");
    assert_eq!(stage.intents(), ["net@p@eth0"]);
    assert_eq!(stage.files("cache"), Vec::<String>::new());

    let cni = Cni::new(stage.settings.clone());
    let listing = cni.listing().await.expect("listing");
    assert_eq!(listing.unfinished[0].container_id, "p");
    let net = network("net", "1.1.0", &["a", "slow"]);
    let done = cni.gc(&net, &Valid::These(&[])).await.expect("gc");
    assert_eq!(done.removed.len(), 1);
    assert!(!alive(&plugin), "ended before DEL ran");
    let expected = ["ADD a p", "ADD slow p", "DEL slow p", "DEL a p", "GC a ", "GC slow "];
    assert_eq!(calls(&stage), expected);
    assert_eq!(stage.intents(), Vec::<String>::new());
}

#[tokio::test]
async fn an_add_whose_caller_was_killed_is_undone_by_del_and_by_the_next_add() {
    for by_del in [true, false] {
        let stage = Stage::new();
        stage.plugin("a", HONEST);
        slow_plugin(&stage);
        let mut caller = start_caller(&stage);
        let plugin = read_fifo(&stage);
        caller.kill().expect("kill");
        caller.wait().expect("wait");
        let cni = Cni::new(stage.settings.clone());
        let undone = ["ADD a p", "ADD slow p", "DEL slow p", "DEL a p"];
        if by_del {
            let pod = stage.pod("p");
            let done = cni.del_recorded("net", &pod.attachment(), None).await.expect("del");
            assert!(done.is_some());
            assert_eq!(calls(&stage), undone);
        } else {
            cni.add(&network("net", "1.1.0", &["a"]), &stage.pod("p")).await.expect("add");
            assert_eq!(calls(&stage)[..4], undone);
            assert_eq!(calls(&stage)[4..], ["ADD a p"]);
        }
        assert!(!alive(&plugin));
        assert_eq!(stage.intents(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn operations_on_a_container_wait_for_those_of_another_process() {
    let stage = Stage::new();
    stage.plugin("a", HONEST);
    slow_plugin(&stage);
    let mut caller = start_caller(&stage);
    let plugin = read_fifo(&stage);
    let cni = Cni::new(stage.settings.clone());
    let net = network("net", "1.1.0", &["a"]);
    let waiting = Duration::from_millis(200);
    let pod = stage.pod("p");
    tokio::time::timeout(waiting, cni.del(&net, &pod)).await.expect_err("DEL must wait");
    let none = Valid::These(&[]);
    tokio::time::timeout(waiting, cni.gc(&net, &none)).await.expect_err("GC must wait");
    // Another container of the network goes on.
    cni.del(&net, &stage.pod("q")).await.expect("other container");
    let pid = nix::unistd::Pid::from_raw(plugin.parse().expect("pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("kill");
    caller.wait().expect("the caller's ADD failed");
    cni.del(&net, &pod).await.expect("now it is free");
    assert_eq!(stage.intents(), Vec::<String>::new(), "the caller undid its ADD");
}

#[tokio::test]
async fn two_operations_on_one_container_never_overlap_and_gc_is_alone() {
    let stage = Stage::new();
    stage.plugin(
        "a",
        r#"
        busy="$(dirname $0)/../busy-$CNI_CONTAINERID"
        mkdir "$busy" || { echo overlap >>"$(dirname $0)/../overlap"; exit 1; }
        [ "$CNI_COMMAND" = GC ] && [ "$(ls -d "$(dirname $0)"/../busy-* | wc -l)" != 1 ] &&
            echo gc >>"$(dirname $0)/../overlap"
        sleep 0.02
        rmdir "$busy"
        [ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.1.0"}'
        exit 0"#,
    );
    // Two instances share only the files, as two processes do.
    let instances = [Cni::new(stage.settings.clone()), Cni::new(stage.settings.clone())];
    let net = network("net", "1.1.0", &["a"]);
    let mut tasks = Vec::new();
    for round in 0..12 {
        let cni = instances[round % 2].clone();
        let (net, pod) = (net.clone(), stage.pod(["p", "q", "r"][round % 3]));
        tasks.push(tokio::spawn(async move {
            if round % 6 == 5 {
                let all = |_: &libcni::Record| true;
                cni.gc(&net, &Valid::Where(&all)).await.map(|_| ())
            } else {
                cni.del(&net, &pod).await.map(|_| ())
            }
        }));
    }
    for task in tasks {
        task.await.expect("task").expect("operation");
    }
    assert!(!stage.dir.join("overlap").exists());
}
