//! The tables of the database and what is in their rows.

use crate::meta::{Fail, Work};
use crate::model::{Contents, Image, Name, Space};
use crate::{Digest, Lease};
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A table whose rows are JSON documents.
pub(crate) type Documents = TableDefinition<'static, &'static str, &'static [u8]>;

/// Image by digest of its configuration.
pub(crate) const IMAGES: Documents = TableDefinition::new("images");
/// What an image consists of, by the same key.
pub(crate) const CONTENTS: Documents = TableDefinition::new("contents");
/// Image by name.
pub(crate) const NAMES: Documents = TableDefinition::new("names");
/// The same the other way round: image and name.
pub(crate) const NAMES_OF: TableDefinition<'static, (&str, &str), ()> =
    TableDefinition::new("names_of");
/// Lease by ID.
pub(crate) const LEASES: Documents = TableDefinition::new("leases");
/// By digest: size in bytes, bytes allocated, boot in which it was last verified.
pub(crate) const BLOBS: TableDefinition<'static, &str, (u64, u64, u128)> =
    TableDefinition::new("blobs");
/// By key of an unpacked layer: bytes allocated, inodes.
pub(crate) const LAYERS: TableDefinition<'static, &str, (u64, u64)> =
    TableDefinition::new("layers");
/// Sums over [`BLOBS`] and [`LAYERS`]: count, bytes allocated, inodes.
pub(crate) const SUMS: TableDefinition<'static, &str, (u64, u64, u64)> =
    TableDefinition::new("sums");
/// Keys of [`SUMS`].
pub(crate) const OF_BLOBS: &str = "blobs";
/// Keys of [`SUMS`].
pub(crate) const OF_LAYERS: &str = "layers";

/// A blob that the database knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobRow {
    pub(crate) size: u64,
    pub(crate) space: Space,
    /// Boot in which its digest was last checked.
    pub(crate) verified: u128,
}

pub(crate) fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Work<T> {
    serde_json::from_slice(bytes).map_err(|e| Fail::damaged(key, &e))
}

pub(crate) fn encode<T: Serialize>(key: &str, row: &T) -> Work<Vec<u8>> {
    serde_json::to_vec(row).map_err(|e| Fail::damaged(key, &e))
}

/// One document.
pub(crate) fn get<T: DeserializeOwned>(
    txn: &ReadTransaction,
    table: Documents,
    key: &str,
) -> Work<Option<T>> {
    let Some(table) = opened(txn.open_table(table))? else { return Ok(None) };
    let row = table.get(key)?;
    row.map(|row| decode(key, row.value())).transpose()
}

/// All documents with their keys.
pub(crate) fn all<T: DeserializeOwned>(
    txn: &ReadTransaction,
    table: Documents,
) -> Work<Vec<(String, T)>> {
    let Some(table) = opened(txn.open_table(table))? else { return Ok(Vec::new()) };
    rows_of(&table)
}

/// All documents of a table that is open, with their keys.
pub(crate) fn rows_of<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Work<Vec<(String, T)>> {
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        rows.push((key.value().to_owned(), decode(key.value(), value.value())?));
    }
    Ok(rows)
}

/// A table that nothing was written to yet is no failure of a reader.
pub(crate) fn opened<T>(table: std::result::Result<T, TableError>) -> Work<Option<T>> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

pub(crate) fn put<T: Serialize>(
    txn: &WriteTransaction,
    table: Documents,
    key: &str,
    row: &T,
) -> Work<()> {
    let bytes = encode(key, row)?;
    txn.open_table(table)?.insert(key, bytes.as_slice())?;
    Ok(())
}

pub(crate) fn image(txn: &ReadTransaction, id: &Digest) -> Work<Option<Image>> {
    get(txn, IMAGES, id.as_str())
}

/// All images with their names, sorted by ID.
pub(crate) fn images(txn: &ReadTransaction) -> Work<Vec<Image>> {
    // Sorted by their keys, as the table is.
    let mut images = all::<Image>(txn, IMAGES)?;
    for name in names(txn)? {
        let key = name.image.as_str();
        if let Ok(at) = images.binary_search_by(|(id, _)| id.as_str().cmp(key)) {
            images[at].1.names.push(name);
        }
    }
    Ok(images.into_iter().map(|(_, image)| image).collect())
}

pub(crate) fn contents(txn: &ReadTransaction, id: &Digest) -> Work<Option<Contents>> {
    get(txn, CONTENTS, id.as_str())
}

pub(crate) fn names(txn: &ReadTransaction) -> Work<Vec<Name>> {
    let rows = all::<Name>(txn, NAMES)?;
    Ok(rows.into_iter().map(|(key, name)| Name { name: key, ..name }).collect())
}

/// The names of one image, sorted.
pub(crate) fn names_of(txn: &ReadTransaction, id: &Digest) -> Work<Vec<Name>> {
    let mut found = Vec::new();
    let Some(table) = opened(txn.open_table(NAMES_OF))? else { return Ok(found) };
    for row in table.range((id.as_str(), "")..)? {
        let key = row?.0;
        let (image, name) = key.value();
        if image != id.as_str() {
            break;
        }
        let entry = get::<Name>(txn, NAMES, name)?;
        let entry = entry.ok_or_else(|| Fail::damaged(name, &"a name without its row"))?;
        found.push(Name { name: name.to_owned(), ..entry });
    }
    Ok(found)
}

/// Lets a name mean an image, and no other any longer.
pub(crate) fn put_name(txn: &WriteTransaction, name: &Name) -> Work<()> {
    drop_name(txn, &name.name)?;
    put(txn, NAMES, &name.name, name)?;
    txn.open_table(NAMES_OF)?.insert((name.image.as_str(), name.name.as_str()), ())?;
    Ok(())
}

/// Removes a name, if it is there.
pub(crate) fn drop_name(txn: &WriteTransaction, name: &str) -> Work<()> {
    let mut table = txn.open_table(NAMES)?;
    let old = table.remove(name)?.map(|row| decode::<Name>(name, row.value())).transpose()?;
    if let Some(old) = old {
        txn.open_table(NAMES_OF)?.remove((old.image.as_str(), name))?;
    }
    Ok(())
}

pub(crate) fn leases(txn: &ReadTransaction) -> Work<Vec<(String, Lease)>> {
    all(txn, LEASES)
}

pub(crate) fn blob(txn: &ReadTransaction, digest: &Digest) -> Work<Option<BlobRow>> {
    let Some(table) = opened(txn.open_table(BLOBS))? else { return Ok(None) };
    Ok(table.get(digest.as_str())?.map(|row| blob_row(row.value())))
}

fn blob_row((size, bytes, verified): (u64, u64, u128)) -> BlobRow {
    BlobRow { size, space: Space { bytes, inodes: 1 }, verified }
}

/// Adds or replaces a blob, and keeps the sum.
pub(crate) fn put_blob(txn: &WriteTransaction, digest: &Digest, row: BlobRow) -> Work<()> {
    let mut table = txn.open_table(BLOBS)?;
    let value = (row.size, row.space.bytes, row.verified);
    let old = table.insert(digest.as_str(), value)?.map(|old| blob_row(old.value()).space);
    change(txn, OF_BLOBS, old, Some(row.space))
}

/// Removes a blob, and keeps the sum. Returns what it occupied.
pub(crate) fn drop_blob(txn: &WriteTransaction, digest: &str) -> Work<Option<Space>> {
    let mut table = txn.open_table(BLOBS)?;
    let old = table.remove(digest)?.map(|old| blob_row(old.value()).space);
    change(txn, OF_BLOBS, old, None)?;
    Ok(old)
}

/// Adds or replaces an unpacked layer, and keeps the sum.
pub(crate) fn put_layer(txn: &WriteTransaction, key: &str, space: Space) -> Work<()> {
    let mut table = txn.open_table(LAYERS)?;
    let old = table.insert(key, (space.bytes, space.inodes))?.map(|old| layer_row(old.value()));
    change(txn, OF_LAYERS, old, Some(space))
}

/// Removes an unpacked layer, and keeps the sum. Returns what it occupied.
pub(crate) fn drop_layer(txn: &WriteTransaction, key: &str) -> Work<Option<Space>> {
    let mut table = txn.open_table(LAYERS)?;
    let old = table.remove(key)?.map(|old| layer_row(old.value()));
    change(txn, OF_LAYERS, old, None)?;
    Ok(old)
}

pub(crate) fn layer_row((bytes, inodes): (u64, u64)) -> Space {
    Space { bytes, inodes }
}

fn change(txn: &WriteTransaction, sum: &str, old: Option<Space>, new: Option<Space>) -> Work<()> {
    let mut table = txn.open_table(SUMS)?;
    let (mut count, mut bytes, mut inodes) =
        table.get(sum)?.map(|row| row.value()).unwrap_or_default();
    if let Some(new) = new {
        (count, bytes, inodes) = (count + 1, bytes + new.bytes, inodes + new.inodes);
    }
    if let Some(old) = old {
        let less = |from: u64, part: u64| {
            from.checked_sub(part).ok_or_else(|| Fail::damaged(sum, &"is less than its parts"))
        };
        (count, bytes, inodes) =
            (less(count, 1)?, less(bytes, old.bytes)?, less(inodes, old.inodes)?);
    }
    table.insert(sum, (count, bytes, inodes))?;
    Ok(())
}

/// Makes the tables, so that an empty database differs from a lost one.
pub(crate) fn put_table_marks(txn: &WriteTransaction) -> Work<()> {
    for table in [IMAGES, CONTENTS, NAMES, LEASES] {
        txn.open_table(table)?;
    }
    txn.open_table(NAMES_OF)?;
    txn.open_table(BLOBS)?;
    txn.open_table(LAYERS)?;
    txn.open_table(SUMS)?;
    Ok(())
}
