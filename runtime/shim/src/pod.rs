//! All that the shim knows of its pod; the main thread's.

use crate::arguments::Arguments;
use crate::container::{Container, Process};
use crate::error::Result;
use crate::reap::Status;
use crate::work::{Crew, Mailbox};
use shim_protocol::{Error, Event, Kind, Namespaces};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The pod.
pub(crate) struct Pod {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) containers: BTreeMap<String, Container>,
    pub(crate) namespaces: Making<Namespaces>,
    /// First process of the shared PID namespace.
    pub(crate) init: Option<Process>,
    /// Children whose exit status was taken before anybody said whose they are.
    pub(crate) strays: BTreeMap<i32, Status>,
    /// What clients are to be told.
    pub(crate) events: Vec<Event>,
    pub(crate) crew: Crew,
    pub(crate) mailbox: Mailbox,
    /// The shim ends when its last answer is sent.
    pub(crate) leaving: bool,
}

/// Something that is made once.
pub(crate) enum Making<T> {
    Absent,
    Begun,
    Made(T),
}

impl Pod {
    pub(crate) fn new(arguments: Arguments, mailbox: Mailbox) -> Pod {
        Pod {
            id: arguments.id,
            dir: arguments.dir,
            containers: BTreeMap::new(),
            namespaces: Making::Absent,
            init: None,
            strays: BTreeMap::new(),
            events: Vec::new(),
            crew: Crew::new(mailbox.clone()),
            mailbox,
            leaving: false,
        }
    }

    pub(crate) fn container(&mut self, id: &str) -> Result<&mut Container> {
        self.containers.get_mut(id).ok_or_else(|| missing(id))
    }

    pub(crate) fn made_namespaces(&self) -> Option<&Namespaces> {
        match &self.namespaces {
            Making::Made(made) => Some(made),
            Making::Absent | Making::Begun => None,
        }
    }
}

pub(crate) fn missing(id: &str) -> Error {
    Error::new(Kind::NotFound, id, "the pod has no such container")
}
