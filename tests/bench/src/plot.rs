//! Plots as SVG: one line for each result, its median as a bar, its spread as a whisker.

use crate::report::{Row, short};
use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 50.0;
const LINE: f64 = 22.0;

/// From a value to its place.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    fn of(rows: &[&Row]) -> Self {
        let medians = || rows.iter().map(|row| row.summary.median).filter(|m| *m > 0.0);
        let smallest = medians().fold(f64::INFINITY, f64::min);
        let largest = medians().fold(0.0, f64::max);
        let logarithmic = largest > 20.0 * smallest;
        let low = if logarithmic { 10_f64.powf(smallest.log10().floor()) } else { 0.0 };
        // A disturbed sample must not press the rest to the side.
        let spread = rows.iter().map(|row| row.summary.high).fold(0.0, f64::max);
        let high = if logarithmic { spread.min(largest * 3.0) } else { spread.min(largest * 1.3) };
        Self { low, high: high.max(largest * 1.05), logarithmic }
    }

    fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let part = match self.logarithmic {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => value / self.high,
        };
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }

    /// Where the grid's lines are.
    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let first = self.low.log10().round() as i32;
            return (first..first + 12)
                .flat_map(|power| [1.0, 3.0].map(|digit| digit * 10_f64.powi(power)))
                .filter(|tick| *tick <= self.high)
                .collect();
        }
        let rough = self.high / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
        let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
        (0..6).map(|nr| f64::from(nr) * step).filter(|tick| *tick <= self.high).collect()
    }
}

/// A plot of one part; its rows have one unit.
pub fn plot(title: &str, rows: &[&Row]) -> String {
    let scale = Scale::of(rows);
    let bottom = TOP + LINE * rows.len() as f64;
    let height = bottom + 40.0;
    let unit = rows.first().map_or("", |row| row.unit.name());
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"16\">{}, {unit}{}</text>\n",
        escaped(title),
        if scale.logarithmic { ", logarithmic" } else { "" }
    );
    for tick in scale.ticks() {
        let x = scale.place(tick);
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP} V{bottom}\" stroke=\"#dddddd\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666666\">{}</text>",
            bottom + 16.0,
            plain(tick)
        );
    }
    for (nr, row) in rows.iter().enumerate() {
        svg.push_str(&line(row, &scale, TOP + LINE * nr as f64));
    }
    svg.push_str("</svg>\n");
    svg
}

fn line(row: &Row, scale: &Scale, y: f64) -> String {
    let summary = row.summary;
    let start = scale.place(scale.low);
    let [median, low, high] = [summary.median, summary.low, summary.high].map(|v| scale.place(v));
    let middle = y + LINE / 2.0;
    let colour = if row.peer.is_some() { "#3a76a8" } else { "#9a9a9a" };
    let mut svg = format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <rect x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
        LEFT - 8.0,
        middle + 4.0,
        escaped(&row.name),
        y + 4.0,
        (median - start).max(1.0),
        LINE - 8.0
    );
    if summary.count > 1 {
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<path d=\"M{low:.1} {middle:.1} H{high:.1} M{low:.1} {:.1} v8 M{high:.1} {:.1} v8\" \
             stroke=\"#222222\" fill=\"none\"/>",
            middle - 4.0,
            middle - 4.0
        );
    }
    let ratio = row.ratio().map(|ratio| format!(" ({} times)", short(ratio))).unwrap_or_default();
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\">{}{ratio}</text>",
        high.max(median) + 6.0,
        middle + 4.0,
        short(summary.median)
    );
    svg
}

fn plain(tick: f64) -> String {
    if tick >= 1.0 || tick == 0.0 { format!("{tick:.0}") } else { format!("{tick:.2}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
