//! Lists in pieces.

use std::pin::Pin;
use tokio_stream::Stream;
use tonic::Status;

/// How many items one piece has.
const PIECE: usize = 100;

/// What a streaming call answers with.
pub(crate) type Chunks<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A list in pieces, each wrapped in its message. An empty list is one empty piece.
pub(crate) fn pieces<T, M>(items: Vec<T>, wrap: impl Fn(Vec<T>) -> M) -> Chunks<M>
where
    M: Send + 'static,
{
    let mut messages = Vec::with_capacity(items.len() / PIECE + 1);
    let mut rest = items.into_iter();
    loop {
        let piece: Vec<T> = rest.by_ref().take(PIECE).collect();
        let is_last = piece.len() < PIECE;
        if !piece.is_empty() || messages.is_empty() {
            messages.push(Ok(wrap(piece)));
        }
        if is_last {
            return Box::pin(tokio_stream::iter(messages));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    async fn sizes(count: usize) -> Vec<usize> {
        let mut stream = pieces((0..count).collect(), |piece| piece.len());
        let mut sizes = Vec::new();
        while let Some(size) = stream.next().await {
            sizes.push(size.unwrap());
        }
        sizes
    }

    #[tokio::test]
    async fn lists_are_cut_without_loss() {
        assert_eq!(sizes(0).await, [0]);
        assert_eq!(sizes(1).await, [1]);
        assert_eq!(sizes(100).await, [100]);
        assert_eq!(sizes(250).await, [100, 100, 50]);
    }
}
