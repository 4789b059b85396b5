//! All runs, a row each: what ran, what it answered, what it cost.

use super::{Action, State, View, millis, policy_name, short};
use crate::figure::{Anchor, Figure, Heard, Table, area};
use crate::session::Session;
use eframe::egui::{Color32, Rangef, pos2};
use first_wgpu::trace::{Detail, FinishReason, Run};

/// From row to row.
const ROW: f32 = 20.0;
/// Above the first.
const TOP: f32 = 60.0;

/// A column: its name, the unit of its numbers, how they come about, where it begins, or of numbers, ends.
const COLUMNS: [([&str; 3], Anchor, f32); 13] = [
    (["run", "", ""], Anchor::Right, 34.0),
    (["tag", "", ""], Anchor::Left, 46.0),
    (["policy", "", ""], Anchor::Left, 112.0),
    (["skipped", "%", "counted"], Anchor::Right, 256.0),
    (["prompt", "tokens", "counted"], Anchor::Right, 314.0),
    (["prefill", "tokens/s", "derived"], Anchor::Right, 376.0),
    (["TTFT", "ms", "measured"], Anchor::Right, 440.0),
    (["TPOT", "ms", "measured"], Anchor::Right, 504.0),
    (["answer", "tokens", "counted"], Anchor::Right, 562.0),
    (["ended by", "", ""], Anchor::Left, 578.0),
    (["timed", "", ""], Anchor::Left, 642.0),
    (["prompt text", "", ""], Anchor::Left, 684.0),
    (["answer text", "", ""], Anchor::Left, 790.0),
];

/// Tokens a second of a prompt, as far as no turn before had read it; from its first token to the answer's.
pub(crate) fn prefill_rate(run: &Run) -> Option<f64> {
    let read = run.prompt_ids.len().saturating_sub(run.cached_tokens);
    (run.ttft_nanos > 0).then(|| read as f64 / (run.ttft_nanos as f64 / 1e9))
}

/// Why an answer ended, as traces spell it.
pub(crate) fn ended(run: &Run) -> Option<&'static str> {
    run.finish_reason.map(|reason| match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Context => "context",
        FinishReason::Cancelled => "cancelled",
    })
}

/// Whether the GPU's work was timed, which slows a run down.
pub(crate) fn traced(run: &Run) -> bool {
    run.detail != Detail::None || !run.dispatches.is_empty()
}

pub(super) fn heard(_: &Session, _: &mut State, heard: Heard) -> Option<Action> {
    heard.clicked.map(Action::Open)
}

fn cells(index: usize, run: &Run, width: f32) -> [String; 13] {
    let or_dash = |text: Option<String>| text.unwrap_or("-".to_owned());
    let tpot = run.tpot_nanos().map(millis);
    let rate = prefill_rate(run).map(|rate| format!("{rate:.0}"));
    let room = ((width - COLUMNS[12].2) / 7.2).max(12.0) as usize;
    [
        (index + 1).to_string(),
        short(run.tag.as_deref().unwrap_or("-"), 10),
        short(policy_name(run), 15),
        format!("{:.1}", 100.0 * run.model.skip_rate(&run.mask)),
        run.prompt_ids.len().to_string(),
        or_dash(rate),
        format!("{:.0}", millis(run.ttft_nanos)),
        or_dash(tpot.map(|millis| format!("{millis:.1}"))),
        run.answer_ids.len().to_string(),
        ended(run).unwrap_or("-").to_owned(),
        if traced(run) { "yes" } else { "no" }.to_owned(),
        short(&run.prompt, 15),
        short(&run.answer, room),
    ]
}

pub(super) fn figure(view: &View<'_>) -> Figure {
    let palette = &view.palette;
    let runs = &view.session.runs;
    if runs.is_empty() {
        return Figure::note(palette, super::NO_RUN);
    }
    let mut figure = Figure {
        about: format!("{} runs, one a row", runs.len()),
        ..Figure::default()
    };
    for (head, anchor, x) in COLUMNS {
        for (line, text) in head.into_iter().enumerate() {
            let color = if line == 0 {
                palette.text
            } else {
                palette.muted
            };
            let at = pos2(x, 10.0 + 14.0 * line as f32);
            figure.label(at, anchor, color, text.to_owned());
        }
    }
    for (index, run) in runs.iter().enumerate() {
        let y = TOP + ROW * index as f32;
        let seen = view.visible.y_range().intersects(Rangef::new(y, y + ROW));
        // The last row is always placed: it makes the figure its size.
        if !seen && index + 1 < runs.len() {
            continue;
        }
        let selected = index == view.state.selected;
        let fill = match (selected, index % 2) {
            (true, _) => palette.skipped,
            (false, 1) => palette.surface,
            (false, _) => Color32::TRANSPARENT,
        };
        let tip = format!("{}\n\n{}", short(&run.prompt, 200), short(&run.answer, 400));
        let rect = area(0.0, y - ROW / 2.0, view.width, ROW);
        figure.cell(rect, fill, tip, Some(index));
        for ((_, anchor, x), cell) in COLUMNS.into_iter().zip(cells(index, run, view.width)) {
            figure.label(pos2(x, y), anchor, palette.text, cell);
        }
    }
    figure
}

pub(super) fn table(view: &View<'_>) -> Table {
    let mut table = Table::new(&[
        "run",
        "tag",
        "policy",
        "skips",
        "weights_skipped",
        "prompt_tokens",
        "prefill_tokens_per_s",
        "ttft_ms",
        "tpot_ms",
        "tokens",
        "finish_reason",
        "timed",
        "kv_bytes",
        "model",
        "gpu",
        "prompt",
        "answer",
    ]);
    for (index, run) in view.session.runs.iter().enumerate() {
        let tpot = run.tpot_nanos();
        table.rows.push(vec![
            (index + 1).into(),
            run.tag.as_deref().unwrap_or_default().into(),
            run.policy.as_str().into(),
            run.mask.to_string().into(),
            run.model.skip_rate(&run.mask).into(),
            run.prompt_ids.len().into(),
            prefill_rate(run).into(),
            millis(run.ttft_nanos).into(),
            tpot.map(millis).into(),
            run.answer_ids.len().into(),
            ended(run).into(),
            traced(run).to_string().into(),
            run.kv_bytes.into(),
            run.model.name.as_str().into(),
            run.gpu.name.as_str().into(),
            run.prompt.as_str().into(),
            run.answer.as_str().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_run_is_shown() {
        let mut run = Session::demo().runs[0].clone();
        run.prompt_ids = vec![1; 100];
        run.cached_tokens = 60;
        run.ttft_nanos = 500_000_000;
        run.finish_reason = Some(FinishReason::Length);
        (run.detail, run.dispatches) = (Detail::None, Vec::new());
        let cells = cells(0, &run, 880.0);
        let known = ["100", "80", "500", "length", "no"];
        for text in known {
            assert!(cells.iter().any(|cell| cell == text), "{text}: {cells:?}");
        }
        run.policy = "none".to_owned();
        assert_eq!(super::cells(0, &run, 880.0)[2], "full model");
        run.detail = Detail::Layer;
        assert!(traced(&run));
        (run.ttft_nanos, run.finish_reason) = (0, None);
        assert_eq!((prefill_rate(&run), ended(&run)), (None, None));
    }
}
