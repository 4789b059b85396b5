//! A text through the network, forward and backward.

use super::super::network::Pass;
use super::{Lesson, Route, Trainer};
use crate::data::Tokens;
use crate::error::Result;
use crate::gpu::{Buffer, Step, bindable_row};
use crate::kernels;
use crate::kernels::gate::{GATE, GRADIENT, Gating, SCORE, STRIDE};
use crate::mask::{LayerMask, Sublayer};

/// Gates as they are served.
const HARD: Gating = Gating {
    temperature: 1.0,
    hard: true,
};

impl Trainer<'_> {
    /// Puts a text's ids and targets on the GPU; gives the pass of the whole text, and the first row of it whose logits are
    /// asked for.
    pub(super) fn upload(&self, text: &Tokens) -> (Pass, usize) {
        let (gpu, work) = (&self.engine.gpu, &self.network.work);
        let pass = Pass {
            first: 0,
            tokens: text.ids.len() - 1,
            prompt: text.answer,
        };
        assert!(
            pass.tokens <= work.tokens && text.answer >= 1,
            "a text of {} tokens, room for {}",
            text.ids.len(),
            work.tokens + 1
        );
        // That of the prompt's last token, moved back to where a binding may begin.
        let first = bindable_row(text.answer - 1, &[self.engine.model.config.hidden]);
        let target = |token: usize| {
            if token + 1 < text.answer {
                u32::MAX
            } else {
                text.ids[token + 1]
            }
        };
        let targets: Vec<u32> = (first..pass.tokens).map(target).collect();
        work.ids.write(gpu, &text.ids[..pass.tokens]);
        work.targets.write(gpu, &targets);
        (pass, first)
    }

    /// The mean loss of the answer of a text that went forward; with a lesson, with its gradients in the residual stream.
    pub(super) fn answer_loss(
        &self,
        first: usize,
        pass: Pass,
        lesson: Option<Lesson>,
    ) -> Result<f64> {
        let (gpu, work) = (&self.engine.gpu, &self.network.work);
        let answer = pass.tokens + 1 - pass.prompt;
        if lesson.is_some() {
            work.dx.clear(gpu);
        }
        let weight = lesson.map(|lesson| lesson.share / answer as f32);
        self.engine
            .run_paced(self.network.head(first, pass, weight)?)?;
        let losses: Vec<f32> = work.losses.read_back(gpu, pass.tokens - first)?;
        Ok(losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / answer as f64)
    }

    /// Asks the teacher, if there is one and anything is learned, about a text whose ids are on the GPU.
    pub(super) fn ask_teacher(&mut self, first: usize, pass: Pass) -> Result<()> {
        let Some(mut teacher) = self.teacher_values.take() else {
            return Ok(());
        };
        let everything = LayerMask::full(self.engine.model.config.layers);
        self.network.parameters.swap(&mut teacher);
        let asked = self
            .forward(pass, &Route::Fixed(everything))
            .and_then(|_| self.engine.run_paced(self.network.teach(first, pass)?));
        self.network.parameters.swap(&mut teacher);
        self.teacher_values = Some(teacher);
        asked
    }

    /// The gate buffer of a sublayer on a route.
    fn gate(&self, route: &Route, layer: usize, sublayer: Sublayer) -> Buffer {
        let work = &self.network.work;
        match route {
            _ if self.decision.protected()[layer][sublayer as usize] => work.one.clone(),
            Route::Gated(_) | Route::Routed => work.gate(layer, sublayer as usize),
            Route::Fixed(_) => work.one.clone(),
        }
    }

    /// How much of a text goes back through a sublayer that runs or does not, if any.
    fn share(&self, pass: Pass, runs: bool) -> Option<Pass> {
        let whole = self.prefill.whole(pass.prompt);
        if runs {
            Some(pass)
        } else {
            (whole > 0).then_some(Pass {
                tokens: whole,
                ..pass
            })
        }
    }

    /// A text forward on a route; returns the route that was taken, and the routers' scores. Where every layer reads the prompt,
    /// routers decide before the answer goes, and their route becomes a fixed one. Elsewhere what they skip is computed all the
    /// same, and multiplied by a gate of zero: to wait for every layer's decision takes longer on a GPU.
    pub(super) fn forward(&self, pass: Pass, route: &Route) -> Result<(Route, Vec<f32>)> {
        let (engine, work) = (self.engine, &self.network.work);
        let embed = &engine.model.embed_tokens;
        let embed = kernels::embed::steps(&engine.gpu, embed, &work.ids, &work.x, pass.tokens)?;
        if self.prefill.is_masked() {
            let gating = match route {
                Route::Fixed(_) => None,
                Route::Gated(gating) => Some(*gating),
                Route::Routed => Some(HARD),
            };
            self.through(embed, pass, route, gating)?;
            return Ok((route.clone(), Vec::new()));
        }
        let prompt = Pass {
            tokens: pass.prompt,
            ..pass
        };
        let everything = Route::Fixed(LayerMask::full(engine.model.config.layers));
        let routed = *route == Route::Routed;
        self.through(embed, prompt, &everything, routed.then_some(HARD))?;
        let (route, scores) = if routed {
            let [_, scores] = self.gates(route)?;
            (Route::Fixed(self.decision.mask(&scores)), scores)
        } else {
            (route.clone(), Vec::new())
        };
        let answer = Pass {
            first: pass.prompt,
            tokens: pass.tokens - pass.prompt,
            ..pass
        };
        if answer.tokens > 0 {
            self.through(Vec::new(), answer, &route, None)?;
        }
        Ok((route, scores))
    }

    /// After other steps, tokens through the layers of a route; with a gating, routers score the prompt and set the gates.
    fn through(
        &self,
        mut steps: Vec<Step>,
        pass: Pass,
        route: &Route,
        gating: Option<Gating>,
    ) -> Result<()> {
        for layer in 0..self.engine.model.config.layers {
            if let Some(gating) = gating {
                steps.extend(self.network.gate(layer, pass, gating)?);
            }
            for sublayer in Sublayer::BOTH {
                let runs = match route {
                    Route::Fixed(mask) => mask.runs(layer, sublayer),
                    Route::Gated(_) | Route::Routed => true,
                };
                if runs {
                    let gate = self.gate(route, layer, sublayer);
                    steps.extend(self.network.forward(layer, sublayer, &gate, pass)?);
                }
            }
        }
        self.engine.run_paced(steps)
    }

    pub(super) fn backward(&self, pass: Pass, route: &Route, mask: &LayerMask) -> Result<()> {
        let mut steps: Vec<Step> = Vec::new();
        let learns = matches!(route, Route::Gated(_));
        for layer in (0..mask.layers()).rev() {
            for sublayer in [Sublayer::Mlp, Sublayer::Attn] {
                if let Some(pass) = self.share(pass, mask.runs(layer, sublayer)) {
                    let gate = self.gate(route, layer, sublayer);
                    let learns = learns && !self.decision.protected()[layer][sublayer as usize];
                    steps.extend(
                        self.network
                            .backward(layer, sublayer, &gate, pass, learns)?,
                    );
                }
            }
            if let Route::Gated(gating) = route {
                steps.extend(
                    self.network
                        .gate_backward(layer, pass, gating.temperature)?,
                );
            }
        }
        self.engine.run_paced(steps)
    }

    /// Gates and scores of the last text, `[layers * 2]` each; no scores on a fixed route.
    pub(super) fn gates(&self, route: &Route) -> Result<[Vec<f32>; 2]> {
        let (gpu, work) = (&self.engine.gpu, &self.network.work);
        let count = self.costs.len();
        if let Route::Fixed(mask) = route {
            let bit =
                |index: usize| f32::from(u8::from(mask.runs(index / 2, Sublayer::BOTH[index % 2])));
            return Ok([(0..count).map(bit).collect(), Vec::new()]);
        }
        let all: Vec<f32> = work.gates.read_back(gpu, count * STRIDE)?;
        let column = |at: usize| all.iter().skip(at).step_by(STRIDE).copied();
        let gate = |(index, gate)| if self.is_protected(index) { 1.0 } else { gate };
        let gates = column(GATE).enumerate().map(gate).collect();
        Ok([gates, column(SCORE).collect()])
    }

    /// Begins the gradients of the gates with the pull of a lesson; what is protected has none.
    pub(super) fn pull_gates(&self, [gates, scores]: [&[f32]; 2], lesson: Lesson) {
        let Some(pull) = lesson.pull else {
            return;
        };
        let mut all = vec![0.0; gates.len() * STRIDE];
        for (index, slots) in all.chunks_exact_mut(STRIDE).enumerate() {
            (slots[GATE], slots[SCORE]) = (gates[index], scores[index]);
        }
        let weight = f64::from(lesson.share * pull.weight);
        // Open by more than wanted is positive.
        let excess = f64::from(pull.skip) - self.closed(gates);
        let costs = self.costs.iter().enumerate();
        for (index, cost) in costs.filter(|(index, _)| !self.is_protected(*index)) {
            let gradient = 2.0 * weight * excess * f64::from(*cost) / self.total_cost();
            all[index * STRIDE + GRADIENT] = gradient as f32;
        }
        self.network.work.gates.write(&self.engine.gpu, &all);
    }
}
