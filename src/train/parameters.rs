//! What is trained, in flat buffers: values, gradients, and the moments of AdamW.

use crate::error::Result;
use crate::gpu::{ALIGNMENT_BYTES, Buffer, Gpu, Plan};
use crate::kernels::adamw::Moments;
use crate::kernels::{adamw, dot};
use std::ops::Range;

/// Parameters begin at multiples of as many numbers.
const ALIGNMENT: usize = ALIGNMENT_BYTES / 4;

/// Workgroups that measure the gradients, each in a number of its own.
const PARTS: usize = 64;

/// What learns at one rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The routers' weights.
    RouterWeights,
    /// The routers' biases.
    RouterBiases,
    /// The thin matrices of low-rank updates.
    Lora,
}

impl Group {
    /// All of them, in the order of the buffers.
    pub const ALL: [Self; 3] = [Self::RouterWeights, Self::RouterBiases, Self::Lora];
}

/// Values, gradients and moments.
pub struct Parameters {
    /// Where each parameter lies, in numbers.
    ranges: Vec<Range<usize>>,
    groups: [Range<usize>; 3],
    values: Buffer,
    gradients: Buffer,
    mean: Buffer,
    square: Buffer,
    sums: Buffer,
}

/// Values and moments, as a checkpoint keeps them.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// All parameters, padding included.
    pub values: Vec<f32>,
    /// Running mean of their gradients.
    pub mean: Vec<f32>,
    /// Running mean of their squared gradients.
    pub square: Vec<f32>,
}

/// A range of a buffer's numbers.
fn within(buffer: &Buffer, range: &Range<usize>) -> Buffer {
    buffer.slice(4 * range.start as u64, 4 * range.len() as u64)
}

impl Parameters {
    /// Parameters with their first values, in the order of their groups.
    pub fn new(gpu: &Gpu, parameters: &[(Group, Vec<f32>)]) -> Result<Self> {
        let (mut ranges, mut values) = (Vec::new(), Vec::new());
        let mut groups = [0..0, 0..0, 0..0];
        for (index, group) in Group::ALL.into_iter().enumerate() {
            let first = values.len();
            for (_, value) in parameters.iter().filter(|(own, _)| *own == group) {
                ranges.push(values.len()..values.len() + value.len());
                values.extend_from_slice(value);
                values.resize(values.len().next_multiple_of(ALIGNMENT), 0.0);
            }
            groups[index] = first..values.len();
        }
        assert!(
            parameters.is_sorted_by_key(|(group, _)| *group as usize),
            "parameters come in the order of their groups"
        );
        let zeroed = |label| Buffer::zeros(gpu, label, values.len());
        Ok(Self {
            values: Buffer::from_slice(gpu, "parameters", &values)?,
            gradients: zeroed("gradients")?,
            mean: zeroed("mean gradients")?,
            square: zeroed("mean squares of gradients")?,
            sums: Buffer::zeros(gpu, "sums", PARTS)?,
            ranges,
            groups,
        })
    }

    fn slice(&self, buffer: &Buffer, index: usize) -> Buffer {
        within(buffer, &self.ranges[index])
    }

    /// A parameter's values.
    pub fn value(&self, index: usize) -> Buffer {
        self.slice(&self.values, index)
    }

    /// A parameter's gradient, to be added to.
    pub fn gradient(&self, index: usize) -> Buffer {
        self.slice(&self.gradients, index)
    }

    /// How many numbers there are, padding included.
    pub fn count(&self) -> usize {
        self.groups[2].end
    }

    /// Forgets the gradients of groups at rate 0, which are not to move.
    pub fn forget_idle(&self, gpu: &Gpu, rates: [f32; 3]) {
        for (range, rate) in self.groups.iter().zip(rates) {
            if rate == 0.0 && !range.is_empty() {
                within(&self.gradients, range).clear(gpu);
            }
        }
    }

    /// The Euclidean norm of all gradients.
    pub fn gradient_norm(&self, gpu: &Gpu) -> Result<f64> {
        self.sums.clear(gpu);
        let both = [&self.gradients, &self.gradients, &self.sums];
        let step = dot::step(gpu, "gradient_norm", both, self.count(), 0, PARTS)?;
        Plan::new(gpu, vec![step])?.run(gpu)?;
        let sums: Vec<f32> = self.sums.read_back(gpu, PARTS)?;
        Ok(sums.into_iter().map(f64::from).sum::<f64>().sqrt())
    }

    /// Moves each group along its gradients, at its own rate; a group at rate 0 stays. The routers' weights decay.
    pub fn update(
        &self,
        gpu: &Gpu,
        step: u32,
        scale: f32,
        rates: [f32; 3],
        decay: f32,
    ) -> Result<()> {
        let mut steps = Vec::new();
        let decays = [decay, 0.0, 0.0];
        for ((range, rate), decay) in self.groups.iter().zip(rates).zip(decays) {
            if range.is_empty() || rate == 0.0 {
                continue;
            }
            let buffers = [&self.values, &self.gradients, &self.mean, &self.square];
            let buffers = buffers.map(|buffer| within(buffer, range));
            let adamw = adamw::AdamW {
                step,
                scale,
                rate,
                decay,
            };
            let [w, g, m, v] = &buffers;
            let moments = Moments { w, g, m, v };
            steps.push(adamw::step(gpu, "adamw", moments, range.len(), adamw)?);
        }
        Plan::new(gpu, steps)?.run(gpu)
    }

    /// Forgets the gradients.
    pub fn clear_gradients(&self, gpu: &Gpu) {
        self.gradients.clear(gpu);
    }

    /// One parameter of a snapshot's values, or of gradients.
    pub fn part<'a>(&self, values: &'a [f32], index: usize) -> &'a [f32] {
        &values[self.ranges[index].clone()]
    }

    /// All gradients.
    pub fn gradients(&self, gpu: &Gpu) -> Result<Vec<f32>> {
        self.gradients.read_back(gpu, self.count())
    }

    /// All values.
    pub fn values(&self, gpu: &Gpu) -> Result<Vec<f32>> {
        self.values.read_back(gpu, self.count())
    }

    /// Room for other values of the same parameters, all zero.
    pub(super) fn other_values(&self, gpu: &Gpu) -> Result<Buffer> {
        Buffer::zeros(gpu, "other parameters", self.count())
    }

    /// Takes other values, and gives those it had in their place.
    pub(super) fn swap(&mut self, values: &mut Buffer) {
        assert_eq!(
            values.size_bytes(),
            self.values.size_bytes(),
            "other values"
        );
        std::mem::swap(&mut self.values, values);
    }

    /// Everything that training goes on from.
    pub fn snapshot(&self, gpu: &Gpu) -> Result<Snapshot> {
        let read = |buffer: &Buffer| buffer.read_back(gpu, self.count());
        Ok(Snapshot {
            values: read(&self.values)?,
            mean: read(&self.mean)?,
            square: read(&self.square)?,
        })
    }

    /// Goes back to a snapshot of the same parameters.
    ///
    /// # Panics
    /// If it is of other parameters: files are checked where they are read.
    pub fn restore(&self, gpu: &Gpu, snapshot: &Snapshot) {
        let parts = [
            (&self.values, &snapshot.values),
            (&self.mean, &snapshot.mean),
            (&self.square, &snapshot.square),
        ];
        for (buffer, values) in parts {
            assert_eq!(values.len(), self.count(), "numbers of a snapshot");
            buffer.write(gpu, values);
        }
        self.clear_gradients(gpu);
    }
}
