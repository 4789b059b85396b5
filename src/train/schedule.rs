//! What a run of training does when.

use super::trainer::{LoraOptions, Pull, Route};
use crate::adapter::{MOST_RANK, Target};

use crate::error::{Error, Result};
use crate::kernels::gate::Gating;
use crate::mask::{LayerMask, PrefillReading};
use serde::{Deserialize, Serialize};

/// How gates pass from soft to hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Gates {
    /// Soft gates whose temperature falls.
    Annealed,
    /// Hard gates from the beginning, with the gradients of soft ones.
    StraightThrough,
}

/// All that decides how a run goes, but the model and the texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// Steps of the optimiser.
    pub steps: u32,
    /// Texts a step.
    pub batch: usize,
    /// Longest text in tokens.
    pub tokens: usize,
    /// Seed of the order of the texts and of the parameters' first values.
    pub seed: u64,
    /// Share of the steps in which the routers learn; afterwards their decisions are hard and they stay as they are.
    pub routers_until: f32,
    /// How their gates become hard.
    pub gates: Gates,
    /// Share of the layers' weight bytes to skip.
    pub skip: f32,
    /// Share of the steps after which that much is asked for; less before.
    pub skip_after: f32,
    /// Weight, in the loss, of how far each text is from that rate, squared. Of each text: prompts that skip more than others
    /// pay for it too.
    pub pull: f32,
    /// First and last temperature of the gates.
    pub temperature: [f32; 2],
    /// Learning rate of the routers' weights; 0 learns one mask for all texts.
    pub router_rate: f32,
    /// Weight decay of the routers' weights (AdamW's, arXiv 1711.05101), instead of the paper's penalty on their square.
    /// At usual rates and lengths of a run it does little.
    #[serde(default)]
    pub decay: f32,
    /// Learning rate of the routers' biases.
    pub bias_rate: f32,
    /// The routers' first bias.
    pub bias: f32,
    /// Learning rate of low-rank updates; 0 trains none.
    pub lora_rate: f32,
    /// Rank of low-rank updates.
    pub rank: usize,
    /// `rank` times what they are multiplied by.
    pub alpha: f32,
    /// The adapted matrices, as PEFT names them.
    pub targets: Vec<String>,
    /// A mask for all texts, in the syntax of `--skip-layers`, in place of routers.
    pub mask: Option<String>,
    /// Whether masks concern the prompt.
    #[serde(default)]
    pub prefill: PrefillReading,
    /// Share of the full model's probabilities in what the answers' tokens are to be.
    pub distil: f32,
    /// The routers and the adapter that it begins with, by the digests of their files.
    pub begin: Option<String>,
    /// The adapter that the full model teaches with, by the digest of its files.
    pub teacher: Option<String>,
    /// Largest norm of the gradients of a step.
    pub clip: f32,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// The way of its texts.
    pub route: Route,
    /// What pulls its gates.
    pub pull: Option<Pull>,
    /// Learning rates of the groups of parameters.
    pub rates: [f32; 3],
}

/// Share of the steps over which rates rise to their full size.
const WARM_UP: f32 = 0.03;

/// What of a rate is left at the end.
const LAST_RATE: f32 = 0.1;

impl RunOptions {
    /// Checks what the command line cannot.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| {
            let remedy = "give other values; `--help` of the command tells what each is";
            Err(Error::input(what, remedy))
        };
        if self.steps == 0 || self.batch == 0 || self.tokens < 2 {
            return wrong("a run needs at least one step, one text a step and two tokens a text");
        }
        if !(1..=MOST_RANK).contains(&self.rank) {
            return wrong(&format!(
                "the rank of low-rank updates must be from 1 to {MOST_RANK}"
            ));
        }
        let above = |value: f32| value.is_finite() && value > 0.0;
        if !(0.0..1.0).contains(&self.skip) || !self.temperature.into_iter().all(above) {
            return wrong("the share to skip must be below 1, temperatures above 0");
        }
        let rates = [self.router_rate, self.bias_rate, self.lora_rate];
        if !above(self.alpha) || !rates.into_iter().all(|rate| rate == 0.0 || above(rate)) {
            return wrong("alpha must be above 0, and learning rates 0 or above");
        }
        if !(0.0..=1.0).contains(&self.distil) {
            return wrong("the teacher's share must be from 0 to 1");
        }
        if self.teacher.is_some() && (self.distil == 0.0 || self.lora_rate == 0.0) {
            return wrong(
                "a teacher's adapter needs a share of what is learned, and low-rank updates that learn",
            );
        }
        let shares = [self.routers_until, self.skip_after];
        if !shares.iter().all(|share| (0.0..=1.0).contains(share)) {
            return wrong("shares of the steps must be from 0 to 1");
        }
        let none_or_some = |value: f32| value.is_finite() && value >= 0.0;
        if !(none_or_some(self.pull) && none_or_some(self.decay) && self.bias.is_finite()) {
            return wrong("pull and decay must be 0 or above, and the first bias a number");
        }
        if self.lora_rate == 0.0 && self.routers_until == 0.0 {
            return wrong("neither routers nor low-rank updates would learn");
        }
        if self.learns(0) && self.router_rate == 0.0 && self.bias_rate == 0.0 {
            return wrong(
                "routers that are to learn need a rate, of their weights or of their biases",
            );
        }
        if self.lora_rate == 0.0 && self.routers_until < 1.0 {
            return wrong("nothing would learn once the routers are frozen");
        }
        if self.prefill == PrefillReading::Full && self.routers_until > 0.0 {
            return Err(Error::input(
                "routers learn only where masks concern the prompt too",
                "begin with routers whose `prefill` is `masked`",
            ));
        }
        self.lora().map(|_| ())
    }

    /// The low-rank updates.
    pub fn lora(&self) -> Result<LoraOptions> {
        let target = |name: &String| {
            Target::from_name(name).ok_or_else(|| {
                Error::input(
                    format!("`{name}` is no matrix of a layer"),
                    "give some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
                )
            })
        };
        let mut named = self
            .targets
            .iter()
            .map(target)
            .collect::<Result<Vec<_>>>()?;
        // As adapters have them.
        named.sort_unstable();
        named.dedup();
        Ok(LoraOptions {
            rank: self.rank,
            alpha: self.alpha,
            targets: if self.lora_rate > 0.0 {
                named
            } else {
                Vec::new()
            },
        })
    }

    /// The way that texts take once training is over.
    pub fn served(&self, layers: usize) -> Result<Route> {
        Ok(match &self.mask {
            Some(mask) => Route::Fixed(LayerMask::parse(mask, layers)?),
            None => Route::Routed,
        })
    }

    /// Share of the steps before `step`, from 0.
    fn done(&self, step: u32) -> f32 {
        step as f32 / self.steps as f32
    }

    /// Whether routers learn in this step.
    fn learns(&self, step: u32) -> bool {
        self.mask.is_none() && self.done(step) < self.routers_until
    }

    /// Whether one mask for all texts is learned.
    pub fn learns_one_mask(&self) -> bool {
        self.router_rate == 0.0 && self.learns(0)
    }

    /// Whether one mask for all texts is made hard after this step.
    pub fn hardens_after(&self, step: u32) -> bool {
        let ends = step + 1 == self.steps || !self.learns(step + 1);
        self.learns_one_mask() && self.learns(step) && ends
    }

    /// Step `step`, from 0.
    pub fn moment(&self, step: u32, layers: usize) -> Result<Moment> {
        let done = self.done(step);
        let warm = ((done + 1.0 / self.steps as f32) / WARM_UP).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f32::consts::PI * done).cos());
        let lora = self.lora_rate * warm * (LAST_RATE + (1.0 - LAST_RATE) * cosine);
        if !self.learns(step) {
            return Ok(Moment {
                route: self.served(layers)?,
                pull: None,
                rates: [0.0, 0.0, lora],
            });
        }
        let [first, last] = self.temperature;
        let temperature = first * (last / first).powf(done / self.routers_until);
        Ok(Moment {
            route: Route::Gated(Gating {
                temperature,
                hard: self.gates == Gates::StraightThrough,
            }),
            pull: Some(Pull {
                weight: self.pull,
                skip: self.skip * (done / self.skip_after.max(f32::MIN_POSITIVE)).min(1.0),
            }),
            rates: [self.router_rate * warm, self.bias_rate * warm, lora],
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::train) fn options() -> RunOptions {
        RunOptions {
            steps: 100,
            batch: 1,
            tokens: 64,
            seed: 0,
            routers_until: 0.6,
            gates: Gates::Annealed,
            skip: 0.09,
            skip_after: 0.3,
            pull: 40.0,
            temperature: [1.0, 0.1],
            router_rate: 1e-3,
            decay: 0.01,
            bias_rate: 0.05,
            bias: 2.0,
            lora_rate: 1e-3,
            rank: 8,
            alpha: 16.0,
            targets: vec!["q_proj".to_owned()],
            mask: None,
            prefill: PrefillReading::Masked,
            distil: 0.0,
            begin: None,
            teacher: None,
            clip: 1.0,
        }
    }

    /// Up in the first three steps of a hundred, then down half a cosine to a tenth.
    #[test]
    fn rates_rise_and_fall() {
        let options = RunOptions {
            steps: 100,
            ..options()
        };
        for (step, expected) in [
            (0, 1.0 / 3.0),
            (1, 2.0 / 3.0),
            (2, 1.0),
            (50, 0.55),
            (99, 0.1),
        ] {
            let rates = options.moment(step, 4).expect("valid").rates;
            let share = rates[2] / options.lora_rate;
            assert!((share - expected).abs() < 2e-3, "step {step}: {share}");
        }
        let [weights, biases, _] = options.moment(1, 4).expect("valid").rates;
        let shares = [weights / options.router_rate, biases / options.bias_rate];
        assert!(
            shares.iter().all(|share| (share - 2.0 / 3.0).abs() < 1e-6),
            "{shares:?}"
        );
    }

    #[test]
    fn gates_harden_and_then_freeze() {
        let moment = |step| options().moment(step, 2).expect("valid");
        let soft = |step| match moment(step).route {
            Route::Gated(gating) => gating.temperature,
            other => panic!("step {step} takes {other:?}"),
        };
        assert!(soft(0) == 1.0 && soft(30) < soft(10) && (soft(59) - 0.1).abs() < 0.01);
        assert_eq!(moment(60).route, Route::Routed);
        assert_eq!(moment(60).rates[..2], [0.0, 0.0]);
        let skip = |step| moment(step).pull.map(|pull| pull.skip);
        assert_eq!((skip(0), skip(30), skip(60)), (Some(0.0), Some(0.09), None));
    }

    #[test]
    fn one_mask_is_made_hard_once() {
        let hard = |options: &RunOptions| -> Vec<u32> {
            (0..options.steps)
                .filter(|step| options.hardens_after(*step))
                .collect()
        };
        let one = RunOptions {
            router_rate: 0.0,
            ..options()
        };
        assert_eq!(hard(&one), [59]);
        assert_eq!(
            hard(&RunOptions {
                routers_until: 1.0,
                ..one.clone()
            }),
            [99]
        );
        let given = RunOptions {
            mask: Some("1".to_owned()),
            ..one
        };
        assert!(hard(&given).is_empty() && hard(&options()).is_empty());
    }

    #[test]
    fn options_that_train_nothing_are_refused() {
        assert!(options().check().is_ok());
        let idle = RunOptions {
            lora_rate: 0.0,
            routers_until: 0.0,
            ..options()
        };
        assert!(idle.check().is_err());
        let frozen = RunOptions {
            router_rate: 0.0,
            bias_rate: 0.0,
            ..options()
        };
        let then_idle = RunOptions {
            lora_rate: 0.0,
            ..options()
        };
        assert!(frozen.check().is_err() && then_idle.check().is_err());
        for (distil, lora_rate) in [(0.0, 1e-3), (0.5, 0.0)] {
            let unheard = RunOptions {
                teacher: Some("a digest".to_owned()),
                distil,
                lora_rate,
                ..options()
            };
            assert!(unheard.check().is_err());
        }
        for (alpha, lora_rate) in [(0.0, 1e-3), (8.0, -1e-3), (8.0, f32::NAN)] {
            let useless = RunOptions {
                alpha,
                lora_rate,
                ..options()
            };
            assert!(useless.check().is_err());
        }
        // `60` for 60 %, say.
        for wrong in [60.0, -0.1, f32::NAN] {
            let until = RunOptions {
                routers_until: wrong,
                ..options()
            };
            let after = RunOptions {
                skip_after: wrong,
                ..options()
            };
            assert!(until.check().is_err() && after.check().is_err(), "{wrong}");
        }
        let pulled = RunOptions {
            pull: f32::NAN,
            ..options()
        };
        assert!(pulled.check().is_err());
        let unknown = RunOptions {
            targets: vec!["lm_head".to_owned()],
            ..options()
        };
        assert!(unknown.check().is_err());
    }

    #[test]
    fn matrices_are_in_the_order_of_adapters() {
        let names = ["v_proj", "q_proj", "v_proj"].map(str::to_owned);
        let options = RunOptions {
            targets: names.to_vec(),
            ..options()
        };
        let lora = options.lora().expect("valid");
        assert_eq!(lora.targets, [Target::QProj, Target::VProj]);
    }
}
