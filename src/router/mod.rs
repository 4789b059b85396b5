//! Routers: small linear classifiers that score a prompt at each layer, and the decisions made from their
//! scores. See arXiv 2410.12513 and `docs/router-file.md`.

pub mod file;
pub mod policy;

use crate::error::{Error, Result};
use crate::mask::{LayerMask, PrefillReading, Sublayer};
use serde::{Deserialize, Serialize};

/// What scores less is skipped, if a router file says nothing else; training makes routers for it.
pub(crate) const THRESHOLD: f32 = 0.5;

/// What the norm before a router adds to the mean of squares, if a router file says nothing else.
pub(crate) const EPSILON: f32 = 1e-5;

/// What one router decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// One router a layer: attention and MLP run or are skipped together.
    Layer,
    /// Two routers a layer, for attention and for the MLP; both read the stream that enters the layer.
    Sublayer,
}

impl Granularity {
    /// 1 or 2.
    pub fn routers_per_layer(self) -> usize {
        match self {
            Self::Layer => 1,
            Self::Sublayer => 2,
        }
    }

    /// What router `index` of a layer decides about; `None` is the whole layer.
    pub fn sublayer(self, index: usize) -> Option<Sublayer> {
        match self {
            Self::Layer => None,
            Self::Sublayer => Some(Sublayer::BOTH[index]),
        }
    }

    /// Which router of a layer decides about a sublayer.
    fn index(self, sublayer: Sublayer) -> usize {
        match self {
            Self::Layer => 0,
            Self::Sublayer => sublayer as usize,
        }
    }
}

/// The routers of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    /// What each decides about.
    pub granularity: Granularity,
    /// `[layers * routers per layer, H]`.
    pub weights: Vec<f32>,
    /// `[layers * routers per layer]`.
    pub biases: Vec<f32>,
    /// A sublayer runs if its score is at least this; one per router.
    pub thresholds: Vec<f32>,
    /// Added to the mean of squares of the RMS norm; `None` scores the stream as it is.
    pub epsilon: Option<f32>,
    /// How the mask acts on the prompt.
    pub prefill: PrefillReading,
    /// Sublayers that run whatever their score: `true` where protected.
    pub protected: Vec<[bool; 2]>,
}

impl Router {
    /// Layers of the model.
    pub fn layers(&self) -> usize {
        self.biases.len() / self.granularity.routers_per_layer()
    }

    /// Hidden size of the model.
    pub fn hidden(&self) -> usize {
        self.weights.len() / self.biases.len()
    }

    /// Whether prompts may get different masks: routers without weights give all of them the same.
    pub fn tells_apart(&self) -> bool {
        self.weights.iter().any(|weight| *weight != 0.0)
    }

    /// The decisions of this router, at its own thresholds.
    pub fn decision(&self) -> Decision {
        Decision {
            granularity: self.granularity,
            thresholds: self.thresholds.clone(),
            protected: self.protected.clone(),
        }
    }
}

/// How scores become bits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    granularity: Granularity,
    thresholds: Vec<f32>,
    /// What runs whatever its score, `[layer][attn, mlp]`.
    protected: Vec<[bool; 2]>,
}

impl Decision {
    /// Every router at [`THRESHOLD`], nothing protected.
    pub(crate) fn new(granularity: Granularity, layers: usize) -> Self {
        Self {
            granularity,
            thresholds: vec![THRESHOLD; layers * granularity.routers_per_layer()],
            protected: vec![[false; 2]; layers],
        }
    }

    /// Lets some sublayers run whatever their score, `[layer][attn, mlp]`.
    pub(crate) fn protecting(mut self, protected: Vec<[bool; 2]>) -> Self {
        self.protected = protected;
        self
    }

    /// Sets one threshold for all routers.
    pub fn with_threshold(mut self, threshold: f32) -> Self {
        self.thresholds.fill(threshold);
        self
    }

    /// What runs whatever its score, `[layer][attn, mlp]`.
    pub(crate) fn protected(&self) -> &[[bool; 2]] {
        &self.protected
    }

    /// The threshold of a router; `sublayer` is `None` for one that scores whole layers.
    pub fn threshold(&self, layer: usize, sublayer: Option<Sublayer>) -> f32 {
        let index = sublayer.map_or(0, |sublayer| self.granularity.index(sublayer));
        self.thresholds[layer * self.granularity.routers_per_layer() + index]
    }

    /// Whether a sublayer runs, from the scores of its layer's routers.
    pub fn runs(&self, layer: usize, sublayer: Sublayer, scores: &[f32]) -> bool {
        let score = scores[self.granularity.index(sublayer)];
        self.protected[layer][sublayer as usize] || score >= self.threshold(layer, Some(sublayer))
    }

    /// The mask of a prompt whose scores are known, `[layers * routers per layer]`.
    pub fn mask(&self, scores: &[f32]) -> LayerMask {
        let mut mask = LayerMask::full(self.protected.len());
        let count = self.granularity.routers_per_layer();
        for (layer, scores) in scores.chunks_exact(count).enumerate() {
            for sublayer in Sublayer::BOTH {
                mask.set(layer, sublayer, self.runs(layer, sublayer, scores));
            }
        }
        mask
    }
}

/// A point of a router's calibration: what a threshold skips on prompts that it was not trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationPoint {
    /// The threshold, for all routers.
    pub threshold: f32,
    /// Mean share of the layers' weight bytes skipped, from 0 to 1.
    pub skip_rate: f32,
}

/// The threshold at which a share of `rate` of the layers' weight bytes is skipped on average, by linear
/// interpolation between calibrated points.
pub fn threshold_for(table: &[CalibrationPoint], rate: f32) -> Result<f32> {
    let mut points = table.to_vec();
    points.sort_by(|a, b| a.skip_rate.total_cmp(&b.skip_rate));
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Err(Error::input(
            "the router file has no calibration table",
            "leave out `--skip`, or train routers with `--calibration FILE`",
        ));
    };
    if rate < first.skip_rate || rate > last.skip_rate {
        return Err(Error::input(
            format!(
                "this router was calibrated for skipping {:.1} % to {:.1} %, not {:.1} %",
                100.0 * first.skip_rate,
                100.0 * last.skip_rate,
                100.0 * rate
            ),
            "ask for a rate in that range; `--threshold` of `first run` goes beyond",
        ));
    }
    let above = points
        .iter()
        .position(|point| point.skip_rate >= rate)
        .unwrap_or(points.len() - 1);
    let (low, high) = (points[above.saturating_sub(1)], points[above]);
    let span = high.skip_rate - low.skip_rate;
    let share = if span > 0.0 {
        (rate - low.skip_rate) / span
    } else {
        0.0
    };
    Ok(low.threshold + share * (high.threshold - low.threshold))
}
