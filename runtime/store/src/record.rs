//! Records of images beside the database: what it is rebuilt from.

use crate::disk::{self, Dirs};
use crate::meta::Work;
use crate::model::{Contents, Image, Name, Space};
use crate::rows::{self, BlobRow};
use crate::{Digest, Error, Result};
use redb::WriteTransaction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;

/// All that the database knows of one image.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) image: Image,
    pub(crate) contents: Contents,
    pub(crate) names: Vec<Name>,
    pub(crate) layers: BTreeMap<String, Space>,
}

impl Record {
    /// Writes it durably.
    pub(crate) fn write(&self, dirs: &Dirs) -> Result<()> {
        let path = dirs.record(&self.image.id);
        let text = serde_json::to_vec(self).map_err(|e| Error::io("write", &path)(e.into()))?;
        disk::replace(&path, &text)
    }
}

/// Removes the record of an image that the database has forgotten. Should the removal not survive
/// a power cut, the image would come back only with the database lost too and all its blobs there.
pub(crate) fn remove(dirs: &Dirs, image: &Digest) -> Result<()> {
    let path = dirs.record(image);
    match fs::remove_file(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        gone => gone.map_err(Error::io("delete", &path)),
    }
}

/// Fills an empty database from the records. Images of which a blob is missing are left out; the
/// others' blobs are verified on their first use, as no boot is noted for them.
pub(crate) fn rebuild(dirs: &Dirs, txn: &WriteTransaction) -> Work<()> {
    rows::put_table_marks(txn)?;
    let mut names: BTreeMap<String, Name> = BTreeMap::new();
    for path in disk::entries(&dirs.records())? {
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        // A record that says nothing is not worth failing for: the image is pulled again.
        let Ok(record) = serde_json::from_slice::<Record>(&text) else { continue };
        let Some(blobs) = blobs_on_disk(dirs, &record)? else { continue };
        for (digest, row) in &blobs {
            rows::put_blob(txn, digest, *row)?;
        }
        for (key, space) in &record.layers {
            rows::put_layer(txn, key, *space)?;
        }
        let id = record.image.id.as_str();
        rows::put(txn, rows::IMAGES, id, &record.image)?;
        rows::put(txn, rows::CONTENTS, id, &record.contents)?;
        for name in record.names {
            let known = names.get(&name.name);
            if known.is_none_or(|known| known.since < name.since) {
                names.insert(name.name.clone(), name);
            }
        }
    }
    for name in names.values() {
        rows::put_name(txn, name)?;
    }
    Ok(())
}

/// The blobs of an image; none if one is missing.
fn blobs_on_disk(dirs: &Dirs, record: &Record) -> Result<Option<Vec<(Digest, BlobRow)>>> {
    let mut found = Vec::new();
    for digest in record.contents.manifests.iter().flat_map(|manifest| &manifest.blobs) {
        let path = dirs.blob(digest);
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("look at", &path)(e)),
        };
        let row = BlobRow { size: meta.len(), space: disk::space(&meta), verified: 0 };
        found.push((digest.clone(), row));
    }
    Ok(Some(found))
}
