//! What is said of an answer, while it comes and when it is there.

use crate::panels::{ended, prefill_rate, traced};
use crate::worker::Progress;
use first_wgpu::trace::{Detail, Run};

/// What the worker does, and how far it is.
pub(super) fn doing(progress: &Progress) -> String {
    match progress.share {
        (_, 0) => progress.doing.clone(),
        (done, all) => format!("{done} of {all}: {}", progress.doing),
    }
}

/// The times of the answer so far.
pub(super) fn live(progress: &Progress) -> String {
    let mut text = String::new();
    if progress.tokens > 0 {
        text += &format!("TTFT {:.0} ms", 1e3 * progress.ttft);
    }
    if progress.tokens > 1 && progress.seconds > 0.0 {
        let later = (progress.tokens - 1) as f32;
        let (tpot, rate) = (1e3 * progress.seconds / later, later / progress.seconds);
        let tokens = progress.tokens;
        text += &format!(" · TPOT {tpot:.1} ms ({rate:.1} tokens/s) · {tokens} tokens");
    }
    text
}

/// What abbreviations mean.
pub(super) const TIMES: &str =
    "TTFT: time to first token. TPOT: time per output token, the mean of those after the first";

/// What is known of an answer, and what gave it.
pub(super) fn times(run: &Run) -> String {
    let mut parts = vec![format!("TTFT {:.0} ms", run.ttft_nanos as f64 / 1e6)];
    let mut prompt = format!("{} prompt tokens", run.prompt_ids.len());
    if let Some(rate) = prefill_rate(run) {
        prompt += &format!(" ({rate:.0} tokens/s)");
    }
    parts.push(prompt);
    if let Some(tpot) = run.tpot_nanos() {
        let (tpot, rate) = (tpot as f64 / 1e6, 1e9 / tpot as f64);
        parts.push(format!("TPOT {tpot:.1} ms ({rate:.1} tokens/s)"));
    }
    let end = ended(run).map_or(String::new(), |end| format!(", ended by {end}"));
    parts.push(format!("{} tokens{end}", run.answer_ids.len()));
    if traced(run) {
        let what = match (run.detail, run.dispatches.is_empty()) {
            (_, true) => "each submission",
            (Detail::Layer, false) => "each layer",
            (_, false) => "each dispatch",
        };
        parts.push(format!("{what} timed, which takes longer"));
    }
    parts.extend([run.model.name.clone(), run.gpu.name.clone()]);
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;
    use first_wgpu::trace::FinishReason;

    #[test]
    fn what_is_known_of_an_answer_is_said() {
        let mut run = Session::demo().runs[0].clone();
        run.prompt_ids = vec![1; 100];
        run.ttft_nanos = 500_000_000;
        run.finish_reason = Some(FinishReason::Length);
        run.detail = Detail::Dispatch;
        let said = times(&run);
        for needle in [
            "100 prompt tokens (200 tokens/s)",
            "ended by length",
            "· each submission timed, which takes longer ·",
        ] {
            assert!(said.contains(needle), "{said}");
        }
        let timed = Session::demo().runs.into_iter();
        run.dispatches = timed.flat_map(|run| run.dispatches).take(1).collect();
        assert!(times(&run).contains("· each dispatch timed,"));
        run.detail = Detail::Layer;
        assert!(times(&run).contains("· each layer timed,"));
        (run.detail, run.dispatches) = (Detail::None, Vec::new());
        assert!(!times(&run).contains("timed"));
    }
}
