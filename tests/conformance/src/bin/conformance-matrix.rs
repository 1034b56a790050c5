//! Puts all cases to all plugins, podloom's and the reference's, and writes the page of it:
//! `conformance-matrix REFERENCE-DIR FILE`. `./dev conformance` runs it.

use conformance::Error;
use conformance::matrix::Matrix;
use std::path::Path;
use std::process::ExitCode;

#[allow(clippy::print_stderr, reason = "this program's output is its use")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [reference, file] = args.as_slice() else {
        eprintln!("usage: conformance-matrix REFERENCE-DIR FILE");
        return ExitCode::from(2);
    };
    std::panic::set_hook(Box::new(|_| {}));
    match write(Path::new(reference), Path::new(file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance-matrix: {error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr, reason = "this program's output is its use")]
fn write(reference: &Path, file: &Path) -> Result<(), Error> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let matrix = Matrix::make(reference, jobs, &|subject| eprintln!("done: {subject}"))?;
    std::fs::write(file, matrix.page()).map_err(|cause| Error::new(file.display(), cause))
}
