//! A text through the network, forward and backward.

use super::super::network::Pass;
use super::{Path, Pull, Trainer};
use crate::error::Result;
use crate::gpu::{Buffer, Step};
use crate::kernels;
use crate::kernels::gate::{GATE, GRADIENT, Gating, SCORE, STRIDE};
use crate::mask::{LayerMask, Sublayer};

/// Gates as they are served.
const HARD: Gating = Gating {
    temperature: 1.0,
    hard: true,
};

impl Trainer<'_> {
    /// Asks the teacher, if there is one and anything is learned, about a text whose ids are on the GPU.
    pub(super) fn ask_teacher(&mut self, first: usize, pass: Pass) -> Result<()> {
        let Some(mut teacher) = self.teacher_values.take() else {
            return Ok(());
        };
        let everything = LayerMask::full(self.engine.model.config.layers);
        self.network.parameters.swap(&mut teacher);
        let asked = self
            .forward(pass, &Path::Fixed(everything))
            .and_then(|_| self.engine.run_paced(self.network.teach(first, pass)?));
        self.network.parameters.swap(&mut teacher);
        self.teacher_values = Some(teacher);
        asked
    }

    /// The gate buffer of a sublayer on a path.
    fn gate(&self, path: &Path, layer: usize, sublayer: Sublayer) -> Buffer {
        let work = &self.network.work;
        match path {
            _ if self.protected[layer][sublayer as usize] => work.one.clone(),
            Path::Gated(_) | Path::Routed => work.gate(layer, sublayer as usize),
            Path::Fixed(_) => work.one.clone(),
        }
    }

    /// How much of a text goes back through a sublayer that runs or does not, if any.
    fn share(&self, pass: Pass, runs: bool) -> Option<Pass> {
        let whole = self.prefill.whole(pass.prompt);
        match runs {
            true => Some(pass),
            false => (whole > 0).then_some(Pass {
                tokens: whole,
                ..pass
            }),
        }
    }

    /// A text forward on a path; returns the path that was taken, and the routers' scores. Where every layer reads the prompt,
    /// routers decide before the answer goes, and their path becomes a fixed one. Elsewhere what they skip is computed all the
    /// same, and multiplied by a gate of zero: to wait for every layer's decision takes longer on a GPU.
    pub(super) fn forward(&self, pass: Pass, path: &Path) -> Result<(Path, Vec<f32>)> {
        let (engine, work) = (self.engine, &self.network.work);
        let embed = &engine.model.embed_tokens;
        let embed = kernels::embed::steps(&engine.gpu, embed, &work.ids, &work.x, pass.tokens)?;
        if self.prefill.is_masked() {
            let gating = match path {
                Path::Fixed(_) => None,
                Path::Gated(gating) => Some(*gating),
                Path::Routed => Some(HARD),
            };
            self.through(embed, pass, path, gating)?;
            return Ok((path.clone(), Vec::new()));
        }
        let prompt = Pass {
            tokens: pass.prompt,
            ..pass
        };
        let everything = Path::Fixed(LayerMask::full(engine.model.config.layers));
        let routed = *path == Path::Routed;
        self.through(embed, prompt, &everything, routed.then_some(HARD))?;
        let (path, scores) = match routed {
            true => {
                let [_, scores] = self.gates(path, None)?;
                (Path::Fixed(self.mask(&scores)), scores)
            }
            false => (path.clone(), Vec::new()),
        };
        let answer = Pass {
            first: pass.prompt,
            tokens: pass.tokens - pass.prompt,
            ..pass
        };
        if answer.tokens > 0 {
            self.through(Vec::new(), answer, &path, None)?;
        }
        Ok((path, scores))
    }

    /// After other steps, tokens through the layers of a path; with a gating, routers score the prompt and set the gates.
    fn through(
        &self,
        mut steps: Vec<Step>,
        pass: Pass,
        path: &Path,
        gating: Option<Gating>,
    ) -> Result<()> {
        for layer in 0..self.engine.model.config.layers {
            if let Some(gating) = gating {
                steps.extend(self.network.gate(layer, pass, gating)?);
            }
            for sublayer in Sublayer::BOTH {
                let runs = match path {
                    Path::Fixed(mask) => mask.runs(layer, sublayer),
                    Path::Gated(_) | Path::Routed => true,
                };
                if runs {
                    let gate = self.gate(path, layer, sublayer);
                    steps.extend(self.network.forward(layer, sublayer, &gate, pass)?);
                }
            }
        }
        self.engine.run_paced(steps)
    }

    pub(super) fn backward(&self, pass: Pass, path: &Path, mask: &LayerMask) -> Result<()> {
        let mut steps: Vec<Step> = Vec::new();
        let learns = matches!(path, Path::Gated(_));
        for layer in (0..mask.layers()).rev() {
            for sublayer in [Sublayer::Mlp, Sublayer::Attn] {
                if let Some(pass) = self.share(pass, mask.runs(layer, sublayer)) {
                    let gate = self.gate(path, layer, sublayer);
                    let learns = learns && !self.protected[layer][sublayer as usize];
                    steps.extend(
                        self.network
                            .backward(layer, sublayer, &gate, pass, learns)?,
                    );
                }
            }
            if let Path::Gated(gating) = path {
                steps.extend(
                    self.network
                        .gate_backward(layer, pass, gating.temperature)?,
                );
            }
        }
        self.engine.run_paced(steps)
    }

    /// Gates and scores of the last text, `[layers * 2]` each, and the gradients that the pull begins the gates with.
    pub(super) fn gates(&self, path: &Path, pull: Option<Pull>) -> Result<[Vec<f32>; 2]> {
        let (gpu, work) = (&self.engine.gpu, &self.network.work);
        let count = self.costs.len();
        if let Path::Fixed(mask) = path {
            let bit =
                |index: usize| f32::from(u8::from(mask.runs(index / 2, Sublayer::BOTH[index % 2])));
            return Ok([(0..count).map(bit).collect(), Vec::new()]);
        }
        let mut all: Vec<f32> = work.gates.read_back(gpu, count * STRIDE)?;
        let column = |at: usize| {
            all.iter()
                .skip(at)
                .step_by(STRIDE)
                .copied()
                .collect::<Vec<f32>>()
        };
        let [mut gates, scores] = [GATE, SCORE].map(column);
        for (index, gate) in gates.iter_mut().enumerate() {
            if self.is_protected(index) {
                *gate = 1.0;
            }
        }
        if let (Path::Gated(_), Some(pull)) = (path, pull) {
            // Open by more than wanted is positive.
            let excess = f64::from(pull.skip) - self.closed(&gates);
            let costs = self.costs.iter().enumerate();
            for (index, cost) in costs.filter(|(index, _)| !self.is_protected(*index)) {
                let gradient =
                    2.0 * f64::from(pull.weight) * excess * f64::from(*cost) / self.total_cost();
                all[index * STRIDE + GRADIENT] = gradient as f32;
            }
            work.gates.write(gpu, &all);
        }
        Ok([gates, scores])
    }
}
