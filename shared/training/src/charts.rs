//! Pictures of curves: the same chart as PNG for a folder and as SVG for a page.
use std::borrow::Cow;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use stage::{Failure, Result};

/// One line of a chart, or its dots.
pub(crate) struct Series {
    pub name: Cow<'static, str>,
    pub points: Vec<(f64, f64)>,
    pub color: RGBColor,
    pub dots: bool,
    /// Of the line, 0 to 1.
    pub opacity: f64,
}

pub(crate) struct Chart {
    pub title: &'static str,
    pub series: Vec<Series>,
    /// How values of the y axis are written.
    pub label: fn(f64) -> String,
    /// A logarithmic y axis, for values above 0.
    pub logarithmic: bool,
}

pub(crate) const BLUE: RGBColor = RGBColor(38, 99, 199);
pub(crate) const ORANGE: RGBColor = RGBColor(214, 96, 18);
pub(crate) const GRAY: RGBColor = RGBColor(120, 120, 120);
pub(crate) const GREEN: RGBColor = RGBColor(36, 138, 61);

/// Points of a line at most: more are thinned out, since no screen has room for them.
const POINTS: usize = 1500;

fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(POINTS).max(1);
    let last = points.last().filter(|_| points.len() % every != 1 && every > 1);
    points
        .iter()
        .step_by(every)
        .chain(last)
        .copied()
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect()
}

/// plotters has no font, and a machine without a screen often has none either.
fn with_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let font = epaint_default_fonts::UBUNTU_LIGHT;
        let _ = plotters::style::register_font("sans-serif", FontStyle::Normal, font);
    });
}

impl Chart {
    /// A text of an `<svg>` element.
    pub(crate) fn svg(&self, width: u32, height: u32) -> Result<String> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, (width, height)).into_drawing_area())?;
        Ok(text)
    }

    /// The bytes of a PNG file.
    pub(crate) fn png(&self, width: u32, height: u32) -> Result<Vec<u8>> {
        let mut pixels = vec![0; (width * height * 3) as usize];
        self.draw(BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area())?;
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let written =
            encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
        written.map_err(|error| cannot(self.title, error))?;
        Ok(bytes)
    }

    fn draw<B: DrawingBackend>(&self, root: DrawingArea<B, Shift>) -> Result<()> {
        with_font();
        self.try_draw(&root).map_err(|error| cannot(self.title, error))
    }

    fn try_draw<B: DrawingBackend>(
        &self,
        root: &DrawingArea<B, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let scale = |y: f64| if self.logarithmic { y.max(1e-30).log10() } else { y };
        let all: Vec<Vec<(f64, f64)>> = self
            .series
            .iter()
            .map(|s| thinned(&s.points).into_iter().map(|(x, y)| (x, scale(y))).collect())
            .collect();
        let range = |values: &mut dyn Iterator<Item = f64>| {
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            });
            if low > high { (0.0, 1.0) } else { (low, high) }
        };
        let (first, last) = range(&mut all.iter().flatten().map(|point| point.0));
        let (low, high) = range(&mut all.iter().flatten().map(|point| point.1));
        let margin = (0.05 * (high - low)).max(1e-6 + 1e-3 * high.abs());
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(root)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(first..last.max(first + 1.0), low - margin..high + margin)?;
        let label = |y: &f64| (self.label)(if self.logarithmic { 10f64.powf(*y) } else { *y });
        chart
            .configure_mesh()
            .x_desc("step")
            .x_label_formatter(&|x| stage::count(x.max(0.0) as u64))
            .y_label_formatter(&label)
            .label_style(("sans-serif", 14))
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.12))
            .draw()?;
        for (series, points) in self.series.iter().zip(all) {
            let color = series.color.mix(series.opacity);
            if series.dots {
                chart.draw_series(
                    points.iter().map(|&point| Circle::new(point, 3, color.filled())),
                )?;
            }
            let line = chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
            if self.series.len() > 1 {
                line.label(series.name.clone()).legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                });
            }
        }
        if self.series.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .label_font(("sans-serif", 15))
                .border_style(BLACK.mix(0.2))
                .background_style(WHITE.mix(0.85))
                .draw()?;
        }
        root.present()
    }
}

fn cannot(title: &str, error: impl std::fmt::Display) -> Failure {
    Failure::try_again(format_args!("the picture \"{title}\" cannot be drawn: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let series = |name: &'static str, dots| Series {
            name: name.into(),
            points: points.clone(),
            color: BLUE,
            dots,
            opacity: 1.0,
        };
        Chart {
            title: "Loss",
            series: vec![series("loss", false), series("val", true)],
            label: |y| format!("{y:.2}"),
            logarithmic: false,
        }
    }

    #[test]
    fn draws_any_curve_as_both() {
        let curves = [
            vec![],
            vec![(0.0, 9.0)],
            vec![(0.0, 9.0), (1.0, f64::NAN)],
            (0..5000).map(|i| (f64::from(i), 1.0)).collect(),
        ];
        for points in curves {
            let svg = chart(points.clone()).svg(600, 400).unwrap();
            assert!(
                svg.starts_with("<svg") && svg.contains("Loss") && !svg.contains("NaN"),
                "{}",
                &svg[..200]
            );
            let png = chart(points).png(600, 400).unwrap();
            let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            assert_eq!((info.width, info.height), (600, 400));
            let dark = pixels.chunks_exact(3).filter(|p| p.iter().all(|&c| c < 128)).count();
            assert!(dark > 100, "text and axes are drawn: {dark} dark pixels");
        }
    }

    #[test]
    fn a_long_curve_keeps_its_ends() {
        let points: Vec<(f64, f64)> = (0..4001).map(|i| (f64::from(i), f64::from(i))).collect();
        let thin = thinned(&points);
        assert!(
            thin.len() <= POINTS + 1
                && thin[0] == (0.0, 0.0)
                && thin[thin.len() - 1] == (4000.0, 4000.0),
            "{}",
            thin.len()
        );
    }
}
