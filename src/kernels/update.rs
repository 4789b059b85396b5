//! Low-rank updates (LoRA) of products with one vector: shared by matvec and by what makes its vectors.

use super::by_class;
use crate::gpu::{Class, Resource, Variant};
use crate::weights::pack::Words;

/// `B h`, added to a product with one vector that has shares of `h` behind it. See `shaders/update/subgroup.wgsl`.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// B in the order of the tiles, of each row its own part's columns, `[32 tiles, rank]`.
    pub b: &'a Words,
    /// Rank of one part, a multiple of 4.
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
    /// Rank of all parts together, a multiple of 4.
    pub rank: usize,
}

/// The two ends of low-rank updates in a product with one vector.
#[derive(Clone, Copy, Debug, Default)]
pub struct Updates<'a> {
    /// The update of the product itself.
    pub own: Option<Update<'a>>,
    /// The update of the product which takes what this one makes: its way down begins here.
    pub next: Option<Next<'a>>,
}

impl Next<'_> {
    /// Bytes and operations of `rows` rows.
    pub(super) fn cost(&self, rows: usize) -> (u64, u64) {
        let numbers = (rows * self.rank) as u64;
        (4 * numbers, 2 * numbers)
    }
}

impl<'a> Updates<'a> {
    /// Composes a product of which a workgroup makes `share_rows` rows of a vector.
    pub(super) fn apply(&self, class: &Class, share_rows: usize, variant: Variant) -> Variant {
        let own = self.own.map(|own| [own.shares, own.parts, own.rank]);
        with_next(
            class,
            self.next,
            share_rows,
            with_update(class, own, variant),
        )
    }

    /// Numbers of shares behind the vector that the product takes.
    pub(super) fn behind(&self) -> usize {
        self.own.map_or(0, |own| own.shares * own.parts * own.rank)
    }

    /// Bytes and operations of `slots` rows of the product, which make `rows` of a vector.
    pub(super) fn cost(&self, slots: usize, rows: usize) -> (u64, u64) {
        let own = self.own.map_or(0, |own| (slots * own.rank) as u64);
        let (bytes, flops) = self.next.map_or((0, 0), |next| next.cost(rows));
        (4 * own + bytes, 2 * own + flops)
    }

    pub(super) fn bindings(&self) -> impl Iterator<Item = (&'static str, Resource<'a>)> {
        let own = self.own.map(|own| ("b", own.b.resource()));
        let next = self.next.map(|next| ("a", next.a.resource()));
        own.into_iter().chain(next)
    }
}

/// `next`'s way down behind a vector of which a workgroup makes `share_rows` rows.
pub(super) fn with_next(
    class: &Class,
    next: Option<Next<'_>>,
    share_rows: usize,
    variant: Variant,
) -> Variant {
    match next {
        None => variant.import("next", "next/none"),
        Some(next) => down(class, next.rank, share_rows, variant),
    }
}

fn down(class: &Class, rank: usize, share_rows: usize, variant: Variant) -> Variant {
    assert!(
        rank.is_multiple_of(4) && share_rows <= 512,
        "a way down of rank {rank} and shares of {share_rows} rows"
    );
    // Sums of a high rank do not fit the registers of a lane.
    let next = if class.one_subgroup() && rank <= 64 {
        "next/subgroup"
    } else {
        "next/workgroup"
    };
    let a = kept(class, "lib/lora_a_texture", "lib/lora_a_buffer");
    variant
        .import("next", next)
        .import("lora_a", a)
        .set("NEXT_FOURS", rank as u32 / 4)
        .set("SHARE_ROWS", share_rows as u32)
}

/// An update of these shares, parts and rank of each.
fn with_update(class: &Class, sizes: Option<[usize; 3]>, variant: Variant) -> Variant {
    let Some([shares, parts, rank]) = sizes else {
        return variant.import("update", "update/none");
    };
    assert!(rank.is_multiple_of(4), "an update of rank {rank}");
    let b = kept(class, "lib/lora_b_texture", "lib/lora_b_buffer");
    variant
        .import(
            "update",
            by_class(class, "update/subgroup", "update/workgroup"),
        )
        .import("lora_b", b)
        .set("SHARES", shares as u32)
        .set("PARTS", parts as u32)
        .set("RANK_FOURS", rank as u32 / 4)
}

/// Which of two modules reads what is kept as weights are.
fn kept(class: &Class, texture: &'static str, buffer: &'static str) -> &'static str {
    if class.tuning.textures {
        texture
    } else {
        buffer
    }
}

/// What makes a vector, without and with ways down of a low and a high rank behind it, for tests that compose every
/// variant.
pub(super) fn example_vectors(class: &Class, variant: &Variant) -> Vec<Variant> {
    let adapted = [24, 96].map(|rank| down(class, rank, 32, variant.clone()));
    let plain = with_next(class, None, 32, variant.clone());
    std::iter::once(plain).chain(adapted).collect()
}

/// A product with one vector, without and with updates.
pub(super) fn example_products(class: &Class, product: &Variant) -> Vec<Variant> {
    let epilogue = |name| product.imports.contains(&("epilogue", name));
    let vectors = if epilogue("epilogue/residual") || epilogue("epilogue/silu_mul") {
        example_vectors(class, product)
    } else {
        vec![with_next(class, None, 32, product.clone())]
    };
    let updates = [None, Some([18, 3, 8])];
    vectors
        .iter()
        .flat_map(|variant| updates.map(|sizes| with_update(class, sizes, variant.clone())))
        .collect()
}
