//! What a generation prints when it is done.

use crate::mask::{LayerMask, Sublayer};
use crate::trace::{FinishReason, Run};

/// One cell per layer: both halves, attention alone, the MLP alone, or nothing.
pub(super) fn strip(mask: &LayerMask) -> String {
    let cell = |layer| match Sublayer::BOTH.map(|sublayer| mask.runs(layer, sublayer)) {
        [true, true] => '█',
        [true, false] => '▀',
        [false, true] => '▄',
        [false, false] => '·',
    };
    (0..mask.layers()).map(cell).collect()
}

/// Scores in tenths, one digit a layer; one line per kind of router.
fn scores(run: &Run) -> Vec<(&'static str, String)> {
    let digit = |score: f32| char::from(b'0' + (score * 10.0).clamp(0.0, 9.0) as u8);
    let line = |which: Option<Sublayer>| {
        let of = |score: &&crate::trace::Score| score.sublayer == which;
        run.scores
            .iter()
            .filter(of)
            .map(|score| digit(score.score))
            .collect::<String>()
    };
    let lines = [
        ("layer", line(None)),
        ("attn", line(Some(Sublayer::Attn))),
        ("mlp", line(Some(Sublayer::Mlp))),
    ];
    lines
        .into_iter()
        .filter(|(_, line)| !line.is_empty())
        .collect()
}

/// Prints mask, scores, times and memory of a run to standard error, where it does not mix with the answer.
pub(super) fn print(run: &Run) {
    let mask = &run.mask;
    tell!();
    tell!("layers    {}  {}", strip(mask), skipped(run));
    for (name, digits) in scores(run) {
        tell!("{name:<8}  {digits}  score, in tenths");
    }
    let millis = |nanos: u64| nanos as f64 / 1e6;
    let read = run.prompt_ids.len() - run.cached_tokens;
    let mut line = format!("prompt    {}", some(run.prompt_ids.len(), "token"));
    if run.cached_tokens > 0 {
        line += &format!(", {read} of them new");
    }
    if !run.prefill.is_masked() {
        line += ", read by every layer";
    }
    line += &format!(", first token after {:.0} ms", millis(run.ttft_nanos));
    if run.ttft_nanos > 0 {
        let rate = read as f64 / (run.ttft_nanos as f64 / 1e9);
        line += &format!(" ({rate:.0} tokens/s)");
    }
    tell!("{line}");
    let mut line = format!("answer    {}", some(run.answer_ids.len(), "token"));
    if let Some(tpot) = run.tpot_nanos() {
        line += &format!(
            ", {:.1} ms and {} dispatches each ({:.1} tokens/s)",
            millis(tpot),
            run.decode_dispatches,
            1e9 / tpot as f64
        );
    }
    line += match run.finish_reason {
        Some(FinishReason::Length) => "; cut there by `-n`",
        Some(FinishReason::Context) => "; cut there, since the context is full",
        Some(FinishReason::Cancelled) => "; interrupted there",
        Some(FinishReason::Stop) | None => "",
    };
    tell!("{line}");
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    let mut line = format!("KV cache  {:.2} MiB", mib(run.kv_bytes));
    if run.kv_bytes < run.kv_bytes_full {
        line += &format!(" of {:.2} MiB for all layers", mib(run.kv_bytes_full));
    }
    tell!("{line}");
    tell!("model     {}", run.model.name);
    tell!("GPU       {} ({})", run.gpu.name, run.gpu.backend);
}

/// How many of something, in words.
fn some(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn skipped(run: &Run) -> String {
    let mask = &run.mask;
    if mask.is_full() {
        return format!("all {} run", mask.layers());
    }
    let (attn, mlp) = (mask.skipped(Sublayer::Attn), mask.skipped(Sublayer::Mlp));
    format!(
        "skips {mask}: {}, {}, {:.1} % of the layers' weights",
        some(attn, "attention"),
        some(mlp, "MLP"),
        100.0 * run.model.skip_rate(mask)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_tells_what_runs_in_a_layer() {
        let mask = LayerMask::parse("1.mlp,2.attn,3", 5).expect("valid");
        assert_eq!(strip(&mask), "█▀▄·█");
    }
}
