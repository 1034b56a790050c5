//! The wish: the link.

use netlink::Place;

/// The link to make in the pod: by the name that the attachment asks for, of the kernel's size.
pub(crate) fn place(name: &str) -> Place<'_> {
    Place { name, ..Place::default() }
}
