//! How low-rank updates lie on the GPU: those of the matrices that share a product are joined, as the matrices
//! themselves are.
//!
//! The product of joint matrices `W` has one thin matrix on each side, both `[.., rank]` so that one kernel serves
//! them: `A` transposed, `[columns, rank]`, in which each part has columns of its own, and `B`, `[slots, rank]`, rows in
//! the order of the tiles, in which each row has values in its own part's columns alone. For
//! one token, whose time is that of what is read, `B` is kept without its zeros: [`Joint::pack_one`].

use super::{Lora, Target};
use crate::mask::Sublayer;
use crate::model::config::Config;
use crate::weights::pack::{Order, TILE};

/// The matrix products of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Queries, keys and values.
    Qkv,
    /// Out of attention.
    O,
    /// Gate and up.
    GateUp,
    /// Out of the MLP.
    Down,
}

impl Product {
    /// All of them, in the order in which a layer runs them.
    pub const ALL: [Self; 4] = [Self::Qkv, Self::O, Self::GateUp, Self::Down];

    /// The product that a sublayer begins with, which takes the normalised residual stream.
    pub fn outer(sublayer: Sublayer) -> Self {
        match sublayer {
            Sublayer::Attn => Self::Qkv,
            Sublayer::Mlp => Self::GateUp,
        }
    }

    /// The product that a sublayer ends with, which goes back into the residual stream.
    pub fn inner(sublayer: Sublayer) -> Self {
        match sublayer {
            Sublayer::Attn => Self::O,
            Sublayer::Mlp => Self::Down,
        }
    }

    /// The matrices that it joins.
    pub fn parts(self) -> &'static [Target] {
        match self {
            Self::Qkv => &[Target::QProj, Target::KProj, Target::VProj],
            Self::O => &[Target::OProj],
            Self::GateUp => &[Target::GateProj, Target::UpProj],
            Self::Down => &[Target::DownProj],
        }
    }

    /// The sublayer that it is part of.
    pub fn sublayer(self) -> Sublayer {
        self.parts()[0].sublayer()
    }

    /// What traces call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Qkv => "attn.qkv",
            Self::O => "attn.o",
            Self::GateUp => "mlp.gate_up",
            Self::Down => "mlp.down",
        }
    }

    fn order(self) -> Order {
        match self {
            Self::Qkv => Order::Pairs,
            Self::GateUp => Order::Halves,
            Self::O | Self::Down => Order::Plain,
        }
    }
}

/// The layout of one product's thin matrices.
#[derive(Clone, Debug)]
pub struct Joint {
    product: Product,
    /// Rank of each part.
    each: usize,
    /// Rows of each part.
    rows: Vec<usize>,
    /// Columns of all parts.
    pub columns: usize,
    /// Rows of `B`: those of all parts, padded to whole tiles.
    pub slots: usize,
    /// Columns of both thin matrices: the ranks of all parts, padded to a multiple of 8.
    pub rank: usize,
}

impl Joint {
    /// The layout for updates of `rank` each.
    pub fn new(product: Product, config: &Config, rank: usize) -> Self {
        let shapes = product.parts().iter().map(|part| part.shape(config));
        let rows: Vec<usize> = shapes.map(|[rows, _]| rows).collect();
        let tiles = product.order().tiles(&rows);
        Self {
            product,
            each: rank,
            columns: product.parts()[0].shape(config)[1],
            slots: tiles * TILE,
            rank: (rank * rows.len()).next_multiple_of(8),
            rows,
        }
    }

    fn slot(&self, part: usize, row: usize) -> usize {
        let before: usize = self.rows[..part].iter().sum();
        self.product.order().slot(part, before + row, row)
    }

    /// Both thin matrices: `A` transposed, and `B`. A part without an update has zeros.
    pub fn pack<'a>(&self, lora: impl Fn(Target) -> Option<&'a Lora>) -> [Vec<f32>; 2] {
        let mut a = vec![0.0; self.columns * self.rank];
        let mut b = vec![0.0; self.slots * self.rank];
        for (part, target) in self.product.parts().iter().enumerate() {
            let Some(lora) = lora(*target) else { continue };
            for j in 0..self.each {
                let at = part * self.each + j;
                for column in 0..self.columns {
                    a[column * self.rank + at] = lora.a[j * self.columns + column];
                }
                for row in 0..self.rows[part] {
                    b[self.slot(part, row) * self.rank + at] = lora.b[row * self.each + j];
                }
            }
        }
        [a, b]
    }

    /// Both thin matrices for one token: `A` transposed, `[columns, parts, rank]`, with `scale` and the weight `gamma`
    /// of a norm before the product in it, and of `B` the columns that each row has values in, `[slots, rank]`; the
    /// rank padded to a multiple of 4.
    pub fn pack_one<'a>(
        &self,
        lora: impl Fn(Target) -> Option<&'a Lora>,
        scale: f32,
        gamma: Option<&[f32]>,
    ) -> [Vec<f32>; 2] {
        let (parts, rank) = (self.rows.len(), self.one_rank());
        let mut a = vec![0.0; self.columns * parts * rank];
        let mut b = vec![0.0; self.slots * rank];
        for (part, target) in self.product.parts().iter().enumerate() {
            let Some(lora) = lora(*target) else { continue };
            for j in 0..self.each {
                for column in 0..self.columns {
                    let scale = scale * gamma.map_or(1.0, |gamma| gamma[column]);
                    a[(column * parts + part) * rank + j] =
                        scale * lora.a[j * self.columns + column];
                }
                for row in 0..self.rows[part] {
                    b[self.slot(part, row) * rank + j] = lora.b[row * self.each + j];
                }
            }
        }
        [a, b]
    }

    /// Rank of each part for one token.
    pub fn one_rank(&self) -> usize {
        self.each.next_multiple_of(4)
    }

    /// One part's update, out of both thin matrices.
    pub fn unpack(&self, target: Target, [a, b]: [&[f32]; 2]) -> Lora {
        let part = self.product.parts().iter().position(|part| *part == target);
        let part = part.unwrap_or_else(|| panic!("{} is not of {:?}", target.name(), self.product));
        let at = |j: usize| part * self.each + j;
        let (columns, rows) = (self.columns, self.rows[part]);
        Lora {
            a: (0..self.each * columns)
                .map(|i| a[i % columns * self.rank + at(i / columns)])
                .collect(),
            b: (0..rows * self.each)
                .map(|i| b[self.slot(part, i / self.each) * self.rank + at(i % self.each)])
                .collect(),
        }
    }

    /// The columns that each row of `B` has values in, `first | end << 16`: those of its part if that is one of
    /// `targets`, else none.
    pub fn spans(&self, targets: &[Target]) -> Vec<u32> {
        let mut spans = vec![0; self.slots];
        for (part, target) in self.product.parts().iter().enumerate() {
            if targets.contains(target) {
                let (first, end) = (part * self.each, (part + 1) * self.each);
                for row in 0..self.rows[part] {
                    spans[self.slot(part, row)] = first as u32 | (end as u32) << 16;
                }
            }
        }
        spans
    }
}
