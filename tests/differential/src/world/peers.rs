//! How long either side is waited for, where each timer is its side's own.

use std::iter::once;

use super::counts::unsent;
use super::feature::{LAZY, now};
use super::{World, world};
use crate::nginx as n;

/// A side as its timer is to see it.
#[derive(Default)]
pub(super) struct Peer {
    /// How far it was when it was last looked at.
    seen: Option<u64>,
    /// When it was last seen to get on, or not to be waited for.
    since: usize,
    /// When its timer expires, as it was before the call.
    key: Option<usize>,
    /// In this call, its event was registered.
    is_registered: bool,
}

const UPSTREAM: usize = 0;
const CLIENT: usize = 1;

/// In how many parts a client's time-out is looked at, and the longest of them.
const LOOKS: usize = 16;
const RAREST: usize = 4000;

impl World {
    fn separates_timers(&self) -> bool {
        self.extra.settings.separate_timeouts != 0 && self.config.has_state
    }

    /// Whether it can be seen what the client takes.
    fn sees_client(&self) -> bool {
        self.downstream.fd != -1 && self.config.steps % 8 != 3
    }

    /// The pipe has registered an event and is about to look after its timer.
    ///
    /// # Safety
    ///
    /// An event of this world.
    pub(super) unsafe fn note_timer(&mut self, event: *mut n::ngx_event_t) {
        // SAFETY: says the caller.
        let side = unsafe { (*event).write() } as usize;
        self.extra.peers[side].is_registered = self.separates_timers();
    }

    /// After a call: the timers are what each side has made of its own, and
    /// whoever has to be looked after is.
    pub(super) fn check_timers(&mut self) {
        if std::mem::take(&mut self.extra.peers[UPSTREAM].is_registered) {
            self.check_upstream_timer();
        }
        if std::mem::take(&mut self.extra.peers[CLIENT].is_registered) {
            self.check_client_timer();
        }
        self.check_rest_is_watched();
    }

    /// What has to go back when it has been sent is looked after until then.
    fn check_rest_is_watched(&mut self) {
        let state = self.extra.view();
        let has_something = self.has_loan() || state.has_segments;
        let is_held = self.client.bufs().any(|buf| unsent(once(buf)) > 0);
        let is_left = state.is_finished && self.pipe.downstream_error() == 0;
        let latest = now() + (self.pipe.send_timeout / LOOKS).min(RAREST);

        if has_something && is_held && is_left && !self.looks_by(latest) {
            self.wrong("nobody looks after what has to go back");
        }
    }

    fn check_upstream_timer(&mut self) {
        let event = &self.upstream_read;
        let (is_awaited, key) = awaited(event);
        let is_delayed = event.delayed() != 0;
        let received = self.received;
        let timeout = self.pipe.read_timeout;

        let peer = &mut self.extra.peers[UPSTREAM];
        let gets_on = peer.seen.replace(received) != Some(received);
        if gets_on || !is_awaited {
            peer.since = now();
        }
        let expires = peer.since + timeout;
        if is_delayed {
            return;
        }

        let waits_for_client = self.lingers() || self.owes_client();
        let is_right = match key {
            None => !is_awaited || waits_for_client,
            Some(key) => is_awaited && !waits_for_client && is_in_time(key, expires),
        };
        let is_watched = self.lingers() || key.is_some() || !is_awaited || self.looks_by(expires);
        if !is_right {
            self.wrong("upstream's timer is not what it has made of it");
        }
        if !is_watched {
            self.wrong("nobody gives upstream up in time");
        }
    }

    fn check_client_timer(&mut self) {
        let event = &self.downstream_write;
        let (is_awaited, key) = awaited(event);
        let is_delayed = event.delayed() != 0;
        let sent = self.client.sent() as u64;
        let timeout = self.pipe.send_timeout;
        let sees = self.sees_client();

        let peer = &mut self.extra.peers[CLIENT];
        if is_delayed {
            return;
        }
        let before = peer.key;
        if is_awaited {
            let gets_on = peer.seen.replace(sent) != Some(sent) || !sees;
            let restarts = key.is_some_and(|key| key.abs_diff(now() + timeout) < LAZY);
            let is_right = restarts || (!gets_on && key.is_some() && key == before);
            // Nobody may restart it for a client that does nothing.
            let is_kept = gets_on || before.is_none() || key == before;
            if !is_right || !is_kept {
                self.wrong("the client's timer is not what it has made of it");
            }
            if !self.looks_by(now() + (timeout / LOOKS).min(RAREST)) {
                self.wrong("nobody looks after the client");
            }
        } else if key.is_some() {
            self.wrong("the client's timer runs though it is not waited for");
        }
    }

    /// Whether the pipe is looked after by then, or at once if that has passed.
    fn looks_by(&self, time: usize) -> bool {
        let latest = time.max(now());
        self.extra.watch.is_some_and(|watch| watch <= latest)
    }

    /// Whether the client is to get something that has been received.
    fn owes_client(&self) -> bool {
        let p = &self.pipe;
        let chains = [p.in_, p.out, p.busy, p.writing];
        let has_chains = chains.iter().any(|chain| !chain.is_null());
        has_chains || self.partial().is_some() || !self.client.holds_nothing()
    }

    /// Time has passed: the pipe is looked after if it is due. Tells whether
    /// upstream's event is to be handled for it.
    pub fn look(&mut self) -> bool {
        if self.extra.watch.is_none_or(|watch| watch > now()) {
            return false;
        }
        self.look_now();
        std::mem::take(&mut self.extra.is_posted)
    }

    /// The pipe is looked after.
    pub(super) fn look_now(&mut self) {
        self.act();
        self.set_up_worker();
        self.extra.watch = None;
        let before = self.downstream_write.timer.key;
        self.note_lingering();
        self.enter(|me| {
            // SAFETY: a pipe that is set up, and that is not running.
            unsafe { n::ngx_event_pipe_rust_watch(&raw mut (*me).pipe) }
        });
        if self.lingers() && !self.extra.was_given_up && !self.extra.is_posted {
            self.wrong("upstream is given up, and the pipe is not told");
        }
        if self.separates_timers() {
            self.check_client_was_seen(before);
            self.check_upstream_is_watched();
        }
        self.check_rest_is_watched();
    }

    /// An upstream that is waited for has a timer, or is looked at in time.
    fn check_upstream_is_watched(&mut self) {
        let (is_awaited, key) = awaited(&self.upstream_read);
        let is_open = self.has_upstream() && self.upstream.fd != -1;
        let expires = self.extra.peers[UPSTREAM].since + self.pipe.read_timeout;
        let waits = is_open && is_awaited && !self.lingers() && !self.is_finished();
        if waits && key.is_none() && !self.looks_by(expires) {
            self.wrong("nobody looks after upstream again");
        }
        let is_owed = self.pipe.downstream_error() == 0 && self.owes_client();
        if waits && key.is_some() && is_owed {
            self.wrong("nginx is to give upstream up while the client is owed something");
        }
    }

    /// Between two turns as well, the client's timer starts anew when it has taken
    /// something, and only then.
    fn check_client_was_seen(&mut self, before: usize) {
        let sent = self.client.sent() as u64;
        let gets_on = self.extra.peers[CLIENT].seen.replace(sent) != Some(sent);
        let event = &self.downstream_write;
        if event.timer_set() == 0 || event.delayed() != 0 {
            return;
        }
        let is_right = match gets_on && self.sees_client() {
            true => event.timer.key.abs_diff(now() + self.pipe.send_timeout) < LAZY,
            false => event.timer.key == before,
        };
        let latest = now() + (self.pipe.send_timeout / LOOKS).min(RAREST);
        if !is_right {
            self.wrong("the client's timer is not what it has made of it between turns");
        }
        if !self.looks_by(latest) {
            self.wrong("nobody looks after the client again");
        }
    }

    /// What the timers are before a call.
    pub(super) fn note_timers(&mut self) {
        let (_, key) = awaited(&self.downstream_write);
        self.extra.peers[CLIENT].key = key;
    }

    /// Whether upstream's time-out is not for nginx to find.
    pub fn is_upstream_watched(&mut self) -> bool {
        let is_watched = self.separates_timers() && self.upstream_read.timer_set() == 0;
        if is_watched {
            self.act();
        }
        is_watched
    }

    /// The pipe is at its end: when all has been sent, nothing of it is left.
    pub(super) fn check_rest(&mut self) {
        if !self.extra.view().is_finished || self.pipe.downstream_error() != 0 {
            return;
        }
        // Nothing goes back before it is sent.
        self.look_now();
        self.send(1);
        self.look_now();
        self.send(u64::MAX);
        self.look_now();
        if self.has_loan() {
            self.wrong("a loan is kept when all has been sent");
        }
        let has_segments = self.extra.view().has_segments;
        if has_segments && self.extra.may_close(&self.config) && self.disk.is_open() {
            self.wrong("a temporary file is kept when all has been sent");
        }
    }
}

/// Whether a timer ends when a time-out does, or at once if that is over.
fn is_in_time(key: usize, expires: usize) -> bool {
    key + LAZY > expires && key < expires.max(now()) + LAZY
}

/// Whether a side is waited for, and when its timer expires.
fn awaited(event: &n::ngx_event_t) -> (bool, Option<usize>) {
    let is_awaited = event.active() != 0 && event.ready() == 0 && event.delayed() == 0;
    let key = (event.timer_set() != 0).then_some(event.timer.key);
    (is_awaited, key)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_event_pipe_glue_client_progress(
    _: *mut n::ngx_event_pipe_t,
    progress: *mut n::ngx_event_pipe_progress_t,
) -> n::ngx_int_t {
    let w = world();
    if !w.sees_client() {
        return n::NGX_DECLINED as isize;
    }
    w.act();
    // SAFETY: as the pipe has called.
    unsafe { (*progress).left = w.client.sent() as i64 + 1 };
    n::NGX_OK as isize
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_tls_received(_: *mut n::ngx_connection_t) -> i64 {
    let w = world();
    w.act();
    // With what the pipe knows, all that upstream has sent.
    w.received as i64 - w.pipe.read_length
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_has_upstream(p: *mut n::ngx_event_pipe_t) -> n::ngx_uint_t {
    // SAFETY: as the pipe has called.
    let upstream = unsafe { (*p).upstream.as_ref() };
    upstream.is_some_and(|upstream| upstream.fd != -1).into()
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_restart_send_timer(_: *mut n::ngx_event_pipe_t) {
    let w = world();
    let timeout = w.pipe.send_timeout;
    let event = &raw mut w.downstream_write;
    // SAFETY: an event of this world; the tree knows it if it says so.
    unsafe {
        if (*event).timer_set() != 0 && (*event).delayed() == 0 {
            n::ngx_event_pipe_glue_del_timer(event);
            n::ngx_event_pipe_glue_add_timer(event, timeout);
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_give_up_upstream(_: *mut n::ngx_event_pipe_t) {
    let w = world();
    let peer = &w.extra.peers[UPSTREAM];
    if now() < peer.since + w.pipe.read_timeout {
        w.wrong("upstream is given up before its time");
    }
    if w.extra.was_given_up {
        w.wrong("upstream is given up again");
    }
    if !w.owes_client() {
        w.wrong("upstream is given up for a client that is owed nothing");
    }
    w.extra.is_posted = true;
}

#[unsafe(no_mangle)]
extern "C" fn ngx_event_pipe_glue_watch(_: *mut n::ngx_event_pipe_t, timer: n::ngx_msec_t) {
    let w = world();
    w.act();
    let at = now() + timer;
    w.extra.watch = Some(w.extra.watch.map_or(at, |watch| watch.min(at)));
}
