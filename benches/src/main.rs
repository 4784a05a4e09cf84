//! The benchmark behind `cargo xtask bench`: what a response costs the worker of
//! stock nginx, of nginx with this project's pipe, and of HAProxy, and how long a
//! small request waits there beside large ones.

mod busy;
mod client;
mod fair;
mod family;
mod fastcgi;
mod front;
mod interrupt;
mod json;
mod load;
mod machine;
mod measure;
mod picture;
mod profile;
mod report;
mod server;
mod stage;
mod statistics;
mod waiting;
mod worker;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;
use pipe_options::Bench as Options;
use pipe_tests::build::project;
use pipe_tests::optimised;

use fair::Row;
use family::{Cell, FAMILIES};
use measure::{Measured, Plan};
use stage::Stage;

/// The family that the picture shows.
const PICTURED: &str = "plain";

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    check_names(options)?;
    let (cells, rows) = (cells(options), rows(options));
    let waiting = is_wanted(
        options,
        waiting::NAME,
        |name| name == waiting::NAME,
        || false,
    );
    if options.list {
        print!("{}{}", list(&cells), list_rows(&rows));
        if waiting {
            println!("{}: {}", waiting::NAME, waiting::TITLE);
        }
        return Ok(());
    }

    let binaries = optimised()?;
    let cores = machine::Cores::divide()?;
    // All that this starts stays there, but for the workers that are measured.
    machine::pin(std::process::id(), &cores.others)?;
    let nginx = machine::version(Command::new(&binaries.stock).arg("-v"))?;
    let stage = Stage::set_up(binaries, cores)?;
    let programs = Programs {
        nginx,
        haproxy: stage.haproxy.clone(),
    };
    let plan = Plan {
        profile: options.profile,
        ..match options.quick {
            true => Plan::QUICK,
            false => Plan::FULL,
        }
    };

    let start = Instant::now();
    report::print_machine(&stage, &programs);
    let all = measure_all(&stage, &cells, plan)?;
    let fair = measure_fair(&stage, &rows, options.quick)?;
    if waiting {
        waiting::measure(&stage)?;
    }
    println!(
        "\n{} cells and {} rows in {} s",
        all.len(),
        fair.len(),
        start.elapsed().as_secs()
    );
    write_files(options, &all, &fair, &programs)
}

/// Refuses the name of what is not there.
fn check_names(options: &Options) -> Result<(), String> {
    let is_known = |name: &&String| {
        every_cell(false).any(|cell| cell.is(name))
            || fair::ROWS.iter().any(|row| row.is(name))
            || *name == waiting::NAME
    };
    match options.only.iter().find(|name| !is_known(name)) {
        Some(unknown) => Err(format!("there is no cell {unknown} (--list names all)")),
        None => Ok(()),
    }
}

fn every_cell(quick: bool) -> impl Iterator<Item = Cell> {
    FAMILIES.iter().flat_map(move |family| family.cells(quick))
}

/// The cells that are to be measured.
fn cells(options: &Options) -> Vec<Cell> {
    let wanted = |cell: &Cell| {
        let quick = || every_cell(true).any(|quick| quick.to_string() == cell.to_string());
        is_wanted(options, &cell.to_string(), |name| cell.is(name), quick)
    };
    every_cell(false).filter(wanted).collect()
}

/// The rows that are to be measured.
fn rows(options: &Options) -> Vec<&'static Row> {
    let wanted = |row: &&Row| {
        is_wanted(
            options,
            &row.to_string(),
            |name| row.is(name),
            || row.is_quick(),
        )
    };
    fair::ROWS.iter().filter(wanted).collect()
}

/// What is asked for by its name is measured however quick the run.
fn is_wanted(
    options: &Options,
    name: &str,
    is: impl Fn(&str) -> bool,
    quick: impl Fn() -> bool,
) -> bool {
    let named = options.only.iter().any(|only| only == name);
    let wanted = options.only.is_empty() || options.only.iter().any(|only| is(only));
    named || wanted && (!options.quick || quick())
}

fn list(cells: &[Cell]) -> String {
    let mut text = String::new();
    for (index, cell) in cells.iter().enumerate() {
        if index == 0 || cells[index - 1].family.name != cell.family.name {
            text += &format!("{}: {}\n", cell.family.name, cell.family.title);
        }
        text += &format!("  {cell}\n");
    }
    text
}

fn list_rows(rows: &[&Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let names: String = rows.iter().map(|row| format!("  {row}\n")).collect();
    format!("{}: {}\n{names}", fair::NAME, fair::TITLE)
}

fn measure_all(stage: &Stage, cells: &[Cell], plan: Plan) -> Result<Vec<Measured>, String> {
    let mut all: Vec<Measured> = Vec::new();
    if cells.is_empty() {
        return Ok(all);
    }
    report::print_method(stage, plan);
    for &cell in cells {
        let last = all.last().map(|measured| measured.cell.family.name);
        if last != Some(cell.family.name) {
            println!("\n== {}: {}", cell.family.name, cell.family.title);
        }
        let measured = measure::measure(stage, cell, plan);
        let measured = measured.map_err(|error| format!("{cell}: {error}"))?;
        report::print_cell(&measured);
        all.push(measured);
    }
    report::print_summary(&all);
    Ok(all)
}

fn measure_fair(
    stage: &Stage,
    rows: &[&'static Row],
    quick: bool,
) -> Result<Vec<fair::Measured>, String> {
    let mut all = Vec::new();
    if rows.is_empty() {
        return Ok(all);
    }
    let plan = match quick {
        true => fair::Plan::QUICK,
        false => fair::Plan::FULL,
    };
    fair::print_method(plan);
    for &row in rows {
        let measured = fair::measure(stage, row, plan);
        let measured = measured.map_err(|error| format!("{row}: {error}"))?;
        fair::print_row(&measured);
        all.push(measured);
    }
    fair::print_summary(&all);
    Ok(all)
}

fn write_files(
    options: &Options,
    all: &[Measured],
    fair: &[fair::Measured],
    programs: &Programs,
) -> Result<(), Box<dyn Error>> {
    if let Some(file) = &options.json {
        write(file, &json::text(all, fair, programs))?;
    }
    let pictured: Vec<_> = all
        .iter()
        .filter(|measured| measured.cell.family.name == PICTURED)
        .collect();
    // One size alone is no picture.
    if pictured.len() > 1 {
        write(
            &project().join("benches/results.svg"),
            &picture::svg(&pictured),
        )?;
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    println!("written: {}", file.display());
    Ok(())
}

/// What runs, as it says itself.
struct Programs {
    nginx: String,
    haproxy: Option<String>,
}

impl Programs {
    fn describe(&self) -> String {
        let nginx = &self.nginx;
        match &self.haproxy {
            Some(haproxy) => format!("{nginx}; {haproxy}"),
            None => nginx.clone(),
        }
    }
}
