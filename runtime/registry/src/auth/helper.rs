//! Docker's credential helpers: a program `docker-credential-NAME` that is asked with `get`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{Credentials, Secret};
use crate::error::{Error, Kind, Result, quote};

/// A helper that says more than this is broken, in bytes.
const MAX_OUTPUT: u64 = 64 << 10;
/// What a helper answers when it has nothing.
const NOTHING: &str = "credentials not found";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Secret,
}

/// Checks that a helper's name stays a name, not a path.
pub(super) fn check_name(name: &str) -> Result<()> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if (1..=64).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(());
    }
    let subject = format!("credential helper {}", quote(name));
    Err(Error::new(Kind::Config, subject, "want a name of letters, digits, ., _ and -"))
}

/// Asks the program for the credentials of `key`. It is killed when it is too slow or says too much.
pub(super) async fn get(
    program: &Path,
    key: &str,
    deadline: Duration,
) -> Result<Option<Credentials>> {
    let subject = program.display().to_string();
    let fail = |why: String| Error::new(Kind::Config, subject.clone(), why);
    match tokio::time::timeout(deadline, ask(program, key)).await {
        Ok(answer) => answer.map_err(|e| e.within(&subject)),
        Err(_) => Err(fail(format!("gave no answer within {} s", deadline.as_secs_f32()))),
    }
}

async fn ask(program: &Path, key: &str) -> Result<Option<Credentials>> {
    let io = |what: &'static str| {
        move |e: std::io::Error| Error::new(Kind::Config, "", what).because(&e)
    };
    let wrong = |why: &str| Error::new(Kind::Config, "", why);
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Its error text may repeat what it read.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(io("cannot be started"))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    if let Some(mut stdin) = stdin {
        // A helper that knows without reading may have closed its end already.
        match stdin.write_all(key.as_bytes()).await {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                return Err(io("cannot be asked")(e));
            }
            _ => {}
        }
    }
    let mut output = Vec::new();
    if let Some(stdout) = stdout {
        stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output).await.map_err(io("cannot be read"))?;
    }
    if output.len() as u64 > MAX_OUTPUT {
        return Err(wrong("says too much"));
    }
    let status = child.wait().await.map_err(io("cannot be awaited"))?;
    if !status.success() {
        let nothing = String::from_utf8_lossy(&output).contains(NOTHING);
        return if nothing { Ok(None) } else { Err(wrong(&format!("failed with {status}"))) };
    }
    let answer: Answer = serde_json::from_slice(&output)
        .map_err(|_| wrong("gave no JSON with Username and Secret"))?;
    // Docker's convention for a refresh token.
    Ok(Some(if answer.username == "<token>" {
        Credentials::Identity { token: answer.secret }
    } else {
        Credentials::Password { username: answer.username, password: answer.secret }
    }))
}
