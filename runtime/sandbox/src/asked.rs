//! Answers that many ask for and that cost something: found out by one at a time, believed for a
//! while, found out again before they are too old as long as somebody asks, and never waited for long.

use crate::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long an answer is believed.
const KEPT: Duration = Duration::from_secs(5);

/// How old an answer is when it is found out again.
const RENEWED: Duration = Duration::from_millis(4500);

/// Since when nobody may have asked for that. Kubelet asks every five seconds.
const INTEREST: Duration = Duration::from_secs(30);

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
        Asked { state: Arc::new(Mutex::new(State { asked: None, kept: None, under_way: None })) }
    }
}

#[derive(Debug)]
struct State<K> {
    /// When somebody asked last.
    asked: Option<Instant>,
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
    /// The answer about `about`; `find_out` is done unless it is known or being found out, and again for
    /// who asks later. Where that takes long, the older answer; where it takes too long, `silence`.
    ///
    /// # Errors
    /// The answer's.
    pub(crate) async fn ask<F: Future<Output = Result<()>> + Send + 'static>(
        &self,
        about: K,
        find_out: impl Fn() -> F + Send + 'static,
        silence: impl FnOnce(Duration) -> Error,
    ) -> Result<()> {
        let (older, begun, mut answer) = match self.known(about) {
            Known::Fresh(answer) => return answer,
            Known::Asked { older, begun, answer } => (older, begun, answer),
            Known::Unasked { older, begun, sender } => {
                let answer = sender.subscribe();
                tokio::spawn(keep_up(self.state.clone(), (begun, sender), find_out));
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
            state.asked = Some(Instant::now());
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

/// Finds out, and again and again, until nobody asks any more, something else is asked, or it is refused:
/// then who asks next finds out.
async fn keep_up<K: Clone, F: Future<Output = Result<()>>>(
    state: Arc<Mutex<State<K>>>,
    (mut begun, mut sender): (Instant, watch::Sender<Answer>),
    find_out: impl Fn() -> F,
) {
    loop {
        let found = find_out().await;
        note(&state, begun, &found);
        let is_refused = found.is_err();
        sender.send_replace(Some(found));
        if is_refused {
            return;
        }
        tokio::time::sleep(RENEWED).await;
        match renewed(&state, begun) {
            Some(next) => (begun, sender) = next,
            None => return,
        }
    }
}

/// The same question once more, if it is still the one that is asked.
fn renewed<K: Clone>(
    state: &Mutex<State<K>>,
    begun: Instant,
) -> Option<(Instant, watch::Sender<Answer>)> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let about = state.under_way.as_ref().filter(|one| one.begun == begun)?.about.clone();
    state.asked.filter(|asked| asked.elapsed() < INTEREST)?;
    let (sender, answer) = watch::channel(None);
    let begun = Instant::now();
    state.under_way = Some(UnderWay { about, begun, answer });
    Some((begun, sender))
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn silence(_: Duration) -> Error {
        Error::new(Kind::Unavailable, "it", "is silent")
    }

    fn refusal() -> Result<()> {
        Err(Error::new(Kind::Unavailable, "it", "refuses"))
    }

    /// How long it takes to ask, and what is refused; `found` is what is found out, in turn, the last one
    /// whenever it is asked again; none is an answer that does not come.
    async fn took<const N: usize>(
        asked: &Asked<u32>,
        about: u32,
        found: [Option<Result<()>>; N],
    ) -> (Duration, String) {
        let begun = Instant::now();
        let turn = AtomicUsize::new(0);
        let find_out = move || {
            let turn = turn.fetch_add(1, Ordering::SeqCst).min(N - 1);
            let found = found[turn].clone();
            async move {
                match found {
                    Some(found) => ready(found).await,
                    None => pending().await,
                }
            }
        };
        let answer = asked.ask(about, find_out, silence).await;
        (begun.elapsed(), answer.err().map(|e| e.cause().to_owned()).unwrap_or_default())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_long_holds_nobody_up() {
        let asked = Asked::default();
        let good = || Some(Ok(()));
        let (at_once, none) = (Duration::ZERO, String::new);
        assert_eq!(took(&asked, 1, [good(), None]).await, (at_once, none()));
        assert_eq!(took(&asked, 1, [Some(refusal())]).await.1, "", "it is believed for a while");
        tokio::time::sleep(KEPT).await;
        // The older answer, as long as the new one may still come in time.
        assert_eq!(took(&asked, 1, [good()]).await, (PATIENCE, none()));
        assert_eq!(took(&asked, 1, [good()]).await, (PATIENCE, none()));
        tokio::time::sleep(LIMIT).await;
        assert_eq!(took(&asked, 1, [good()]).await, (at_once, "is silent".to_owned()));
        // Another question is not held up by the first.
        assert_eq!(took(&asked, 2, [good()]).await, (at_once, none()));
        assert_eq!(took(&asked, 3, [None]).await, (LIMIT, "is silent".to_owned()), "nothing older");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_believed_for_a_moment_and_one_asks_for_all() {
        let asked = Asked::default();
        assert_eq!(took(&asked, 1, [Some(refusal())]).await.1, "refuses");
        assert_eq!(took(&asked, 1, [Some(Ok(()))]).await.1, "refuses");
        tokio::time::sleep(REFUSAL_KEPT).await;
        let count = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let count = count.clone();
            asked.ask(
                1,
                move || {
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

    #[tokio::test(start_paused = true)]
    async fn who_asks_every_few_seconds_never_waits_and_hears_of_a_change() {
        let asked = Asked::default();
        let (count, good) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(1)));
        let ask = || {
            let (count, good) = (count.clone(), good.clone());
            let find_out = move || {
                count.fetch_add(1, Ordering::SeqCst);
                let good = good.load(Ordering::SeqCst) == 1;
                async move {
                    tokio::time::sleep(PATIENCE / 2).await;
                    if good { Ok(()) } else { refusal() }
                }
            };
            asked.ask(1, find_out, silence)
        };
        assert!(ask().await.is_ok());
        for _ in 0..10 {
            tokio::time::sleep(KEPT).await;
            let begun = Instant::now();
            assert!(ask().await.is_ok());
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
        assert!((10..=12).contains(&count.load(Ordering::SeqCst)), "{count:?}");
        good.store(0, Ordering::SeqCst);
        tokio::time::sleep(KEPT).await;
        assert!(ask().await.is_err(), "no older than an answer may be");
        good.store(1, Ordering::SeqCst);
        tokio::time::sleep(KEPT).await;
        assert!(ask().await.is_ok(), "a refusal is not renewed, but asked again");
        // Nobody asks any more: it ends.
        tokio::time::sleep(INTEREST).await;
        let known = count.load(Ordering::SeqCst);
        tokio::time::sleep(100 * INTEREST).await;
        assert!(count.load(Ordering::SeqCst) <= known + 1, "{known} {count:?}");
        assert!(ask().await.is_ok());
    }
}
