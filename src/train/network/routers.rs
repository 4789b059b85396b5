//! Routers and gates, forward and backward.

use super::{Network, Pass};
use crate::error::Result;
use crate::gpu::Step;
use crate::kernels;
use crate::kernels::gate::Gating;
use crate::kernels::gate_backward::GateBackward;
use crate::kernels::router_score::Routers;
use crate::kernels::router_score_backward::RouterScoreBackward;
use crate::router::EPSILON;

impl Network<'_> {
    /// The steps that score the prompt for a layer and set its gates.
    pub(in crate::train) fn gate(
        &self,
        layer: usize,
        pass: Pass,
        gating: Gating,
    ) -> Result<Vec<Step>> {
        let (gpu, work) = (self.gpu, &self.work);
        let [weights, biases] = self.layers[layer]
            .router
            .map(|index| self.parameters.value(index));
        let routers = Routers {
            weights: &weights,
            biases: &biases,
            count: 2,
            epsilon: Some(EPSILON),
            scores: &work.scores[layer],
            stride: work.tokens,
        };
        let label = format!("L{layer:02}.router");
        let shape = [pass.prompt, self.model.config.hidden];
        let gates = work.layer_gates(layer);
        Ok(vec![
            kernels::router_score::step(gpu, &label, routers, &work.x, shape, 0)?,
            kernels::gate::step(
                gpu,
                &label,
                [&work.scores[layer], &gates],
                [pass.prompt, work.tokens],
                gating,
            )?,
        ])
    }

    /// The steps from the gradients of a layer's gates to those of its routers and of the stream.
    pub(in crate::train) fn gate_backward(
        &self,
        layer: usize,
        pass: Pass,
        temperature: f32,
    ) -> Result<Vec<Step>> {
        let (gpu, work) = (self.gpu, &self.work);
        let label = format!("L{layer:02}.router.backward");
        let [w, b] = self.layers[layer].router;
        let (w, dw, db) = (
            self.parameters.value(w),
            self.parameters.gradient(w),
            self.parameters.gradient(b),
        );
        let (x, gates) = (&work.saved[layer][0], work.layer_gates(layer));
        let shape = [pass.prompt, self.model.config.hidden, work.tokens];
        let scored = [pass.prompt, work.tokens];
        let buffers = GateBackward {
            scores: &work.scores[layer],
            gates: &gates,
            dz: &work.dz,
            db: &db,
        };
        let scoring = RouterScoreBackward {
            x,
            w: &w,
            dx: &work.dx,
            dz: &work.dz,
        };
        Ok(vec![
            kernels::gate_backward::step(gpu, &label, buffers, scored, temperature)?,
            kernels::router_score_backward::step(gpu, &label, scoring, shape, EPSILON)?,
            kernels::router_weights_backward::step(gpu, &label, [x, &work.dz, &dw], shape)?,
        ])
    }
}
