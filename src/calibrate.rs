//! How much each layer matters to a model on given data, and a fixed mask from a greedy search.
//!
//! The mask is the same for every prompt: this is *not* input-adaptive. It is the control that a router has
//! to beat, and what there is to use until one is trained.

pub mod meter;

use crate::data::Tokens;
use crate::engine::Engine;
use crate::error::Result;
use crate::mask::{LayerMask, Sublayer};
use crate::router::Granularity;
use crate::trace::ModelSummary;
use meter::{Counter, Measure, Progress};
use std::collections::BTreeMap;

/// What may be skipped on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The layer.
    pub layer: usize,
    /// One of its sublayers, or both.
    pub sublayer: Option<Sublayer>,
}

impl Unit {
    /// All units of a model, whole layers or sublayers.
    pub fn all(layers: usize, sublayers: bool) -> Vec<Self> {
        let kinds: &[Option<Sublayer>] = if sublayers {
            &[Some(Sublayer::Attn), Some(Sublayer::Mlp)]
        } else {
            &[None]
        };
        (0..layers)
            .flat_map(|layer| {
                kinds.iter().map(move |sublayer| Self {
                    layer,
                    sublayer: *sublayer,
                })
            })
            .collect()
    }

    /// Whether a mask skips it or a part of it.
    pub fn is_in(self, mask: &LayerMask) -> bool {
        let has = |sublayer| self.sublayer.is_none_or(|own| own == sublayer);
        Sublayer::BOTH
            .into_iter()
            .any(|sublayer| has(sublayer) && !mask.runs(self.layer, sublayer))
    }

    /// The mask with this unit skipped too.
    pub fn skipped_from(self, mask: &LayerMask) -> LayerMask {
        let mut mask = mask.clone();
        for sublayer in Sublayer::BOTH {
            if self.sublayer.is_none_or(|own| own == sublayer) {
                mask.set(self.layer, sublayer, false);
            }
        }
        mask
    }
}

/// How much a unit matters.
#[derive(Clone, Copy, Debug)]
pub struct Influence {
    /// The unit.
    pub unit: Unit,
    /// Mean loss when it alone is skipped, less the full model's, in nats per token.
    pub loss_change: f64,
}

/// The loss of the full model of so many layers, and the influence of each unit.
pub fn influences(
    layers: usize,
    units: &[Unit],
    measure: &mut dyn Measure,
) -> Result<(f64, Vec<Influence>)> {
    let full = LayerMask::full(layers);
    let base = measure.loss(&full)?;
    let influence = |unit: &Unit| {
        Ok(Influence {
            unit: *unit,
            loss_change: measure.loss(&unit.skipped_from(&full))? - base,
        })
    };
    let influences = units.iter().map(influence).collect::<Result<_>>()?;
    Ok((base, influences))
}

/// Block influence, `[layer][attn, mlp]`: 1 - the mean over tokens of the cosine between what enters a sublayer and what
/// leaves it (arXiv 2406.15786); where layers are skipped whole, of the layer, as the second of its two numbers (arXiv
/// 2403.03853).
pub fn block_influence<'a>(
    engine: &Engine,
    texts: impl ExactSizeIterator<Item = &'a Tokens>,
    granularity: Granularity,
    progress: &mut Progress<'_>,
) -> Result<Vec<[f64; 2]>> {
    let hidden = engine.model.config.hidden;
    let mut sums = vec![[0.0; 2]; engine.model.config.layers];
    let mut counter = Counter::new(texts.len(), progress);
    let mut tokens = 0;
    for text in texts {
        let mut entered = Vec::new();
        engine.sublayer_states(&text.ids, &mut |layer, sublayer, [before, after]| {
            if sublayer == Sublayer::Attn {
                entered = before.to_vec();
            }
            let from = match granularity {
                Granularity::Layer => &entered,
                Granularity::Sublayer => before,
            };
            let rows = from.chunks_exact(hidden).zip(after.chunks_exact(hidden));
            let turned: f64 = rows.map(|(a, b)| 1.0 - cosine(a, b)).sum();
            match granularity {
                // What the attention did is part of what the layer did.
                Granularity::Layer if sublayer == Sublayer::Attn => {}
                _ => sums[layer][sublayer as usize] += turned,
            }
        })?;
        tokens += text.ids.len();
        counter.one()?;
    }
    let mean = |sums: [f64; 2]| sums.map(|sum| sum / tokens as f64);
    Ok(sums.into_iter().map(mean).collect())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The most units to skip.
    pub units: usize,
    /// The share of the layers' weight bytes to skip, met as nearly as the smallest unit allows.
    pub rate: f64,
    /// The most that the loss may rise, in nats.
    pub loss: f64,
    /// How many of the units that are left each step tries: those that cost least when they were last tried.
    pub candidates: usize,
}

/// Skips units one after another, each time the one that costs the least loss per byte on top of those before, until
/// the budget is spent. `base` is the loss of the full model. Returns the masks on the way and their losses, the full
/// model first.
pub fn greedy(
    summary: &ModelSummary,
    (base, influences): (f64, &[Influence]),
    budget: Budget,
    measure: &mut dyn Measure,
) -> Result<Vec<(LayerMask, f64)>> {
    let full = LayerMask::full(summary.layers);
    let rate = |mask: &LayerMask| summary.skip_rate(mask);
    // Units that are left: what share of the weights each is, and what it cost per share when it was last tried.
    let unit = |influence: &Influence| {
        let share = rate(&influence.unit.skipped_from(&full));
        (influence.unit, share, influence.loss_change / share)
    };
    let mut left: Vec<(Unit, f64, f64)> = influences.iter().map(unit).collect();
    let smallest = left.iter().map(|(_, share, _)| *share).fold(1.0, f64::min);
    let mut path = vec![(full.clone(), base)];
    while path.len() <= budget.units {
        let (mask, before) = &path[path.len() - 1];
        measure.go_on_from(mask);
        left.sort_by(|(.., a), (.., b)| a.total_cmp(b));
        let most = budget.rate - rate(mask) + 0.5 * smallest;
        let mut best: Option<(usize, LayerMask, f64)> = None;
        let fitting = (0..left.len()).filter(|index| left[*index].1 <= most);
        for index in fitting.take(budget.candidates).collect::<Vec<_>>() {
            let (unit, share, _) = left[index];
            let next = unit.skipped_from(mask);
            let loss = measure.loss(&next)?;
            left[index].2 = (loss - before) / share;
            if loss > base + budget.loss {
                continue;
            }
            if best
                .as_ref()
                .is_none_or(|(best, ..)| left[index].2 < left[*best].2)
            {
                best = Some((index, next, loss));
            }
        }
        let Some((index, next, loss)) = best else {
            break;
        };
        left.remove(index);
        path.push((next, loss));
    }
    Ok(path)
}

/// A path through masks and their losses, from the one that skips least. Those are left out that another betters, which
/// skips as much or more and loses no more.
pub fn front(summary: &ModelSummary, mut masks: Vec<(LayerMask, f64)>) -> Vec<(LayerMask, f64)> {
    let share = |(mask, _): &(LayerMask, f64)| summary.skip_rate(mask);
    masks.sort_by(|a, b| share(b).total_cmp(&share(a)).then(a.1.total_cmp(&b.1)));
    let mut least = f64::INFINITY;
    masks.retain(|(_, loss)| {
        let better = *loss < least;
        least = least.min(*loss);
        better
    });
    masks.reverse();
    masks
}

/// How far to go on each of several paths of masks, so that on their mean they skip a share of the weights at the least
/// loss, and on no path more than `most`. First comes how much is skipped: a greedy walk, each time to the mask that costs the
/// least loss per further byte, reaches the rate to within half the smallest step, or stays below it. Its last steps take what
/// still fits at any price; so of all choices that skip as much, the one with the least sum of losses is taken.
/// Returns an index into each path.
pub fn share_out(
    summary: &ModelSummary,
    paths: &[Vec<(LayerMask, f64)>],
    rate: f64,
    most: f64,
) -> Vec<usize> {
    let point = |(mask, loss): &(LayerMask, f64)| (summary.skip_rate(mask), *loss);
    let points = |path: &Vec<(LayerMask, f64)>| path.iter().map(point).collect();
    let paths: Vec<Vec<(f64, f64)>> = paths.iter().map(points).collect();
    let steps = |path: &Vec<(f64, f64)>| {
        let steps = path.windows(2).map(|two| two[1].0 - two[0].0);
        steps.fold(1.0, f64::min)
    };
    let half = 0.5 * paths.iter().map(steps).fold(1.0, f64::min);
    let (on_a_path, in_all) = (most + half, rate * paths.len() as f64 + half);
    let cheapest = by_price(&paths, [on_a_path, in_all]);
    let sum = |at: &[usize], of: fn(&(f64, f64)) -> f64| -> f64 {
        paths.iter().zip(at).map(|(path, at)| of(&path[*at])).sum()
    };
    let (skipped, loss) = (
        sum(&cheapest, |point| point.0),
        sum(&cheapest, |point| point.1),
    );
    let found = least_loss(&paths, [on_a_path, in_all], skipped);
    // Choices that skip nearly the same were one: the way by price may have been lost among them.
    let found = found.filter(|at| sum(at, |point| point.1) < loss);
    found.unwrap_or(cheapest)
}

/// On and on by what costs the least loss per byte, as far as the bounds of a path and of all of them together let.
fn by_price(paths: &[Vec<(f64, f64)>], [on_a_path, in_all]: [f64; 2]) -> Vec<usize> {
    let mut at = vec![0; paths.len()];
    loop {
        let skipped: f64 = paths.iter().zip(&at).map(|(path, at)| path[*at].0).sum();
        let mut best: Option<(usize, usize, f64)> = None;
        for (index, path) in paths.iter().enumerate() {
            let (before, loss) = path[at[index]];
            for (next, (share, next_loss)) in path.iter().enumerate().skip(at[index] + 1) {
                if *share > on_a_path || skipped + share - before > in_all {
                    break;
                }
                let cost = (next_loss - loss) / (share - before);
                if best.is_none_or(|(.., least)| cost < least) {
                    best = Some((index, next, cost));
                }
            }
        }
        let Some((index, next, _)) = best else {
            return at;
        };
        at[index] = next;
    }
}

/// The choice of one point a path that loses least, of all that skip at least so much.
fn least_loss(
    paths: &[Vec<(f64, f64)>],
    [on_a_path, in_all]: [f64; 2],
    skipped: f64,
) -> Option<Vec<usize>> {
    /// Choices that differ by less than this part of a path's weights are one.
    const RESOLUTION: f64 = 4096.0;
    // By what they skip: the sums, and the choice.
    let mut choices = BTreeMap::from([(0, (0.0, 0.0, Vec::new()))]);
    for (index, path) in paths.iter().enumerate() {
        // What the paths behind this one cannot do without.
        let behind: f64 = paths[index + 1..].iter().map(|path| path[0].0).sum();
        let mut longer: BTreeMap<u64, (f64, f64, Vec<usize>)> = BTreeMap::new();
        for (before, loss, at) in choices.values() {
            for (index, (share, more)) in path.iter().enumerate() {
                let (sum, loss) = (before + share, loss + more);
                if index > 0 && (*share > on_a_path || sum + behind > in_all) {
                    break;
                }
                let key = (sum * RESOLUTION).round() as u64;
                if longer.get(&key).is_none_or(|(_, least, _)| loss < *least) {
                    let at = at.iter().copied().chain([index]).collect();
                    longer.insert(key, (sum, loss, at));
                }
            }
        }
        choices = longer;
    }
    let as_much = |choice: &(f64, f64, Vec<usize>)| choice.0 >= skipped - 0.5 / RESOLUTION;
    let choices = choices.into_values().filter(as_much);
    let least = choices.min_by(|a, b| a.1.total_cmp(&b.1));
    least.map(|(.., at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss that adds up: an attention costs 1 + its layer, an MLP 2 + its layer; all in tenths.
    fn measure(mask: &LayerMask) -> Result<f64> {
        let cost = |layer: usize, sublayer| {
            let one = if sublayer == Sublayer::Attn { 1 } else { 2 };
            if mask.runs(layer, sublayer) {
                0
            } else {
                one + layer
            }
        };
        let costs = (0..4).flat_map(|layer| Sublayer::BOTH.map(|sublayer| cost(layer, sublayer)));
        Ok(2.0 + 0.1 * costs.sum::<usize>() as f64)
    }

    fn path(budget: Budget) -> Vec<String> {
        let units = Unit::all(4, true);
        let (base, influences) = influences(4, &units, &mut measure).expect("measures");
        assert_eq!(base, 2.0);
        let path = greedy(
            &ModelSummary::alike(4),
            (base, &influences),
            budget,
            &mut measure,
        )
        .expect("searches");
        for (mask, loss) in &path {
            assert_eq!(*loss, measure(mask).expect("measures"));
        }
        path.into_iter().map(|(mask, _)| mask.to_string()).collect()
    }

    const FAR: Budget = Budget {
        units: 8,
        rate: 1.0,
        loss: f64::INFINITY,
        candidates: 8,
    };

    #[test]
    fn a_search_takes_the_least_loss_per_byte() {
        // Per 1000 bytes: attentions 1, 2, 3, 4; MLPs 2/3, 1, 4/3, 5/3. Ties go to the earlier.
        let three = path(Budget { units: 4, ..FAR });
        assert_eq!(three[0], LayerMask::full(4).to_string());
        assert_eq!(three[1..3], ["0.mlp", "0"]);
        assert_eq!(three.len(), 5);
        assert_eq!(path(FAR).len(), 9);
    }

    #[test]
    fn a_search_keeps_to_the_rate_and_the_loss() {
        // 0.2 of 16000 bytes are 3200: an MLP, and no attention on top, which would be off by more than without it.
        assert_eq!(path(Budget { rate: 0.2, ..FAR })[1..], ["0.mlp"]);
        // The best per byte costs 0.2: too much, but the first attention fits.
        assert_eq!(path(Budget { loss: 0.15, ..FAR })[1..], ["0.attn"]);
    }

    /// Of those that cost least alone, a unit may cost much behind others: then the next is tried in its place.
    #[test]
    fn a_search_tries_what_cost_least_when_last_tried() {
        // Attentions cost their layer alone, but those beside one that is skipped cost ten more.
        let mut measure = |mask: &LayerMask| {
            let skipped = |layer: usize| !mask.runs(layer, Sublayer::Attn);
            let of = |layer: usize| match skipped(layer) {
                true if layer > 0 && skipped(layer - 1) => 10 + layer,
                true => layer,
                false => 0,
            };
            Ok((0..6).map(of).sum::<usize>() as f64)
        };
        let units: Vec<Unit> = Unit::all(6, true).into_iter().step_by(2).collect();
        let influences = influences(6, &units, &mut measure).expect("measures");
        let budget = Budget {
            units: 3,
            candidates: 2,
            ..FAR
        };
        let given = (influences.0, influences.1.as_slice());
        let path = greedy(&ModelSummary::alike(6), given, budget, &mut measure).expect("searches");
        let masks: Vec<String> = path[1..].iter().map(|(mask, _)| mask.to_string()).collect();
        assert_eq!(masks, ["0.attn", "0.attn,2.attn", "0.attn,2.attn,4.attn"]);
    }

    /// Paths of whole layers, of which each skipped costs so much.
    fn paths(costs: &[&[f64]]) -> Vec<Vec<(LayerMask, f64)>> {
        let path = |costs: &&[f64]| {
            let (mut mask, mut loss) = (LayerMask::full(8), 2.0);
            let mut path = vec![(mask.clone(), loss)];
            for (layer, cost) in costs.iter().enumerate() {
                mask = Unit {
                    layer,
                    sublayer: None,
                }
                .skipped_from(&mask);
                loss += cost;
                path.push((mask.clone(), loss));
            }
            path
        };
        costs.iter().map(path).collect()
    }

    #[test]
    fn a_front_holds_what_nothing_betters() {
        let summary = ModelSummary::alike(8);
        let mask = |text| LayerMask::parse(text, 8).expect("a mask");
        let masks = [
            ("none", 2.0),
            ("1", 1.9),
            ("2", 1.9),
            ("1-3", 2.2),
            ("5,6", 2.3),
            ("4-7", 2.5),
        ];
        let masks = masks.map(|(text, loss)| (mask(text), loss));
        let path = front(&summary, masks.to_vec());
        let kept: Vec<String> = path.iter().map(|(mask, _)| mask.to_string()).collect();
        assert_eq!(kept, ["1", "1-3", "4-7"]);
    }

    #[test]
    fn those_that_lose_less_skip_more() {
        let summary = ModelSummary::alike(8);
        let at = |costs: &[&[f64]], rate: f64| share_out(&summary, &paths(costs), rate, 1.5 * rate);
        let (dear, cheap) = ([0.3; 6].as_slice(), [0.1; 6].as_slice());
        // Up to half as much again, and together what was asked for.
        assert_eq!(at(&[dear, cheap], 0.25), [1, 3]);
        let rising = [0.3, 0.4, 0.5, 0.6].as_slice();
        let slower = [0.3, 0.35, 0.5, 0.6].as_slice();
        assert_eq!(at(&[cheap, slower, rising], 0.25), [3, 2, 1]);
        assert_eq!(at(&[dear, cheap], 0.5), [2, 6]);
        // A dear step may lead to cheap ones.
        assert_eq!(at(&[&[0.4, 0.0, 0.0], &[0.2; 3]], 0.25), [3, 1]);
        assert_eq!(at(&[dear], 0.25), [2]);
        assert_eq!(at(&[dear, cheap], 0.01), [0, 0]);
        // What costs least per byte at first may leave room only for what is dear.
        let mut jump = paths(&[&[0.1, 0.5, 0.5], &[0.2; 3]]);
        jump[1].drain(1..3);
        assert_eq!(share_out(&summary, &jump, 0.1875, 1.0), [0, 1]);
        // A path may begin with what skips something, whichever comes first.
        let mut begun = paths(&[&[0.1, 0.1, 0.1], &[0.1, 0.1, 0.1]]);
        begun[1].drain(..2);
        assert_eq!(share_out(&summary, &begun, 0.125, 1.0), [0, 0]);
        begun.reverse();
        assert_eq!(share_out(&summary, &begun, 0.125, 1.0), [0, 0]);
        // Without that bound the cheap one goes on alone.
        let paths = paths(&[dear, cheap]);
        assert_eq!(share_out(&summary, &paths, 0.25, 1.0), [0, 4]);
    }
}
