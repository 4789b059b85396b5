//! What the table of kernels says. It is found once: zooming and panning change nothing of it, and a trace has hundreds of
//! thousands of dispatches.

use super::super::View;
use super::kernels::{Kernel, buckets, by_cost, change, kernels, untimed};
use crate::stats::Difference;
use first_wgpu::trace::Run;
use std::cell::RefCell;
use std::rc::Rc;

/// The kernels of a part of a run, beside those of another.
pub(super) struct Found {
    pub(super) kernels: Vec<Kernel>,
    /// How much longer a dispatch of each takes than in the other run.
    pub(super) changes: Vec<Option<Difference>>,
    /// Whether the other run has this part.
    pub(super) compared: bool,
    /// Dispatches without a time.
    pub(super) untimed: usize,
    /// All kernels of the run, first those that cost most.
    pub(super) by_cost: Vec<String>,
}

impl Found {
    pub(super) fn of(run: &Run, other: Option<&Run>, prefill: bool) -> Self {
        let own = buckets(run, prefill);
        let others = other.map(|other| buckets(other, prefill));
        let others = others.filter(|others| !others.is_empty());
        let kernels = kernels(&own);
        let changes = kernels.iter().map(|kernel| {
            let others = others.as_ref()?;
            change(
                &own,
                others,
                prefill,
                kernel.key.each_ref().map(|name| &**name),
            )
        });
        Self {
            changes: changes.collect(),
            compared: others.is_some(),
            untimed: untimed(run, prefill),
            by_cost: by_cost(run),
            kernels,
        }
    }
}

/// Which run, which other one, and whether of the prefill.
type Asked = (usize, Option<usize>, bool);

/// What was found last in a session, as long as that does not change.
#[derive(Default)]
pub struct Memory {
    revision: u64,
    last: RefCell<Option<(Asked, Rc<Found>)>>,
}

impl Memory {
    /// What is remembered of this revision of the session.
    pub fn of(&mut self, revision: u64) -> &Self {
        if self.revision != revision {
            *self = Self {
                revision,
                ..Self::default()
            };
        }
        self
    }

    fn recall(&self, asked: Asked, find: impl FnOnce() -> Found) -> Rc<Found> {
        let mut last = self.last.borrow_mut();
        if let Some((before, found)) = &*last
            && *before == asked
        {
            return found.clone();
        }
        let found = Rc::new(find());
        *last = Some((asked, found.clone()));
        found
    }
}

/// The run that this one is compared with, if it is.
pub(super) fn other<'a>(view: &View<'a>, run: &Run) -> Option<&'a Run> {
    let alone = view.state.timings.alone;
    view.other()
        .filter(|other| !alone && !std::ptr::eq(*other, run))
}

/// The kernels that are looked at.
pub(super) fn found(view: &View<'_>, run: &Run) -> Rc<Found> {
    let other = other(view, run);
    let prefill = view.state.timings.prefill;
    let find = || Found::of(run, other, prefill);
    let asked = (
        view.state.selected,
        other.map(|_| view.state.other),
        prefill,
    );
    match view.memory {
        Some(memory) => memory.recall(asked, find),
        None => Rc::new(find()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;

    #[test]
    fn kernels_are_found_once_of_each_question_and_revision() {
        let session = Session::demo();
        let mut memory = Memory::default();
        let mut count = 0;
        for (revision, asked, expected) in [
            (1, (0, None, false), 1),
            (1, (0, None, false), 1),
            (1, (0, Some(1), false), 2),
            (1, (0, Some(1), true), 3),
            (1, (2, Some(1), true), 4),
            (1, (2, Some(1), true), 4),
            (2, (2, Some(1), true), 5),
        ] {
            memory.of(revision).recall(asked, || {
                count += 1;
                Found::of(&session.runs[0], None, false)
            });
            assert_eq!(count, expected, "{revision}, {asked:?}");
        }
    }
}
