//! What the engine is asked to do: plain data.

use crate::prompts::Prompt;
use first_wgpu::mask::Masking;
use first_wgpu::trace::{Detail, Run, Sampling};

/// What the mask of a run comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// All layers.
    Full,
    /// The router that is loaded, at its own thresholds.
    Routed,
    /// The router, at one threshold for all layers.
    RoutedAt(f32),
    /// This mask.
    Mask(Masking),
}

/// How prompts are run.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Whether they go through the chat template.
    pub chat: bool,
    /// Where the mask comes from.
    pub choice: Choice,
    /// The most tokens of an answer.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// How finely to time it.
    pub detail: Detail,
}

/// Something for the engine to do.
#[derive(Clone, Debug)]
pub enum Job {
    /// Run prompts, one after the other; each is a run of the session as soon as it has ended.
    Prompts(Vec<Prompt>, Options),
    /// Run the prompt of a run again: with its tokens and its sampling, if the model that is loaded has read it; of
    /// another model, its text as the options say.
    Again(Box<Run>, Options),
    /// Measure quality and time of the controls at the rate at which the router skips these prompts.
    Controls(Vec<Prompt>, Options),
    /// Compare a run, given its index in the session, with the full model token by token.
    Agreement(usize, Box<Run>),
    /// Lose the GPU, as a driver that resets does; for tests.
    #[doc(hidden)]
    LoseGpu,
}

/// A threshold of two decimals, or of as many as tell it from every other.
pub(crate) fn threshold_text(threshold: f32) -> String {
    let short = format!("{threshold:.2}");
    if short.parse() == Ok(threshold) {
        short
    } else {
        threshold.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_thresholds_have_other_names() {
        let named = [0.5, 0.9, 1.0, 0.43, 0.4321, 0.4322, 0.125].map(threshold_text);
        let expected = ["0.50", "0.90", "1.00", "0.43", "0.4321", "0.4322", "0.125"];
        assert_eq!(named, expected);
    }
}
