//! What ran from when to when: the host's submissions, and the GPU's tokens, layers, blocks and dispatches.

use first_wgpu::mask::Sublayer;
use first_wgpu::trace::{Dispatch, Run, Submission};

/// The tracks, from top to bottom: the host's, then the GPU's from coarse to fine.
pub(super) const TRACKS: [&str; 6] = [
    "host: encode",
    "host: submit",
    "GPU: token",
    "layer",
    "block",
    "dispatch",
];

/// Places in [`TRACKS`].
const ENCODE: usize = 0;
const SUBMIT: usize = 1;
pub(super) const TOKEN: usize = 2;
const LAYER: usize = 3;
const BLOCK: usize = 4;
const DISPATCH: usize = 5;

/// Something that took time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span<'a> {
    /// Which of [`TRACKS`].
    pub(super) track: usize,
    /// In nanoseconds since the start of the run.
    pub(super) start: u64,
    pub(super) end: u64,
    what: What<'a>,
}

/// What it was. A trace has hundreds of thousands; words are found for those that are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What<'a> {
    /// By the host's clock.
    Submission(&'a Submission),
    /// A token's dispatches, or those of its that are of a layer, of a block, or alone.
    Dispatches(&'a [Dispatch]),
}

/// All spans of a run, track by track, each in order of time.
pub(super) fn spans(run: &Run) -> Vec<Span<'_>> {
    let waited = run.dispatches.is_empty();
    let host = [ENCODE, SUBMIT, TOKEN].into_iter().flat_map(|track| {
        let submissions = run.submissions.iter();
        let part = move |submission| host(submission, track);
        let known = move |span: &Span<'_>| track != TOKEN || (waited && span.end > span.start);
        submissions.map(part).filter(known)
    });
    let gpu = [TOKEN, LAYER, BLOCK, DISPATCH]
        .into_iter()
        .flat_map(|track| {
            let groups = run.dispatches.chunk_by(move |a, b| together(track, a, b));
            groups.map(move |group| gpu(group, track))
        });
    host.chain(gpu).collect()
}

/// What the host did for a submission, or on the track of tokens, how long it waited for the GPU.
fn host(submission: &Submission, track: usize) -> Span<'_> {
    let encoded = submission.start_nanos + submission.encode_nanos;
    let (start, end) = match track {
        ENCODE => (submission.start_nanos, encoded),
        SUBMIT => (encoded, encoded + submission.submit_nanos),
        _ => (encoded, encoded + submission.wall_nanos),
    };
    Span {
        track,
        start,
        end,
        what: What::Submission(submission),
    }
}

fn gpu(group: &[Dispatch], track: usize) -> Span<'_> {
    let start = group[0].start_nanos;
    Span {
        track,
        start,
        end: group.iter().map(ended).max().unwrap_or(start),
        what: What::Dispatches(group),
    }
}

pub(super) fn ended(dispatch: &Dispatch) -> u64 {
    dispatch.start_nanos + dispatch.duration_nanos
}

/// Whether neighbours are of one span.
fn together(track: usize, a: &Dispatch, b: &Dispatch) -> bool {
    a.token == b.token
        && match track {
            TOKEN => true,
            LAYER => a.layer == b.layer && (a.layer.is_some() || a.label == b.label),
            BLOCK => block(&a.label) == block(&b.label),
            _ => false,
        }
}

/// When the last of a run's spans ends.
pub(super) fn end(run: &Run) -> u64 {
    let waited = run.dispatches.is_empty();
    let host = run.submissions.iter().map(|submission| {
        let wall = if waited { submission.wall_nanos } else { 0 };
        submission.start_nanos + submission.encode_nanos + submission.submit_nanos.max(wall)
    });
    let gpu = run.dispatches.iter().map(ended);
    host.chain(gpu).max().unwrap_or(0)
}

impl<'a> Span<'a> {
    /// Its name.
    pub(super) fn label(&self) -> String {
        match (self.what, self.track) {
            (What::Submission(submission), ENCODE) => {
                format!("encode {}", token(submission.token))
            }
            (What::Submission(submission), SUBMIT) => {
                format!("submit {}", token(submission.token))
            }
            (What::Submission(submission), _) => token(submission.token),
            (What::Dispatches(group), TOKEN) => token(group[0].token),
            (What::Dispatches(group), LAYER) => match group[0].layer {
                Some(layer) => format!("L{layer:02}"),
                None => group[0].label.clone(),
            },
            (What::Dispatches(group), BLOCK) => block(&group[0].label).to_owned(),
            (What::Dispatches(group), _) => group[0].label.clone(),
        }
    }

    /// More of it.
    pub(super) fn about(&self) -> String {
        match (self.what, self.track) {
            (What::Submission(submission), _) => {
                format!("{} dispatches, by the host's clock", submission.dispatches)
            }
            (What::Dispatches(group), DISPATCH) => {
                let at = &group[0];
                format!(
                    "{} of {}\n{:.2} MB of weights at {:.1} GB/s, derived",
                    at.kernel,
                    token(at.token),
                    at.weight_bytes as f64 / 1e6,
                    at.weight_bytes as f64 / at.duration_nanos.max(1) as f64
                )
            }
            (What::Dispatches(group), _) => {
                format!("{} dispatches of {}", group.len(), token(group[0].token))
            }
        }
    }

    /// Of a single dispatch, its kernel.
    pub(super) fn kernel(&self) -> Option<&'a str> {
        match self.what {
            What::Dispatches(group) if self.track == DISPATCH => Some(&group[0].kernel),
            _ => None,
        }
    }

    /// Of a block, the sublayer that it is.
    pub(super) fn sublayer(&self) -> Option<Sublayer> {
        let What::Dispatches(group) = self.what else {
            return None;
        };
        let block = block(&group[0].label);
        let own = |part: &Sublayer| self.track == BLOCK && block.ends_with(part.name());
        Sublayer::BOTH.into_iter().find(own)
    }
}

fn token(index: u32) -> String {
    match index {
        0 => "prefill".to_owned(),
        index => format!("token {index}"),
    }
}

/// `L07.attn` of `L07.attn.qkv.lora`; what is outside of sublayers is a block of its own.
fn block(label: &str) -> &str {
    let end = |part: Sublayer| {
        let name = format!(".{}.", part.name());
        Some(label.find(&name)? + name.len() - 1)
    };
    let end = Sublayer::BOTH.into_iter().find_map(end);
    &label[..end.unwrap_or(label.len())]
}
