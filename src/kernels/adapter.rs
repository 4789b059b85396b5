//! Low-rank updates of matrix products (LoRA): of many tokens, shared by matmul and matmul_backward, and of one, for
//! matvec and what makes its vectors.

use crate::gpu::{Buffer, Class, Resource, Variant};
use crate::weights::pack::Words;

/// `B h`, added to a product; backward, `A^T dh`. See `shaders/adapter/lora.wgsl`.
#[derive(Clone, Copy, Debug)]
pub struct Adapter<'a> {
    /// What `lora_down` gave, `[tokens, rank]`.
    pub h: &'a Buffer,
    /// B in the order of the tiles, `[32 tiles, rank]`; backward, A transposed, `[columns, rank]`.
    pub b: &'a Buffer,
    /// Of all parts of a joint matrix together, a multiple of 8.
    pub rank: usize,
}

/// `B h`, added to a product with one vector that has shares of `h` behind it. See `shaders/adapter/shares.wgsl`.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    /// B in the order of the tiles, of each row its own part's columns, `[32 tiles, rank]`.
    pub b: &'a Words,
    /// Of one part, a multiple of 4.
    pub rank: usize,
    /// Matrices that are joined.
    pub parts: usize,
    /// Shares behind the vector, `[shares, parts, rank]`.
    pub shares: usize,
}

/// `A y`, left behind a vector for the adapted product that takes it. See `shaders/next/subgroup.wgsl`.
#[derive(Clone, Copy, Debug)]
pub struct Next<'a> {
    /// A transposed, with alpha / r and the weight of a norm in between in it, `[rows, rank]`.
    pub a: &'a Words,
    /// Of all parts together, a multiple of 4.
    pub rank: usize,
}

impl Next<'_> {
    pub(super) fn bytes(&self, rows: usize) -> u64 {
        (4 * rows * self.rank) as u64
    }
}

/// The two ends of low-rank updates in a product with one vector.
#[derive(Clone, Copy, Debug, Default)]
pub struct Updates<'a> {
    /// That of the product itself.
    pub own: Option<Shared<'a>>,
    /// The way down of that which takes what the product makes.
    pub next: Option<Next<'a>>,
}

/// Which of two modules reads what is kept as weights are.
fn kept(class: &Class, texture: &'static str, buffer: &'static str) -> &'static str {
    if class.tuning.textures {
        texture
    } else {
        buffer
    }
}

pub(super) fn apply(adapter: Option<Adapter<'_>>, variant: Variant) -> Variant {
    match adapter {
        None => variant.import("adapter", "adapter/none"),
        Some(adapter) => variant
            .import("adapter", "adapter/lora")
            .set("RANK", adapter.rank as u32),
    }
}

pub(super) fn bindings(adapter: Option<Adapter<'_>>) -> Vec<(&'static str, Resource<'_>)> {
    adapter.map_or_else(Vec::new, |adapter| {
        vec![("h", adapter.h.into()), ("b", adapter.b.into())]
    })
}

/// `share_rows` is how many rows a workgroup makes.
pub(super) fn apply_next(
    class: &Class,
    next: Option<Next<'_>>,
    share_rows: usize,
    variant: Variant,
) -> Variant {
    let Some(next) = next else {
        return variant.import("next", "next/none");
    };
    assert!(
        next.rank.is_multiple_of(4) && share_rows <= 512,
        "a way down of rank {} and shares of {share_rows} rows",
        next.rank
    );
    variant
        .import("next", next_module(class, next.rank))
        .import(
            "lora_a",
            kept(class, "lib/lora_a_texture", "lib/lora_a_buffer"),
        )
        .set("NEXT_FOURS", next.rank as u32 / 4)
        .set("SHARE_ROWS", share_rows as u32)
}

fn next_module(class: &Class, rank: usize) -> &'static str {
    match class.one_subgroup() && rank <= 64 {
        true => "next/subgroup",
        false => "next/workgroup",
    }
}

impl<'a> Updates<'a> {
    /// Composes a product with one vector, of which a workgroup makes `share_rows` rows.
    pub(super) fn apply(&self, class: &Class, share_rows: usize, variant: Variant) -> Variant {
        let variant = apply_next(class, self.next, share_rows, variant);
        let Some(own) = self.own else {
            return variant.import("adapter", "adapter/none");
        };
        assert!(own.rank.is_multiple_of(4), "an update of rank {}", own.rank);
        variant
            .import("adapter", "adapter/shares")
            .import(
                "lora_b",
                kept(class, "lib/lora_b_texture", "lib/lora_b_buffer"),
            )
            .set("SHARES", own.shares as u32)
            .set("PARTS", own.parts as u32)
            .set("RANK_FOURS", own.rank as u32 / 4)
    }

    /// Bytes of thin matrices that `slots` rows of the product, which make `rows` of a vector, read.
    pub(super) fn bytes(&self, slots: usize, rows: usize) -> u64 {
        let own = self.own.map_or(0, |own| (4 * slots * own.rank) as u64);
        own + self.next.map_or(0, |next| next.bytes(rows))
    }

    pub(super) fn bindings(&self) -> impl Iterator<Item = (&'static str, Resource<'a>)> {
        let own = self.own.map(|own| ("b", own.b.resource()));
        let next = self.next.map(|next| ("a", next.a.resource()));
        own.into_iter().chain(next)
    }
}

/// Without and with an adapter, for tests that compose every variant.
pub(super) fn example_variants() -> [fn(Variant) -> Variant; 2] {
    [
        |variant| {
            variant
                .import("adapter", "adapter/none")
                .import("next", "next/none")
        },
        |variant| {
            variant
                .import("adapter", "adapter/lora")
                .import("next", "next/none")
                .set("RANK", 24)
        },
    ]
}

/// A kernel with the way down to an adapted product behind it.
pub(super) fn example_next(class: &Class, variant: Variant) -> Variant {
    variant
        .import("next", next_module(class, 24))
        .import(
            "lora_a",
            kept(class, "lib/lora_a_texture", "lib/lora_a_buffer"),
        )
        .set("NEXT_FOURS", 6)
        .set("SHARE_ROWS", 32)
}

/// What makes a vector, without and with the way down to an adapted product behind it.
pub(super) fn example_vectors(class: &Class, variant: &Variant) -> [Variant; 2] {
    [
        variant.clone().import("next", "next/none"),
        example_next(class, variant.clone()),
    ]
}

/// A product with one vector, without and with updates.
pub(super) fn example_products(class: &Class, product: &Variant) -> Vec<Variant> {
    let epilogue = |name| product.imports.contains(&("epilogue", name));
    let with_next = match epilogue("epilogue/residual") || epilogue("epilogue/silu_mul") {
        true => example_vectors(class, product).to_vec(),
        false => vec![product.clone().import("next", "next/none")],
    };
    let with_own = |variant: &Variant| {
        let shares = variant
            .clone()
            .import("adapter", "adapter/shares")
            .import(
                "lora_b",
                kept(class, "lib/lora_b_texture", "lib/lora_b_buffer"),
            )
            .set("SHARES", 18)
            .set("PARTS", 3)
            .set("RANK_FOURS", 2);
        [variant.clone().import("adapter", "adapter/none"), shares]
    };
    with_next.iter().flat_map(with_own).collect()
}
