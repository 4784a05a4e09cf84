//! The queue of a worker's pipes that wait for their turn.
//!
//! The queue links states by raw pointers, so its safety rests on one rule: a state
//! leaves the queue before its memory goes, at the latest when its request ends
//! (`extensions::close`).

use core::cell::Cell;
use core::ptr::{self, null};

use super::bindings;
use super::state::{State, StatePointer};

/// Pipes that wait for their turn, in the order in which they are served.
pub(crate) struct Queue {
    first: Cell<StatePointer>,
    last: Cell<StatePointer>,
    /// How many pipes wait.
    pub(crate) count: Cell<usize>,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Self {
            first: Cell::new(null()),
            last: Cell::new(null()),
            count: Cell::new(0),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// Puts a state that is not in the queue at the end of the queue.
    pub(crate) fn push(&self, state: &State<'_>) {
        self.insert(state, self.last.get(), null());
    }

    /// Puts a state that is not in the queue before all others.
    pub(crate) fn push_first(&self, state: &State<'_>) {
        self.insert(state, null(), self.first.get());
    }

    fn insert(&self, state: &State<'_>, before: StatePointer, behind: StatePointer) {
        let this: StatePointer = ptr::from_ref(state).cast();
        let place = &state.turns.place;

        place.is_taken.set(true);
        place.before.set(before);
        place.behind.set(behind);
        self.cell_behind(before).set(this);
        self.cell_before(behind).set(this);
        self.count.set(self.count.get().saturating_add(1));
    }

    /// Takes a state out of the queue. Does nothing if the state is not in the queue.
    pub(crate) fn remove(&self, state: &State<'_>) {
        let place = &state.turns.place;

        if !place.is_taken.replace(false) {
            return;
        }

        let (before, behind) = (place.before.get(), place.behind.get());

        self.cell_behind(before).set(behind);
        self.cell_before(behind).set(before);
        self.count.set(self.count.get().saturating_sub(1));
    }

    /// Has nginx run the pipe of the first state, out of the queue by now, if `may` says
    /// so of that state. Tells whether nginx has run the pipe. The state may not exist
    /// any more afterwards.
    pub(crate) fn resume_first(&self, may: impl FnOnce(&State<'_>) -> bool) -> bool {
        let first = self.first.get();

        if first.is_null() {
            return false;
        }

        let pipe = {
            // SAFETY: a state in the queue, which exists; the reference ends with this
            // block.
            let state = unsafe { &*first };

            if !may(state) {
                return false;
            }

            self.remove(state);
            state.pipe.as_raw()
        };

        // SAFETY: the pipe of a state that exists, so it is a request's.
        unsafe { bindings::ngx_event_pipe_glue_resume(pipe) }

        true
    }

    /// Where the state behind `state` is noted; behind null comes the first of the
    /// queue.
    fn cell_behind(&self, state: StatePointer) -> &Cell<StatePointer> {
        // SAFETY: null, or a state in the queue, which exists.
        match unsafe { state.as_ref() } {
            Some(state) => &state.turns.place.behind,
            None => &self.first,
        }
    }

    /// Where the state before `state` is noted; before null comes the last of the queue.
    fn cell_before(&self, state: StatePointer) -> &Cell<StatePointer> {
        // SAFETY: null, or a state in the queue, which exists.
        match unsafe { state.as_ref() } {
            Some(state) => &state.turns.place.before,
            None => &self.last,
        }
    }
}
