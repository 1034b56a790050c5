//! Puts all cases to all plugins, podloom's and the reference's, and writes the page of it:
//! `conformance-matrix REFERENCE-DIR FILE RECORD`. A run that was cut short is gone on with where its
//! record ends. `./dev conformance` runs it.

use conformance::Error;
use conformance::matrix::{Matrix, Record};
use std::path::Path;
use std::process::ExitCode;

#[allow(clippy::print_stderr, reason = "this program's output is its use")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [reference, file, record] = args.as_slice() else {
        eprintln!("usage: conformance-matrix REFERENCE-DIR FILE RECORD");
        return ExitCode::from(2);
    };
    std::panic::set_hook(Box::new(|_| {}));
    match write(Path::new(reference), Path::new(file), Path::new(record)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance-matrix: {error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr, reason = "this program's output is its use")]
fn write(reference: &Path, file: &Path, record: &Path) -> Result<(), Error> {
    let record = Record::open(record)?;
    // Most of the time the kernel lets them wait for it.
    let jobs = std::thread::available_parallelism().map_or(1, usize::from) * 2;
    let matrix = Matrix::make(reference, &record, jobs, &|progress| eprintln!("{progress}"))?;
    std::fs::write(file, matrix.page()).map_err(|cause| Error::new(file.display(), cause))
}
