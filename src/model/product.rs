//! The four matrix products of a layer, for many tokens and for one, each with its low-rank update where the
//! model has an adapter.

use super::buffers::Decode;
use super::config::Config;
use super::llama::Llama;
use crate::adapter::LoraAdapter;
use crate::adapter::joint::{Joint, Product};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step};
use crate::kernels::matvec::Norm;
use crate::kernels::{self, Adapter, Epilogue};
use crate::weights::pack::Linear;

/// A product's thin matrices; see [`Joint`].
struct Thin {
    a: Buffer,
    b: Buffer,
    rank: usize,
}

impl Thin {
    /// What is added to the product, once `h` is there.
    fn beside<'a>(&'a self, h: &'a Buffer) -> Adapter<'a> {
        let (b, rank) = (&self.b, self.rank);
        Adapter { h, b, rank }
    }
}

/// An adapter on the GPU.
pub(super) struct Lora {
    scale: f32,
    /// By layer and [`Product`]; `None` where no part of the product is adapted.
    layers: Vec<[Option<Thin>; 4]>,
}

impl Lora {
    pub(super) fn new(gpu: &Gpu, config: &Config, adapter: &LoraAdapter) -> Result<Self> {
        let thin = |layer: usize, product: Product| {
            let lora = |target| adapter.lora(layer, target);
            if !product.parts().iter().any(|part| lora(*part).is_some()) {
                return Ok(None);
            }
            let joint = Joint::new(product, config, adapter.rank());
            let [a, b] = joint.pack(lora);
            let label = format!("L{layer:02}.{}.lora", label(product));
            Ok(Some(Thin {
                a: Buffer::from_slice(gpu, &label, &a)?,
                b: Buffer::from_slice(gpu, &label, &b)?,
                rank: joint.rank,
            }))
        };
        let layer = |layer: usize| -> Result<[Option<Thin>; 4]> {
            let [qkv, o, gate_up, down] = Product::ALL.map(|product| thin(layer, product));
            Ok([qkv?, o?, gate_up?, down?])
        };
        Ok(Self {
            scale: adapter.scale(),
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// The most numbers that a token has on the way down.
    fn rank(&self) -> usize {
        let thin = self.layers.iter().flatten().flatten();
        thin.map(|thin| thin.rank).max().unwrap_or(0)
    }
}

/// What traces call a product.
fn label(product: Product) -> &'static str {
    match product {
        Product::Qkv => "attn.qkv",
        Product::O => "attn.o",
        Product::GateUp => "mlp.gate_up",
        Product::Down => "mlp.down",
    }
}

impl Llama {
    /// Adds an adapter's updates to the products from now on.
    pub(crate) fn set_adapter(&mut self, gpu: &Gpu, adapter: &LoraAdapter) -> Result<()> {
        self.lora = Some(Lora::new(gpu, &self.config, adapter)?);
        Ok(())
    }

    /// The most numbers that a token has on the way down of a low-rank update, at least one.
    pub(super) fn lora_rank(&self) -> usize {
        self.lora.as_ref().map_or(0, Lora::rank).max(1)
    }

    fn linear(&self, layer: usize, product: Product) -> &Linear {
        let layer = &self.layers[layer];
        match product {
            Product::Qkv => &layer.qkv_proj,
            Product::O => &layer.o_proj,
            Product::GateUp => &layer.gate_up_proj,
            Product::Down => &layer.down_proj,
        }
    }

    /// The norm of what a product takes from the residual stream.
    fn norm(&self, layer: usize, product: Product) -> Option<Norm<'_>> {
        let layer = &self.layers[layer];
        let gamma = match product {
            Product::Qkv => &layer.input_layernorm,
            Product::GateUp => &layer.post_attention_layernorm,
            Product::O | Product::Down => return None,
        };
        Some(Norm {
            gamma,
            epsilon: self.config.rms_norm_epsilon,
        })
    }

    fn thin(&self, layer: usize, product: Product) -> Option<(&Thin, f32)> {
        let lora = self.lora.as_ref()?;
        let thin = lora.layers[layer][product as usize].as_ref()?;
        Some((thin, lora.scale))
    }

    /// The steps of a product of many tokens, the first at `position`, by way of `h` where it is adapted.
    pub(super) fn matmul_steps(
        &self,
        gpu: &Gpu,
        layer: usize,
        product: Product,
        [x, h]: [&Buffer; 2],
        [tokens, position]: [usize; 2],
        epilogue: Epilogue<'_>,
    ) -> Result<Vec<Step>> {
        let linear = self.linear(layer, product);
        let name = format!("L{layer:02}.{}", label(product));
        let (mut steps, mut adapter) = (Vec::new(), None);
        if let Some((thin, scale)) = self.thin(layer, product) {
            let (name, shape) = (format!("{name}.lora"), [tokens, linear.columns, thin.rank]);
            let down = kernels::lora_down::step(gpu, &name, [x, &thin.a, h], shape, scale)?;
            steps.push(down);
            adapter = Some(thin.beside(h));
        }
        let at = [tokens, position];
        steps.extend(kernels::matmul::steps(
            gpu, &name, linear, x, at, adapter, epilogue,
        )?);
        Ok(steps)
    }

    /// The steps of a product of one token, its norm included. An adapted one takes its norm in a step of its
    /// own: the way down needs it too, and one kernel may not bind so many buffers.
    pub(super) fn matvec_steps(
        &self,
        gpu: &Gpu,
        layer: usize,
        product: Product,
        x: &Buffer,
        decode: &Decode,
        epilogue: Epilogue<'_>,
    ) -> Result<Vec<Step>> {
        let (linear, norm) = (self.linear(layer, product), self.norm(layer, product));
        let name = format!("L{layer:02}.{}", label(product));
        let Some((thin, scale)) = self.thin(layer, product) else {
            return kernels::matvec::steps(gpu, &name, linear, x, norm, None, epilogue);
        };
        let (mut steps, mut input) = (Vec::new(), x);
        if let Some(Norm { gamma, epsilon }) = norm {
            input = &decode.normed;
            let (name, shape) = (format!("{name}.norm"), [1, self.config.hidden]);
            let norm = kernels::rms_norm::step(gpu, &name, [x, gamma, input], shape, epsilon)?;
            steps.push(norm);
        }
        let (down, h) = (format!("{name}.lora"), &decode.h);
        let shape = [1, linear.columns, thin.rank];
        steps.push(kernels::lora_down::step(
            gpu,
            &down,
            [input, &thin.a, h],
            shape,
            scale,
        )?);
        let adapter = Some(thin.beside(h));
        steps.extend(kernels::matvec::steps(
            gpu, &name, linear, input, None, adapter, epilogue,
        )?);
        Ok(steps)
    }
}
