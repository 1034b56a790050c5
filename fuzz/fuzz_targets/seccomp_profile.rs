//! Any profile is refused or becomes a filter that the kernel would take and that always ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime_spec::Seccomp;
use seccomp::{Call, Error, compile_for};

fuzz_target!(|data: &[u8]| {
    let Ok(profile) = serde_json::from_slice::<Seccomp>(data) else { return };
    for native in runtime_spec::SeccompArch::ALL {
        let program = match compile_for(&profile, *native) {
            Ok(program) => program,
            Err(Error::TooLong { length }) => {
                assert!(length > 4096);
                continue;
            }
            Err(_) => continue,
        };
        assert!(program.is_sound());
        let seed = data.iter().fold(0_u64, |sum, byte| sum.rotate_left(7) ^ u64::from(*byte));
        for arch in [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028, 0x8000_0016, 0] {
            for nr in (0..520).chain([0x4000_0000, 0x4000_0200, 0xc000_0000, u32::MAX]) {
                let args = [seed, u64::from(nr), 0, u64::MAX, seed >> 32, 1];
                assert!(program.verdict(&Call { nr, arch, args }).is_some());
            }
        }
    }
});
