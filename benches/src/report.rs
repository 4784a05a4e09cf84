//! What a reader of the terminal gets.

use super::family::{Cell, Side};
use super::measure::{Measured, MeasuredSide, Plan};
use super::profile::{Profile, Work};
use super::stage::Stage;
use super::statistics::Spread;
use super::{Programs, machine};

/// Calls that are rarer than this, to all calls, are left out.
const RARE: f64 = 0.005;

const GIB: f64 = (1u64 << 30) as f64;

/// Prints what is measured, and on what.
pub(crate) fn print_machine(stage: &Stage, programs: &Programs) {
    println!(
        "Machine: {}, load {:.1}",
        machine::describe(),
        machine::load()
    );
    println!("Programs: {}", programs.describe());
    if stage.haproxy.is_none() {
        println!("HAProxy skipped: haproxy is not installed");
    }
}

/// Prints how cells are measured.
pub(crate) fn print_method(stage: &Stage, plan: Plan) {
    println!(
        "
All sides run in turn, {} rounds of each. For a round a new process is started
and warmed up; then it has a fixed number of responses to give, each checked to
be whole. Its one worker has core {} for itself; upstreams and clients have core
{}. Connections are kept, to the upstream as well. But for slow clients and the
cache there are no temporary files: how much a fast client lets spill would be
chance.

CPU    user and system time of the worker for one response (/proc/PID/schedstat):
       median of the rounds, in brackets the lowest and the highest
ratio  the same relative to stock's, from rounds next to each other in time
peak   the most memory a worker had (VmHWM)
disk   KiB written to disk for one response (write_bytes of /proc/PID/io)
busy   of slow clients: how long upstream was busy with one response
calls  system calls for each MiB of bodies, by strace in a run of its own, in
       which the worker is slower, so that more comes at once

A difference that is smaller than the brackets are wide is none. What else runs
on the machine widens them.",
        plan.rounds, stage.cores.worker, stage.cores.others
    );
}

/// Prints what one cell gave.
pub(crate) fn print_cell(measured: &Measured) {
    let Measured {
        cell, responses, ..
    } = measured;
    println!("\n{cell}: {responses} responses a round");
    println!(
        "  {:<18}{:>28}{:>20}{:>10}{:>13}{:>10}{:>10}{:>9}",
        "",
        "CPU, us a response",
        "ratio",
        "s/GiB",
        "responses/s",
        "peak MiB",
        "disk KiB",
        "busy ms"
    );
    for side in &measured.sides {
        print_side(measured, side);
    }
    println!("  system calls for each MiB");
    for side in &measured.sides {
        println!("  {:<18}  {}", side.side, calls(side));
    }
    print_profile(measured);
}

/// Microseconds of a response for each kind of work, side by side.
fn print_profile(measured: &Measured) {
    let profiled = || {
        let sides = measured.sides.iter();
        sides.filter_map(|side| Some((side, side.profile.as_ref()?)))
    };
    if profiled().next().is_none() {
        return;
    }
    let heads: String = profiled()
        .map(|(side, _)| format!("{:>20}", side.side))
        .collect();
    println!("  us of a response  {heads}");
    for work in Work::ALL {
        let column = |(side, profile): (&MeasuredSide, &Profile)| {
            let share = profile.iter().find(|(of, _)| *of == work);
            let share = share.map_or(0.0, |(_, share)| *share);
            format!("{:>20.1}", share * Spread::of(&side.cpu).median)
        };
        let columns: String = profiled().map(column).collect();
        println!("    {work:<22}{}", &columns[6..]);
    }
}

fn print_side(measured: &Measured, side: &MeasuredSide) {
    let cpu = Spread::of(&side.cpu);
    let ratio = match side.side {
        Side::Stock => String::new(),
        other => measured.to_stock(other).map_or(String::new(), ratio),
    };
    println!(
        "  {:<18}{:>28}{:>20}{:>10.3}{:>13.0}{:>10.1}{:>10}{:>9}",
        side.side,
        format!("{:.1} ({:.1}-{:.1})", cpu.median, cpu.lowest, cpu.highest),
        ratio,
        per_gib(cpu.median, measured.cell),
        Spread::of(&side.rate).median,
        side.peak_kib as f64 / 1024.0,
        median(&side.written, 1024.0),
        median(&side.busy, 1.0),
    );
}

/// The median in a `unit`, where there is one.
fn median(values: &[f64], unit: f64) -> String {
    match values.is_empty() {
        true => String::new(),
        false => format!("{:.0}", Spread::of(values).median / unit),
    }
}

/// Seconds of CPU time for a GiB, at so many microseconds for a response.
fn per_gib(cpu: f64, cell: Cell) -> f64 {
    cpu / 1e6 * GIB / cell.size as f64
}

fn ratio(spread: Spread) -> String {
    let Spread {
        median,
        lowest,
        highest,
    } = spread;
    format!("{median:.2} ({lowest:.2}-{highest:.2})")
}

fn calls(side: &MeasuredSide) -> String {
    let Some(calls) = &side.calls else {
        return "skipped: strace may not trace the worker".to_owned();
    };
    let all: f64 = calls.iter().map(|(_, count)| count).sum();
    let frequent = calls.iter().filter(|(_, count)| count / all >= RARE);
    let words: Vec<String> = frequent
        .map(|(name, count)| format!("{name} {count:.1}"))
        .collect();
    format!("{all:.0}: {}", words.join(", "))
}

/// Prints all cells in one table.
pub(crate) fn print_summary(all: &[Measured]) {
    println!("\nCPU time for a response, relative to stock's:\n");
    let rivals = &Side::COMPARED[1..];
    let heads: String = rivals.iter().map(|side| format!("{side:>20}")).collect();
    println!("  {:<16}{:>14}{heads}", "", "stock, us");
    for measured in all {
        let Some(stock) = measured.sides.first() else {
            continue;
        };
        let column = |side: &Side| match measured.to_stock(*side) {
            Some(spread) => format!("{:>20}", ratio(spread)),
            None => " ".repeat(20),
        };
        let columns: String = rivals.iter().map(column).collect();
        let row = format!(
            "  {:<16}{:>14.1}{columns}",
            measured.cell,
            Spread::of(&stock.cpu).median
        );
        println!("{}", row.trim_end());
    }
}
