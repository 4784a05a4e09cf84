//! The benchmark behind `cargo xtask bench`: what a response costs the worker of
//! stock nginx, of nginx with this project's pipe, and of HAProxy.

mod client;
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
    let cells = cells(options)?;
    if options.list {
        print!("{}", list(&cells));
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
    report::print_method(&stage, &programs, plan);
    let all = measure_all(&stage, &cells, plan)?;
    report::print_summary(&all);
    println!("\n{} cells in {} s", all.len(), start.elapsed().as_secs());
    write_files(options, &all, &programs)
}

/// What is to be measured.
fn cells(options: &Options) -> Result<Vec<Cell>, String> {
    let every = |quick| FAMILIES.iter().flat_map(move |family| family.cells(quick));
    if let Some(unknown) = options
        .only
        .iter()
        .find(|name| !every(false).any(|cell| cell.is(name)))
    {
        return Err(format!("there is no cell {unknown} (--list names all)"));
    }
    // A cell that is asked for by its name is measured however quick the run.
    let cells = every(false).filter(|cell| {
        let quick = || every(true).any(|quick| quick.to_string() == cell.to_string());
        let named = options.only.iter().any(|name| *name == cell.to_string());
        let wanted = options.only.is_empty() || options.only.iter().any(|name| cell.is(name));
        named || wanted && (!options.quick || quick())
    });
    Ok(cells.collect())
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

fn measure_all(stage: &Stage, cells: &[Cell], plan: Plan) -> Result<Vec<Measured>, String> {
    let mut all: Vec<Measured> = Vec::new();
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
    Ok(all)
}

fn write_files(
    options: &Options,
    all: &[Measured],
    programs: &Programs,
) -> Result<(), Box<dyn Error>> {
    if let Some(file) = &options.json {
        write(file, &json::text(all, programs))?;
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
