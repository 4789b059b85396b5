//! The four matrix products of a layer, for many tokens and for one, each with its low-rank update where the
//! model has an adapter.

use super::buffers::Decode;
use super::llama::Llama;
use crate::adapter::LoraAdapter;
use crate::adapter::joint::{Joint, Product};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step, Texel};
use crate::kernels::matvec::Norm;
use crate::kernels::{self, Adapter, Epilogue, Next, Update, Updates};
use crate::mask::Sublayer;
use crate::weights::pack::{Linear, TILE, Words};
use bytemuck::cast_slice;

/// A product's thin matrices, for many tokens and for one; see [`Joint`].
struct Thin {
    many: [Buffer; 2],
    rank: usize,
    one: [Words; 2],
    one_rank: usize,
}

impl Thin {
    fn next(&self, product: Product) -> Next<'_> {
        Next {
            a: &self.one[0],
            rank: product.parts().len() * self.one_rank,
        }
    }
}

/// An adapter on the GPU.
pub(super) struct Lora {
    scale: f32,
    /// By layer and [`Product`]; `None` where no part of the product is adapted.
    layers: Vec<[Option<Thin>; 4]>,
}

impl Lora {
    fn new(gpu: &Gpu, model: &Llama, adapter: &LoraAdapter) -> Result<Self> {
        let thin = |layer: usize, product: Product| {
            let lora = |target| adapter.lora(layer, target);
            if !product.parts().iter().any(|part| lora(*part).is_some()) {
                return Ok(None);
            }
            let joint = Joint::new(product, &model.config, adapter.rank());
            let norm = model.norm(layer, product);
            let gamma = norm.map(|norm| norm.gamma.read_back::<f32>(gpu, joint.columns));
            let gamma = gamma.transpose()?;
            let label = format!("L{layer:02}.{}.lora", product.label());
            let many = joint.pack(lora);
            let many = many.map(|values| Buffer::from_slice(gpu, &label, &values));
            let one = joint.pack_one(lora, adapter.scale(), gamma.as_deref());
            let one = one.map(|values| Words::new(gpu, &label, Texel::Four, cast_slice(&values)));
            let ([a, b], [one_a, one_b]) = (many, one);
            Ok(Some(Thin {
                many: [a?, b?],
                rank: joint.rank,
                one: [one_a?, one_b?],
                one_rank: joint.one_rank(),
            }))
        };
        let layer = |layer: usize| -> Result<[Option<Thin>; 4]> {
            let [qkv, o, gate_up, down] = Product::ALL.map(|product| thin(layer, product));
            Ok([qkv?, o?, gate_up?, down?])
        };
        Ok(Self {
            scale: adapter.scale(),
            layers: (0..model.config.layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// The most numbers that a token has on the way down.
    fn rank(&self) -> usize {
        let thin = self.layers.iter().flatten().flatten();
        thin.map(|thin| thin.rank).max().unwrap_or(0)
    }
}

impl Llama {
    /// Adds an adapter's updates to the products from now on, or none, and gives the buffers that a token then needs. An
    /// error leaves everything as it was.
    pub(crate) fn set_adapter(
        &mut self,
        gpu: &Gpu,
        adapter: Option<&LoraAdapter>,
    ) -> Result<Decode> {
        let lora = adapter.map(|adapter| Lora::new(gpu, self, adapter));
        let before = std::mem::replace(&mut self.lora, lora.transpose()?);
        let decode = self.decode_buffers(gpu);
        if decode.is_err() {
            self.lora = before;
        }
        decode
    }

    /// The most numbers that a token has on the way down of a low-rank update, at least one.
    pub(super) fn lora_rank(&self) -> usize {
        self.lora.as_ref().map_or(0, Lora::rank).max(1)
    }

    /// The matrix of a product.
    pub(crate) fn linear(&self, layer: usize, product: Product) -> &Linear {
        let layer = &self.layers[layer];
        match product {
            Product::Qkv => &layer.qkv_proj,
            Product::O => &layer.o_proj,
            Product::GateUp => &layer.gate_up_proj,
            Product::Down => &layer.down_proj,
        }
    }

    /// Bytes of weights of one sublayer.
    pub fn sublayer_bytes(&self, layer: usize, sublayer: Sublayer) -> u64 {
        let products = [Product::outer(sublayer), Product::inner(sublayer)];
        let bytes = |product| self.linear(layer, product).bytes();
        products.map(bytes).iter().sum()
    }

    /// The weight of the norm that a sublayer begins with.
    pub(crate) fn gamma(&self, layer: usize, sublayer: Sublayer) -> &Buffer {
        let layer = &self.layers[layer];
        match sublayer {
            Sublayer::Attn => &layer.input_layernorm,
            Sublayer::Mlp => &layer.post_attention_layernorm,
        }
    }

    /// The norm of what a product takes from the residual stream.
    fn norm(&self, layer: usize, product: Product) -> Option<Norm<'_>> {
        let sublayer = product.sublayer();
        (product == Product::outer(sublayer)).then(|| Norm {
            gamma: self.gamma(layer, sublayer),
            epsilon: self.config.rms_norm_epsilon,
        })
    }

    /// How many numbers the vector that a product of one token takes needs behind it.
    pub(super) fn behind(&self, gpu: &Gpu, product: Product) -> usize {
        let layers = self.lora.iter().flat_map(|lora| &lora.layers);
        let thin = layers.filter_map(|products| products[product as usize].as_ref());
        let ranks = thin.map(|thin| thin.next(product).rank);
        ranks.max().unwrap_or(0) * self.shares(gpu, product)
    }

    fn thin(&self, layer: usize, product: Product) -> Option<(&Thin, f32)> {
        let lora = self.lora.as_ref().filter(|_| self.adapted)?;
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
        let name = format!("L{layer:02}.{}", product.label());
        let (mut steps, mut adapter) = (Vec::new(), None);
        if let Some((thin, scale)) = self.thin(layer, product) {
            let (name, shape) = (format!("{name}.lora"), [tokens, linear.columns, thin.rank]);
            let [a, b] = &thin.many;
            let down = kernels::lora_down::step(gpu, &name, [x, a, h], shape, scale)?;
            steps.push(down);
            let rank = thin.rank;
            adapter = Some(Adapter { h, b, rank });
        }
        let at = [tokens, position];
        steps.extend(kernels::matmul::steps(
            gpu, &name, linear, x, at, adapter, epilogue,
        )?);
        Ok(steps)
    }

    /// Shares of the way down that lie behind the vector which a product of one token takes.
    fn shares(&self, gpu: &Gpu, product: Product) -> usize {
        let config = &self.config;
        match product {
            Product::Qkv | Product::GateUp => config.hidden / TILE,
            Product::O => kernels::attention_decode::shares(&gpu.class, config.sizes()),
            Product::Down => config.feed_forward / (TILE / 2),
        }
    }

    /// What the maker of the vector that a product of one token takes leaves behind it, where the product is adapted.
    pub(super) fn next(&self, layer: usize, product: Product) -> Option<Next<'_>> {
        self.thin(layer, product)
            .map(|(thin, _)| thin.next(product))
    }

    /// The steps of a product of one token, its norm included; `next` is the way down of what takes its result.
    pub(super) fn matvec_steps(
        &self,
        gpu: &Gpu,
        layer: usize,
        product: Product,
        x: &Buffer,
        next: Option<Next<'_>>,
        epilogue: Epilogue<'_>,
    ) -> Result<Vec<Step>> {
        let own = self.thin(layer, product).map(|(thin, _)| Update {
            b: &thin.one[1],
            rank: thin.one_rank,
            parts: product.parts().len(),
            shares: self.shares(gpu, product),
        });
        kernels::matvec::steps(
            gpu,
            &format!("L{layer:02}.{}", product.label()),
            self.linear(layer, product),
            x,
            self.norm(layer, product),
            Updates { own, next },
            epilogue,
        )
    }
}
