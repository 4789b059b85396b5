//! Routers on the GPU: they score a prompt layer by layer, and the scores decide.

use crate::error::{Error, Result};
use crate::gpu::read_back::ReadBack;
use crate::gpu::{Buffer, Gpu, Step};
use crate::kernels::router_score::Routers;
use crate::mask::{LayerMask, PrefillReading, Sublayer};
use crate::model::buffers::Prefill;
use crate::model::llama::Llama;
use crate::reference::router_score::{pool, sigmoid};
use crate::router::{Decision, Granularity, Router};
use crate::trace::{Run, Score};

/// A router on the GPU.
pub(super) struct GpuRouter {
    /// `[routers, H]` and `[routers]` of each layer.
    layers: Vec<(Buffer, Buffer)>,
    /// What the routers of a layer say of any token, where none has weights: nothing is asked then, and nothing waited for.
    known: Vec<Option<Vec<f32>>>,
    pub(super) granularity: Granularity,
    epsilon: Option<f32>,
    pub(super) reading: PrefillReading,
    /// `[routers, C]`.
    scores: Buffer,
    context: usize,
}

impl GpuRouter {
    pub(super) fn new(gpu: &Gpu, router: &Router, context: usize) -> Result<Self> {
        let count = router.granularity.routers_per_layer();
        let hidden = router.hidden();
        let of = |layer: usize| {
            let weights = &router.weights[layer * count * hidden..][..count * hidden];
            (weights, &router.biases[layer * count..][..count])
        };
        let upload = |layer: usize| {
            let (weights, biases) = of(layer);
            let label = format!("L{layer:02}.router");
            Ok((
                Buffer::from_slice(gpu, &label, weights)?,
                Buffer::from_slice(gpu, &label, biases)?,
            ))
        };
        let known = |layer: usize| {
            let (weights, biases) = of(layer);
            let score = |bias: &f32| sigmoid(f64::from(*bias));
            let none = weights.iter().all(|weight| *weight == 0.0);
            none.then(|| biases.iter().map(score).collect())
        };
        Ok(Self {
            layers: (0..router.layers()).map(upload).collect::<Result<_>>()?,
            known: (0..router.layers()).map(known).collect(),
            granularity: router.granularity,
            epsilon: router.epsilon,
            reading: router.prefill,
            scores: Buffer::zeros(gpu, "scores", count * context)?,
            context,
        })
    }

    /// Routers of all layers.
    pub(super) fn count(&self) -> usize {
        self.layers.len() * self.granularity.routers_per_layer()
    }

    fn routers(&self, layer: usize) -> Routers<'_> {
        let (weights, biases) = &self.layers[layer];
        let count = self.granularity.routers_per_layer();
        Routers {
            weights,
            biases,
            count,
            epsilon: self.epsilon,
            scores: &self.scores,
            stride: self.context,
        }
    }

    /// The scores of one router of a layer, of a prompt's tokens.
    fn scores(&self, index: usize, tokens: usize) -> Buffer {
        let bytes = |count: usize| 4 * count as u64;
        self.scores
            .slice(bytes(index * self.context), bytes(tokens))
    }
}

/// Scores a prompt layer by layer.
pub(super) struct Scoring<'a> {
    gpu: &'a Gpu,
    router: &'a GpuRouter,
    decision: &'a Decision,
    tokens: usize,
    /// What was said of each token before those, `[layers * routers per layer]`; nothing if there are none.
    before: Vec<Vec<f32>>,
    /// One for each layer, or one that they use in turns.
    results: Vec<ReadBack>,
}

impl<'a> Scoring<'a> {
    /// A scoring of so many tokens; `before` is what was said of those before them.
    pub(super) fn new(
        gpu: &'a Gpu,
        router: &'a GpuRouter,
        decision: &'a Decision,
        tokens: usize,
        before: Vec<Vec<f32>>,
    ) -> Self {
        let bytes = (4 * router.granularity.routers_per_layer() * tokens) as u64;
        let at_once = match router.reading {
            PrefillReading::Masked => 1,
            PrefillReading::Full => router.known.len(),
        };
        Self {
            gpu,
            router,
            decision,
            tokens,
            before,
            results: (0..at_once).map(|_| ReadBack::new(gpu, bytes)).collect(),
        }
    }

    fn routers(&self) -> usize {
        self.router.granularity.routers_per_layer()
    }

    /// Whether a layer's routers are to be asked: those without weights say the same of every token.
    pub(super) fn asks(&self, layer: usize) -> bool {
        self.router.known[layer].is_none()
    }

    /// The steps that score a layer's input.
    pub(super) fn steps(
        &self,
        model: &Llama,
        prefill: &Prefill,
        layer: usize,
    ) -> Result<Vec<Step>> {
        model.score_steps(self.gpu, prefill, layer, self.router.routers(layer))
    }

    /// Records the copy of a layer's scores to the host.
    pub(super) fn record(&self, layer: usize, encoder: &mut wgpu::CommandEncoder) {
        for index in 0..self.routers() {
            let scores = self.router.scores(index, self.tokens);
            let offset = 4 * (index * self.tokens) as u64;
            self.result(layer).record_at(encoder, offset, &scores);
        }
    }

    /// Asks for the scores of a layer, whose copy was submitted.
    pub(super) fn request(&self, layer: usize) {
        self.result(layer).request(self.gpu);
    }

    fn result(&self, layer: usize) -> &ReadBack {
        &self.results[layer % self.results.len()]
    }

    /// Sets what a mask says of a layer, by its scores, which go into the trace.
    pub(super) fn decide(&self, layer: usize, mask: &mut LayerMask, run: &mut Run) -> Result<()> {
        let scores = self.scores(layer)?;
        let pooled: Vec<f32> = scores.iter().map(|score| score.score).collect();
        for sublayer in Sublayer::BOTH {
            mask.set(
                layer,
                sublayer,
                self.decision.runs(layer, sublayer, &pooled),
            );
        }
        run.scores.extend(scores);
        Ok(())
    }

    /// The scores, which are waited for unless they are known: the mean over the tokens, in their order, so that it does
    /// not depend on how the prompt is split.
    fn scores(&self, layer: usize) -> Result<Vec<Score>> {
        let scores: Vec<f32> = match &self.router.known[layer] {
            Some(known) => known
                .iter()
                .flat_map(|score| std::iter::repeat_n(*score, self.tokens))
                .collect(),
            None => bytemuck::pod_collect_to_vec(&self.result(layer).wait(self.gpu)?),
        };
        let score = |index: usize| {
            let own = &scores[index * self.tokens..][..self.tokens];
            let before = self.before.get(layer * self.routers() + index);
            let tokens = [before.map_or(&[][..], Vec::as_slice), own].concat();
            let sublayer = self.router.granularity.sublayer(index);
            Score {
                layer,
                sublayer,
                score: pool(&tokens),
                threshold: self.decision.threshold(layer, sublayer),
                tokens,
            }
        };
        let scores: Vec<Score> = (0..self.routers()).map(score).collect();
        // It would be below any threshold, and skip the layer.
        if scores.iter().any(|score| !score.score.is_finite()) {
            return Err(Error::input(
                format!("the routers of layer {layer} give a score that is not a number"),
                "use other routers, and another adapter if there is one",
            ));
        }
        Ok(scores)
    }
}
