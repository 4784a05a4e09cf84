//! The zones: whose responses are counted together (`event_pipe_zone`). (nginx has
//! none.)
//!
//! A worker counts in a lane of its own, so that it waits for nobody: it adds up the new
//! totals of a zone in the copy that is not in force, and then puts that copy in force by
//! one store. A worker that dies before that store leaves the totals as they were; one
//! that dies after it has counted the whole response. The next worker that takes the lane
//! over goes on where that one was, so a lane's totals are never moved or cleared, and a
//! reload changes nothing.
//!
//! A zone has its name for as long as the board exists. A name is added under a mutex,
//! and found without one.

#![forbid(unsafe_code)]

use core::array;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use crate::extensions::totals::{Response, Totals};
use crate::nginx::{
    Account, Board, Counts, INDEX, Lane, NAME_LEN, NAMES, Name, Row, ZONES, worker,
};

/// The number of the zone of responses that have no zone.
pub(crate) const NONE: usize = 0;

/// The number of the zone of names that are too many.
pub(crate) const OVERFLOW: usize = 1;

/// The number of the zone whose name was added first.
const FIRST: usize = 2;

/// What the overflow is shown as. No name has a parenthesis.
const OVERFLOW_NAME: &str = "(overflow)";

// Names.

/// A name: what is left of a text when the bytes that no name has are replaced.
pub(crate) struct Key {
    bytes: [u8; NAME_LEN],
    len: usize,
    hash: u32,
}

/// Whether names may have this byte. Those that may not would have to be escaped in some
/// format, or are the sign of names of the library's own.
fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'(' | b')')
}

/// Whether a text is a name as it stands.
pub(crate) fn is_name(text: &[u8]) -> bool {
    (1..=NAME_LEN).contains(&text.len()) && text.iter().copied().all(is_allowed)
}

impl Key {
    /// The name for a text, with `_` for each byte that a name may not have; what is too
    /// long is cut off. `None` if the text is empty.
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        let mut key = Key {
            bytes: [0; NAME_LEN],
            len: text.len().min(NAME_LEN),
            hash: 0x811c_9dc5,
        };

        for (place, byte) in key.bytes.iter_mut().zip(text) {
            *place = if is_allowed(*byte) { *byte } else { b'_' };
            // The hash FNV-1a.
            key.hash = (key.hash ^ u32::from(*place)).wrapping_mul(0x0100_0193);
        }

        (!text.is_empty()).then_some(key)
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The places of the index at which the name may stand, in this order.
    fn places(&self) -> impl Iterator<Item = usize> {
        let first = self.hash as usize;

        (0..INDEX).map(move |step| first.wrapping_add(step) % INDEX)
    }

    fn is(&self, name: &Name) -> bool {
        let mut bytes = name.bytes.iter().zip(self.text());

        usize::from(name.len.load(Ordering::Relaxed)) == self.len
            && bytes.all(|(place, byte)| place.load(Ordering::Relaxed) == *byte)
    }
}

/// The number of the zone with this name; `None` if no zone has it.
pub(crate) fn find(board: Board<'_>, key: &Key) -> Option<usize> {
    let head = board.head;

    for place in key.places() {
        let zone = usize::from(head.index.get(place)?.load(Ordering::Acquire));
        let name = head.names.get(zone.checked_sub(FIRST)?)?;

        if key.is(name) {
            return Some(zone);
        }
    }

    None
}

/// The number of the zone with this name, which is a new one if no zone has the name and
/// fewer than `most` have one. Otherwise, that of the overflow. The caller holds the mutex
/// of the board.
pub(crate) fn add(board: Board<'_>, key: &Key, most: usize) -> usize {
    // A worker that has died may have left the name without its place in the index.
    let named = count(board);
    let names = board.head.names.iter();
    let known = names.take(named).position(|name| key.is(name));

    let number = known.or_else(|| append(board, key, named, most));

    match number {
        Some(number) => {
            let zone = number.saturating_add(FIRST);
            note(board, key, zone);
            zone
        }
        None => OVERFLOW,
    }
}

fn append(board: Board<'_>, key: &Key, named: usize, most: usize) -> Option<usize> {
    let name = board.head.names.get(named).filter(|_| named < most)?;

    for (place, byte) in name.bytes.iter().zip(key.text()) {
        place.store(*byte, Ordering::Relaxed);
    }

    name.len.store(key.len as u8, Ordering::Relaxed);

    let count = named.saturating_add(1) as u32;
    board.head.count.store(count, Ordering::Release);

    Some(named)
}

/// Notes the zone of a name in the index, unless it is there.
fn note(board: Board<'_>, key: &Key, zone: usize) {
    if find(board, key).is_some() {
        return;
    }

    let mut places = key.places().filter_map(|place| board.head.index.get(place));

    if let Some(place) = places.find(|place| place.load(Ordering::Relaxed) == 0) {
        place.store(zone as u16, Ordering::Release);
    }
}

/// How many zones have a name.
fn count(board: Board<'_>) -> usize {
    (board.head.count.load(Ordering::Acquire) as usize).min(NAMES)
}

/// How many zones there are, those without a name among them.
pub(crate) fn zones(board: Board<'_>) -> usize {
    count(board).saturating_add(FIRST)
}

/// Notes that a name was one too many. Tells whether it was the first.
pub(crate) fn is_first_overflow(board: Board<'_>) -> bool {
    board.head.has_overflowed.swap(1, Ordering::Relaxed) == 0
}

// Counting.

/// Where the worker counts a response of this zone. `None` if the board has no lane.
pub(crate) fn account(board: Board<'_>, zone: usize) -> Option<Account<'_>> {
    let lane = lane(board)?;

    Some(Account {
        lane,
        row: lane.rows.get(zone.min(ZONES.saturating_sub(1)))?,
        is_shared: is_shared(board, lane),
    })
}

/// How many lanes a board has when there are `cpus` processors to run workers on: two for
/// each, as those of the configuration before a reload go on for a while, and some more.
pub(crate) fn lanes(cpus: usize) -> usize {
    cpus.saturating_mul(2).saturating_add(16)
}

/// The lane of this worker, which takes one over in its first call.
fn lane(board: Board<'_>) -> Option<&Lane> {
    let process = worker().process.get();
    let number = worker().lane.get();
    let lane = board.lanes.get(number)?;

    if lane.owner.load(Ordering::Relaxed) == process || is_shared(board, lane) {
        return Some(lane);
    }

    let number = take_over(board, process, crate::nginx::is_alive);
    worker().lane.set(number);

    board.lanes.get(number)
}

/// The last lane has no owner: all workers that have found no other share it.
fn is_shared(board: Board<'_>, lane: &Lane) -> bool {
    board
        .lanes
        .last()
        .is_some_and(|last| core::ptr::eq(last, lane))
}

/// Takes a lane over whose owner does not live any more, or that has none, and returns
/// its number; or that of the shared lane.
fn take_over(board: Board<'_>, process: u32, is_alive: impl Fn(u32) -> bool) -> usize {
    let shared = board.lanes.len().saturating_sub(1);
    let free = |lane: &&Lane| {
        let owner = lane.owner.load(Ordering::Relaxed);
        let is_free = owner == 0 || owner == process || !is_alive(owner);

        is_free
            && lane
                .owner
                .compare_exchange(owner, process, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    };

    let mut lanes = board.lanes.iter().take(shared);
    let Some(number) = lanes.position(|lane| free(&lane)) else {
        return shared;
    };

    if let Some(lane) = board.lanes.get(number) {
        forget(lane);
    }

    number
}

/// Forgets what the worker that had a lane before was at when it died.
fn forget(lane: &Lane) {
    lane.loans.store(0, Ordering::Relaxed);
    lane.loans_max.store(0, Ordering::Relaxed);

    for row in &lane.rows {
        if row.version.load(Ordering::Relaxed) != 0 || row.active.load(Ordering::Relaxed) != 0 {
            for gauge in [&row.active, &row.disk, &row.lent] {
                gauge.store(0, Ordering::Relaxed);
            }
        }
    }
}

/// Counts a response that is over.
pub(crate) fn commit(account: Account<'_>, response: &Response) {
    let row = account.row;

    if account.is_shared {
        let mut totals = Totals::default();
        totals.add(response);
        add_shared(row, totals);
    } else {
        let version = row.version.load(Ordering::Relaxed);
        let mut totals = copy(row, version);
        totals.add(response);
        replace(row, version.wrapping_add(1), totals);
    }
}

/// The totals that are in force while a row has this version.
fn copy(row: &Row, version: u32) -> Totals {
    let mut totals = Totals::default();
    let [even, odd] = &row.copies;
    let words = if version % 2 == 0 { even } else { odd };

    for (total, word) in totals.words().zip(words) {
        *total = word.load(Ordering::Relaxed);
    }

    totals
}

/// Puts totals in force, as those of this version.
fn replace(row: &Row, version: u32, mut totals: Totals) {
    let [even, odd] = &row.copies;
    let words = if version % 2 == 0 { even } else { odd };

    // Who sees one of these numbers sees at least the version before.
    fence(Ordering::Release);

    for (total, word) in totals.words().zip(words) {
        word.store(*total, Ordering::Relaxed);
    }

    row.version.store(version, Ordering::Release);
}

/// Adds to totals to which other workers add, too.
fn add_shared(row: &Row, mut totals: Totals) {
    let [words, _] = &row.copies;

    for (total, word) in totals.words().zip(words) {
        if *total != 0 {
            word.fetch_add(*total, Ordering::Relaxed);
        }
    }
}

/// Adds a number, which may be negative in two's complement, to what a worker is at.
pub(crate) fn shift(account: Account<'_>, gauge: &AtomicU64, by: u64) {
    if account.is_shared {
        gauge.fetch_add(by, Ordering::Relaxed);
    } else {
        let value = gauge.load(Ordering::Relaxed).wrapping_add(by);
        gauge.store(value, Ordering::Relaxed);
    }
}

/// Brings up to date what a response of this worker is at: what it has on disk, and what
/// is lent to it.
pub(crate) fn note_use(account: Account<'_>, counts: &Counts<'_>, disk: u64, lent: u64) {
    let row = account.row;

    for (gauge, noted, now) in [
        (&row.disk, &counts.noted_disk, disk),
        (&row.lent, &counts.noted_lent, lent),
    ] {
        let before = noted.replace(now);

        if before != now {
            shift(account, gauge, now.wrapping_sub(before));
        }
    }

    let loans = worker().loans.bytes() as u64;

    account.lane.loans.store(loans, Ordering::Relaxed);
}

/// Notes what `event_pipe_memory` allows the worker, by the last of its locations.
pub(crate) fn note_loans_max(account: Account<'_>, bytes: u64) {
    account.lane.loans_max.store(bytes, Ordering::Relaxed);
}

// Reading.

/// What all workers have counted in one zone, and what they are at.
#[derive(Default)]
pub(crate) struct Summary {
    pub(crate) totals: Totals,
    pub(crate) active: u64,
    pub(crate) disk: u64,
    pub(crate) lent: u64,
}

/// What workers are at, whatever the zone.
#[derive(Clone, Copy, Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct Loans {
    /// The memory of the loans of all workers, lent or not.
    pub(crate) memory: u64,
    /// What `event_pipe_memory` allows all workers together.
    pub(crate) most: u64,
}

/// What all workers have counted in a zone. `is_alive` tells whether a process lives.
pub(crate) fn summary(board: Board<'_>, zone: usize, is_alive: impl Fn(u32) -> bool) -> Summary {
    let mut summary = Summary::default();

    for lane in used_lanes(board) {
        let Some(row) = lane.rows.get(zone) else {
            continue;
        };

        let gauges = [&row.active, &row.disk, &row.lent];
        let [active, disk, lent] = gauges.map(|gauge| gauge.load(Ordering::Relaxed));
        let owner = lane.owner.load(Ordering::Relaxed);

        summary.totals.merge(&totals(row));

        if active != 0 && (is_shared(board, lane) || is_alive(owner)) {
            summary.active = summary.active.wrapping_add(active);
            summary.disk = summary.disk.wrapping_add(disk);
            summary.lent = summary.lent.wrapping_add(lent);
        }
    }

    summary
}

/// The lanes in which anything may have been counted.
fn used_lanes(board: Board<'_>) -> impl Iterator<Item = &Lane> {
    let is_used =
        move |lane: &&Lane| lane.owner.load(Ordering::Relaxed) != 0 || is_shared(board, lane);

    board.lanes.iter().filter(is_used)
}

impl Summary {
    /// Adds what was counted in another zone.
    pub(crate) fn merge(&mut self, other: &Summary) {
        self.totals.merge(&other.totals);
        self.active = self.active.wrapping_add(other.active);
        self.disk = self.disk.wrapping_add(other.disk);
        self.lent = self.lent.wrapping_add(other.lent);
    }
}

/// Whether a zone is shown: the overflow is not, unless something was counted there.
pub(crate) fn is_shown(zone: usize, summary: &Summary) -> bool {
    zone != OVERFLOW || summary.totals.responses > 0 || summary.active > 0
}

/// The loans of all workers that live.
pub(crate) fn loans(board: Board<'_>, is_alive: impl Fn(u32) -> bool) -> Loans {
    let mut loans = Loans::default();

    for lane in used_lanes(board) {
        if is_alive(lane.owner.load(Ordering::Relaxed)) {
            let memory = lane.loans.load(Ordering::Relaxed);
            let most = lane.loans_max.load(Ordering::Relaxed);

            loans.memory = loans.memory.saturating_add(memory);
            loans.most = loans.most.saturating_add(most);
        }
    }

    loans
}

/// The totals of a row as they were at one moment.
fn totals(row: &Row) -> Totals {
    let mut version = row.version.load(Ordering::Acquire);

    loop {
        let totals = copy(row, version);

        // If any number was of a later version, this is seen now.
        fence(Ordering::Acquire);

        let now = row.version.load(Ordering::Relaxed);

        if now == version {
            return totals;
        }

        fence(Ordering::Acquire);
        version = now;
    }
}

/// The name of a zone; empty for the responses that have no zone.
pub(crate) fn name<R>(board: Board<'_>, zone: usize, show: impl FnOnce(&str) -> R) -> R {
    let name = zone
        .checked_sub(FIRST)
        .and_then(|number| board.head.names.get(number));

    let Some(name) = name else {
        return show(if zone == OVERFLOW { OVERFLOW_NAME } else { "" });
    };

    let bytes: [u8; NAME_LEN] = array::from_fn(|index| {
        let byte = name.bytes.get(index);
        byte.map_or(0, |byte| byte.load(Ordering::Relaxed))
    });
    let text = bytes.get(..name.len.load(Ordering::Relaxed).into());

    show(
        text.and_then(|text| core::str::from_utf8(text).ok())
            .unwrap_or(""),
    )
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use std::array::from_fn;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use crate::extensions::totals::tests::{RESPONSE, added};
    use crate::nginx::tests::with_board;

    fn key(name: &str) -> Key {
        Key::new(name.as_bytes()).unwrap()
    }

    fn shown(board: Board<'_>, zone: usize) -> String {
        name(board, zone, str::to_owned)
    }

    fn account_of<'b>(board: Board<'b>, lane: usize, zone: usize) -> Account<'b> {
        Account {
            lane: board.lanes.get(lane).unwrap(),
            row: board.lanes.get(lane).unwrap().rows.get(zone).unwrap(),
            is_shared: is_shared(board, board.lanes.get(lane).unwrap()),
        }
    }

    #[test]
    fn a_name_is_added_once_and_found() {
        with_board(1, |board| {
            assert_eq!(find(board, &key("a")), None);
            assert_eq!(add(board, &key("a"), 2), 2);
            assert_eq!(add(board, &key("b"), 2), 3);
            assert_eq!(add(board, &key("a"), 2), 2);
            assert_eq!(find(board, &key("b")), Some(3));
            assert_eq!((zones(board), shown(board, 3)), (4, "b".to_owned()));
            assert_eq!(shown(board, NONE), "");
        });
    }

    #[test]
    fn names_that_are_too_many_are_in_the_overflow() {
        with_board(1, |board| {
            let names: Vec<String> = (0..NAMES + 9)
                .map(|number| format!("zone{number}"))
                .collect();
            for (number, name) in names.iter().enumerate() {
                let zone = if number < NAMES { number + 2 } else { OVERFLOW };
                assert_eq!(add(board, &key(name), usize::MAX), zone);
            }
            for (number, name) in names.iter().take(NAMES).enumerate() {
                assert_eq!(find(board, &key(name)), Some(number + 2));
                assert_eq!(shown(board, number + 2), *name);
            }
            assert!(is_first_overflow(board) && !is_first_overflow(board));
        });
    }

    #[test]
    fn names_of_one_place_are_told_apart() {
        let place = |name: &str| key(name).places().next();
        let name = |number| format!("zone{number}");
        let second = (1..).find(|number| place(&name(*number)) == place("zone0"));
        let second = name(second.unwrap());
        with_board(1, |board| {
            assert_eq!(add(board, &key("zone0"), 9), 2);
            assert_eq!(add(board, &key(&second), 9), 3);
            assert_eq!(find(board, &key(&second)), Some(3));
        });
    }

    #[test]
    fn a_worker_keeps_its_lane() {
        assert_eq!(lanes(2), 20);
        with_board(2, |board| {
            worker().process.set(std::process::id());
            for _ in 0..2 {
                let account = account(board, NONE).unwrap();
                assert!(core::ptr::eq(account.lane, account_of(board, 0, NONE).lane));
                assert!(!account.is_shared);
            }
        });
    }

    #[test]
    fn what_a_dead_worker_was_at_is_forgotten() {
        with_board(2, |board| {
            let lane = account_of(board, 0, NONE).lane;
            lane.owner.store(1, Ordering::Relaxed);
            lane.loans.store(7, Ordering::Relaxed);
            lane.rows
                .first()
                .unwrap()
                .active
                .store(5, Ordering::Relaxed);
            for (lives, active) in [(true, 5), (false, 0)] {
                assert_eq!(summary(board, NONE, |_| lives).active, active);
                assert_eq!(loans(board, |_| lives).memory, if lives { 7 } else { 0 });
            }
            assert_eq!(take_over(board, 2, |_| false), 0);
            assert_eq!(summary(board, NONE, |_| true).active, 0);
        });
    }

    /// The worker that was to note the name in the index has died before.
    #[test]
    fn a_name_without_its_place_in_the_index_gets_one() {
        with_board(1, |board| {
            append(board, &key("a"), 0, 9).unwrap();
            assert_eq!(find(board, &key("a")), None);
            assert_eq!(add(board, &key("a"), 9), 2);
            assert_eq!(find(board, &key("a")), Some(2));
            assert_eq!(zones(board), 3);
        });
    }

    #[test]
    fn what_no_name_has_is_replaced() {
        with_board(1, |board| {
            let zone = add(board, &key("a b\"c\\(d)\u{e4}\n"), 9);
            assert_eq!(shown(board, zone), "a_b_c__d____");
            let zone = add(board, &key(&"x".repeat(100)), 9);
            assert_eq!(shown(board, zone), "x".repeat(NAME_LEN));
        });
        assert!(Key::new(b"").is_none());
        assert!(is_name(b"api.example.com:443/*") && is_name(&[b'x'; NAME_LEN]));
        assert!(!is_name(b"") && !is_name(b"a b") && !is_name(&[b'x'; NAME_LEN + 1]));
    }

    #[test]
    fn a_response_is_counted_whole_in_its_zone() {
        with_board(3, |board| {
            take_over(board, 10, |_| true);
            take_over(board, 11, |_| true);
            for (lane, zone) in [(0, 2), (1, 2), (2, 2), (2, 2), (1, 3)] {
                commit(account_of(board, lane, zone), &RESPONSE);
            }
            let two = summary(board, 2, |_| true).totals;
            assert_eq!(two, added(&from_fn::<_, 4, _>(|_| RESPONSE)));
            assert_eq!(summary(board, 3, |_| true).totals, added(&[RESPONSE]));
            assert_eq!(summary(board, 4, |_| true).totals, Totals::default());
        });
    }

    /// A worker dies after each store of a count in turn: what was counted is as it was.
    #[test]
    fn a_worker_that_dies_while_it_counts_has_not_counted() {
        with_board(2, |board| {
            take_over(board, 10, |_| true);
            let account = account_of(board, 0, 2);
            commit(account, &RESPONSE);
            let row = account.row;
            let dead = row.copies.first().unwrap();
            for word in dead {
                word.store(77, Ordering::Relaxed);
                assert_eq!(summary(board, 2, |_| true).totals, added(&[RESPONSE]));
            }
            commit(account, &RESPONSE);
            assert_eq!(
                summary(board, 2, |_| true).totals,
                added(&[RESPONSE, RESPONSE])
            );
        });
    }

    #[test]
    fn a_lane_is_taken_over_when_its_owner_is_gone() {
        with_board(3, |board| {
            assert_eq!(take_over(board, 10, |_| true), 0);
            assert_eq!(take_over(board, 11, |_| true), 1);
            assert_eq!(take_over(board, 12, |_| true), 2, "the shared one");
            assert_eq!(take_over(board, 10, |_| true), 0, "its own");

            let account = account_of(board, 1, 2);
            commit(account, &RESPONSE);
            shift(account, &account.row.active, 1);
            shift(account, &account.row.disk, 5000);
            assert_eq!(summary(board, 2, |_| true).disk, 5000);
            assert_eq!(summary(board, 2, |owner| owner != 11).disk, 0);

            assert_eq!(take_over(board, 12, |owner| owner != 11), 1);
            let after = summary(board, 2, |_| true);
            assert_eq!((after.disk, after.totals), (0, added(&[RESPONSE])));
        });
    }

    #[test]
    fn what_workers_are_at_goes_up_and_down() {
        with_board(2, |board| {
            take_over(board, 10, |_| true);
            for lane in [0, 1] {
                let account = account_of(board, lane, 2);
                shift(account, &account.row.active, 1);
                shift(account, &account.row.lent, 300);
                shift(account, &account.row.lent, 100_u64.wrapping_neg());
            }
            assert_eq!(summary(board, 2, |_| true).lent, 400);
        });
    }

    /// Others read while one counts: they never see a response in part.
    #[test]
    fn a_reader_sees_whole_responses_only() {
        with_board(2, |board| {
            take_over(board, 10, |_| true);
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..100_000 {
                        commit(account_of(board, 0, 2), &RESPONSE);
                    }
                    is_over.store(true, Ordering::Relaxed);
                });
                while !is_over.load(Ordering::Relaxed) {
                    let totals = summary(board, 2, |_| true).totals;
                    assert_eq!(totals.received, totals.responses * RESPONSE.received);
                    assert_eq!(totals.ends.iter().sum::<u64>(), totals.responses);
                    assert_eq!(totals.needs.iter().sum::<u64>(), totals.responses);
                }
            });
            assert_eq!(summary(board, 2, |_| true).totals.responses, 100_000);
        });
    }
}
