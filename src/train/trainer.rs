//! Gradients of texts and steps of the optimiser.

mod exchange;
mod passes;

use super::network::{JointLora, LayerParameters, Network};
use super::parameters::{Group, Parameters};
use super::workspace::Workspace;
use crate::adapter::joint::{Joint, Product};
use crate::adapter::{LoraAdapter, Target};
use crate::data::Tokens;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gpu::{ALIGNMENT_BYTES, Buffer};
use crate::kernels::gate::Gating;
use crate::mask::{LayerMask, PrefillReading, Sublayer};
use crate::random::Random;
use crate::router::{Decision, Granularity};

/// The low-rank updates that are trained.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraOptions {
    /// Columns of `B`, rows of `A`.
    pub rank: usize,
    /// `rank` times what `B A` is multiplied by.
    pub alpha: f32,
    /// The adapted matrices.
    pub targets: Vec<Target>,
}

/// What decides how much of each sublayer runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Route {
    /// Everything runs, multiplied by its gate.
    Gated(Gating),
    /// The routers decide: what scores below 0.5 is skipped.
    Routed,
    /// This runs.
    Fixed(LayerMask),
}

/// The pull of the gates towards how much is to be skipped:
/// `weight * (sum(cost gate) / sum(cost) - (1 - skip))^2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pull {
    /// Against the loss.
    pub weight: f32,
    /// Share of the layers' weight bytes to skip.
    pub skip: f32,
}

/// What a text teaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lesson {
    /// The share of its gradients that is added to those of a step's other texts.
    pub share: f32,
    /// What pulls the gates of a gated route.
    pub pull: Option<Pull>,
}

/// What a text came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Mean cross-entropy of the answer's tokens, in nats.
    pub loss: f64,
    /// Scores of the routers, `[layers * 2]`; empty on a fixed route.
    pub scores: Vec<f32>,
    /// The gates that multiplied the sublayers, `[layers * 2]`.
    pub gates: Vec<f32>,
    /// What ran, or, on a gated route, what would if the routers decided.
    pub mask: LayerMask,
    /// Share of the layers' weight bytes that the gates close.
    pub skip: f64,
}

/// Trains routers and low-rank updates of a model.
pub struct Trainer<'a> {
    engine: &'a Engine,
    network: Network<'a>,
    lora: LoraOptions,
    /// Whether masks concern the prompt.
    prefill: PrefillReading,
    /// The teacher's values of the parameters, where there is one.
    teacher_values: Option<Buffer>,
    /// Weight bytes of each sublayer, `[layers * 2]`.
    costs: Vec<f32>,
    /// What routers' scores decide: at the threshold that they are trained for, but for what is protected.
    decision: Decision,
}

/// The first values of a run: routers of no weight that let everything run, and updates that change nothing
/// (`A` uniform in +-1 / sqrt(columns), as PEFT begins; `B` zero).
fn initial(
    engine: &Engine,
    joints: &[Joint; 4],
    lora: &LoraOptions,
    bias: f32,
    seed: u64,
) -> (Vec<(Group, Vec<f32>)>, Vec<LayerParameters>) {
    let config = &engine.model.config;
    let layers = config.layers;
    let mut random = Random(seed);
    let mut parameters = Vec::new();
    parameters.extend((0..layers).map(|_| (Group::RouterWeights, vec![0.0; 2 * config.hidden])));
    parameters.extend((0..layers).map(|_| (Group::RouterBiases, vec![bias; 2])));
    let mut places = Vec::new();
    for layer in 0..layers {
        let mut place = LayerParameters {
            router: [layer, layers + layer],
            lora: [None; 4],
        };
        for (joint, product) in joints.iter().zip(Product::ALL) {
            if !product
                .parts()
                .iter()
                .any(|part| lora.targets.contains(part))
            {
                continue;
            }
            let bound = 1.0 / (joint.columns as f32).sqrt();
            let a = (0..joint.columns * joint.rank)
                .map(|_| bound * random.symmetric())
                .collect();
            place.lora[product as usize] = Some([parameters.len(), parameters.len() + 1]);
            parameters.push((Group::Lora, a));
            parameters.push((Group::Lora, vec![0.0; joint.slots * joint.rank]));
        }
        places.push(place);
    }
    (parameters, places)
}

impl<'a> Trainer<'a> {
    /// A trainer of texts of up to `tokens` tokens. Routers begin with `bias`.
    pub fn new(
        engine: &'a Engine,
        lora: LoraOptions,
        tokens: usize,
        bias: f32,
        seed: u64,
    ) -> Result<Self> {
        let (gpu, config) = (&engine.gpu, &engine.model.config);
        if engine.model.head().slots() != config.vocab {
            return Err(Error::mismatch(
                format!(
                    "training needs a vocabulary of a multiple of 32 tokens, this model has {}",
                    config.vocab
                ),
                "train another model",
            ));
        }
        let joints = Product::ALL.map(|product| Joint::new(product, config, lora.rank));
        let (first, layers) = initial(engine, &joints, &lora, bias, seed);
        let [qkv, o, gate_up, down] = joints;
        let joint = |layout| JointLora::new(gpu, layout, &lora.targets);
        let network = Network {
            gpu,
            model: &engine.model,
            parameters: Parameters::new(gpu, &first)?,
            layers,
            joints: [joint(qkv)?, joint(o)?, joint(gate_up)?, joint(down)?],
            scale: lora.alpha / lora.rank as f32,
            distil: 0.0,
            work: Workspace::new(gpu, config, tokens, lora.rank)?,
        };
        let cost = |index: usize| {
            engine
                .model
                .sublayer_bytes(index / 2, Sublayer::BOTH[index % 2]) as f32
        };
        let costs = (0..2 * config.layers).map(cost).collect();
        Ok(Self {
            engine,
            network,
            lora,
            prefill: PrefillReading::Masked,
            teacher_values: None,
            costs,
            decision: Decision::new(Granularity::Sublayer, config.layers),
        })
    }

    /// Whether masks concern the prompt. If every layer is to read it, routers do not learn, and answers begin anywhere:
    /// an error if bindings cannot.
    pub fn with_prefill(mut self, prefill: PrefillReading) -> Result<Self> {
        let hidden = self.engine.model.config.hidden;
        if !prefill.is_masked() && !(4 * hidden).is_multiple_of(ALIGNMENT_BYTES) {
            return Err(Error::mismatch(
                format!(
                    "every layer is to read the prompts, which needs a hidden size of a multiple of 64, this model has {hidden}"
                ),
                "let masks concern the prompts too, or train another model",
            ));
        }
        self.prefill = prefill;
        Ok(self)
    }

    /// Lets what routers protect run in every text, as it is served: such a sublayer has no gate that could learn.
    pub fn protect(mut self, protected: &[[bool; 2]]) -> Self {
        self.decision = self.decision.protecting(protected.to_vec());
        self
    }

    fn is_protected(&self, index: usize) -> bool {
        self.decision.protected()[index / 2][index % 2]
    }

    /// Lets the full model be a teacher (arXiv 1503.02531), with low-rank updates like those that are trained or as it
    /// was before: what is learned is cross-entropy with targets of which `share` are its probabilities, none if 0. Every
    /// text then takes one more pass forward. The loss that is told stays that of the answers.
    pub fn distil(mut self, share: f32, adapter: Option<&LoraAdapter>) -> Result<Self> {
        if let Some(adapter) = adapter {
            let trained = |target| self.lora.targets.contains(target);
            self.check(adapter, adapter.targets().iter().all(trained))?;
        }
        if share == 0.0 {
            return Ok(self);
        }
        let gpu = &self.engine.gpu;
        let work = &mut self.network.work;
        let count = work.tokens * self.engine.model.config.vocab;
        work.teacher_probabilities = Some(Buffer::zeros(gpu, "teacher", count)?);
        self.network.distil = share;
        // Updates of zeros change nothing.
        let mut values = self.network.parameters.other_values(gpu)?;
        if let Some(adapter) = adapter {
            self.network.parameters.swap(&mut values);
            self.write_adapter(adapter);
            self.network.parameters.swap(&mut values);
        }
        self.teacher_values = Some(values);
        Ok(self)
    }

    /// Share of the layers' weight bytes that gates of `[layers * 2]` close.
    fn closed(&self, gates: &[f32]) -> f64 {
        let open: f64 = self
            .costs
            .iter()
            .zip(gates)
            .map(|(cost, gate)| f64::from(cost * gate))
            .sum();
        1.0 - open / self.total_cost()
    }

    /// Share of the layers' weight bytes that a mask skips.
    pub fn skip_rate(&self, mask: &LayerMask) -> f64 {
        self.engine.summary.skip_rate(mask)
    }

    fn total_cost(&self) -> f64 {
        self.costs.iter().map(|cost| f64::from(*cost)).sum()
    }

    /// Sends a text through the model; with a lesson, adds to the gradients what it teaches.
    pub fn text(
        &mut self,
        text: &Tokens,
        route: &Route,
        lesson: Option<Lesson>,
    ) -> Result<Outcome> {
        assert!(
            self.prefill.is_masked() || !matches!(route, Route::Gated(_)),
            "routers learn where masks concern the prompt"
        );
        let (pass, first) = self.upload(text);
        if lesson.is_some() {
            self.ask_teacher(first, pass)?;
        }
        let (route, routed) = self.forward(pass, route)?;
        let loss = self.answer_loss(first, pass, lesson)?;
        let [gates, scores] = self.gates(&route)?;
        let scores = [routed, scores].concat();
        let mask = match &route {
            Route::Fixed(mask) => mask.clone(),
            Route::Gated(_) | Route::Routed => self.decision.mask(&scores),
        };
        if let Some(lesson) = lesson {
            let ran = match &route {
                Route::Gated(_) => {
                    self.pull_gates([&gates, &scores], lesson);
                    LayerMask::full(mask.layers())
                }
                Route::Routed | Route::Fixed(_) => mask.clone(),
            };
            self.backward(pass, &route, &ran)?;
        }
        Ok(Outcome {
            loss,
            skip: self.closed(&gates),
            scores,
            gates,
            mask,
        })
    }

    /// Moves the parameters along their gradients, which are scaled down to a norm of `most`; the norm before that.
    /// `rates` are those of the groups, of which gradients of a group at rate 0 are forgotten; `decay` is that of the
    /// routers' weights; `step` counts from 1.
    pub fn update(&mut self, step: u32, rates: [f32; 3], decay: f32, most: f32) -> Result<f64> {
        let gpu = &self.engine.gpu;
        // What moves nothing must not scale down what does.
        self.network.parameters.forget_idle(gpu, rates);
        let norm = self.network.parameters.gradient_norm(gpu)?;
        if !norm.is_finite() {
            return Err(Error::input(
                format!("the gradients of step {step} are not finite"),
                "begin again with smaller rates, in another folder",
            ));
        }
        let scale = (f64::from(most) / norm.max(1e-30)).min(1.0);
        self.network
            .parameters
            .update(gpu, step, scale as f32, rates, decay)?;
        Ok(norm)
    }
}
