//! What happens to a matrix product before it is stored: shared by matvec and matmul.

use super::KvFormat;
use crate::gpu::{Buffer, Resource, Variant};
use crate::weights::pack::{Linear, Order, TILE};

/// The end of a product of `rows` rows.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// `y[token, row] = product`.
    Store {
        /// `[tokens, rows]`.
        y: &'a Buffer,
    },
    /// `y[token, row] += product`: into the residual stream.
    Residual {
        /// `[tokens, rows]`.
        y: &'a Buffer,
    },
    /// `y[token, row] += gate * product`: into the residual stream, as far as the sublayer's gate is open.
    Gated {
        /// `[tokens, rows]`.
        y: &'a Buffer,
        /// `[1]`.
        gate: &'a Buffer,
    },
    /// `y[token, slot] = product`, whatever the row order: what backward passes read.
    Slots {
        /// `[tokens, slots]`.
        y: &'a Buffer,
    },
    /// `y[token, row] = silu(gate) * up` of a joint gate and up product.
    SiluMul {
        /// `[tokens, rows / 2]`.
        y: &'a Buffer,
    },
    /// Rotates queries and keys of a joint query, key and value product, and fills the cache.
    Rope(Rope<'a>),
}

/// Where the joint product of queries, keys and values goes.
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// `[C, D / 2]` pairs of cos and sin.
    pub rotations: &'a Buffer,
    /// Token and position, added to the position in the step's parameters.
    pub state: &'a Buffer,
    /// `[tokens, Q]`.
    pub queries: &'a Buffer,
    /// The layer's cache.
    pub kv: &'a Buffer,
    /// How the cache stores numbers.
    pub kv_format: KvFormat,
    /// `Q`.
    pub query_rows: usize,
    /// `K`.
    pub key_rows: usize,
    /// `D`.
    pub head_dim: usize,
}

impl Epilogue<'_> {
    /// Composes the kernel with this epilogue.
    pub(super) fn apply(&self, variant: Variant, linear: &Linear) -> Variant {
        let order = match self {
            Self::Store { .. } | Self::Residual { .. } | Self::Gated { .. } => Order::Plain,
            Self::Slots { .. } => linear.order,
            Self::SiluMul { .. } => Order::Halves,
            Self::Rope(_) => Order::Pairs,
        };
        assert_eq!(order, linear.order, "row order of `{}`", linear.name);
        let rows = linear.rows as u32;
        match self {
            Self::Store { .. } => variant
                .import("epilogue", "epilogue/store")
                .set("ROWS", rows),
            Self::Residual { .. } => variant
                .import("epilogue", "epilogue/residual")
                .set("ROWS", rows),
            Self::Gated { .. } => variant
                .import("epilogue", "epilogue/gated")
                .set("ROWS", rows),
            Self::Slots { .. } => variant
                .import("epilogue", "epilogue/store")
                .set("ROWS", linear.slots() as u32),
            Self::SiluMul { .. } => variant
                .import("epilogue", "epilogue/silu_mul")
                .set("ROWS", rows / 2),
            Self::Rope(rope) => variant
                .import("epilogue", "epilogue/rope")
                .import("kv_write", rope.kv_format.write())
                .set("QUERY_ROWS", rope.query_rows as u32)
                .set("KEY_ROWS", rope.key_rows as u32)
                .set("HEAD_DIM", rope.head_dim as u32),
        }
    }

    /// Rows that a tile of the product makes of a vector.
    pub(super) fn tile_rows(&self) -> usize {
        match self {
            Self::SiluMul { .. } => TILE / 2,
            _ => TILE,
        }
    }

    /// What is made, where a low-rank update's shares can follow it.
    pub(super) fn vector(&self) -> Option<&Buffer> {
        match self {
            Self::Residual { y } | Self::SiluMul { y } => Some(y),
            _ => None,
        }
    }

    pub(super) fn bindings(&self) -> Vec<(&'static str, Resource<'_>)> {
        match self {
            Self::Store { y } | Self::Slots { y } | Self::Residual { y } | Self::SiluMul { y } => {
                vec![("y", (*y).into())]
            }
            Self::Gated { y, gate } => vec![("y", (*y).into()), ("gate", (*gate).into())],
            Self::Rope(rope) => vec![
                ("rotations", rope.rotations.into()),
                ("state", rope.state.into()),
                ("queries", rope.queries.into()),
                ("kv", rope.kv.into()),
            ],
        }
    }
}

/// Each epilogue on a shape of its own, for tests that compose every variant.
pub(super) fn example_variants() -> Vec<fn(Variant) -> Variant> {
    fn rope(variant: Variant) -> Variant {
        let variant = variant.import("epilogue", "epilogue/rope");
        variant
            .set("QUERY_ROWS", 576)
            .set("KEY_ROWS", 192)
            .set("HEAD_DIM", 64)
    }
    vec![
        |variant| {
            variant
                .import("epilogue", "epilogue/store")
                .set("ROWS", 576)
        },
        |variant| {
            variant
                .import("epilogue", "epilogue/residual")
                .set("ROWS", 576)
        },
        |variant| {
            variant
                .import("epilogue", "epilogue/gated")
                .set("ROWS", 576)
        },
        |variant| {
            variant
                .import("epilogue", "epilogue/silu_mul")
                .set("ROWS", 1536)
        },
        |variant| rope(variant.import("kv_write", KvFormat::F32.write())),
        |variant| rope(variant.import("kv_write", KvFormat::F16.write())),
    ]
}
