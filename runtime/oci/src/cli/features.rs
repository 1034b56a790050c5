//! features.

use super::{Call, print_json};
use oci::Result;

pub(super) fn features(_: &Call) -> Result<u8> {
    print_json(&oci::features(), true)
}
