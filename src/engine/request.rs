//! What is asked of the engine, and what it tells meanwhile.

use crate::mask::{LayerMask, Masking};
use crate::router::Decision;
use crate::trace::{Detail, Sampling, Score};
use std::ops::ControlFlow;

/// What the mask of an answer comes from.
#[derive(Clone, Debug)]
pub enum Policy {
    /// A mask that is known before the prompt is read.
    Fixed(Masking),
    /// The engine's router decides layer by layer while the prompt is prefilled.
    Routed(Decision),
    /// The mask of the conversation so far, whose cache goes on (`sticky`).
    Sticky,
}

impl Policy {
    /// A fixed mask, and what traces call it.
    pub fn fixed(masking: Masking) -> (Self, String) {
        let name = masking.name();
        (Self::Fixed(masking), name)
    }
}

/// One prompt.
#[derive(Clone, Debug)]
pub struct Request {
    /// The prompt as the user gave it, for the trace.
    pub prompt: String,
    /// Its token ids, chat template included.
    pub ids: Vec<u32>,
    /// Where the mask comes from.
    pub policy: Policy,
    /// What the trace calls the policy.
    pub policy_name: String,
    /// The most tokens of the answer.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// How finely to time it. Anything but `None` costs speed: tokens are no longer overlapped.
    pub detail: Detail,
    /// Whether an end-of-turn token ends the answer; benchmarks go on.
    pub stop_at_end: bool,
    /// Whether a later turn may go on from this prompt, if every layer reads it: of layers that the answer skips, too, the
    /// cache is kept then.
    pub keep_prompt: bool,
}

impl Request {
    /// A text to read, and so many tokens, whatever they are, that are taken as most likely.
    pub fn new(ids: Vec<u32>, policy: Policy, max_tokens: usize) -> Self {
        Self {
            prompt: String::new(),
            ids,
            policy,
            policy_name: String::new(),
            max_tokens,
            sampling: Sampling::default(),
            detail: Detail::None,
            stop_at_end: false,
            keep_prompt: false,
        }
    }
}

/// What happens during a generation.
#[derive(Debug)]
pub enum Event<'a> {
    /// Layers prefilled, of how many.
    Prefill(usize, usize),
    /// The mask is decided; with the routers' scores.
    Mask(&'a LayerMask, &'a [Score]),
    /// A token of the answer, and the text that became complete with it.
    Token(u32, &'a str),
}

/// Hears of events; `Break` ends the generation cleanly.
pub type Listener<'a> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'a;
