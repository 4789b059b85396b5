//! PEFT's two files, read as if an enemy had written them and written as PEFT writes them.

use super::{Lora, LoraAdapter, Target, permute};
use crate::error::{Error, Result, quote};
use crate::file::{Staged, Written, digest, read_at_most, sha256};
use crate::model::config::Config;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";

/// A configuration is a page of text; a header of a few hundred tensors is not much more.
const MOST_CONFIG_BYTES: u64 = 1 << 20;
const MOST_HEADER_BYTES: u64 = 16 << 20;
pub(crate) const MOST_RANK: usize = 1024;

/// Options that change no number once an adapter is trained.
const WITHOUT_EFFECT: [&str; 11] = [
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Options that are read.
const READ: [&str; 5] = [
    "init_lora_weights",
    "lora_alpha",
    "r",
    "target_modules",
    "use_rslora",
];

/// What a configuration says, checked.
struct Options {
    rank: usize,
    alpha: f32,
    base_model: String,
    targets: Vec<Target>,
}

impl LoraAdapter {
    /// Whether a folder has one.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(CONFIG).exists()
    }

    /// What tells the adapter of a folder from others: a short digest of its files.
    pub fn digest(folder: &Path) -> Result<String> {
        let [config, tensors] = [CONFIG, TENSORS].map(|file| sha256(&folder.join(file)));
        Ok(digest((config? + &tensors?).as_bytes()))
    }

    /// Loads a folder, and checks that it is whole and fits the model.
    pub fn load(folder: &Path, config: &Config) -> Result<Self> {
        let path = folder.join(CONFIG);
        let bytes = read_at_most(&path, MOST_CONFIG_BYTES, "give the folder of an adapter")?;
        let options = options(&path, &bytes)?;
        let path = folder.join(TENSORS);
        let numbers: usize = options
            .targets
            .iter()
            .map(|target| target.shape(config).iter().sum::<usize>())
            .sum();
        let most = 4 * (numbers * options.rank * config.layers) as u64 + MOST_HEADER_BYTES;
        let bytes = read_at_most(&path, most, "give the adapter of a model of this shape")?;
        let mut loras = tensors(&path, &bytes, &options, config)?;
        Ok(Self::new(
            &options.base_model,
            config,
            options.rank,
            options.alpha,
            &options.targets,
            |layer, target| {
                let lora = loras.remove(&(layer, target));
                lora.expect("the tensors of every layer and target have been read")
            },
        ))
    }

    /// Writes the folder; each file whole or not at all, the configuration last.
    pub fn save(&self, folder: &Path, config: &Config) -> Result<()> {
        self.stage(folder, config)?.put()
    }

    /// Writes what [`LoraAdapter::save`] puts in its place.
    pub fn stage(&self, folder: &Path, config: &Config) -> Result<Staged> {
        std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
        let mut tensors = Vec::new();
        for (&(layer, target), lora) in &self.loras {
            let [rows, columns] = target.shape(config);
            let b = in_file_order(target, &lora.b, self.rank, config, false);
            let a = (
                tensor_name(layer, target, 'A'),
                [self.rank, columns],
                lora.a.clone(),
            );
            tensors.extend([a, (tensor_name(layer, target, 'B'), [rows, self.rank], b)]);
        }
        let views = tensors.iter().map(|(name, shape, values)| {
            let bytes = bytemuck::cast_slice(values);
            let view = safetensors::tensor::TensorView::new(Dtype::F32, shape.to_vec(), bytes);
            (name, view.expect("values have the shape that was asserted"))
        });
        let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let bytes =
            safetensors::serialize(views, Some(about)).expect("names are distinct and shapes fit");
        let tensor_file = Written::new(&folder.join(TENSORS), |file| file.write_all(&bytes))?;
        let names: Vec<_> = self.targets.iter().map(|target| target.name()).collect();
        let options = json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base_model,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "target_modules": names,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "use_rslora": false,
            "use_dora": false,
        });
        let text = serde_json::to_string_pretty(&options).expect("plain data");
        let config_file = Written::new(&folder.join(CONFIG), |file| writeln!(file, "{text}"))?;
        Ok(Staged {
            files: vec![tensor_file, config_file],
            removed: None,
        })
    }
}

/// `B` with its rows in the other order, where the two differ.
fn in_file_order(
    target: Target,
    b: &[f32],
    rank: usize,
    config: &Config,
    to_gguf: bool,
) -> Vec<f32> {
    match target {
        Target::QProj | Target::KProj => permute(b, rank, config.head_dim, to_gguf),
        _ => b.to_vec(),
    }
}

fn tensor_name(layer: usize, target: Target, matrix: char) -> String {
    let part = target.part();
    format!("base_model.model.model.layers.{layer}.{part}.lora_{matrix}.weight")
}

fn options(path: &Path, bytes: &[u8]) -> Result<Options> {
    let remedy = "see docs/adapter-file.md for what is understood";
    checked_options(bytes).map_err(|what| Error::file(path, what, remedy))
}

/// The options, or what is wrong with them.
fn checked_options(bytes: &[u8]) -> Result<Options, String> {
    let options: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| format!("expected PEFT's configuration as JSON: {error}"))?;
    for (key, value) in &options {
        let known = WITHOUT_EFFECT.contains(&key.as_str()) || READ.contains(&key.as_str());
        if !known && !is_off(value) {
            return Err(format!(
                "the option {} is not supported, found {}",
                quote(key),
                quoted(value)
            ));
        }
    }
    let get = |key: &str| options.get(key).unwrap_or(&Value::Null);
    let expected = |what: &str, key: &str| format!("expected {what}, found {}", quoted(get(key)));
    if get("peft_type") != "LORA" {
        return Err(expected("`peft_type` LORA", "peft_type"));
    }
    // These begin by changing the base model itself, which we do not have as they left it.
    match get("init_lora_weights") {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) if ["gaussian", "orthogonal", "eva"].contains(&text.as_str()) => {}
        other => {
            return Err(format!(
                "`init_lora_weights` {} is not supported: convert it to plain LoRA in PEFT first",
                quoted(other)
            ));
        }
    }
    let rank = get("r").as_u64().map(|rank| rank as usize);
    let rank = rank
        .filter(|rank| (1..=MOST_RANK).contains(rank))
        .ok_or_else(|| expected(&format!("`r` from 1 to {MOST_RANK}"), "r"))?;
    let times = match get("use_rslora") {
        Value::Null | Value::Bool(false) => 1.0,
        // Scaled by alpha / sqrt(r) instead of alpha / r (arXiv 2312.03732).
        Value::Bool(true) => (rank as f32).sqrt(),
        _ => return Err(expected("`use_rslora` true or false", "use_rslora")),
    };
    let alpha = get("lora_alpha").as_f64().map(|alpha| alpha as f32 * times);
    let alpha = alpha
        .filter(|alpha| alpha.is_finite() && *alpha > 0.0)
        .ok_or_else(|| expected("`lora_alpha` above 0 and not too large", "lora_alpha"))?;
    let base_model = get("base_model_name_or_path").as_str();
    Ok(Options {
        rank,
        alpha,
        base_model: base_model.unwrap_or_default().to_owned(),
        targets: targets(get("target_modules"))?,
    })
}

/// `target_modules`, of which PEFT writes `q_proj`, or `model.layers.3.self_attn.q_proj` for each layer (`all-linear`); that
/// every layer has its tensors is checked when they are read.
fn targets(value: &Value) -> Result<Vec<Target>, String> {
    let names = value.as_array().filter(|names| !names.is_empty());
    let names = names.ok_or_else(|| {
        format!(
            "expected a list of `target_modules`, found {}",
            quoted(value)
        )
    })?;
    let target = |name: &Value| {
        let last = name.as_str().and_then(|name| name.rsplit('.').next());
        last.and_then(Target::from_name).ok_or_else(|| {
            format!(
                "expected `target_modules` among q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj, found {}",
                quoted(name)
            )
        })
    };
    let mut targets = names.iter().map(target).collect::<Result<Vec<_>, _>>()?;
    targets.sort_unstable();
    targets.dedup();
    Ok(targets)
}

fn quoted(value: &Value) -> String {
    quote(&value.to_string())
}

/// Whether an option is left at nothing.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::String(text) => text == "none",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(_) => false,
    }
}

fn tensors(
    path: &Path,
    bytes: &[u8],
    options: &Options,
    config: &Config,
) -> Result<HashMap<(usize, Target), Lora>> {
    let bad = |what: String| {
        Error::file(
            path,
            what,
            "give an adapter that PEFT or first saved for this model",
        )
    };
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| bad(format!("expected a safetensors file: {error}")))?;
    let take = |name: &str, shape: [usize; 2]| -> Result<Vec<f32>> {
        let tensor = file.tensor(name).map_err(|_| {
            bad(format!(
                "expected a tensor `{name}` of {shape:?}, found none"
            ))
        })?;
        if tensor.shape() != shape {
            let found = tensor.shape();
            return Err(bad(format!(
                "expected `{name}` of {shape:?}, found {found:?}"
            )));
        }
        let values = decoded(tensor.dtype(), tensor.data()).ok_or_else(|| {
            let found = tensor.dtype();
            bad(format!(
                "expected `{name}` as F32, F16 or BF16, found {found:?}"
            ))
        })?;
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(bad(format!(
                "expected finite numbers in `{name}`, found {value}"
            ))),
            None => Ok(values),
        }
    };
    let mut loras = HashMap::new();
    for layer in 0..config.layers {
        for &target in &options.targets {
            let [rows, columns] = target.shape(config);
            let a = take(&tensor_name(layer, target, 'A'), [options.rank, columns])?;
            let b = take(&tensor_name(layer, target, 'B'), [rows, options.rank])?;
            let b = in_file_order(target, &b, options.rank, config, true);
            loras.insert((layer, target), Lora { a, b });
        }
    }
    let known = |name: &str| {
        loras.keys().any(|&(layer, target)| {
            ['A', 'B']
                .iter()
                .any(|m| tensor_name(layer, target, *m) == name)
        })
    };
    if file.len() != 2 * loras.len() {
        let other = file.names().into_iter().find(|name| !known(name));
        return Err(bad(format!(
            "expected {} tensors for {} layers, found {}, among them {}",
            2 * loras.len(),
            config.layers,
            file.len(),
            quote(other.unwrap_or_default())
        )));
    }
    Ok(loras)
}

fn decoded(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    match dtype {
        Dtype::F32 => Some(bytemuck::pod_collect_to_vec(bytes)),
        Dtype::F16 => Some(
            halves()
                .map(|pair| half::f16::from_le_bytes(pair).to_f32())
                .collect(),
        ),
        Dtype::BF16 => Some(
            halves()
                .map(|pair| half::bf16::from_le_bytes(pair).to_f32())
                .collect(),
        ),
        _ => None,
    }
}
