//! Masks that need no router: the controls at the same rate, and what a second turn does.

use crate::error::{Error, Result};
use crate::mask::{LayerMask, Sublayer};
use crate::random::Random;

/// What the second turn of a conversation does about the mask of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TurnPolicy {
    /// Keep it, and with it the cache.
    #[default]
    Sticky,
    /// Decide again, and read again what layers that wake may have no keys and values of: the whole conversation, or,
    /// where every layer reads what is asked, the last answer.
    Reroute,
}

/// Skips `count` whole layers, evenly spaced, never the first or the last (arXiv 2404.06954 calls this
/// unified skipping).
pub fn even(layers: usize, count: usize) -> Result<LayerMask> {
    let inner = inner(layers, count)?;
    let mut mask = LayerMask::full(layers);
    for index in 0..count {
        skip(&mut mask, 1 + (2 * index + 1) * inner / (2 * count));
    }
    Ok(mask)
}

/// Skips `count` whole layers drawn at random, never the first or the last.
pub fn random(layers: usize, count: usize, seed: u64) -> Result<LayerMask> {
    let inner = inner(layers, count)?;
    let mut order: Vec<usize> = (1..=inner).collect();
    let mut random = Random(seed);
    for index in 0..count {
        let other = index + random.below(inner - index);
        order.swap(index, other);
    }
    let mut mask = LayerMask::full(layers);
    order[..count]
        .iter()
        .for_each(|layer| skip(&mut mask, *layer));
    Ok(mask)
}

fn inner(layers: usize, count: usize) -> Result<usize> {
    let inner = layers.saturating_sub(2);
    if count > inner {
        return Err(Error::input(
            format!(
                "{count} of {layers} layers cannot be skipped: the first and the last always run"
            ),
            format!("skip at most {inner}"),
        ));
    }
    Ok(inner)
}

fn skip(mask: &mut LayerMask, layer: usize) {
    Sublayer::BOTH
        .iter()
        .for_each(|sublayer| mask.set(layer, *sublayer, false));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_skip_what_was_asked_and_keep_the_ends() {
        for layers in [4, 30, 80] {
            for count in 0..=layers - 2 {
                for mask in [even(layers, count), random(layers, count, 7)] {
                    let mask = mask.expect("count is within range");
                    assert_eq!(mask.skipped_layers(), count, "{layers} layers: {mask}");
                    assert!(mask.runs(0, Sublayer::Attn) && mask.runs(layers - 1, Sublayer::Mlp));
                }
            }
            assert!(even(layers, layers - 1).is_err());
        }
        assert_ne!(
            random(30, 8, 1).expect("fits"),
            random(30, 8, 2).expect("fits")
        );
    }
}
