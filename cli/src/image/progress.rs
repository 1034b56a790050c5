//! Progress on a terminal: a line a layer, drawn again ten times a second.

use image::{LayerReport, LayerStage, Progress, Report, Stage};
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

/// How often lines are drawn.
const FRAME: Duration = Duration::from_millis(100);
/// Width of a bar, in characters.
const BAR: usize = 24;

/// Shows how far work is, beside the work.
pub(super) struct Bars {
    progress: Arc<Progress>,
    /// Neither for a pipe nor for who wants quiet.
    is_shown: bool,
}

impl Bars {
    pub(super) fn new(progress: Arc<Progress>, quiet: bool) -> Bars {
        Bars { progress, is_shown: !quiet && std::io::stderr().is_terminal() }
    }

    /// Draws until `work` is done.
    pub(super) async fn until<T>(self, work: impl Future<Output = T>) -> T {
        if !self.is_shown {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        let mut frames = tokio::time::interval(FRAME);
        let mut drawn = 0;
        loop {
            tokio::select! {
                outcome = &mut work => {
                    draw(&mut drawn, &self.lines());
                    return outcome;
                }
                _ = frames.tick() => draw(&mut drawn, &self.lines()),
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let (columns, rows) = size();
        lines(&self.progress.report(), columns, rows)
    }
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
        _ => (80, 24),
    }
}

/// Draws over what was drawn before.
fn draw(drawn: &mut usize, lines: &[String]) {
    let mut text = String::new();
    if *drawn > 0 {
        text.push_str(&format!("\x1b[{drawn}A"));
    }
    for line in lines {
        text.push_str(&format!("\x1b[2K{line}\n"));
    }
    text.push_str("\x1b[J");
    *drawn = lines.len();
    // A terminal that is gone is no reason to stop the work.
    let _unseen = std::io::stderr().lock().write_all(text.as_bytes());
}

fn lines(report: &Report, columns: usize, rows: usize) -> Vec<String> {
    let (here, all) = report.bytes();
    let stage = match report.stage {
        Stage::Resolving => "resolving",
        Stage::Layers => "fetching",
        Stage::Committing => "writing to disk",
        Stage::Ended => "done",
    };
    let done = report.layers.iter().filter(|l| is_done(l)).count();
    let mut head = format!("{}: {stage}", report.subject);
    if !report.layers.is_empty() {
        let rate = rate(here, report.elapsed);
        let count = report.layers.len();
        head = format!("{head}, {done}/{count} layers, {}/{}, {rate}", bytes(here), bytes(all));
    }
    let mut lines = vec![head];
    // What does not fit is what is done, or has not begun.
    let room = rows.saturating_sub(3);
    let at_work = |layer: &&LayerReport| layer.stage == LayerStage::Fetching;
    let shown: Vec<_> = if report.layers.len() <= room {
        report.layers.iter().collect()
    } else {
        report.layers.iter().filter(at_work).take(room).collect()
    };
    lines.extend(shown.into_iter().map(layer));
    lines.into_iter().map(|line| line.chars().take(columns.saturating_sub(1)).collect()).collect()
}

fn is_done(layer: &LayerReport) -> bool {
    matches!(layer.stage, LayerStage::Done | LayerStage::Present)
}

fn layer(layer: &LayerReport) -> String {
    let id: String = layer.digest.hex().chars().take(12).collect();
    let state = match layer.stage {
        LayerStage::Waiting => "waiting".to_owned(),
        LayerStage::Present => "is here".to_owned(),
        LayerStage::Done => format!("{} unpacked", bytes(layer.size)),
        LayerStage::Fetching => {
            let full = usize::try_from(layer.fetched * BAR as u64 / layer.size.max(1));
            let full = full.unwrap_or(BAR).min(BAR);
            let bar = format!("{}{}", "=".repeat(full), " ".repeat(BAR - full));
            format!("[{bar}] {}/{}", bytes(layer.fetched), bytes(layer.size))
        }
    };
    format!("  {id}  {state}")
}

fn rate(here: u64, elapsed: Duration) -> String {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    format!("{}/s", bytes(here.saturating_mul(1000) / millis))
}

/// Bytes for people: powers of 1000, three digits.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    let mut scaled = count.saturating_mul(10);
    while scaled >= 10_000 && unit + 1 < UNITS.len() {
        scaled /= 1000;
        unit += 1;
    }
    let (whole, tenth) = (scaled / 10, scaled % 10);
    if unit == 0 || whole >= 100 {
        return format!("{whole} {}", UNITS[unit]);
    }
    format!("{whole}.{tenth} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(layers: usize) -> Report {
        let digest = |at: usize| image::Digest::sha256(&at.to_le_bytes());
        let layer = |at| LayerReport {
            digest: digest(at),
            size: 1000,
            fetched: if at == 0 { 500 } else { 0 },
            stage: if at == 0 { LayerStage::Fetching } else { LayerStage::Waiting },
        };
        Report {
            subject: "docker.io/library/a:1".to_owned(),
            stage: Stage::Layers,
            layers: (0..layers).map(layer).collect(),
            elapsed: Duration::from_secs(1),
        }
    }

    #[test]
    fn bytes_have_three_digits() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (12_345, "12.3 kB"),
            (999_999, "999 kB"),
            (1_000_000, "1.0 MB"),
            (u64::MAX, "1844 PB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn lines_fit_the_terminal() {
        let lines = lines(&report(3), 60, 24);
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with("docker.io/library/a:1: fetching, 0/3 layers, 500 B/3"));
        assert!(lines[1].contains("[============            ] 500 B/1.0 kB"), "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() < 60));
        let few = super::lines(&report(200), 60, 10);
        assert_eq!(few.len(), 2, "only what is at work: {few:?}");
    }
}
