//! `podloom image ls`, `inspect` and `prune`.

use super::Desk;
use super::args::{InspectArgs, ListForm, LsArgs, PruneArgs};
use super::progress::bytes;
use crate::fault::Result;
use crate::print::{self, Table};
use image::{RegistryConfig, Removal, Summary};
use serde_json::{Value, json};

pub(super) fn list(desk: &Desk, ls: &LsArgs) -> Result<()> {
    let images = if ls.images.is_empty() {
        desk.images("ls")?
    } else {
        let catalog = desk.catalog("ls")?;
        ls.images.iter().map(|text| catalog.resolve(text)).collect::<image::Result<_>>()?
    };
    if ls.quiet && desk.place.output == ListForm::Table {
        let ids: String = images.iter().map(|image| format!("{}\n", image.id)).collect();
        return print::out(&ids);
    }
    desk.print(&json!(images), || table(&images, ls.no_trunc))
}

fn table(images: &[Summary], no_trunc: bool) -> String {
    let mut table = Table::new(&["NAME", "ID", "PLATFORM", "SIZE", "PULLED"]);
    for image in images {
        let id = if no_trunc { image.id.to_string() } else { short(image.id.hex()) };
        let names = match (image.repo_tags.as_slice(), image.repo_digests.first()) {
            ([], Some(digest)) => vec![digest.clone()],
            ([], None) => vec!["<none>".to_owned()],
            (tags, _) => tags.to_vec(),
        };
        for name in names {
            let (size, age) = (bytes(image.size), print::age(image.added));
            table.row(vec![name, id.clone(), image.platform.clone(), size, age]);
        }
    }
    if table.is_empty() { "no images\n".to_owned() } else { table.text() }
}

fn short(hex: &str) -> String {
    hex.chars().take(12).collect()
}

pub(super) fn inspect(desk: &Desk, inspect: &InspectArgs) -> Result<()> {
    let catalog = desk.catalog("inspect")?;
    let mut found = Vec::new();
    for text in &inspect.images {
        found.push(json!(catalog.inspect(text)?));
    }
    // There is no table of what is nested so deep.
    match desk.place.output {
        ListForm::Yaml => print::yaml(&Value::from(found)),
        ListForm::Table | ListForm::Json => print::json(&Value::from(found)),
    }
}

pub(super) async fn prune(desk: &Desk, prune: &PruneArgs) -> Result<()> {
    let service = desk.open("prune", RegistryConfig::default())?;
    let pruned = service.prune(prune.all).await?;
    let doc = json!({
        "images": pruned.images,
        "blobs": pruned.blobs,
        "layers": pruned.layers,
        "leftovers": pruned.strays,
        "freedBytes": pruned.freed,
    });
    desk.print(&doc, || {
        let mut text: String = pruned.images.iter().map(|id| format!("removed {id}\n")).collect();
        text.push_str(&format!(
            "{} images, {} blobs, {} layers, {} leftovers: {} freed\n",
            pruned.images.len(),
            pruned.blobs,
            pruned.layers,
            pruned.strays,
            bytes(pruned.freed)
        ));
        text
    })
}

pub(super) fn removal(desk: &Desk, removal: &Removal) -> Result<()> {
    let doc = json!({
        "id": removal.image,
        "names": removal.names,
        "removed": removal.is_gone,
        "freedBytes": removal.freed,
    });
    desk.print(&doc, || {
        let mut text: String =
            removal.names.iter().map(|name| format!("untagged {name}\n")).collect();
        if removal.is_gone {
            let freed = bytes(removal.freed);
            text.push_str(&format!("removed {}, {freed} freed\n", removal.image));
        }
        text
    })
}
