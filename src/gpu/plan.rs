//! A plan: dispatches in order, ready to be encoded any number of times.

use super::buffer::{ALIGNMENT_BYTES, Buffer};
use super::device::{Counters, Gpu};
use super::pipeline::{Op, Params};
use crate::error::Result;
use crate::trace::Detail;
use std::ops::Range;

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Step {
    /// For people and traces: `L07.attn.qkv`.
    pub label: String,
    /// The pipeline and its buffers.
    pub op: Op,
    /// Workgroups in x, y and z.
    pub workgroups: [u32; 3],
    /// Bytes of weights it reads.
    pub weight_bytes: u64,
    /// Floating-point operations it does in matrix products, and in attention over a prompt; a token's attention, which
    /// grows with its position, is not counted.
    pub flops: u64,
    params: Vec<u8>,
}

impl Step {
    /// A dispatch of `op` over `workgroups`.
    pub fn new<P: Params>(
        label: impl Into<String>,
        op: &Op,
        params: &P,
        workgroups: [u32; 3],
    ) -> Self {
        let params = bytemuck::bytes_of(params).to_vec();
        Self {
            label: label.into(),
            op: op.clone(),
            workgroups,
            weight_bytes: 0,
            flops: 0,
            params,
        }
    }

    /// Says what the dispatch costs.
    pub fn cost(mut self, weight_bytes: u64, flops: u64) -> Self {
        (self.weight_bytes, self.flops) = (weight_bytes, flops);
        self
    }

    /// The layer that the label names.
    pub fn layer(&self) -> Option<usize> {
        let label = self.label.strip_prefix('L')?;
        label.split('.').next()?.parse().ok()
    }
}

/// When something ran, by the GPU's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuTime {
    /// Nanoseconds since the first timestamp of the submission.
    pub start_nanos: u64,
    /// How long it took.
    pub duration_nanos: u64,
}

/// Dispatches in order.
pub struct Plan {
    steps: Vec<Step>,
    /// Every step's run-time values, `ALIGNMENT_BYTES` apart, where the GPU has no immediates.
    uniforms: Option<wgpu::BindGroup>,
}

impl Plan {
    /// Makes the plan ready to encode.
    pub fn new(gpu: &Gpu, steps: Vec<Step>) -> Result<Self> {
        if gpu.class.immediates || steps.is_empty() {
            return Ok(Self {
                steps,
                uniforms: None,
            });
        }
        let mut bytes = vec![0u8; steps.len() * ALIGNMENT_BYTES];
        for (slot, step) in bytes.chunks_exact_mut(ALIGNMENT_BYTES).zip(&steps) {
            slot[..step.params.len()].copy_from_slice(&step.params);
        }
        let buffer = Buffer::from_slice(gpu, "params", &bytes)?.slice(0, ALIGNMENT_BYTES as u64);
        Counters::add(&gpu.counters.bind_groups, 1);
        let uniforms = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("params"),
            layout: &gpu.params_layout,
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: buffer.binding(),
            }],
        });
        Ok(Self {
            steps,
            uniforms: Some(uniforms),
        })
    }

    /// The dispatches.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Records all dispatches in one compute pass.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for index in 0..self.steps.len() {
            self.dispatch(&mut pass, index);
        }
    }

    /// The dispatches that are timed together: neighbours of one layer, or each alone.
    pub fn groups(&self, detail: Detail) -> Vec<Range<usize>> {
        let same = |a: &Step, b: &Step| {
            detail == Detail::Layer && a.layer().is_some() && a.layer() == b.layer()
        };
        let mut end = 0;
        let group = |steps: &[Step]| {
            let start = end;
            end += steps.len();
            start..end
        };
        self.steps.chunk_by(same).map(group).collect()
    }

    /// Records each group in a pass of its own, with a timestamp before and after it.
    pub fn encode_timed(&self, encoder: &mut wgpu::CommandEncoder, timestamps: &Timestamps) {
        let groups = self.groups(timestamps.detail);
        assert!(
            groups.len() <= timestamps.capacity,
            "more groups than timestamps"
        );
        for (index, group) in groups.iter().enumerate() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &timestamps.queries,
                    beginning_of_pass_write_index: Some(2 * index as u32),
                    end_of_pass_write_index: Some(2 * index as u32 + 1),
                }),
            });
            for step in group.clone() {
                self.dispatch(&mut pass, step);
            }
        }
    }

    fn dispatch(&self, pass: &mut wgpu::ComputePass<'_>, index: usize) {
        let step = &self.steps[index];
        pass.set_pipeline(&step.op.pipeline.raw);
        pass.set_bind_group(0, &step.op.bind_group, &[]);
        match &self.uniforms {
            Some(group) => pass.set_bind_group(1, group, &[(index * ALIGNMENT_BYTES) as u32]),
            None => pass.set_immediates(0, &step.params),
        }
        let [x, y, z] = step.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }

    /// Encodes and submits, with timestamps if given and what `after` adds; the host nanoseconds that each
    /// took.
    pub fn submit(
        &self,
        gpu: &Gpu,
        timestamps: Option<&Timestamps>,
        after: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> (u64, u64) {
        let clock = std::time::Instant::now();
        let mut encoder = gpu.encoder();
        match timestamps {
            Some(timestamps) => self.encode_timed(&mut encoder, timestamps),
            None => self.encode(&mut encoder),
        }
        after(&mut encoder);
        let encoded = clock.elapsed();
        gpu.submit(encoder);
        (
            encoded.as_nanos() as u64,
            (clock.elapsed() - encoded).as_nanos() as u64,
        )
    }

    /// Encodes, submits and waits: for tests and one-off work.
    pub fn run(&self, gpu: &Gpu) -> Result<()> {
        self.submit(gpu, None, |_| {});
        gpu.wait()
    }
}

/// A set of GPU timestamps, two per group of dispatches.
pub struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: Buffer,
    capacity: usize,
    detail: Detail,
}

impl Timestamps {
    /// Room for the groups of a plan; `None` if none are asked for, the GPU has no timestamps, or there are more groups than
    /// a query set holds.
    pub fn new(gpu: &Gpu, plan: &Plan, detail: Detail) -> Result<Option<Self>> {
        let groups = plan.groups(detail).len();
        let capacity = groups.clamp(1, wgpu::QUERY_SET_MAX_QUERIES as usize / 2);
        if detail == Detail::None || !gpu.class.timestamps || groups > capacity {
            return Ok(None);
        }
        let count = 2 * capacity as u32;
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let size = u64::from(count) * 8;
        Counters::add(&gpu.counters.buffers, 1);
        let raw = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Ok(Some(Self {
            queries,
            resolved: Buffer {
                raw,
                offset: 0,
                size,
            },
            capacity,
            detail,
        }))
    }

    /// The times of the plan's groups, waiting for all that was submitted before, and how many have none, which are
    /// zero.
    pub fn read_back(&self, gpu: &Gpu, plan: &Plan) -> Result<(Vec<GpuTime>, u32)> {
        let groups = plan.groups(self.detail).len();
        // Only now: on Metal a set that is resolved by the submission which fills it may hold zeros (wgpu issue 9414).
        gpu.wait()?;
        if groups > 0 {
            let mut encoder = gpu.encoder();
            let used = 0..2 * groups as u32;
            encoder.resolve_query_set(&self.queries, used, &self.resolved.raw, 0);
            gpu.submit(encoder);
        }
        let ticks: Vec<u64> = self.resolved.read_back(gpu, 2 * groups)?;
        Ok(times(&ticks, f64::from(gpu.queue.get_timestamp_period())))
    }
}

/// The times of groups by their ticks, two each, of `period` nanoseconds; and how many have none. Metal leaves zeros or the
/// largest number where it has not written, and some drivers let time run backwards, as it does where a counter of few bits
/// begins again.
fn times(ticks: &[u64], period: f64) -> (Vec<GpuTime>, u32) {
    let written = |pair: &[u64]| pair[0] > 0 && pair[1] < u64::MAX && pair[0] <= pair[1];
    let pairs = ticks.chunks_exact(2);
    let first = pairs.clone().find(|pair| written(pair));
    let first = first.map_or(0, |pair| pair[0]);
    let nanos = |ticks: u64| (ticks as f64 * period) as u64;
    let mut dropped = 0;
    let time = |pair: &[u64]| {
        if written(pair) && pair[0] >= first {
            GpuTime {
                start_nanos: nanos(pair[0] - first),
                duration_nanos: nanos(pair[1] - pair[0]),
            }
        } else {
            dropped += 1;
            GpuTime::default()
        }
    };
    (pairs.map(time).collect(), dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_were_not_written_are_zero() {
        let ticks = [0, 50, 100, 130, 140, 120, 130, u64::MAX, 150, 160];
        let (times, dropped) = times(&ticks, 2.0);
        let times: Vec<_> = times
            .iter()
            .map(|time| (time.start_nanos, time.duration_nanos))
            .collect();
        assert_eq!(times, [(0, 0), (0, 60), (0, 0), (0, 0), (100, 20)]);
        assert_eq!(dropped, 3);
        assert_eq!(super::times(&[], 1.0).0.len(), 0);
        let begun_again = [1000, 1010, 1020, 1030, 5, 15];
        let (times, dropped) = super::times(&begun_again, 1.0);
        assert_eq!((times[1].start_nanos, times[2].duration_nanos), (20, 0));
        assert_eq!(dropped, 1);
    }
}
