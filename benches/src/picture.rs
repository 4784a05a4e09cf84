//! The picture for the README: CPU time for a response relative to stock's, by
//! the size of the body.

use super::family::Side;
use super::machine;
use super::measure::Measured;
use super::statistics::Spread;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 360.0;

/// Where the plot is in the picture.
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 16.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = HEIGHT - 64.0;

/// How much of a group's width is bars.
const FILL: f64 = 0.72;

/// What is compared with stock, and the class that colours it.
const SERIES: [(Side, &str); 4] = [
    (Side::Ours, "ours"),
    (Side::Unlent, "unlent"),
    (Side::Haproxy, "haproxy"),
    (Side::Splicing, "splicing"),
];

/// Readable on a white and on a black page.
const STYLE: &str = "\
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .small { font-size: 11px; fill: #59636e }
    .title { font-size: 15px; font-weight: 600 }
    .grid { stroke: #d1d9e0; stroke-width: 1 }
    .stock { stroke: #1f2328; stroke-width: 1.5; stroke-dasharray: 5 3 }
    .spread { stroke: #59636e; stroke-width: 1 }
    .ours { fill: #0969da }
    .unlent { fill: #80ccff }
    .haproxy { fill: #bf8700 }
    .splicing { fill: #eac54f }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      .small { fill: #9198a1 }
      .grid { stroke: #3d444d }
      .stock { stroke: #f0f6fc }
      .spread { stroke: #c0c8d0 }
      .ours { fill: #4493f8 }
      .unlent { fill: #0c4a80 }
      .haproxy { fill: #d29922 }
      .splicing { fill: #845306 }
    }";

/// The picture of these cells, which are of one family.
pub(crate) fn svg(cells: &[&Measured]) -> String {
    let series: Vec<_> = SERIES
        .into_iter()
        .filter(|(side, _)| cells.iter().any(|cell| cell.to_stock(*side).is_some()))
        .collect();
    let scale = Scale::of(cells);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <style>\n{STYLE}\n</style>\n"
    );
    svg += &text(
        LEFT,
        22.0,
        "title",
        "start",
        "CPU time of the worker for a response, stock nginx = 1",
    );
    svg += &legend(&series);
    svg += &scale.grid();
    let group = (RIGHT - LEFT) / cells.len() as f64;
    for (index, cell) in cells.iter().enumerate() {
        let left = LEFT + group * index as f64;
        svg += &bars(cell, &series, &scale, left, group);
        svg += &text(
            left + group / 2.0,
            BOTTOM + 18.0,
            "",
            "middle",
            &cell.cell.body(),
        );
    }
    svg += &line(LEFT, scale.y(1.0), RIGHT, scale.y(1.0), "stock");
    svg += &caption(cells);
    svg + "</svg>\n"
}

/// From ratios to places.
struct Scale {
    top: f64,
}

impl Scale {
    /// High enough for all medians and for 1.
    fn of(cells: &[&Measured]) -> Self {
        let ratios = cells.iter().flat_map(|cell| {
            let ratio = |(side, _)| cell.to_stock(side).map(|spread| spread.median);
            SERIES.into_iter().filter_map(ratio)
        });
        let highest = ratios.fold(1.0, f64::max);
        Self {
            top: (highest * 5.0).floor() / 5.0 + 0.2,
        }
    }

    fn y(&self, ratio: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * ratio.min(self.top) / self.top
    }

    fn grid(&self) -> String {
        let steps = (self.top * 5.0).round() as u32;
        let step = |fifths: u32| {
            let ratio = f64::from(fifths) / 5.0;
            let y = self.y(ratio);
            let label = text(LEFT - 8.0, y + 4.0, "small", "end", &format!("{ratio:.1}"));
            line(LEFT, y, RIGHT, y, "grid") + &label
        };
        (0..=steps).map(step).collect()
    }
}

/// The bars of one size, with a line from the lowest round to the highest.
fn bars(cell: &Measured, series: &[(Side, &str)], scale: &Scale, left: f64, group: f64) -> String {
    let width = group * FILL / series.len() as f64;
    let first = left + group * (1.0 - FILL) / 2.0;
    let bar = |(index, (side, class)): (usize, &(Side, &str))| {
        let spread = cell.to_stock(*side)?;
        Some(bar(
            spread,
            class,
            scale,
            first + width * index as f64,
            width,
        ))
    };
    series.iter().enumerate().filter_map(bar).collect()
}

fn bar(spread: Spread, class: &str, scale: &Scale, x: f64, width: f64) -> String {
    let Spread {
        median,
        lowest,
        highest,
    } = spread;
    let (y, middle) = (scale.y(median), x + width / 2.0);
    let rectangle = format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
         <title>{median:.2} ({lowest:.2}-{highest:.2})</title></rect>\n",
        (width - 1.0).max(1.0),
        BOTTOM - y,
    );
    let spread = line(middle, scale.y(lowest), middle, scale.y(highest), "spread");
    rectangle + &spread
}

fn legend(series: &[(Side, &str)]) -> String {
    let y = 40.0;
    let mut x = LEFT;
    let mut legend = line(x, y, x + 18.0, y, "stock");
    legend += &text(x + 24.0, y + 4.0, "", "start", "stock nginx");
    for (side, class) in series {
        x += 120.0;
        let top = y - 6.0;
        legend += &format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"12\" height=\"12\"/>\n"
        );
        legend += &text(x + 18.0, y + 4.0, "", "start", &side.to_string());
    }
    legend
}

fn caption(cells: &[&Measured]) -> String {
    let Some(cell) = cells.first() else {
        return String::new();
    };
    let rounds = cell.sides.first().map_or(0, |side| side.cpu.len());
    let what = format!(
        "Size of the body. {}. Median of {rounds} rounds; the lines go from the lowest to the highest.",
        cell.cell.family.title
    );
    text(LEFT, HEIGHT - 26.0, "small", "start", &what)
        + &text(LEFT, HEIGHT - 10.0, "small", "start", &machine::describe())
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64, class: &str) -> String {
    format!(
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
    )
}

fn text(x: f64, y: f64, class: &str, anchor: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n"
    )
}
