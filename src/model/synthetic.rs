//! Models of known shapes with random weights, made on the GPU: to time a model without its download.

use super::config::Config;
use super::source::Source;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu};
use crate::weights::Format;
use crate::weights::pack::{Linear, Order};
use std::collections::HashMap;
use std::str::FromStr;

/// The sizes of a known model, from its own `config.json`.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    layers: usize,
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    feed_forward: usize,
    vocab: usize,
    context: usize,
    rope_base: f32,
    /// Whether the head is the embedding.
    tied_head: bool,
}

const SHAPES: [Shape; 4] = [
    Shape {
        name: "smollm2-135m",
        layers: 30,
        hidden: 576,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        feed_forward: 1536,
        vocab: 49_152,
        context: 8192,
        rope_base: 1e5,
        tied_head: true,
    },
    Shape {
        name: "llama-3.2-1b",
        layers: 16,
        hidden: 2048,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        feed_forward: 8192,
        vocab: 128_256,
        context: 131_072,
        rope_base: 5e5,
        tied_head: true,
    },
    Shape {
        name: "llama-3.2-3b",
        layers: 28,
        hidden: 3072,
        heads: 24,
        kv_heads: 8,
        head_dim: 128,
        feed_forward: 8192,
        vocab: 128_256,
        context: 131_072,
        rope_base: 5e5,
        tied_head: true,
    },
    Shape {
        name: "llama-3.1-8b",
        layers: 32,
        hidden: 4096,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        feed_forward: 14_336,
        vocab: 128_256,
        context: 131_072,
        rope_base: 5e5,
        tied_head: false,
    },
];

/// The names of all shapes.
pub fn shape_names() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.name)
}

/// The configuration of a named shape.
pub fn config(name: &str) -> Result<Config> {
    let Some(shape) = SHAPES.iter().find(|shape| shape.name == name) else {
        let names = shape_names().collect::<Vec<_>>().join("`, `");
        return Err(Error::input(
            format!("`{name}` is no shape that is known"),
            format!("give one of `{names}`"),
        ));
    };
    let Shape {
        name,
        layers,
        hidden,
        heads,
        kv_heads,
        head_dim,
        feed_forward,
        vocab,
        context,
        rope_base,
        tied_head,
    } = *shape;
    Ok(Config {
        architecture: "llama".to_owned(),
        name: name.to_owned(),
        layers,
        hidden,
        heads,
        kv_heads,
        head_dim,
        feed_forward,
        vocab,
        context,
        rope_base,
        rope_factors: None,
        rms_norm_epsilon: 1e-5,
        tied_head,
        eos: None,
    })
}

/// A shape and a weight format: `llama-3.2-3b:q4_1`.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// The shape.
    pub config: Config,
    /// The format of the layers' matrices, or [its stand-in](Format::for_columns). The embedding and the head are Q8_0 or
    /// Q6_K where this is a format of four or five bits.
    pub format: Format,
    shapes: HashMap<String, Vec<usize>>,
}

impl Synthetic {
    fn format_of(&self, name: &str) -> Format {
        let in_layers = name.starts_with("model.layers.");
        let format = match self.format {
            format if in_layers => format,
            Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1 => Format::Q8_0,
            Format::Q4K | Format::Q5K => Format::Q6K,
            format => format,
        };
        format.for_columns(self.shapes[name][1])
    }
}

impl FromStr for Synthetic {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, format) = text.split_once(':').unwrap_or((text, "q4_1"));
        let mut config = config(name)?;
        let format = Format::from_name(format).ok_or_else(|| {
            let names = Format::ALL.map(|format| format.name()).join("`, `");
            Error::input(
                format!("`{format}` is no weight format"),
                format!("give one of `{names}`"),
            )
        })?;
        let shapes = config.tensors().collect();
        config.name = format!("{name}:{}, random weights", format.name());
        Ok(Self {
            config,
            format,
            shapes,
        })
    }
}

impl Source for Synthetic {
    fn total_bytes(&self) -> u64 {
        let bytes = |(name, shape): (&String, &Vec<usize>)| match shape[..] {
            [rows, columns] => (rows * self.format_of(name).row_bytes(columns)) as u64,
            _ => 4 * shape[0] as u64,
        };
        self.shapes.iter().map(bytes).sum()
    }

    fn linear(&self, gpu: &Gpu, names: &[String], order: Order) -> Result<Linear> {
        let rows = names.iter().map(|name| self.shapes[name][0]).sum();
        let (columns, format) = (self.shapes[&names[0]][1], self.format_of(&names[0]));
        Linear::random(gpu, &names.join("+"), order, format, [rows, columns])
    }

    fn vector(&self, gpu: &Gpu, name: &str) -> Result<Buffer> {
        Buffer::from_slice(gpu, name, &vec![1f32; self.shapes[name][0]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_size_that_their_names_say() {
        for (name, billions) in [
            ("smollm2-135m", 0.135),
            ("llama-3.2-1b", 1.24),
            ("llama-3.2-3b", 3.21),
            ("llama-3.1-8b", 8.03),
        ] {
            let config = config(name).expect("known");
            let count: usize = config
                .tensors()
                .map(|(_, shape)| shape.iter().product::<usize>())
                .sum();
            assert!(
                (count as f64 / 1e9 - billions).abs() < 0.005 * billions.max(1.0),
                "{name}: {count}"
            );
        }
    }

    #[test]
    fn unknown_shapes_and_formats_are_refused() {
        for text in ["llama-4", "llama-3.2-3b:q9", ""] {
            let error = text
                .parse::<Synthetic>()
                .expect_err("not known")
                .to_string();
            assert!(error.contains("give one of"), "{error}");
        }
    }
}
