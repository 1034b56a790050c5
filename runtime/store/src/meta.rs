//! The database, opened again after a failure and rebuilt after damage.

use crate::disk::{self, Dirs};
use crate::{Error, Result, record};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

/// Memory for pages, in bytes: a database of thousands of images has a few megabytes.
const CACHE: usize = 4 << 20;
/// Damaged databases that are kept for whoever wants to look.
const KEPT: usize = 2;

/// Why work in a transaction failed.
#[derive(Debug)]
pub(crate) enum Fail {
    /// The database failed.
    Database(Box<redb::Error>),
    /// The work is not possible; the transaction is dropped.
    Refused(Error),
}

impl From<Error> for Fail {
    fn from(error: Error) -> Fail {
        Fail::Refused(error)
    }
}

macro_rules! database_failures {
    ($($kind:ty),+) => {$(
        impl From<$kind> for Fail {
            fn from(error: $kind) -> Fail {
                Fail::Database(Box::new(error.into()))
            }
        }
    )+};
}
database_failures!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);

impl Fail {
    /// A row that does not say what it should.
    pub(crate) fn damaged(what: &str, cause: &dyn std::fmt::Display) -> Fail {
        Fail::from(redb::StorageError::Corrupted(format!("{what}: {cause}")))
    }
}

/// What work in a transaction returns.
pub(crate) type Work<T> = std::result::Result<T, Fail>;

/// The database of a store.
pub(crate) struct Meta {
    dirs: Dirs,
    /// None only after a database could be neither opened nor replaced.
    database: RwLock<Option<Database>>,
    /// One repair at a time.
    repairing: Mutex<()>,
    images_version: AtomicU64,
}

impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meta").field("dirs", &self.dirs).finish_non_exhaustive()
    }
}

impl Meta {
    /// Opens the database of `dirs`, or makes one from the images' records.
    pub(crate) fn open(dirs: Dirs, suspicious: bool) -> Result<Meta> {
        let database = RwLock::new(None);
        let (repairing, images_version) = (Mutex::new(()), AtomicU64::new(0));
        let meta = Meta { dirs, database, repairing, images_version };
        match meta.open_database(suspicious) {
            Ok(database) => meta.put(database),
            Err(fail) => meta.repair(&fail)?,
        }
        if meta.read(|txn| Ok(txn.list_tables()?.next().is_none()))? {
            meta.write(|txn| record::rebuild(&meta.dirs, txn))?;
        }
        Ok(meta)
    }

    fn path(&self) -> PathBuf {
        self.dirs.database()
    }

    fn open_database(&self, suspicious: bool) -> Work<Database> {
        let path = self.path();
        guarded(move || {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE).set_check_integrity_on_open(suspicious);
            Ok(builder.create(path)?)
        })
    }

    fn put(&self, database: Database) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`crate::Store::images_version`].
    pub(crate) fn images_version(&self) -> u64 {
        self.images_version.load(Ordering::Acquire)
    }

    /// For who has changed images.
    pub(crate) fn images_changed(&self) {
        self.images_version.fetch_add(1, Ordering::Release);
    }

    /// Reads in one transaction.
    pub(crate) fn read<T>(&self, work: impl Fn(&ReadTransaction) -> Work<T>) -> Result<T> {
        self.attempt(|database| work(&database.begin_read()?))
    }

    /// Changes in one durable transaction: all of it or, on failure, nothing.
    pub(crate) fn write<T>(&self, work: impl Fn(&WriteTransaction) -> Work<T>) -> Result<T> {
        self.write_as(Durability::Immediate, work)
    }

    /// The same; but the end of this process may undo it, until another change is durable.
    pub(crate) fn write_soon<T>(&self, work: impl Fn(&WriteTransaction) -> Work<T>) -> Result<T> {
        self.write_as(Durability::None, work)
    }

    fn write_as<T>(
        &self,
        durability: Durability,
        work: impl Fn(&WriteTransaction) -> Work<T>,
    ) -> Result<T> {
        self.attempt(|database| {
            let mut txn = database.begin_write()?;
            txn.set_durability(durability)?;
            let outcome = work(&txn)?;
            txn.commit()?;
            Ok(outcome)
        })
    }

    /// Works once; repairs the database if that is to blame, and works once more.
    fn attempt<T>(&self, work: impl Fn(&Database) -> Work<T>) -> Result<T> {
        let once = || {
            let database = self.database();
            let Some(database) = database.as_ref() else {
                return Err(Fail::from(redb::StorageError::DatabaseClosed));
            };
            guarded(|| work(database))
        };
        match once() {
            Ok(outcome) => Ok(outcome),
            Err(Fail::Refused(error)) => Err(error),
            Err(fail) => {
                let full = is_full(&fail);
                self.repair(&fail)?;
                if full {
                    return Err(self.failed(fail));
                }
                once().map_err(|fail| self.failed(fail))
            }
        }
    }

    /// Opens the database again; one that is damaged is set aside and rebuilt from the records.
    ///
    /// After a failed write it refuses writes until it is opened again.
    fn repair(&self, fail: &Fail) -> Result<()> {
        let _one: MutexGuard<'_, ()> =
            self.repairing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = slot.take() {
            // Closing a database that failed may fail, or panic, once more; it is given up anyway.
            let _closed = catch_unwind(AssertUnwindSafe(move || drop(old)));
        }
        if !is_damage(fail) {
            match self.open_database(true) {
                Ok(database) => {
                    *slot = Some(database);
                    return Ok(());
                }
                Err(again) if !is_damage(&again) => return Err(self.failed(again)),
                Err(_) => {}
            }
        }
        self.set_aside()?;
        let database = self.open_database(false).map_err(|fail| self.failed(fail))?;
        let filled = guarded(|| {
            let txn = database.begin_write()?;
            record::rebuild(&self.dirs, &txn)?;
            Ok(txn.commit()?)
        });
        filled.map_err(|fail| self.failed(fail))?;
        *slot = Some(database);
        self.images_changed();
        Ok(())
    }

    fn set_aside(&self) -> Result<()> {
        let path = self.path();
        let aside = self.dirs.root.join(format!("damaged-{}.redb", disk::unique()));
        match fs::rename(&path, &aside) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            moved => moved.map_err(Error::io("set aside", &path))?,
        }
        let is_damaged = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("damaged-"))
        };
        let mut old: Vec<_> = disk::entries(&self.dirs.root)?;
        old.retain(is_damaged);
        old.sort();
        for path in old.iter().rev().skip(KEPT) {
            fs::remove_file(path).map_err(Error::io("delete", path))?;
        }
        Ok(())
    }

    fn failed(&self, fail: Fail) -> Error {
        match fail {
            Fail::Refused(error) => error,
            Fail::Database(error) => match *error {
                redb::Error::Io(source) => {
                    Error::Io { what: "use the database", path: self.path(), source }
                }
                other => Error::Database { path: self.path(), cause: other.to_string() },
            },
        }
    }
}

/// Reads a database that nobody has open, without a write to it: one that has to be repaired first
/// is a failure.
pub(crate) fn read_at_rest<T>(
    dirs: &Dirs,
    work: impl FnOnce(&ReadTransaction) -> Work<T>,
) -> Work<T> {
    guarded(|| {
        let mut builder = Database::builder();
        let database = builder.set_cache_size(CACHE).open_read_only(dirs.database())?;
        work(&database.begin_read()?)
    })
}

/// A panic of the database, which some damage provokes, is damage and must not end the process.
fn guarded<T>(work: impl FnOnce() -> Work<T>) -> Work<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Fail::damaged("the database gave up", &text.unwrap_or("no reason given")))
    })
}

fn is_damage(fail: &Fail) -> bool {
    match fail {
        Fail::Refused(_) => false,
        Fail::Database(error) => match error.as_ref() {
            redb::Error::Corrupted(_)
            | redb::Error::UpgradeRequired(_)
            | redb::Error::RepairAborted
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_) => true,
            // What a file that is no database is reported as, or one that was cut short.
            redb::Error::Io(source) => matches!(
                source.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ),
            _ => false,
        },
    }
}

fn is_full(fail: &Fail) -> bool {
    let Fail::Database(error) = fail else { return false };
    matches!(error.as_ref(), redb::Error::Io(e) if e.kind() == std::io::ErrorKind::StorageFull)
}
