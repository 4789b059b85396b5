//! Tokens x layers: the routers' scores before pooling.

use super::{LEFT, NO_RUN, View, legend, one_threshold, short};
use crate::figure::{Figure, Table, area};
use crate::palette::heat;
use eframe::egui::{Rangef, pos2};
use first_wgpu::mask::Sublayer;
use first_wgpu::trace::{Run, Score};

/// The height of a router's row.
const ROW: f32 = 15.0;
/// Above the first.
const TOP: f32 = 56.0;
/// From numbered token to numbered token.
const NUMBERED: usize = 10;

fn name(score: &Score) -> String {
    let part = score.sublayer.map(Sublayer::name);
    format!("L{:02} {}", score.layer, part.unwrap_or("layer"))
}

/// Whether what a router decides on ran. Of a whole layer both sublayers are alike; what is protected runs whatever its score.
fn runs(run: &Run, score: &Score) -> bool {
    let part = score.sublayer.unwrap_or(Sublayer::Attn);
    run.mask.runs(score.layer, part)
}

/// A token with its blanks: spaces as dots, others as code writes them.
fn visible(piece: &str) -> String {
    let mut text = String::new();
    for character in piece.chars() {
        match character {
            ' ' => text.push('·'),
            blank if blank.is_whitespace() || blank.is_control() => {
                text.extend(blank.escape_default());
            }
            other => text.push(other),
        }
    }
    text
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let palette = &view.palette;
    let Some(run) = view.run() else {
        return Figure::note(palette, NO_RUN);
    };
    if run.scores.is_empty() {
        let text = "This run had no router. Give one (`--router DIR`) and let it decide.";
        return Figure::note(palette, text);
    }
    let mut figure = Figure {
        about: format!(
            "What {} routers say of {} tokens",
            run.scores.len(),
            run.prompt_pieces.len()
        ),
        ..Figure::default()
    };
    // The mean first: with a long prompt the tokens go on to the right.
    let left = LEFT + 90.0;
    let tokens = run.prompt_pieces.len().max(1);
    let step = ((view.width - left - 8.0) / tokens as f32).max(5.0);
    legend::scores(&mut figure, palette, pos2(LEFT, 8.0), one_threshold(run));
    figure.text(pos2(LEFT, 30.0), palette.muted, "mean");
    let axis = "tokens of the prompt, counted from 0";
    figure.text(pos2(left, 30.0), palette.muted, axis);
    let seen = view.visible;
    for token in (0..tokens).step_by(NUMBERED) {
        let middle = left + (token as f32 + 0.5) * step;
        if seen.x_range().contains(middle) {
            figure.text_middle(pos2(middle, 46.0), palette.muted, token.to_string());
        }
    }
    for (row, score) in run.scores.iter().enumerate() {
        let y = TOP + ROW * row as f32;
        let runs = runs(run, score);
        let color = if runs { palette.text } else { palette.muted };
        // The last row and column are always placed: they make the figure its size.
        if row + 1 < run.scores.len() && !seen.y_range().intersects(Rangef::new(y, y + ROW)) {
            continue;
        }
        figure.text_right(pos2(LEFT - 10.0, y + 7.0), color, name(score));
        let text = format!("{:.3} {}", score.score, if runs { "" } else { "skipped" });
        figure.text(pos2(LEFT, y + 7.0), color, text);
        for (column, (value, piece)) in score.tokens.iter().zip(&run.prompt_pieces).enumerate() {
            let x = left + column as f32 * step;
            if column + 1 < tokens && !seen.x_range().intersects(Rangef::new(x, x + step)) {
                continue;
            }
            let piece = short(&visible(piece), 24);
            let tip = format!("{}, token {column} “{piece}”: {value:.3}", name(score));
            figure.cell(area(x, y, step - 1.0, 14.0), heat(*value), tip, None);
        }
    }
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        "layer",
        "sublayer",
        "token",
        "piece",
        "score",
        "threshold",
        "runs",
    ]);
    let Some(run) = view.run() else { return table };
    for score in &run.scores {
        let runs = runs(run, score).to_string();
        for (token, (value, piece)) in score.tokens.iter().zip(&run.prompt_pieces).enumerate() {
            let part = score.sublayer.map(Sublayer::name);
            table.rows.push(vec![
                score.layer.into(),
                part.unwrap_or("layer").into(),
                token.into(),
                piece.as_str().into(),
                (*value).into(),
                score.threshold.into(),
                runs.as_str().into(),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::testing::view;
    use super::*;
    use crate::session::Session;
    use first_wgpu::mask::LayerMask;

    #[test]
    fn tokens_are_numbered_their_blanks_are_seen_and_what_ran() {
        let mut session = Session::demo();
        let scored = |run: &first_wgpu::trace::Run| !run.scores.is_empty();
        let selected = session.runs.iter().position(scored).expect("there is one");
        session.runs[selected].prompt_pieces[0] = " a\n".to_owned();
        session.runs[selected].prompt_pieces[1] = "é\t ".to_owned();
        session.runs[selected].mask = LayerMask::full(30);
        session.runs[selected].mask.set(3, Sublayer::Mlp, false);
        let mut state = State::default();
        state.look_at(selected, 0);
        let figure = figure(&view(&session, &state));
        for token in ["0", "10", "20"] {
            let numbers = figure.labels.iter().filter(|label| label.text == token);
            let [number] = numbers.collect::<Vec<_>>()[..] else {
                panic!("{token} is there once");
            };
            let said = format!("token {token} ");
            let cell = figure.cells.iter().find(|cell| cell.tip.contains(&said));
            let middle = cell.expect("drawn").rect.center().x;
            assert!((number.at.x - middle).abs() <= 1.0, "{token}");
        }
        // What is protected runs, whatever it scores.
        let texts = |text: &str| {
            let labels = figure.labels.iter();
            labels.filter(|label| label.text.ends_with(text)).count()
        };
        let run = &session.runs[selected];
        let skipped = Sublayer::BOTH.map(|part| run.mask.skipped(part));
        assert_eq!(texts(" skipped"), skipped[0] + skipped[1]);
        let csv = table(&view(&session, &state)).csv();
        let row = csv.lines().find(|row| row.starts_with("3,mlp,5,"));
        assert!(row.expect("a token").ends_with(",false"), "{row:?}");
        for needle in ["“·a\\n”", "“é\\t·”"] {
            let said = figure.cells.iter().any(|cell| cell.tip.contains(needle));
            assert!(said, "{needle}");
        }
    }
}
