//! Answers that many ask for and that cost something: found out by one at a time, believed for a
//! while, and never waited for long.

use crate::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long an answer is believed.
const KEPT: Duration = Duration::from_secs(5);

/// How long a refusal is: callers that wait for each other hear of it, those who come later ask.
const REFUSAL_KEPT: Duration = Duration::from_millis(500);

/// How long finding out may take before that is the answer.
const LIMIT: Duration = Duration::from_secs(2);

/// How long a caller waits where an older answer is there.
const PATIENCE: Duration = Duration::from_millis(100);

/// Answers about `K`: those about another one are forgotten.
#[derive(Debug)]
pub(crate) struct Asked<K> {
    state: Arc<Mutex<State<K>>>,
}

impl<K> Default for Asked<K> {
    fn default() -> Asked<K> {
        Asked { state: Arc::new(Mutex::new(State { kept: None, under_way: None })) }
    }
}

#[derive(Debug)]
struct State<K> {
    kept: Option<(Instant, Result<()>)>,
    /// The question that was asked last, answered or not.
    under_way: Option<UnderWay<K>>,
}

#[derive(Debug)]
struct UnderWay<K> {
    about: K,
    begun: Instant,
    answer: watch::Receiver<Answer>,
}

impl<K: Clone + PartialEq + Send + 'static> Asked<K> {
    /// The answer about `about`; `find_out` is done unless it is known or being found out. Where that
    /// takes long, the older answer; where it takes too long, `silence`.
    ///
    /// # Errors
    /// The answer's.
    pub(crate) async fn ask<F: Future<Output = Result<()>> + Send + 'static>(
        &self,
        about: K,
        find_out: impl FnOnce() -> F,
        silence: impl FnOnce(Duration) -> Error,
    ) -> Result<()> {
        let (older, begun, mut answer) = match self.known(about) {
            Known::Fresh(answer) => return answer,
            Known::Asked { older, begun, answer } => (older, begun, answer),
            Known::Unasked { older, begun, sender } => {
                let answer = sender.subscribe();
                let (state, work) = (self.state.clone(), find_out());
                tokio::spawn(async move {
                    let found = work.await;
                    note(&state, begun, &found);
                    sender.send_replace(Some(found));
                });
                (older, begun, answer)
            }
        };
        let wait = match older {
            Some(_) => PATIENCE.min(LIMIT.saturating_sub(begun.elapsed())),
            None => LIMIT.saturating_sub(begun.elapsed()),
        };
        let told = tokio::time::timeout(wait, answer.wait_for(Option::is_some)).await;
        if let Ok(Ok(told)) = &told
            && let Some(found) = &**told
        {
            return found.clone();
        }
        match older {
            Some(older) if begun.elapsed() < LIMIT => older,
            _ => Err(silence(begun.elapsed())),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State<K>) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn known(&self, about: K) -> Known {
        self.with(|state| {
            // Whoever found it out may have been stopped.
            let lives = |one: &UnderWay<K>| {
                let told = one.answer.has_changed().is_ok() || one.answer.borrow().is_some();
                told && one.about == about
            };
            if state.under_way.as_ref().is_some_and(|one| !lives(one)) {
                (state.under_way, state.kept) = (None, None);
            }
            let older = state.kept.as_ref().map(|(_, answer)| answer.clone());
            if let Some((at, answer)) = &state.kept
                && at.elapsed() < if answer.is_ok() { KEPT } else { REFUSAL_KEPT }
                && state.under_way.is_some()
            {
                return Known::Fresh(answer.clone());
            }
            match &state.under_way {
                Some(one) if one.answer.borrow().is_none() => {
                    Known::Asked { older, begun: one.begun, answer: one.answer.clone() }
                }
                _ => {
                    let (sender, answer) = watch::channel(None);
                    let begun = Instant::now();
                    state.under_way = Some(UnderWay { about, begun, answer });
                    Known::Unasked { older, begun, sender }
                }
            }
        })
    }
}

/// Keeps an answer, unless another question was asked meanwhile.
fn note<K>(state: &Mutex<State<K>>, begun: Instant, found: &Result<()>) {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if state.under_way.as_ref().is_some_and(|one| one.begun == begun) {
        state.kept = Some((Instant::now(), found.clone()));
    }
}

type Answer = Option<Result<()>>;

/// What there is of an answer.
enum Known {
    Fresh(Result<()>),
    Asked { older: Answer, begun: Instant, answer: watch::Receiver<Answer> },
    Unasked { older: Answer, begun: Instant, sender: watch::Sender<Answer> },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use std::future::{pending, ready};
    use std::sync::atomic::{AtomicU32, Ordering};

    fn silence(_: Duration) -> Error {
        Error::new(Kind::Unavailable, "it", "is silent")
    }

    fn refusal() -> Result<()> {
        Err(Error::new(Kind::Unavailable, "it", "refuses"))
    }

    async fn took(asked: &Asked<u32>, about: u32, found: Option<Result<()>>) -> (Duration, String) {
        let begun = Instant::now();
        let find_out = || async move {
            match found {
                Some(found) => ready(found).await,
                None => pending().await,
            }
        };
        let answer = asked.ask(about, find_out, silence).await;
        (begun.elapsed(), answer.err().map(|e| e.cause().to_owned()).unwrap_or_default())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_long_holds_nobody_up() {
        let asked = Asked::default();
        assert_eq!(took(&asked, 1, Some(Ok(()))).await, (Duration::ZERO, String::new()));
        assert_eq!(took(&asked, 1, Some(refusal())).await.1, "", "it is believed for a while");
        tokio::time::sleep(KEPT).await;
        // The older answer, as long as the new one may still come in time.
        assert_eq!(took(&asked, 1, None).await, (PATIENCE, String::new()));
        assert_eq!(took(&asked, 1, None).await, (PATIENCE, String::new()));
        tokio::time::sleep(LIMIT).await;
        assert_eq!(took(&asked, 1, Some(Ok(()))).await, (Duration::ZERO, "is silent".to_owned()));
        // Another question is not held up by the first.
        assert_eq!(took(&asked, 2, Some(Ok(()))).await, (Duration::ZERO, String::new()));
        assert_eq!(took(&asked, 3, None).await, (LIMIT, "is silent".to_owned()), "nothing older");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_believed_for_a_moment_and_one_asks_for_all() {
        let asked = Asked::default();
        assert_eq!(took(&asked, 1, Some(refusal())).await.1, "refuses");
        assert_eq!(took(&asked, 1, Some(Ok(()))).await.1, "refuses");
        tokio::time::sleep(REFUSAL_KEPT).await;
        let count = AtomicU32::new(0);
        let count = &count;
        let ask = || {
            asked.ask(
                1,
                || {
                    count.fetch_add(1, Ordering::SeqCst);
                    async {
                        tokio::time::sleep(PATIENCE / 2).await;
                        Ok(())
                    }
                },
                silence,
            )
        };
        let (one, two) = tokio::join!(ask(), ask());
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}
