//! Transfers that break, stall, lie and crawl.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use registry::spec::{Descriptor, Digest, MediaType, Verifier};
use registry::{Blob, Client, Config, Kind, Reference, Repository};

use support::fake::{Fake, Reply, Request, Step};
use support::image::{Small, ranged};
use support::{Dir, client, client_with, config};

async fn open(client: &Client, host: &str) -> Repository {
    let reference: Reference = format!("{host}/app").parse().unwrap();
    client.repository(&reference, None).await.unwrap()
}

async fn read(mut blob: Blob) -> registry::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = blob.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn is_layer(request: &Request, image: &Small) -> bool {
    request.path.contains(image.layer_descriptor().digest.as_str())
}

/// A server whose layer is answered by `layer`, and all else well.
fn with_layer(
    image: &Small,
    layer: impl Fn(&Request, &Small) -> Reply + Send + Sync + 'static,
) -> Fake {
    let image = image.clone();
    Fake::start(move |request| {
        if is_layer(request, &image) { layer(request, &image) } else { image.answer(request) }
    })
}

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_was() {
    let image = Small::new(400_000);
    let cuts = AtomicUsize::new(0);
    let fake = with_layer(&image, move |request, image| {
        let from = request.offset();
        if cuts.fetch_add(1, Ordering::Relaxed) > 2 {
            return image.answer(request);
        }
        let part = image.layer[from..from + 50_000].to_vec();
        let reply = if from == 0 { Reply::new(200) } else { ranged(&image.layer, from) };
        let length = image.layer.len() - from;
        Reply { steps: Vec::new(), ..reply }
            .header("Content-Length", length)
            .step(Step::Send(part))
            .step(Step::Cut)
    });
    let repository = open(&client(), &fake.host()).await;
    let counter = Arc::new(AtomicU64::new(0));
    let blob = repository.blob(&image.layer_descriptor()).count_into(Arc::clone(&counter));
    assert_eq!(read(blob).await.unwrap(), image.layer);
    assert_eq!(counter.load(Ordering::Relaxed), 400_000);
    let ranges: Vec<_> = fake.seen().iter().map(Request::offset).collect();
    assert_eq!(ranges.len(), 4);
    assert!(ranges.is_sorted() && ranges[3] >= 100_000, "{ranges:?}");
}

#[tokio::test]
async fn a_transfer_resumes_after_a_restart() {
    let image = Small::new(100_000);
    let fake = with_layer(&image, |request, image| image.answer(request));
    let repository = open(&client(), &fake.host()).await;
    let mut verifier = Verifier::new(&image.layer_descriptor().digest);
    verifier.update(&image.layer[..60_000]);
    let rest = read(repository.resume(&image.layer_descriptor(), verifier)).await.unwrap();
    assert_eq!(rest, image.layer[60_000..]);
    assert_eq!(fake.seen()[0].header("range"), Some("bytes=60000-"));
    // What was there before was not what it should be.
    let mut damaged = Verifier::new(&image.layer_descriptor().digest);
    damaged.update(&[0; 60_000]);
    let error = read(repository.resume(&image.layer_descriptor(), damaged)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_over() {
    let image = Small::new(100_000);
    let fake = with_layer(&image, |_, image| Reply::new(200).body(image.layer.clone()));
    let repository = open(&client(), &fake.host()).await;
    let mut verifier = Verifier::new(&image.layer_descriptor().digest);
    verifier.update(&image.layer[..60_000]);
    let rest = read(repository.resume(&image.layer_descriptor(), verifier)).await.unwrap();
    assert_eq!(rest, image.layer[60_000..]);
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let image = Small::new(10_000);
    let fake = with_layer(&image, |_, _| {
        Reply::new(200).header("Content-Length", 10_000).step(Step::Wait(Duration::from_secs(4)))
    });
    let few =
        Client::new(Config { retries: 1, idle_timeout: Duration::from_millis(200), ..config() });
    let begun = Instant::now();
    let error =
        read(open(&few, &fake.host()).await.blob(&image.layer_descriptor())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout, "{error}");
    assert!(error.to_string().contains("nothing came for 0.2"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(fake.seen().len(), 2);
}

/// Section 5 B, case 19.
#[tokio::test]
async fn a_drip_fails_with_its_rate() {
    let image = Small::new(100_000);
    let fake = with_layer(&image, |_, image| {
        let mut reply = Reply::new(200).header("Content-Length", image.layer.len());
        for byte in &image.layer[..60] {
            reply = reply.step(Step::Send(vec![*byte])).step(Step::Wait(Duration::from_millis(20)));
        }
        reply.step(Step::Cut)
    });
    let picky = Config { min_rate: 1000, rate_window: Duration::from_millis(400), ..config() };
    let begun = Instant::now();
    let repository = open(&Client::new(picky), &fake.host()).await;
    let error = read(repository.blob(&image.layer_descriptor())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::TooSlow, "{error}");
    let text = error.to_string();
    assert!(text.contains("bytes/s over 0.4 s") && text.contains("the minimum is 1000"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    // A slow reader is no slow registry.
    let good = with_layer(&image, |request, image| image.answer(request));
    let picky = Config { min_rate: 1000, rate_window: Duration::from_millis(100), ..config() };
    let mut blob = open(&Client::new(picky), &good.host()).await.blob(&image.layer_descriptor());
    while let Some(_piece) = blob.next().await.unwrap() {
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

#[tokio::test]
async fn corrupt_bytes_are_found_and_their_mirror_is_left() {
    let image = Small::new(50_000);
    let corrupt = with_layer(&image, |_, image| {
        let mut layer = image.layer.clone();
        layer[40_000] ^= 1;
        Reply::new(200).body(layer)
    });
    let good = with_layer(&image, |request, image| image.answer(request));
    let dir = Dir::new();
    let text = format!("server = '{}'\n[host.'{}']", good.url(), corrupt.url());
    dir.write(&format!("{}/hosts.toml", good.host()), text);
    let repository = open(&client_with(&dir), &good.host()).await;
    let error = read(repository.blob(&image.layer_descriptor())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch, "{error}");
    assert!(error.to_string().contains(&corrupt.host()), "{error}");
    assert_eq!(read(repository.blob(&image.layer_descriptor())).await.unwrap(), image.layer);
}

#[tokio::test]
async fn mirrors_mend_each_other() {
    let image = Small::new(200_000);
    let cut = with_layer(&image, |request, image| {
        let from = request.offset();
        let part = image.layer[from..from + 60_000].to_vec();
        let reply = Reply::new(200).header("Content-Length", image.layer.len() - from);
        reply.step(Step::Send(part)).step(Step::Cut)
    });
    let good = with_layer(&image, |request, image| image.answer(request));
    let dir = Dir::new();
    let text = format!("server = '{}'\n[host.'{}']", good.url(), cut.url());
    dir.write(&format!("{}/hosts.toml", good.host()), text);
    let repository = open(&client_with(&dir), &good.host()).await;
    let layer = read(repository.blob(&image.layer_descriptor())).await.unwrap();
    assert_eq!(layer, image.layer);
    assert_eq!((cut.seen().len(), good.seen().len()), (1, 1));
    assert!((1..=60_000).contains(&good.seen()[0].offset()), "{:?}", good.seen());
}

#[tokio::test]
async fn wrong_lengths_are_refused_before_reading() {
    let image = Small::new(10_000);
    type Layer = fn(&Request, &Small) -> Reply;
    let longer: Layer = |_, _| Reply::new(200).body(vec![0; 10_001]);
    let endless: Layer = |_, _| Reply::new(200).step(Step::Forever);
    let shorter: Layer = |_, _| Reply::new(200).body(vec![0; 9_999]);
    for (layer, why) in
        [(longer, "announces 10001"), (endless, "hash to|more than"), (shorter, "announces 9999")]
    {
        let fake = with_layer(&image, layer);
        let error = read(open(&client(), &fake.host()).await.blob(&image.layer_descriptor()))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch, "{error}");
        assert!(why.split('|').any(|why| error.to_string().contains(why)), "{error}");
    }
}

#[tokio::test]
async fn waits_are_honoured_within_bounds() {
    let image = Small::new(10);
    let asked = AtomicUsize::new(0);
    let fake =
        with_layer(&image, move |request, image| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::new(429).header("Retry-After", 1),
            1 => Reply::new(503),
            _ => image.answer(request),
        });
    let begun = Instant::now();
    let layer =
        read(open(&client(), &fake.host()).await.blob(&image.layer_descriptor())).await.unwrap();
    assert_eq!(layer, image.layer);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let long = Fake::start(|_| Reply::new(429).header("Retry-After", 3600));
    let error = open(&client(), &long.host()).await.fetch().await.unwrap_err();
    assert_eq!(error.kind(), Kind::RateLimited, "{error}");
    assert!(error.to_string().contains("asks to wait 3600 s"), "{error}");
}

#[tokio::test]
async fn huge_documents_are_not_read() {
    let fakes = [
        Fake::start(|_| Reply::new(200).step(Step::Forever)),
        Fake::start(|_| Reply::new(200).header("Content-Length", 1u64 << 40).step(Step::Forever)),
    ];
    for fake in fakes {
        let error = open(&client(), &fake.host()).await.fetch().await.unwrap_err();
        assert_eq!(error.kind(), Kind::TooLarge, "{error}");
    }
    let fake = Fake::start(|_| Reply::new(404));
    let repository = open(&client(), &fake.host()).await;
    let huge = Descriptor::new(MediaType::Config, Digest::sha256(b""), 1 << 40);
    assert_eq!(repository.config(&huge).await.unwrap_err().kind(), Kind::TooLarge);
    assert_eq!(repository.manifest(&huge).await.unwrap_err().kind(), Kind::TooLarge);
    assert!(fake.seen().is_empty(), "nothing was asked for");
}

#[tokio::test]
async fn a_blob_is_a_stream_and_dropping_it_ends_it() {
    let image = Small::new(3_000_000);
    let fake = with_layer(&image, |request, image| image.answer(request));
    let repository = open(&client(), &fake.host()).await;
    let pieces: Vec<_> = repository.blob(&image.layer_descriptor()).into_stream().collect().await;
    let total: usize = pieces.into_iter().map(|piece| piece.unwrap().len()).sum();
    assert_eq!(total, 3_000_000);
    let mut blob = repository.blob(&image.layer_descriptor());
    assert!(blob.next().await.unwrap().is_some());
    let at = blob.position();
    assert!(at > 0 && at < 3_000_000);
    drop(blob);
    assert_eq!(fake.seen().len(), 2);
}
