//! The router file: a folder of `router_config.json` and `router.safetensors`. `docs/router-file.md`
//! describes it.
//!
//! A policy of one fixed mask, as `first calibrate` writes it, is the same folder without tensors.

use super::{CalibrationPoint, EPSILON, Granularity, Router, THRESHOLD};
use crate::error::{Error, Result, quote};
use crate::file::{Staged, Written, digest, read_at_most, sha256};
use crate::mask::{LayerMask, MOST_LAYERS, Masking, PrefillReading};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The version of the format that this build writes and reads.
pub const VERSION: u32 = 1;

/// The name of the configuration in its folder.
const CONFIG: &str = "router_config.json";
const TENSORS: &str = "router.safetensors";

/// A configuration is a page of text, and router files are a few hundred kilobytes; anything near these is something else.
const MOST_CONFIG_BYTES: u64 = 1 << 20;
const MOST_BYTES: u64 = 64 << 20;

const WRITTEN_BY_FIRST: &str = "give a folder written by first";

/// The model that a policy was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseModel {
    /// SHA-256 of the model file, lower-case hexadecimal.
    pub sha256: String,
    /// Its name, for people.
    #[serde(default)]
    pub name: String,
    /// Number of layers.
    pub layers: usize,
    /// Hidden size.
    pub hidden: usize,
}

/// `router_config.json`.
#[derive(Serialize, Deserialize)]
struct Config {
    /// [`VERSION`].
    version: u32,
    base_model: BaseModel,
    #[serde(flatten)]
    kind: Kind,
    #[serde(default)]
    provenance: BTreeMap<String, String>,
}

/// Routers or a fixed mask, but for the tensors.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Kind {
    /// Routers in `router.safetensors`.
    Routed {
        /// What each router decides about.
        granularity: Granularity,
        /// How a score of tokens becomes one of the prompt.
        #[serde(default)]
        pooling: Pooling,
        /// What is done to the stream before it is scored.
        #[serde(default)]
        norm: Norm,
        /// Added to the mean of squares by the norm.
        #[serde(default = "default_epsilon")]
        epsilon: f32,
        /// One per router, in the order layer by layer, attention before MLP; empty means 0.5.
        #[serde(default)]
        thresholds: Vec<f32>,
        /// How the mask acts on the prompt.
        #[serde(default)]
        prefill: PrefillReading,
        /// Sublayers that always run, in the syntax of `--skip-layers`.
        #[serde(default)]
        protected: String,
        /// What thresholds skip on the prompts of calibration examples.
        #[serde(default)]
        calibration: Vec<CalibrationPoint>,
    },
    /// One mask for every prompt.
    Fixed {
        /// What is skipped, in the syntax of `--skip-layers`.
        skipped: String,
        /// How the mask acts on the prompt.
        #[serde(default, skip_serializing_if = "PrefillReading::is_masked")]
        prefill: PrefillReading,
    },
}

/// How scores of tokens become one of the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pooling {
    /// Their mean.
    #[default]
    Mean,
}

/// What is done to the stream before it is scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Norm {
    /// Each token is divided by its root mean square.
    #[default]
    Rms,
    /// Nothing.
    None,
}

fn default_epsilon() -> f32 {
    EPSILON
}

/// What decides which layers run.
#[derive(Clone, Debug, PartialEq)]
pub enum Decides {
    /// Routers.
    Routers(Router),
    /// One mask for every prompt, which it concerns too or not.
    Mask(Masking),
}

/// What is in a router file.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterFile {
    /// The model it was made for.
    pub base_model: BaseModel,
    /// What it decides by.
    pub decides: Decides,
    /// What routers' thresholds skip on the prompts of calibration examples; empty where nothing was calibrated, and of a
    /// mask.
    pub calibration: Vec<CalibrationPoint>,
    /// How it was made: command, data, date, results. Not interpreted, but for `made by`: a command writes over what it
    /// made itself.
    pub provenance: BTreeMap<String, String>,
}

impl RouterFile {
    /// Whether a folder has one.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(CONFIG).exists()
    }

    /// Whether a folder has one of routers, not of one mask for all prompts.
    pub fn has_routers(folder: &Path) -> bool {
        folder.join(TENSORS).exists()
    }

    /// What tells the router file of a folder from others: a short digest of its files.
    pub fn digest(folder: &Path) -> Result<String> {
        let files = [CONFIG, TENSORS].map(|file| folder.join(file));
        let there = files.iter().filter(|file| file.exists());
        let digests = there.map(|file| sha256(file)).collect::<Result<String>>()?;
        Ok(digest(digests.as_bytes()))
    }

    /// Loads a folder and checks that it is whole.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let bytes = read_at_most(&path, MOST_CONFIG_BYTES, WRITTEN_BY_FIRST)?;
        let remedy = "see docs/router-file.md for the format";
        let config: Config = serde_json::from_slice(&bytes).map_err(|error| {
            Error::file(
                &path,
                format!("expected a router configuration: {error}"),
                remedy,
            )
        })?;
        if config.version != VERSION {
            let found = format!("expected version {VERSION}, found {}", config.version);
            return Err(Error::file(
                &path,
                found,
                "use a router file made for this version of first",
            ));
        }
        let BaseModel { layers, hidden, .. } = config.base_model;
        if !(1..=MOST_LAYERS).contains(&layers) || !(1..=1 << 20).contains(&hidden) {
            return Err(Error::file(
                &path,
                format!("{layers} layers of {hidden} are not a model's shape"),
                remedy,
            ));
        }
        let wrong = |error: Error| Error::file(&path, error.message(), remedy);
        let (decides, calibration) = match config.kind {
            Kind::Fixed { skipped, prefill } => {
                let mask = LayerMask::parse(&skipped, layers).map_err(wrong)?;
                (Decides::Mask(Masking::new(mask, prefill)), Vec::new())
            }
            Kind::Routed {
                granularity,
                pooling: Pooling::Mean,
                norm,
                epsilon,
                mut thresholds,
                prefill,
                protected,
                calibration,
            } => {
                let count = layers * granularity.routers_per_layer();
                let fail = |what: String| Err(Error::file(&path, what, remedy));
                if thresholds.is_empty() {
                    thresholds = vec![THRESHOLD; count];
                }
                if thresholds.len() != count {
                    let found = thresholds.len();
                    return fail(format!(
                        "expected {count} thresholds (or none), found {found}"
                    ));
                }
                if let Some(value) = thresholds.iter().find(|value| !value.is_finite()) {
                    return fail(format!("expected finite thresholds, found {value}"));
                }
                let measured = |point: &CalibrationPoint| [point.threshold, point.skip_rate];
                let mut measured = calibration.iter().flat_map(measured);
                if let Some(value) = measured.find(|value| !value.is_finite()) {
                    return fail(format!(
                        "expected finite numbers in `calibration`, found {value}"
                    ));
                }
                if !(epsilon.is_finite() && epsilon >= 0.0) {
                    return fail(format!(
                        "expected an `epsilon` of 0 or more, found {epsilon}"
                    ));
                }
                let protected = LayerMask::parse(&protected, layers).map_err(wrong)?;
                let (weights, biases) =
                    tensors(&folder.join(TENSORS), granularity, layers, hidden)?;
                let router = Router {
                    granularity,
                    weights,
                    biases,
                    thresholds,
                    epsilon: (norm == Norm::Rms).then_some(epsilon),
                    prefill,
                    protected: protected.to_skipped(),
                };
                (Decides::Routers(router), calibration)
            }
        };
        Ok(Self {
            base_model: config.base_model,
            decides,
            calibration,
            provenance: config.provenance,
        })
    }

    /// An error that names both sides unless this file was made for that model.
    pub fn check(&self, model: &BaseModel) -> Result<()> {
        let made = &self.base_model;
        let fits = made.layers == model.layers
            && made.hidden == model.hidden
            && made.sha256.eq_ignore_ascii_case(&model.sha256);
        if fits {
            return Ok(());
        }
        let describe = |model: &BaseModel| {
            format!(
                "{} layers of {}, SHA-256 {}",
                model.layers,
                model.hidden,
                model.sha256.get(..12).unwrap_or(&model.sha256)
            )
        };
        Err(Error::mismatch(
            format!(
                "the router was made for {} ({}), the model is `{}` ({})",
                quote(&made.name),
                describe(made),
                model.name,
                describe(model)
            ),
            "use the router with its own model, or calibrate one for this model (`first calibrate`)",
        ))
    }

    /// The routers, unless it is a fixed mask.
    pub fn router(&self) -> Option<&Router> {
        match &self.decides {
            Decides::Routers(router) => Some(router),
            Decides::Mask(..) => None,
        }
    }

    /// What is written of it, but for the tensors.
    fn config(&self) -> Config {
        let kind = match &self.decides {
            Decides::Routers(router) => Kind::Routed {
                granularity: router.granularity,
                pooling: Pooling::Mean,
                norm: router.epsilon.map_or(Norm::None, |_| Norm::Rms),
                epsilon: router.epsilon.unwrap_or(EPSILON),
                thresholds: router.thresholds.clone(),
                prefill: router.prefill,
                protected: LayerMask::skipping(&router.protected).to_string(),
                calibration: self.calibration.clone(),
            },
            Decides::Mask(masking) => Kind::Fixed {
                skipped: masking.mask.to_string(),
                prefill: masking.prefill,
            },
        };
        Config {
            version: VERSION,
            base_model: self.base_model.clone(),
            kind,
            provenance: self.provenance.clone(),
        }
    }

    /// Writes the folder; each file whole or not at all, the configuration last.
    pub fn save(&self, folder: &Path) -> Result<()> {
        self.stage(folder)?.put()
    }

    /// Writes what [`RouterFile::save`] puts in its place.
    pub fn stage(&self, folder: &Path) -> Result<Staged> {
        std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
        let tensor_file = match &self.decides {
            Decides::Routers(router) => {
                let bytes = to_safetensors(router);
                Some(Written::new(&folder.join(TENSORS), |file| {
                    file.write_all(&bytes)
                })?)
            }
            Decides::Mask(..) => None,
        };
        let mut json =
            serde_json::to_vec_pretty(&self.config()).expect("a configuration is plain data");
        json.push(b'\n');
        let config_file = Written::new(&folder.join(CONFIG), |file| file.write_all(&json))?;
        // Tensors of other routers are not to stay beside a fixed mask.
        let removed = tensor_file.is_none().then(|| folder.join(TENSORS));
        let files = tensor_file.into_iter().chain([config_file]).collect();
        Ok(Staged { files, removed })
    }
}

/// Weights and biases as safetensors.
fn to_safetensors(router: &Router) -> Vec<u8> {
    let hidden = router.hidden();
    let routers = router.weights.chunks_exact(hidden).zip(&router.biases);
    let tensors = routers.enumerate().flat_map(|(index, (weight, bias))| {
        let name = tensor_name(router.granularity, index);
        let weight = (
            format!("{name}.weight"),
            hidden,
            bytemuck::cast_slice(weight),
        );
        [
            weight,
            (format!("{name}.bias"), 1, bytemuck::bytes_of(bias)),
        ]
    });
    let views = tensors.map(|(name, length, bytes)| {
        let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![length], bytes);
        (name, view.expect("a slice of f32 has its own length"))
    });
    safetensors::serialize(views, None).expect("names are distinct and shapes fit")
}

/// The name of router `index`, counted layer by layer, attention before MLP.
fn tensor_name(granularity: Granularity, index: usize) -> String {
    let count = granularity.routers_per_layer();
    match granularity.sublayer(index % count) {
        None => format!("layers.{index}.router"),
        Some(sublayer) => format!("layers.{}.{}.router", index / count, sublayer.name()),
    }
}

fn tensors(
    path: &Path,
    granularity: Granularity,
    layers: usize,
    hidden: usize,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let bytes = read_at_most(path, MOST_BYTES, WRITTEN_BY_FIRST)?;
    let bad = |what: String| {
        Error::file(
            path,
            what,
            "see docs/router-file.md for the tensors that belong there",
        )
    };
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| bad(format!("not a safetensors file: {error}")))?;
    let take = |name: &str, length: usize| -> Result<Vec<f32>> {
        let tensor = file.tensor(name).map_err(|_| {
            bad(format!(
                "expected a tensor `{name}` of [{length}], found none"
            ))
        })?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != [length] {
            return Err(bad(format!(
                "expected `{name}` as F32 of [{length}], found {:?} of {:?}",
                tensor.dtype(),
                tensor.shape()
            )));
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(bad(format!(
                "`{name}` holds {value}, expected finite numbers"
            )));
        }
        Ok(values)
    };
    let count = layers * granularity.routers_per_layer();
    // They grow with what the file has: what its configuration claims may be more than there is memory.
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    for index in 0..count {
        let name = tensor_name(granularity, index);
        weights.extend(take(&format!("{name}.weight"), hidden)?);
        biases.extend(take(&format!("{name}.bias"), 1)?);
    }
    if file.len() != 2 * count {
        return Err(bad(format!(
            "expected {} tensors for {layers} layers, found {}",
            2 * count,
            file.len()
        )));
    }
    Ok((weights, biases))
}
