//! Host sides of the kernels: one file per shader of `shaders/`, of the same name. Each turns buffers and
//! sizes into [`Step`](crate::gpu::Step)s; shapes are asserted here, since a wrong one is a defect of the plan, not of the
//! user's files.

pub mod adamw;
pub mod adapter;
pub mod argmax;
pub mod attention;
pub mod attention_backward;
pub mod attention_combine;
pub mod attention_decode;
pub mod attention_keys_backward;
pub mod copy;
pub mod cross_entropy;
pub mod cross_entropy_backward;
pub mod dot;
pub mod embed;
pub mod epilogue;
pub mod fma;
pub mod gate;
pub mod gate_backward;
pub mod lora_down;
pub mod lora_down_backward;
pub mod lora_share;
pub mod matmul;
pub mod matmul_backward;
pub mod matvec;
pub mod rms_norm;
pub mod rms_norm_backward;
pub mod rope_backward;
pub mod router_score;
pub mod router_score_backward;
pub mod router_weights_backward;
pub mod sample;
pub mod silu_mul_backward;
pub mod softmax;
pub mod update;

pub use adapter::Adapter;
pub use epilogue::{Epilogue, Rope};
pub use update::{Next, Update, Updates};

use crate::gpu::{Buffer, Class, Gpu, Resource, Tuning, Variant};
use crate::reference::attention::Heads;
use crate::weights::Format;
use crate::weights::pack::Slice;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// How a KV cache stores its numbers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum KvFormat {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits: half the memory, about three decimal digits.
    F16,
}

impl KvFormat {
    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    fn read(self) -> &'static str {
        match self {
            Self::F32 => "lib/kv_read_f32",
            Self::F16 => "lib/kv_read_f16",
        }
    }

    fn write(self) -> &'static str {
        match self {
            Self::F32 => "lib/kv_write_f32",
            Self::F16 => "lib/kv_write_f16",
        }
    }
}

/// Which of two modules of one contract a kernel is composed with. Software Vulkan rewards a workgroup
/// of one subgroup that never touches workgroup memory; GPUs reward wide workgroups.
fn by_class(class: &Class, subgroup: &'static str, workgroup: &'static str) -> &'static str {
    if class.one_subgroup() {
        subgroup
    } else {
        workgroup
    }
}

fn reduce(class: &Class) -> &'static str {
    by_class(class, "lib/reduce_subgroup", "lib/reduce_workgroup")
}

/// The largest vocabulary whose logits are seen whole where loops end early (see [`Class::loops_end`]): a subgroup of eight
/// goes over them up to three times, and the end of a loop is a turn too.
pub fn most_vocab(class: &Class) -> usize {
    if class.loops_end {
        8 * (65_535 / 3 - 1)
    } else {
        usize::MAX
    }
}

/// Composes a kernel with the module of a weight format, and those that read its words.
fn with_weights(variant: Variant, class: &Class, format: Format) -> Variant {
    let [quants, scales] = if class.tuning.textures {
        ["lib/quants_texture", "lib/scales_texture"]
    } else {
        ["lib/quants_buffer", "lib/scales_buffer"]
    };
    variant
        .import("weights", format.shader())
        .import("quants", quants)
        .import("scales", scales)
}

/// The bindings of a slice of weights.
fn weight_bindings(slice: &Slice) -> Vec<(&'static str, Resource<'_>)> {
    let scales = slice.scales.as_ref();
    let scales = scales.map(|scales| ("scales", scales.resource()));
    std::iter::once(("quants", slice.quants.resource()))
        .chain(scales)
        .collect()
}

/// The variants of every kernel, for both kinds of GPU, software and hardware: what a test composes and validates.
pub fn all_variants() -> Vec<Variant> {
    let mut variants = Vec::new();
    for class in [Class::software_example(), Class::gpu_example()] {
        let reduce = reduce(&class);
        for format in Format::ALL {
            variants.push(embed::variant(&class, format));
            for adapter in adapter::example_variants() {
                for epilogue in epilogue::example_variants() {
                    let product = epilogue(adapter(matmul::variant(&class, format)));
                    variants.push(update::with_next(&class, None, 32, product));
                }
                let backward = adapter(matmul_backward::variant(&class, format));
                variants.extend([backward.clone(), backward.set("ACCUMULATE", 1.0)]);
            }
            for epilogue in epilogue::example_variants() {
                for epsilon in [None, Some(1e-5)] {
                    let product = epilogue(matvec::variant(&class, format, epsilon));
                    variants.extend(update::example_products(&class, &product));
                }
            }
        }
        for kv in [KvFormat::F32, KvFormat::F16] {
            // Heads of up to 64 dimensions and longer ones have tiles of their own on GPUs.
            let [short, long] =
                [(9, 3, 64), (8, 1, 128)].map(|(heads, kv_heads, head_dim)| Heads {
                    heads,
                    kv_heads,
                    head_dim,
                });
            for sizes in [short, long] {
                variants.extend([
                    attention::variant(&class, kv, sizes),
                    attention_backward::variant(&class, kv, sizes),
                    attention_keys_backward::variant(&class, kv, sizes),
                ]);
            }
            let attention = attention_decode::variant(&class, kv, short);
            variants.extend(update::example_vectors(&class, &attention));
        }
        for share in [None, Some(0.5)] {
            variants.push(cross_entropy::variant(&class, share));
            variants.push(cross_entropy_backward::variant(&class, share));
        }
        variants.extend([
            adamw::variant(),
            softmax::variant(&class),
            dot::variant(),
            gate::variant(&class),
            gate_backward::variant(&class),
            lora_down::variant(&class),
            lora_down_backward::variant(&class),
            rms_norm_backward::variant(&class, 1e-5),
            rope_backward::variant(576, 192, 64),
            router_score_backward::variant(&class, 1e-5),
            router_weights_backward::variant(),
            silu_mul_backward::variant(1536),
        ]);
        let combine = attention_combine::variant(9, 64);
        variants.extend(update::example_vectors(&class.wide(), &combine));
        let share = update::example_vectors(&class, &lora_share::variant(&class));
        variants.extend(share.into_iter().skip(1));
        variants.push(rms_norm::variant(&class, 1e-5));
        variants.extend([Some(1e-5), None].map(|epsilon| router_score::variant(&class, epsilon)));
        variants.push(sample::variant());
        variants.push(copy::variant());
        variants.push(fma::variant());
        variants.push(Variant::new("argmax").import("reduce", reduce));
    }
    variants.extend(tuned_variants());
    variants
}

/// What `first devices --tune` may choose beside the defaults, in one format.
fn tuned_variants() -> Vec<Variant> {
    let mut variants = Vec::new();
    let class = Class::gpu_example();
    let candidates = Tuning::candidates(&class);
    for tuning in candidates.into_iter().flat_map(Tuning::matmul_candidates) {
        let class = Class { tuning, ..class };
        for epilogue in epilogue::example_variants() {
            let product = epilogue(matvec::variant(&class, Format::Q4_1, Some(1e-5)));
            variants.extend(update::example_products(&class, &product));
            for adapter in adapter::example_variants() {
                let product = epilogue(adapter(matmul::variant(&class, Format::Q4_1)));
                variants.push(update::with_next(&class, None, 32, product));
            }
        }
    }
    let mut seen = HashSet::new();
    variants.retain(|variant| seen.insert(variant.clone()));
    variants
}

/// Asserts that a buffer holds `count` numbers of 4 bytes.
fn assert_holds(what: &str, buffer: &Buffer, count: usize) {
    assert!(
        buffer.size_bytes() >= 4 * count as u64,
        "{what} needs {count} numbers, has {} bytes",
        buffer.size_bytes()
    );
}

/// Positions of a KV cache come in tiles of so many. See `shaders/lib/kv_layout.wgsl`.
pub(crate) const KV_TILE: usize = 32;

/// A layer's KV cache must hold what is read at so many positions: reads beyond it would be clamped, and go unnoticed.
fn assert_kv_holds(what: &str, attention: &attention::Attention<'_>, positions: usize) {
    let numbers = 2 * positions.next_multiple_of(KV_TILE) * attention.sizes.key_rows();
    let size = attention.kv.size_bytes();
    assert!(
        size >= attention.kv_format.bytes() * numbers as u64,
        "{what} needs keys and values of {positions} positions, has {size} bytes"
    );
}

/// Workgroups in one dimension, which WebGPU limits to 65535.
fn workgroups(count: usize) -> u32 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    assert!(
        count <= 65535,
        "{count} workgroups in one dimension, at most 65535 are allowed"
    );
    count
}

/// A variant's pipeline with its buffers bound.
fn op<'a, P: crate::gpu::Params>(
    gpu: &Gpu,
    variant: Variant,
    resources: &[(&str, impl Into<Resource<'a>> + Copy)],
) -> crate::Result<crate::gpu::Op> {
    Ok(gpu.pipeline::<P>(variant)?.bind(gpu, resources))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Texel;
    use crate::gpu::reflect::check;
    use std::collections::BTreeMap;

    /// What is written on both sides, since neither can read it from the other before memory is laid out.
    #[test]
    fn shaders_lay_memory_out_as_the_host_does() {
        let host = BTreeMap::from([
            ("KV_TILE", KV_TILE as u32),
            ("ROW_OF_ONE", Texel::One.width()),
            ("ROW_OF_FOUR", Texel::Four.width()),
            ("SCORE", gate::SCORE as u32),
            ("GRADIENT", gate::GRADIENT as u32),
        ]);
        let mut missing: BTreeMap<_, _> = host.clone();
        for variant in all_variants() {
            let name = variant.name();
            let checked = check(&variant.import("params", "lib/params_uniform"));
            let reflection = checked
                .unwrap_or_else(|error| panic!("{name}: {error}"))
                .reflection;
            for (constant, value) in &reflection.constants {
                if let Some(expected) = host.get(constant.as_str()) {
                    assert_eq!(value, expected, "{constant} of {name}");
                    missing.remove(constant.as_str());
                }
            }
        }
        assert!(missing.is_empty(), "no shader has {missing:?}");
    }
}
