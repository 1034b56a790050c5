//! The disk itself: what is synced survives each cut, what is not may be lost.

use disk::{Cuts, Event, Mounted, Recorder};
use std::fs::{self, File};
use std::io::Write;

#[test]
fn synced_files_survive_and_others_may_not() {
    disk::alone();
    let recorder = Recorder::new(32 << 20);
    recorder.format();
    let mounted = Mounted::new(&recorder.path());
    recorder.mark("begin");
    for n in 0..8 {
        let mut file = File::create(mounted.path().join(format!("synced-{n}"))).expect("create");
        file.write_all(&vec![b'a' + n; 10_000]).expect("write");
        file.sync_all().expect("sync");
        recorder.mark(&format!("synced-{n}"));
        fs::write(mounted.path().join(format!("loose-{n}")), vec![b'a' + n; 10_000])
            .expect("write");
    }
    drop(mounted);
    let journal = recorder.finish();
    assert!(
        journal.events().iter().filter(|e| **e == Event::Flush).count() >= 8,
        "no flushes seen"
    );
    let mut lost = 0;
    let mut cuts = Cuts::new(&journal, 7);
    for at in journal.points("begin", 40, 7) {
        let mounted = Mounted::new(&cuts.cut(at));
        for n in 0..8 {
            let body = vec![b'a' + n; 10_000];
            if journal.mark(&format!("synced-{n}")) < at {
                let read = fs::read(mounted.path().join(format!("synced-{n}"))).expect("there");
                assert!(read == body, "cut at {at}: synced-{n} is not as written");
            }
            let loose = fs::read(mounted.path().join(format!("loose-{n}")));
            lost += usize::from(loose.map_or(true, |read| read != body));
        }
    }
    assert!(lost > 0, "nothing is ever lost: the power was not cut");
}
