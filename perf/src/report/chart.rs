//! Line charts as SVG, on a logarithmic axis.

use std::fmt::Write;

use super::{escape, number};

/// What the horizontal axis is.
pub(crate) enum Axis {
    /// A place for each name, from 0 on.
    Names(Vec<String>),
    /// Of values above 0.
    Logarithmic,
}

/// One line.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// Of the vertical axis.
    pub(crate) unit: &'static str,
    pub(crate) x_title: String,
    pub(crate) x: Axis,
    pub(crate) lines: Vec<Line>,
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const PLOT_HEIGHT: f64 = 300.0;
const LEGEND_LINE: f64 = 18.0;
const COLOURS: [&str; 8] = [
    "#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#b8860b", "#e03e3e", "#64473a",
];

impl Chart {
    /// The chart, by itself.
    pub(crate) fn svg(&self) -> String {
        let legend = self.lines.len() as f64 * LEGEND_LINE;
        let height = TOP + PLOT_HEIGHT + 50.0 + legend;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}, {}</text>",
            escape(&self.title),
            escape(self.unit)
        );
        let (low, high) = self.decades();
        for decade in low..=high {
            let y = y_of(10_f64.powi(decade), low, high);
            let label = number(10_f64.powi(decade));
            put(
                &mut svg,
                format_args!(
                    "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                    WIDTH - RIGHT,
                    LEFT - 6.0,
                    y + 4.0
                ),
            );
        }
        for (value, label) in self.ticks() {
            let x = self.x_of(value);
            put(
                &mut svg,
                format_args!(
                    "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                    TOP + PLOT_HEIGHT + 18.0,
                    escape(&label)
                ),
            );
        }
        put(
            &mut svg,
            format_args!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                WIDTH / 2.0,
                TOP + PLOT_HEIGHT + 36.0,
                escape(&self.x_title)
            ),
        );
        for (index, line) in self.lines.iter().enumerate() {
            self.draw(&mut svg, index, line, (low, high));
        }
        svg.push_str("</svg>");
        svg
    }

    fn draw(&self, svg: &mut String, index: usize, line: &Line, (low, high): (i32, i32)) {
        let colour = COLOURS[index % COLOURS.len()];
        let dashes = if index < COLOURS.len() { "none" } else { "6 3" };
        let place = |(x, y): &(f64, f64)| (self.x_of(*x), y_of(*y, low, high));
        let points: Vec<String> = line
            .points
            .iter()
            .map(place)
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        put(
            svg,
            format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
                points.join(" ")
            ),
        );
        for (point, value) in line.points.iter().map(|point| (place(point), point.1)) {
            put(
                svg,
                format_args!(
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{}: {} {}</title></circle>",
                    point.0,
                    point.1,
                    escape(&line.name),
                    number(value),
                    escape(self.unit)
                ),
            );
        }
        let y = TOP + PLOT_HEIGHT + 56.0 + index as f64 * LEGEND_LINE;
        put(
            svg,
            format_args!(
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\" stroke-dasharray=\"{dashes}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
                LEFT + 24.0,
                LEFT + 32.0,
                y + 4.0,
                escape(&line.name)
            ),
        );
    }

    /// The powers of ten that all points lie between.
    fn decades(&self) -> (i32, i32) {
        let values = self
            .lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|(_, y)| y.max(0.1).log10());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        match low.is_finite() {
            true => (
                low.floor() as i32,
                (high.ceil() as i32).max(low.floor() as i32 + 1),
            ),
            false => (0, 1),
        }
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        match &self.x {
            Axis::Names(names) => names
                .iter()
                .enumerate()
                .map(|(at, name)| (at as f64, name.clone()))
                .collect(),
            Axis::Logarithmic => {
                let mut values: Vec<f64> = self.xs().collect();
                values.sort_by(f64::total_cmp);
                values.dedup();
                values
                    .into_iter()
                    .map(|value| (value, number(value)))
                    .collect()
            }
        }
    }

    fn xs(&self) -> impl Iterator<Item = f64> {
        self.lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|(x, _)| *x)
    }

    fn x_of(&self, value: f64) -> f64 {
        let width = WIDTH - LEFT - RIGHT - 60.0;
        let part = match &self.x {
            Axis::Names(names) => value / (names.len().max(2) - 1) as f64,
            Axis::Logarithmic => {
                let least = self.xs().fold(f64::INFINITY, f64::min).ln();
                let most = self.xs().fold(f64::NEG_INFINITY, f64::max).ln();
                if most > least {
                    (value.ln() - least) / (most - least)
                } else {
                    0.5
                }
            }
        };
        LEFT + 30.0 + part * width
    }
}

fn y_of(us: f64, low: i32, high: i32) -> f64 {
    let part = (us.max(0.1).log10() - f64::from(low)) / f64::from(high - low);
    TOP + PLOT_HEIGHT * (1.0 - part.clamp(0.0, 1.0))
}

fn put(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("a string takes everything");
}
