//! The picture for the README: delivered messages a second, two bars for each scenario, as an SVG that can be read in a
//! light and in a dark page.

use std::fmt::Write;

use crate::report::Comparison;

const LEFT: f64 = 330.0;
const BARS: f64 = 380.0;
const ROW: f64 = 46.0;
const TOP: f64 = 54.0;

/// One row for each comparison. Bars are as long as their share of the row's larger figure: the scenarios are too different
/// for one scale.
pub(crate) fn svg(comparisons: &[Comparison]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
    let height = TOP + ROW * comparisons.len() as f64 + 10.0;
    let width = LEFT + BARS + 170.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"Messages delivered a second, Postern and Postfix\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <style>text{{fill:#1f2328}}.them{{fill:#8c959f}}.us{{fill:#0969da}}\
         @media(prefers-color-scheme:dark){{text{{fill:#e6edf3}}.them{{fill:#6e7681}}.us{{fill:#4493f8}}}}</style>\n\
         <text x=\"0\" y=\"18\" font-size=\"15\" font-weight=\"bold\">Messages delivered a second</text>\n\
         <rect class=\"us\" x=\"{LEFT}\" y=\"8\" width=\"12\" height=\"12\"/>\
         <text x=\"{}\" y=\"18\">Postern</text>\
         <rect class=\"them\" x=\"{}\" y=\"8\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"18\">Postfix</text>\n",
        LEFT + 18.0,
        LEFT + 90.0,
        LEFT + 108.0
    );
    let mut y = TOP;
    for comparison in comparisons {
        let (postern, postfix) = comparison.medians();
        let (us, them) = (postern.delivered_per_second, postfix.delivered_per_second);
        let most = us.max(them);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "<text x=\"0\" y=\"{}\">{}</text>", y + 18.0, escaped(&comparison.title));
        for (class, rate, at, ratio) in [("us", us, y, Some(us / them)), ("them", them, y + 16.0, None)] {
            let length = BARS * rate / most;
            let label = match ratio {
                Some(ratio) => format!("{rate:.0} ({ratio:.1}×)"),
                None => format!("{rate:.0}"),
            };
            let _ = writeln!(
                out,
                "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{at:.0}\" width=\"{length:.1}\" height=\"13\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\">{label}</text>",
                LEFT + length + 6.0,
                at + 11.0
            );
        }
        y += ROW;
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_both_medians_and_the_ratio() {
        let svg = svg(&[crate::report::tests::comparison()]);
        assert!(svg.contains("100 (5.0×)") && svg.contains(">20</text>"), "{svg}");
        assert!(svg.contains(&format!("width=\"{BARS:.1}\"")), "the longer bar fills its row: {svg}");
    }
}
