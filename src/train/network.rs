//! The model as training sees it: with gates, with low-rank updates, and backwards.
//!
//! ```text
//! x += gate_attn * o_proj(attention(rope(q, k, v)))   where q, k, v = qkv_proj(rms_norm(x))
//! x += gate_mlp * down_proj(silu(gate) * up)          where gate, up = gate_up_proj(rms_norm(x))
//! ```
//!
//! Both sublayers are alike: a product out of the stream (*outer*: q, k and v, or gate and up), something between, and
//! a product back into it (*inner*: o, or down). On the way back everything but the streams that enter the sublayers is
//! computed once more. A gate's gradient is the product of what the inner matrix took and its gradient,
//! since `dx . (W y) = (W^T dx) . y`: the inner product itself is not needed again.

mod head;
mod routers;

use super::parameters::Parameters;
use super::workspace::Workspace;
use crate::adapter::Target;
use crate::adapter::joint::{Joint, Product};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Step};
use crate::kernels::attention::Attention;
use crate::kernels::attention_keys_backward::KeysBackward;
use crate::kernels::gate;
use crate::kernels::lora_down_backward::LoraDownBackward;
use crate::kernels::rms_norm_backward::RmsNormBackward;
use crate::kernels::rope_backward::RopeBackward;
use crate::kernels::silu_mul_backward::SiluMulBackward;
use crate::kernels::{self, Adapter, Epilogue};
use crate::mask::Sublayer;
use crate::model::llama::Llama;

/// Where a layer's parameters are among all.
#[derive(Clone, Debug)]
pub(super) struct LayerParameters {
    /// `[2, H]` and `[2]`.
    pub(super) router: [usize; 2],
    /// `A` transposed and `B` of each product that is adapted, in the order of [`Product::ALL`].
    pub(super) lora: [Option<[usize; 2]>; 4],
}

/// The low-rank updates of one product, the same in all layers.
pub(super) struct JointLora {
    pub(super) layout: Joint,
    /// Which columns each row of the thin matrices has.
    spans: [Buffer; 2],
}

impl JointLora {
    pub(super) fn new(gpu: &Gpu, layout: Joint, targets: &[Target]) -> Result<Self> {
        let whole = vec![(layout.rank as u32) << 16; layout.columns];
        let spans = [
            Buffer::from_slice(gpu, "spans", &whole)?,
            Buffer::from_slice(gpu, "spans", &layout.spans(targets))?,
        ];
        Ok(Self { layout, spans })
    }
}

/// Tokens of a text on their way.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    /// The first of them. Those before it have left their keys and values.
    pub(super) first: usize,
    /// How many there are.
    pub(super) tokens: usize,
    /// Tokens of the prompt, which the routers score.
    pub(super) prompt: usize,
}

/// Model, parameters and buffers.
pub(super) struct Network<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) model: &'a Llama,
    pub(super) parameters: Parameters,
    pub(super) layers: Vec<LayerParameters>,
    pub(super) joints: [JointLora; 4],
    /// alpha / r.
    pub(super) scale: f32,
    /// Share of the teacher's probabilities in what the answers' tokens are to be.
    pub(super) distil: f32,
    pub(super) work: Workspace,
}

impl Network<'_> {
    fn joint(&self, layer: usize, product: Product) -> Option<(&JointLora, [usize; 2])> {
        let index = product as usize;
        Some((&self.joints[index], self.layers[layer].lora[index]?))
    }

    /// The step of the way down, `h = scale x A`, where the product is adapted.
    fn down(
        &self,
        layer: usize,
        product: Product,
        [x, h]: [&Buffer; 2],
        pass: Pass,
    ) -> Result<Option<Step>> {
        let Some((joint, [a, _])) = self.joint(layer, product) else {
            return Ok(None);
        };
        let shape = [pass.tokens, joint.layout.columns, joint.layout.rank];
        let a = self.parameters.value(a);
        let label = format!("L{layer:02}.lora_down");
        kernels::lora_down::step(self.gpu, &label, [x, &a, h], shape, self.scale).map(Some)
    }

    /// The steps of a product with its low-rank update, by way of `h`.
    fn product(
        &self,
        layer: usize,
        product: Product,
        [x, h]: [&Buffer; 2],
        pass: Pass,
        epilogue: Epilogue<'_>,
    ) -> Result<Vec<Step>> {
        let mut steps: Vec<Step> = self
            .down(layer, product, [x, h], pass)?
            .into_iter()
            .collect();
        let b = self
            .joint(layer, product)
            .map(|(joint, [_, b])| (self.parameters.value(b), joint.layout.rank));
        let adapter = b.as_ref().map(|(b, rank)| Adapter { h, b, rank: *rank });
        let label = format!("L{layer:02}.{}", product.label());
        let linear = self.model.linear(layer, product);
        steps.extend(kernels::matmul::steps(
            self.gpu,
            &label,
            linear,
            x,
            [pass.tokens, pass.first],
            adapter,
            epilogue,
        )?);
        Ok(steps)
    }

    /// The steps from the gradient of a product to that of what it took, leaving that of the way down in `dh`.
    fn product_backward(
        &self,
        layer: usize,
        product: Product,
        [dy, dx]: [&Buffer; 2],
        pass: Pass,
    ) -> Result<Vec<Step>> {
        let (gpu, dh) = (self.gpu, &self.work.dh);
        let label = format!("L{layer:02}.{}.backward", product.label());
        let linear = self.model.linear(layer, product);
        let Some((joint, [a, b])) = self.joint(layer, product) else {
            return kernels::matmul_backward::steps(
                gpu,
                &label,
                linear,
                [dy, dx],
                pass.tokens,
                None,
            );
        };
        let (a, b) = (self.parameters.value(a), self.parameters.value(b));
        let shape = [pass.tokens, joint.layout.slots, joint.layout.rank];
        let mut steps = vec![kernels::lora_down::step(
            gpu,
            &label,
            [dy, &b, dh],
            shape,
            self.scale,
        )?];
        let adapter = Adapter {
            h: dh,
            b: &a,
            rank: joint.layout.rank,
        };
        steps.extend(kernels::matmul_backward::steps(
            gpu,
            &label,
            linear,
            [dy, dx],
            pass.tokens,
            Some(adapter),
        )?);
        Ok(steps)
    }

    /// The steps that add to the gradients of a product's thin matrices: it took `x`, went down to `h`, and the gradients
    /// of what it gave and of `h` are `dy` and `dh`, which still lack the factor `gate`.
    fn lora_backward(
        &self,
        layer: usize,
        product: Product,
        [x, h, dy, gate]: [&Buffer; 4],
        pass: Pass,
    ) -> Result<Vec<Step>> {
        let Some((joint, parts)) = self.joint(layer, product) else {
            return Ok(Vec::new());
        };
        let label = format!("L{layer:02}.lora_backward");
        let [da, db] = parts.map(|index| self.parameters.gradient(index));
        let (layout, [a_spans, b_spans]) = (&joint.layout, &joint.spans);
        let step = |x, g, spans, dm, rows| {
            let shape = [pass.tokens, rows, layout.rank];
            let buffers = LoraDownBackward {
                x,
                g,
                spans,
                gate,
                dm,
            };
            kernels::lora_down_backward::step(self.gpu, &label, buffers, shape)
        };
        Ok(vec![
            step(x, &self.work.dh, a_spans, &da, layout.columns)?,
            step(dy, h, b_spans, &db, layout.slots)?,
        ])
    }

    fn attention(&self, layer: usize) -> Attention<'_> {
        let work = &self.work;
        let (queries, y) = (&work.queries, &work.inner[0]);
        self.model.attention(&work.kv, layer, queries, y)
    }

    fn rope(&self, layer: usize) -> Epilogue<'_> {
        let work = &self.work;
        self.model.rope(&work.kv, layer, &work.state, &work.queries)
    }

    /// The steps from the stream `x` to what the inner product takes; with `keep`, the outer product of an MLP is left
    /// in slots for the way back, and its activation is not made.
    fn to_inner(
        &self,
        layer: usize,
        sublayer: Sublayer,
        x: &Buffer,
        pass: Pass,
        keep: bool,
    ) -> Result<Vec<Step>> {
        let (gpu, config, work) = (self.gpu, &self.model.config, &self.work);
        let norm = kernels::rms_norm::step(
            gpu,
            &format!("L{layer:02}.norm"),
            [x, self.model.gamma(layer, sublayer), &work.normed],
            [pass.tokens, config.hidden],
            config.rms_norm_epsilon,
        )?;
        let epilogue = match sublayer {
            Sublayer::Attn => self.rope(layer),
            Sublayer::Mlp if keep => Epilogue::Slots { y: &work.outer },
            Sublayer::Mlp => Epilogue::SiluMul { y: &work.inner[1] },
        };
        let mut steps = vec![norm];
        steps.extend(self.product(
            layer,
            Product::outer(sublayer),
            [&work.normed, &work.h_outer],
            pass,
            epilogue,
        )?);
        if sublayer == Sublayer::Attn {
            let label = format!("L{layer:02}.attention");
            steps.push(kernels::attention::step(
                gpu,
                &label,
                self.attention(layer),
                pass.tokens,
                pass.first,
            )?);
        }
        Ok(steps)
    }

    /// The steps of one sublayer, its result multiplied by `gate`.
    pub(super) fn forward(
        &self,
        layer: usize,
        sublayer: Sublayer,
        gate: &Buffer,
        pass: Pass,
    ) -> Result<Vec<Step>> {
        let (work, hidden) = (&self.work, self.model.config.hidden);
        let rows = |buffer: &Buffer| self.rows(buffer, pass.first, pass.tokens);
        let (x, saved) = (rows(&work.x), rows(&work.saved[layer][sublayer as usize]));
        let mut steps = vec![kernels::copy::step(
            self.gpu,
            [&x, &saved],
            pass.tokens * hidden,
        )?];
        steps.extend(self.to_inner(layer, sublayer, &x, pass, false)?);
        let y = &work.inner[sublayer as usize];
        let epilogue = Epilogue::Gated { y: &x, gate };
        steps.extend(self.product(
            layer,
            Product::inner(sublayer),
            [y, &work.h_inner],
            pass,
            epilogue,
        )?);
        Ok(steps)
    }

    /// The steps of one sublayer backwards, from the first token of a text on: `dx` becomes the gradient of the stream that
    /// enters it. `learns` says whether the gate has a gradient.
    pub(super) fn backward(
        &self,
        layer: usize,
        sublayer: Sublayer,
        gate: &Buffer,
        pass: Pass,
        learns: bool,
    ) -> Result<Vec<Step>> {
        let (gpu, config, work) = (self.gpu, &self.model.config, &self.work);
        let saved = &work.saved[layer][sublayer as usize];
        let y = &work.inner[sublayer as usize];
        let mut steps = self.to_inner(layer, sublayer, saved, pass, true)?;
        steps.extend(self.product_backward(
            layer,
            Product::inner(sublayer),
            [&work.dx, &work.d_inner],
            pass,
        )?);
        steps.extend(self.between_backward(layer, sublayer, gate, pass)?);
        if learns {
            let columns = self.model.linear(layer, Product::inner(sublayer)).columns;
            let label = format!("L{layer:02}.gate");
            let buffers = [&work.d_inner, y, gate];
            steps.push(kernels::dot::step(
                gpu,
                &label,
                buffers,
                pass.tokens * columns,
                gate::GRADIENT,
                1,
            )?);
        }
        steps.extend(self.down(layer, Product::inner(sublayer), [y, &work.h_inner], pass)?);
        steps.extend(self.lora_backward(
            layer,
            Product::inner(sublayer),
            [y, &work.h_inner, &work.dx, gate],
            pass,
        )?);
        steps.extend(self.product_backward(
            layer,
            Product::outer(sublayer),
            [&work.d_outer, &work.d_normed],
            pass,
        )?);
        let buffers = [&work.normed, &work.h_outer, &work.d_outer, &work.one];
        steps.extend(self.lora_backward(layer, Product::outer(sublayer), buffers, pass)?);
        steps.push(kernels::rms_norm_backward::step(
            gpu,
            &format!("L{layer:02}.norm.backward"),
            RmsNormBackward {
                x: saved,
                gamma: self.model.gamma(layer, sublayer),
                dy: &work.d_normed,
                dx: &work.dx,
            },
            [pass.tokens, config.hidden],
            config.rms_norm_epsilon,
        )?);
        Ok(steps)
    }

    /// The steps from the gradient of what the inner product took to that of what the outer product gave.
    fn between_backward(
        &self,
        layer: usize,
        sublayer: Sublayer,
        gate: &Buffer,
        pass: Pass,
    ) -> Result<Vec<Step>> {
        let (gpu, config, work, tokens) = (self.gpu, &self.model.config, &self.work, pass.tokens);
        let label = format!("L{layer:02}.{}.backward", sublayer.name());
        if sublayer == Sublayer::Mlp {
            let silu_mul = SiluMulBackward {
                gate_up: &work.outer,
                dy: &work.d_inner,
                gate,
                y: &work.inner[1],
                dgate_up: &work.d_outer,
            };
            let shape = [tokens, config.feed_forward];
            return Ok(vec![kernels::silu_mul_backward::step(
                gpu, &label, silu_mul, shape,
            )?]);
        }
        let rope = RopeBackward {
            rotations: &self.model.rotations,
            dq: &work.d_queries,
            dk: &work.dk,
            dv: &work.dv,
            gate,
            dy: &work.d_outer,
            query_rows: config.query_rows(),
            key_rows: config.key_rows(),
            head_dim: config.head_dim,
        };
        let queries = [&work.d_inner, &work.d_queries, &work.rows];
        let keys = KeysBackward {
            dy: &work.d_inner,
            rows: &work.rows,
            dk: &work.dk,
            dv: &work.dv,
        };
        let attention = self.attention(layer);
        Ok(vec![
            kernels::attention_backward::step(gpu, &label, attention, queries, tokens)?,
            kernels::attention_keys_backward::step(gpu, &label, attention, keys, tokens)?,
            kernels::rope_backward::step(gpu, &label, rope, tokens)?,
        ])
    }
}
