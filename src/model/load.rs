//! A model's weights, from a file or made, on their way to the GPU.

use super::config::Config;
use super::llama::{Layer, Llama};
use super::rope;
use super::source::Source;
use crate::error::Result;
use crate::gpu::{Buffer, Gpu};
use crate::weights::names;
use crate::weights::pack::Order;

impl Llama {
    /// Bytes of weights that are kept as f32 because a file mixes formats in what is joined.
    pub fn mixed_bytes(&self) -> u64 {
        let joined = |layer: &Layer| [layer.qkv_proj.mixed_bytes, layer.gate_up_proj.mixed_bytes];
        self.layers.iter().flat_map(joined).sum()
    }

    /// Uploads the weights of a checked source. `progress` hears of bytes done and bytes in all.
    pub fn load(
        gpu: &Gpu,
        source: &dyn Source,
        config: Config,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self> {
        let total = source.total_bytes();
        let mut done = 0;
        let mut linear = |parts: &[String], order: Order| {
            let linear = source.linear(gpu, parts, order)?;
            done += linear.bytes();
            progress(done.min(total), total);
            Ok(linear)
        };
        let vector = |name: &str| source.vector(gpu, name);
        let layer = |layer: usize| {
            let name = |part: &str| names::hf_in_layer(layer, part);
            let mut joint = |parts: &[&str], order| {
                linear(
                    &parts.iter().map(|part| name(part)).collect::<Vec<_>>(),
                    order,
                )
            };
            let layer = Layer {
                qkv_proj: joint(
                    &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
                    Order::Pairs,
                )?,
                o_proj: joint(&["self_attn.o_proj"], Order::Plain)?,
                gate_up_proj: joint(&["mlp.gate_proj", "mlp.up_proj"], Order::Halves)?,
                down_proj: joint(&["mlp.down_proj"], Order::Plain)?,
                input_layernorm: vector(&name("input_layernorm"))?,
                post_attention_layernorm: vector(&name("post_attention_layernorm"))?,
            };
            // Otherwise uploads would be staged until the first prompt, the whole model twice in memory.
            gpu.flush()?;
            Ok(layer)
        };
        let layers = (0..config.layers).map(layer).collect::<Result<_>>()?;
        let embed_tokens = linear(&["model.embed_tokens.weight".to_owned()], Order::Plain)?;
        gpu.flush()?;
        let lm_head = if config.tied_head {
            None
        } else {
            Some(linear(&["lm_head.weight".to_owned()], Order::Plain)?)
        };
        let norm = vector("model.norm.weight")?;
        let rotations = Buffer::from_slice(gpu, "rotations", &rope::rotations(&config))?;
        gpu.flush()?;
        Ok(Self {
            config,
            chunk: 512,
            attending: 512,
            embed_tokens,
            layers,
            norm,
            lm_head,
            rotations,
            lora: None,
            adapted: true,
        })
    }
}
