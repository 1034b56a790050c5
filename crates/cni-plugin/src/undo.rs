//! Undoing what a failed ADD has done.

/// Runs a closure when dropped, unless it is kept.
///
/// ```
/// let mut made = vec![1];
/// {
///     let _undo = cni_plugin::Undo::new(|| made.clear());
/// }
/// assert!(made.is_empty());
/// ```
#[must_use = "an undo that is not held runs at once"]
pub struct Undo<F: FnOnce()> {
    action: Option<F>,
}

impl<F: FnOnce()> Undo<F> {
    /// Arms `action`.
    pub fn new(action: F) -> Undo<F> {
        Undo { action: Some(action) }
    }

    /// Disarms it: the work is to stay.
    pub fn keep(mut self) {
        self.action = None;
    }
}

impl<F: FnOnce()> Drop for Undo<F> {
    fn drop(&mut self) {
        if let Some(action) = self.action.take() {
            action();
        }
    }
}
