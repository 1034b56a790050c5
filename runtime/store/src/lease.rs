//! Leases: durable claims on content, of containers and of whoever else outlives a process.

use crate::rows;
use crate::store::Store;
use crate::{Digest, Error, Result, disk};
use serde::{Deserialize, Serialize};

/// Keeps content until it is released, runs out, or the boot that it belongs to has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Names it; a second lease of the same ID replaces the first.
    pub id: String,
    /// Whose it is, for people: `container 4f2a...`.
    pub owner: String,
    /// When it runs out, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// The boot it ends with: processes do not survive one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Blobs that it keeps.
    #[serde(default)]
    pub blobs: Vec<Digest>,
    /// Unpacked layers that it keeps.
    #[serde(default)]
    pub layers: Vec<String>,
    /// The image that it is about, which counts as in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
}

impl Lease {
    /// A lease of this boot on nothing yet.
    #[must_use]
    pub fn of_this_boot(id: &str, owner: &str) -> Lease {
        Lease {
            id: id.to_owned(),
            owner: owner.to_owned(),
            expires: None,
            boot: Some(format!("{:x}", disk::boot_id())),
            blobs: Vec::new(),
            layers: Vec::new(),
            image: None,
        }
    }

    /// Whether it still keeps anything.
    pub(crate) fn is_valid(&self, boot: u128, now_secs: u64) -> bool {
        let in_time = self.expires.is_none_or(|expires| now_secs < expires);
        in_time && self.boot.as_ref().is_none_or(|of| *of == format!("{boot:x}"))
    }
}

impl Store {
    /// Takes or replaces a lease, durably.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Io`].
    pub fn lease(&self, lease: &Lease) -> Result<()> {
        // Not while a collection is under way: it would not see the lease.
        let _state = self.inner.state();
        self.inner.meta.write(|txn| rows::put(txn, rows::LEASES, &lease.id, lease))
    }

    /// Takes a lease, of this boot, on all that an image consists of, so that it stays on disk
    /// even when the image is removed.
    ///
    /// # Errors
    /// [`Error::NoImage`]; [`Error::Database`], [`Error::Io`].
    pub fn lease_image(&self, id: &str, owner: &str, image: &Digest) -> Result<()> {
        let hold = self.hold();
        let contents = self.contents(image)?;
        let mut lease = Lease::of_this_boot(id, owner);
        lease.blobs = contents.manifests.into_iter().flat_map(|m| m.blobs).collect();
        lease.blobs.dedup();
        lease.layers = contents.layers;
        lease.image = Some(image.clone());
        for digest in &lease.blobs {
            hold.blob(digest);
        }
        for key in &lease.layers {
            hold.layer(key);
        }
        // Once more, now that nothing can be collected any longer.
        self.contents(image)?;
        self.lease(&lease)
    }

    /// Ends a lease. This waits for no disk, so the end of the process soon after may bring the lease
    /// back: who opens the store again releases those of owners that are not there.
    ///
    /// # Errors
    /// [`Error::NoLease`]; [`Error::Database`], [`Error::Io`].
    pub fn release(&self, id: &str) -> Result<()> {
        let had = self.inner.meta.write_soon(|txn| {
            let mut table = txn.open_table(rows::LEASES)?;
            let had = table.remove(id)?.is_some();
            Ok(had)
        })?;
        if had { Ok(()) } else { Err(Error::NoLease { id: id.to_owned() }) }
    }

    /// The leases that are valid now.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn leases(&self) -> Result<Vec<Lease>> {
        let rows = self.inner.meta.read(rows::leases)?;
        let now = disk::now() / 1_000_000_000;
        let leases = rows.into_iter().map(|(_, lease)| lease);
        Ok(leases.filter(|lease| lease.is_valid(self.inner.boot, now)).collect())
    }
}
