//! What was measured, round by round, for other programs.

use serde_json::{Map, Value, json};

use super::measure::{Measured, MeasuredSide};
use super::{Programs, fair, machine};

/// All of it as one JSON object.
pub(crate) fn text(all: &[Measured], fair: &[fair::Measured], programs: &Programs) -> String {
    let all = json!({
        "machine": machine::describe(),
        "programs": programs.describe(),
        "cells": all.iter().map(cell).collect::<Vec<_>>(),
        "fair": fair.iter().map(fair::json).collect::<Vec<_>>(),
    });
    format!("{all}\n")
}

fn cell(measured: &Measured) -> Value {
    json!({
        "cell": measured.cell.to_string(),
        "title": measured.cell.family.title,
        "body_bytes": measured.cell.size,
        "responses_per_round": measured.responses,
        "sides": measured.sides.iter().map(side).collect::<Vec<_>>(),
    })
}

fn side(measured: &MeasuredSide) -> Value {
    let calls = measured.calls.as_ref().map(|calls| {
        let calls = calls.iter();
        let calls = calls.map(|(name, count)| (name.clone(), json!(rounded(count))));
        calls.collect::<Map<_, _>>()
    });
    json!({
        "side": measured.side.to_string(),
        "cpu_us_per_response": measured.cpu.iter().map(rounded).collect::<Vec<_>>(),
        "responses_per_second": measured.rate.iter().map(rounded).collect::<Vec<_>>(),
        "peak_kib": measured.peak_kib,
        "written_bytes_per_response": measured.written.iter().map(rounded).collect::<Vec<_>>(),
        "upstream_busy_ms": measured.busy.iter().map(rounded).collect::<Vec<_>>(),
        "calls_per_mib": calls,
    })
}

/// To three decimals, which is more than is sure.
pub(crate) fn rounded(value: &f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
