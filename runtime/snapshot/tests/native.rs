//! The suite over the native backend.

mod suite;

use snapshot::Native;

#[test]
fn chain() {
    suite::chain::<Native>();
}

#[test]
fn view() {
    suite::view::<Native>();
}

#[test]
fn opaque_root() {
    suite::opaque_root::<Native>();
}

#[test]
fn rules() {
    suite::rules::<Native>();
}

#[test]
fn crash() {
    suite::crash::<Native>();
}

#[test]
fn turns() {
    suite::turns::<Native>();
}

#[test]
fn one_commit() {
    suite::one_commit::<Native>();
}

#[test]
fn thousand() {
    suite::thousand::<Native>();
}

#[test]
fn sub_paths() {
    suite::sub_paths::<Native>();
}

#[test]
fn ids() {
    suite::ids::<Native>();
}
