//! `podloomd config`.

use crate::args::What;
use crate::fault::Fault;
use runtime_config::{Config, DEFAULT_TEXT};
use std::io::Write;
use std::path::Path;

pub(crate) fn run(what: What, file: &Path) -> Result<(), Fault> {
    let text = match what {
        What::Default => DEFAULT_TEXT.to_owned(),
        What::Dump => Config::load(file).and_then(|config| config.to_text()).map_err(mistake)?,
        What::Check => {
            let config = Config::load(file).map_err(mistake)?;
            crate::settings::check(&config)?;
            return Ok(());
        }
    };
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|e| Fault::new("standard output", e))
}

/// A mistake in the configuration.
pub(crate) fn mistake(error: runtime_config::Error) -> Fault {
    Fault::new("configuration", error).with_advice("`podloomd config default` shows every key")
}
