//! What ran from when to when: the host's submissions, and the GPU's tokens, layers, blocks and dispatches.

use first_wgpu::trace::{Dispatch, Run};

/// The tracks, from top to bottom: the host's, then the GPU's from coarse to fine.
pub(super) const TRACKS: [&str; 6] = [
    "host: encode",
    "host: submit",
    "GPU: token",
    "layer",
    "block",
    "dispatch",
];

/// Something that took time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    /// Which of [`TRACKS`].
    pub(super) track: usize,
    /// In nanoseconds since the start of the run.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) label: String,
    /// More of it.
    pub(super) about: String,
    /// Of a single dispatch, its kernel.
    pub(super) kernel: Option<String>,
}

/// All spans of a run, track by track, each in order of time.
pub(super) fn spans(run: &Run) -> Vec<Span> {
    let mut spans = Vec::new();
    for (track, name) in ["encode", "submit"].into_iter().enumerate() {
        for submission in &run.submissions {
            let encoded = submission.start_nanos + submission.encode_nanos;
            let (start, end) = match track {
                0 => (submission.start_nanos, encoded),
                _ => (encoded, encoded + submission.submit_nanos),
            };
            spans.push(Span {
                track,
                start,
                end,
                label: format!("{name} {}", token(submission.token)),
                about: format!("{} dispatches, by the host's clock", submission.dispatches),
                kernel: None,
            });
        }
    }
    let names: [&dyn Fn(&Dispatch) -> String; 3] = [
        &|at| token(at.token),
        &|at| {
            at.layer
                .map_or(at.label.clone(), |layer| format!("L{layer:02}"))
        },
        &|at| block(&at.label),
    ];
    for (index, name) in names.into_iter().enumerate() {
        let same = |a: &Dispatch, b: &Dispatch| a.token == b.token && name(a) == name(b);
        for group in run.dispatches.chunk_by(same) {
            let ends = group.iter().map(|at| at.start_nanos + at.duration_nanos);
            spans.push(Span {
                track: 2 + index,
                start: group[0].start_nanos,
                end: ends.max().unwrap_or(group[0].start_nanos),
                label: name(&group[0]),
                about: format!("{} dispatches of {}", group.len(), token(group[0].token)),
                kernel: None,
            });
        }
    }
    spans.extend(run.dispatches.iter().map(|at| Span {
        track: 5,
        start: at.start_nanos,
        end: at.start_nanos + at.duration_nanos,
        label: at.label.clone(),
        about: format!(
            "{} of {}\n{:.2} MB of weights at {:.1} GB/s, derived",
            at.kernel,
            token(at.token),
            at.weight_bytes as f64 / 1e6,
            at.weight_bytes as f64 / at.duration_nanos.max(1) as f64
        ),
        kernel: Some(at.kernel.clone()),
    }));
    spans
}

fn token(index: u32) -> String {
    match index {
        0 => "prefill".to_owned(),
        index => format!("token {index}"),
    }
}

/// `L07.attn` of `L07.attn.qkv`; what is outside of layers is its own block.
fn block(label: &str) -> String {
    label
        .rsplit_once('.')
        .map_or(label, |(block, _)| block)
        .to_owned()
}
