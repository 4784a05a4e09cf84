//! What client and peers of one test know of each other, so that they wait for
//! each other instead of for time to pass.

use std::sync::{Condvar, Mutex};
use std::time::Instant;

use super::{PATIENCE, lock};

/// How far a test's client and its peers have come.
#[derive(Debug, Default)]
pub struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Replies that the peers are done with.
    ended: usize,
    /// nginx does not take what the peer sends.
    stuck: bool,
    /// A peer waits for the client to be done.
    client_next: bool,
    /// The client is done.
    gone: bool,
}

impl Progress {
    /// Begins the next request of the client.
    pub fn begin(&self) {
        *lock(&self.state) = State::default();
    }

    /// The client is done.
    pub fn client_gone(&self) {
        self.change(|state| state.gone = true);
    }

    /// A peer waits for the client to be done.
    pub fn client_next(&self) {
        self.change(|state| state.client_next = true);
    }

    /// A peer has sent all and nginx has read it, or it has given up.
    pub fn reply_ended(&self) {
        self.change(|state| state.ended += 1);
    }

    /// Whether nginx does not take what the peer sends.
    pub fn stuck(&self, stuck: bool) {
        self.change(|state| state.stuck = stuck);
    }

    /// Waits until the peer has no more for nginx or nginx takes no more.
    pub fn wait_for_peer(&self) {
        self.wait(|state| state.ended > 0 || state.stuck);
    }

    /// Waits until a peer waits for the client.
    pub fn wait_for_turn(&self) {
        self.wait(|state| state.client_next);
    }

    /// Waits until the client is gone.
    pub fn wait_for_leave(&self) {
        self.wait(|state| state.gone);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn wait(&self, done: impl Fn(&State) -> bool) {
        let start = Instant::now();
        let mut state = lock(&self.state);
        while !done(&state) && start.elapsed() < PATIENCE {
            let waited = self.changed.wait_timeout(state, PATIENCE);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}
