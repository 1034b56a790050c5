//! The wire, as another release sees it.

use super::*;
use serde_json::json;

fn through<T: serde::Serialize + serde::de::DeserializeOwned>(message: &T) -> T {
    let frame = frame::encode(message).expect("a frame");
    let (json, end) = frame::split(&frame).expect("a length").expect("whole");
    assert_eq!(end, frame.len());
    serde_json::from_slice(json).expect("the same message")
}

#[test]
fn calls_survive_the_wire() {
    let calls = [
        Call::Hello { versions: VERSIONS.to_vec() },
        Call::MakeNamespaces(MakeNamespaces { uts: true, ..MakeNamespaces::default() }),
        Call::Create(Create {
            id: "c".to_owned(),
            bundle: "/b".into(),
            runtime: Runtime::Program(Program { path: "/runc".into(), ..Program::default() }),
            stdio: Stdio { terminal: true, ..Stdio::default() },
        }),
        Call::Kill { id: "c".to_owned(), signal: 9, whom: Whom::Exec("e".to_owned()) },
        Call::List,
    ];
    for call in calls {
        let request = Request::new(7, 2, &call).expect("a request");
        let heard = through(&request);
        assert_eq!((heard.id, heard.fds), (7, 2));
        assert_eq!(heard.call().expect("a call"), call);
    }
}

#[test]
fn messages_survive_the_wire() {
    let exit = Exit {
        id: "c".to_owned(),
        exec_id: None,
        pid: 4,
        code: 137,
        signal: Some(9),
        oom: true,
        at: 5,
    };
    let failed = Err(Error::new(Kind::Precondition, "c", "runs").advise("stop it"));
    let namespaces =
        Namespaces { paths: [(Namespace::Uts, "/p".into())].into_iter().collect(), init: Some(3) };
    let messages = [
        Message::Event { event: Event::Exited(exit) },
        Message::Reply(Reply { id: 1, fds: 0, result: Ok(Answer::Done) }),
        Message::Reply(Reply { id: 2, fds: 1, result: Ok(Answer::Executed(Executed { pid: 9 })) }),
        Message::Reply(Reply { id: 3, fds: 0, result: Ok(Answer::Namespaces(namespaces)) }),
        Message::Reply(Reply { id: 4, fds: 0, result: failed }),
    ];
    for message in messages {
        assert_eq!(through(&message), message);
    }
}

#[test]
fn what_a_later_release_adds_is_ignored() {
    let request = json!({"id": 1, "later": {}, "call": {"op": "start", "id": "c", "later": 1}});
    let request: Request = serde_json::from_value(request).expect("a request");
    assert_eq!(request.call(), Ok(Call::Start { id: "c".to_owned() }));

    let message = json!({"event": {"type": "later"}});
    let message: Message = serde_json::from_value(message).expect("a message");
    assert!(matches!(message, Message::Unknown(_)));

    let kind: Kind = serde_json::from_value(json!("later")).expect("a kind");
    assert_eq!(kind, Kind::Internal);
}

#[test]
fn an_unknown_call_is_told_from_a_wrong_one() {
    let call = |call| Request { id: 1, fds: 0, call }.call().expect_err("no call").kind;
    assert_eq!(call(json!({"op": "later"})), Kind::Unsupported);
    assert_eq!(call(json!({"op": "start"})), Kind::Invalid);
    assert_eq!(call(json!({"op": "kill", "id": "c", "signal": "9"})), Kind::Invalid);
    assert_eq!(call(json!({})), Kind::Invalid);
}

#[test]
fn a_frame_is_taken_when_it_is_whole() {
    let frame = frame::encode(&json!({"a": 1})).expect("a frame");
    for end in 0..frame.len() {
        assert_eq!(frame::split(&frame[..end]), Ok(None), "{end} bytes");
    }
    let twice = [frame.clone(), frame.clone()].concat();
    assert_eq!(frame::split(&twice).expect("a length").map(|(_, end)| end), Some(frame.len()));
    assert!(frame::split(&[0xff; 8]).is_err());
}
