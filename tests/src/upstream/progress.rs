//! What client and peers of one test know of each other, so that they wait for
//! each other instead of for time to pass.

use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{PATIENCE, lock};
use crate::process::children_sleep;

/// How far a test's client and its peers have come.
#[derive(Debug, Default)]
pub struct Progress {
    /// The master of the nginx between them, if that is known.
    nginx: Option<u32>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Replies that the peers are done with.
    ended: usize,
    /// The peer does not go on: nginx takes no more, or it is the client's turn.
    stuck: bool,
    /// The client is done.
    gone: bool,
    /// How much of the body the client has, once it has the header.
    received: Option<usize>,
    /// What a peer has waited for in vain.
    missed: Vec<usize>,
}

impl Progress {
    /// Of those between whom is the nginx with this master: where that has been
    /// asleep for a while, it takes no more, and it is not just slow.
    pub fn across(master: u32) -> Self {
        Self {
            nginx: Some(master),
            ..Self::default()
        }
    }

    /// Whether nginx has nothing to do, or may have.
    pub(super) fn nginx_sleeps(&self) -> bool {
        self.nginx
            .is_none_or(|master| children_sleep(master).unwrap_or(false))
    }

    /// Begins the next request of the client.
    pub fn begin(&self) {
        *lock(&self.state) = State::default();
    }

    /// The client is done, and the peer may go on if it waited for that.
    pub fn client_gone(&self) {
        self.change(|state| {
            state.gone = true;
            state.stuck = false;
        });
    }

    /// A peer has sent all and nginx has read it, or it has given up.
    pub fn reply_ended(&self) {
        self.change(|state| state.ended += 1);
    }

    /// Whether the peer does not go on, because nginx does not take what it
    /// sends or because it is the client's turn.
    pub fn stuck(&self, stuck: bool) {
        self.change(|state| state.stuck = stuck);
    }

    /// Waits until the peer has no more for nginx, nginx takes no more, or the
    /// peer waits for the client.
    pub fn wait_for_peer(&self) {
        self.wait(|state| state.ended > 0 || state.stuck);
        self.wait_for_sleep();
    }

    /// Waits until nginx has handled what it has read: only then is clear what it spills.
    fn wait_for_sleep(&self) {
        let start = Instant::now();
        while !self.nginx_sleeps() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits until a peer is done with a reply.
    pub fn wait_for_end(&self) {
        self.wait(|state| state.ended > 0);
    }

    /// Waits until the client is gone.
    pub fn wait_for_leave(&self) {
        self.wait(|state| state.gone);
    }

    /// The client has the header, and so much of the body.
    pub fn received(&self, size: usize) {
        self.change(|state| state.received = Some(size));
    }

    /// Waits until the client has the header and so much of the body.
    pub fn wait_for_receipt(&self, size: usize, patience: Duration) {
        let done = |state: &State| state.received >= Some(size);
        self.stuck(true);
        self.wait_for(patience, |state| done(state) || state.gone);
        self.change(|state| {
            state.stuck = false;
            if !done(state) {
                state.missed.push(size);
            }
        });
    }

    /// How much of the body the client ought to have had and had not, each time
    /// that a peer has waited for it in vain.
    pub fn missed(&self) -> Vec<usize> {
        lock(&self.state).missed.clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn wait(&self, done: impl Fn(&State) -> bool) {
        self.wait_for(PATIENCE, done);
    }

    fn wait_for(&self, patience: Duration, done: impl Fn(&State) -> bool) {
        let start = Instant::now();
        let mut state = lock(&self.state);
        while !done(&state) {
            let Some(left) = patience.checked_sub(start.elapsed()) else {
                return;
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}
