//! Making a case smaller.

use super::case::{Case, Fault};
use super::model::BLOCK;

/// Cases that are each a little smaller than `case`, the smallest first.
pub fn smaller(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut Case)| {
        let mut changed = case.clone();
        change(&mut changed);
        if changed != *case && !all.contains(&changed) {
            all.push(changed);
        }
    };
    if case.requests.len() > 1 {
        for nth in 0..case.requests.len() {
            add(&|case| {
                case.requests.remove(nth);
            });
        }
    }
    for nth in (0..case.locations.len()).rev() {
        if !is_used(case, nth) {
            add(&|case| remove_location(case, nth));
        }
    }
    for nth in 0..case.locations.len() {
        let here = &case.locations[nth];
        for include in 0..here.includes.len() {
            add(&|case| {
                case.locations[nth].includes.remove(include);
            });
        }
        add(&|case| case.locations[nth].before = None);
        add(&|case| case.locations[nth].after = None);
        add(&|case| case.locations[nth].sub = false);
        for line in 0..here.conf.len() {
            add(&|case| drop(case.locations[nth].conf.remove(line)));
        }
        add(&|case| case.locations[nth].tls = None);
        add(&|case| case.locations[nth].link = None);
        add(&|case| case.locations[nth].reply.burst = 0);
        add(&|case| case.locations[nth].reply.extra = 0);
        add(&|case| case.locations[nth].reply.pauses = None);
        add(&|case| case.locations[nth].reply.stays = false);
        add(&|case| case.locations[nth].reply.bare_end = false);
        add(&|case| case.locations[nth].reply.fault = None);
        add(&|case| case.locations[nth].reply.headers.truncate(1));
        for size in [100, here.reply.size / 2, here.reply.size / 4 * 3] {
            if size < here.reply.size && size > 0 {
                add(&|case| resize(case, nth, size));
            }
        }
    }
    for line in 0..case.server.len() {
        add(&|case| drop(case.server.remove(line)));
    }
    for line in 0..case.ours.len() {
        add(&|case| drop(case.ours.remove(line)));
    }
    add(&|case| case.listen.tls = false);
    add(&|case| case.listen.http2 = None);
    add(&|case| case.listen.sndbuf = None);
    add(&|case| case.listen.rcvbuf = None);
    add(&|case| case.listen.link = None);
    add(&|case| case.spare_descriptors = None);
    for nth in 0..case.requests.len() {
        add(&|case| case.requests[nth].gulps = None);
        add(&|case| case.requests[nth].leaves = None);
        add(&|case| case.requests[nth].range = None);
        add(&|case| case.requests[nth].gzip = false);
        add(&|case| case.requests[nth].old = false);
        add(&|case| case.requests[nth].delay = 0);
    }
    all
}

fn is_used(case: &Case, nth: usize) -> bool {
    let asked = case.requests.iter().any(|request| request.location == nth);
    asked
        || case.probe == Some(nth)
        || case.locations.iter().any(|location| {
            let included = location
                .includes
                .iter()
                .any(|include| include.location == nth);
            included || location.before == Some(nth) || location.after == Some(nth)
        })
}

/// Takes one away that is not used; those behind it move up.
fn remove_location(case: &mut Case, nth: usize) {
    let up = |place: &mut usize| {
        if *place > nth {
            *place -= 1;
        }
    };
    case.locations.remove(nth);
    for location in &mut case.locations {
        location
            .includes
            .iter_mut()
            .for_each(|include| up(&mut include.location));
        location.before.iter_mut().for_each(up);
        location.after.iter_mut().for_each(up);
    }
    case.probe.iter_mut().for_each(up);
    case.requests
        .iter_mut()
        .for_each(|request| up(&mut request.location));
}

fn resize(case: &mut Case, nth: usize, size: usize) {
    let location = &mut case.locations[nth];
    location.reply.size = size;
    for include in &mut location.includes {
        include.block = include.block.min(size / BLOCK);
    }
    let at = |at: usize| at.min(size - 1);
    location.reply.fault = location.reply.fault.map(|fault| match fault {
        Fault::Close(point) => Fault::Close(at(point)),
        Fault::Reset(point) => Fault::Reset(at(point)),
        Fault::Breach(point) => Fault::Breach(at(point)),
    });
    location.reply.holds.retain(|hold| *hold < size);
}
