//! What goes into a trainer and comes out of it: routers, adapters, snapshots.

use super::super::network::LayerParameters;
use super::super::parameters::Snapshot;
use super::{LoraOptions, Trainer};
use crate::adapter::joint::Product;
use crate::adapter::{Lora, LoraAdapter, Target};
use crate::error::{Error, Result};
use crate::mask::{LayerMask, Sublayer};
use crate::router::{EPSILON, Granularity, Router, THRESHOLD};

impl Trainer<'_> {
    /// Everything that training goes on from.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.network.parameters.snapshot(&self.engine.gpu)
    }

    /// Goes back to a snapshot; an error if it is of other parameters.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let (expected, found) = (self.network.parameters.count(), snapshot.values.len());
        if expected != found {
            return Err(Error::mismatch(
                format!("the checkpoint has {found} numbers, this run {expected}"),
                "go on with the model, rank and targets that it was begun with",
            ));
        }
        self.network.parameters.restore(&self.engine.gpu, snapshot);
        Ok(())
    }

    /// The routers as they are.
    pub fn router(&self) -> Result<Router> {
        let values = self.network.parameters.values(&self.engine.gpu)?;
        let layers = &self.network.layers;
        let gather = |which: usize| -> Vec<f32> {
            let part = |layer: &LayerParameters| {
                self.network
                    .parameters
                    .part(&values, layer.router[which])
                    .to_vec()
            };
            layers.iter().flat_map(part).collect()
        };
        Ok(Router {
            granularity: Granularity::Sublayer,
            weights: gather(0),
            biases: gather(1),
            thresholds: vec![THRESHOLD; 2 * layers.len()],
            epsilon: Some(EPSILON),
            prefill: self.prefill,
            protected: self.decision.protected().to_vec(),
        })
    }

    /// The low-rank updates as they are.
    pub fn adapter(&self, base_model: &str) -> Result<LoraAdapter> {
        let values = self.network.parameters.values(&self.engine.gpu)?;
        Ok(self.unpack(base_model, &values))
    }

    /// Low-rank updates out of all parameters, or their gradients.
    fn unpack(&self, base_model: &str, all: &[f32]) -> LoraAdapter {
        let config = &self.engine.model.config;
        let lora = |layer: usize, target: Target| -> Lora {
            let has = |product: &Product| product.parts().contains(&target);
            let index = Product::ALL.iter().position(has).unwrap_or(0);
            let parts = self.network.layers[layer].lora[index].expect("a target has parameters");
            let both = parts.map(|part| self.network.parameters.part(all, part));
            self.network.joints[index].layout.unpack(target, both)
        };
        let LoraOptions {
            rank,
            alpha,
            targets,
        } = &self.lora;
        LoraAdapter::new(base_model, config, *rank, *alpha, targets, lora)
    }

    /// Moves all biases alike, so that routers without weights skip as near to a share of the layers' weight bytes as the order of
    /// their biases allows. Soft gates may keep to that share and yet all end just above the threshold, where they skip
    /// nothing.
    ///
    /// # Panics
    /// If routers have weights.
    pub fn harden(&mut self, skip: f32) -> Result<()> {
        let router = self.router()?;
        assert!(!router.tells_apart(), "one mask for all texts");
        let all = 0..router.biases.len();
        let mut order: Vec<usize> = all.filter(|index| !self.is_protected(*index)).collect();
        order.sort_by(|a, b| router.biases[*a].total_cmp(&router.biases[*b]));
        let mut mask = LayerMask::full(self.network.layers.len());
        // Beginning with nothing.
        let lowest = order.first().map_or(0.0, |index| router.biases[*index]);
        let (mut shift, mut nearest) = ((lowest - 1.0).min(0.0), skip.into());
        for two in order.windows(2) {
            mask.set(two[0] / 2, Sublayer::BOTH[two[0] % 2], false);
            let off = (self.skip_rate(&mask) - f64::from(skip)).abs();
            let [closed, open] = [two[0], two[1]].map(|index| router.biases[index]);
            if off < nearest && closed < open {
                (shift, nearest) = (0.5 * (closed + open), off);
            }
        }
        let biases = router.biases.iter().map(|bias| bias - shift).collect();
        self.begin_with(Some(&Router { biases, ..router }), None)
    }

    /// Begins with routers and low-rank updates from elsewhere; what is `None` stays.
    pub fn begin_with(
        &mut self,
        router: Option<&Router>,
        adapter: Option<&LoraAdapter>,
    ) -> Result<()> {
        let gpu = &self.engine.gpu;
        let network = &self.network;
        if let Some(router) = router {
            if router.granularity != Granularity::Sublayer || router.epsilon != Some(EPSILON) {
                return Err(Error::mismatch(
                    "training goes on with routers of sublayers with the RMS norm only",
                    format!(
                        "give a router file of granularity `sublayer` whose norm has epsilon {EPSILON:e}"
                    ),
                ));
            }
            let mut thresholds = router.thresholds.iter();
            if thresholds.any(|threshold| *threshold != THRESHOLD) {
                return Err(Error::mismatch(
                    format!("routers are trained at a threshold of {THRESHOLD}"),
                    format!("give a router file whose `thresholds` are all {THRESHOLD}"),
                ));
            }
            for (index, layer) in network.layers.iter().enumerate() {
                let size = router.weights.len() / network.layers.len();
                network
                    .parameters
                    .value(layer.router[0])
                    .write(gpu, &router.weights[index * size..][..size]);
                network
                    .parameters
                    .value(layer.router[1])
                    .write(gpu, &router.biases[2 * index..][..2]);
            }
        }
        if let Some(adapter) = adapter {
            // Both matrices of a part that is missing would be zeros, which have no gradient.
            self.check(adapter, adapter.targets() == self.lora.targets)?;
            self.write_adapter(adapter);
        }
        Ok(())
    }

    /// An error unless an adapter is of the rank and alpha that are trained, and of the right matrices.
    pub(super) fn check(&self, adapter: &LoraAdapter, targets: bool) -> Result<()> {
        let LoraOptions { rank, alpha, .. } = self.lora;
        if targets && adapter.rank() == rank && adapter.alpha() == alpha {
            return Ok(());
        }
        let names: Vec<_> = adapter
            .targets()
            .iter()
            .map(|target| target.name())
            .collect();
        Err(Error::mismatch(
            format!(
                "the adapter has rank {}, alpha {} and the matrices {}",
                adapter.rank(),
                adapter.alpha(),
                names.join(",")
            ),
            "give `--rank`, `--alpha` and `--targets` alike",
        ))
    }

    /// Takes the values of an adapter of the same rank, of the matrices that are trained.
    pub(super) fn write_adapter(&self, adapter: &LoraAdapter) {
        let (gpu, network) = (&self.engine.gpu, &self.network);
        for (index, layer) in network.layers.iter().enumerate() {
            for (joint, parts) in network.joints.iter().zip(layer.lora) {
                let Some([a, b]) = parts else { continue };
                let packed = joint.layout.pack(|target| adapter.lora(index, target));
                network.parameters.value(a).write(gpu, &packed[0]);
                network.parameters.value(b).write(gpu, &packed[1]);
            }
        }
    }

    /// Forgets the gradients of the texts since the last update.
    pub fn clear_gradients(&mut self) {
        self.network.parameters.clear_gradients(&self.engine.gpu);
    }

    /// The gradients of the routers, as [`Trainer::router`] lays them out, and of the low-rank updates, as
    /// [`LoraAdapter`] does: for tests.
    pub fn gradients(&self) -> Result<(Vec<f32>, Vec<f32>, LoraAdapter)> {
        let all = self.network.parameters.gradients(&self.engine.gpu)?;
        let part = |index: usize| self.network.parameters.part(&all, index).to_vec();
        let layers = &self.network.layers;
        let weights = layers
            .iter()
            .flat_map(|layer| part(layer.router[0]))
            .collect();
        let biases = layers
            .iter()
            .flat_map(|layer| part(layer.router[1]))
            .collect();
        let adapter = self.unpack("gradients", &all);
        Ok((weights, biases, adapter))
    }
}
