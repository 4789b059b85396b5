//! Copies to the host, and whether what they show was done.
//!
//! Metal says nothing of a submission that it has stopped, nor of those that it drops behind it (wgpu issue 9545): what
//! was in a buffer before would be taken for their result. So each submission ends by noting on the GPU that it was done,
//! and what comes back brings these notes along, and a mark of its own copy.

use super::device::{Counters, Gpu, lock};
use crate::error::{Error, Result};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};

/// Submissions whose notes are kept. Only a long prompt of a large model, on a GPU that does little at a time, has more of
/// them before anything comes back.
const KEPT: u64 = 1024;

/// Bytes of a number.
const WORD: u64 = wgpu::COPY_BUFFER_ALIGNMENT;

/// Notes of submissions on the GPU.
pub(super) struct Ledger {
    /// The numbers from 0 to `KEPT - 1`, which are copied for notes and marks.
    numbers: wgpu::Buffer,
    /// The note of submission `n` at `n % KEPT`.
    notes: wgpu::Buffer,
    submitted: AtomicU64,
    checked: AtomicU64,
}

/// What a submission notes: never 0, which is there at first, and not what the one before it in this place did.
fn note(submission: u64) -> u32 {
    (submission / KEPT % (KEPT - 1) + 1) as u32
}

impl Ledger {
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let buffer = |label| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: KEPT * WORD,
                usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let numbers = buffer("numbers");
        let from_0: Vec<u32> = (0..KEPT as u32).collect();
        queue.write_buffer(&numbers, 0, bytemuck::cast_slice(&from_0));
        Self {
            numbers,
            notes: buffer("notes"),
            submitted: AtomicU64::new(0),
            checked: AtomicU64::new(0),
        }
    }

    /// Ends a list of commands that is handed over next.
    pub(super) fn end(&self, encoder: &mut wgpu::CommandEncoder) {
        let submission = self.count();
        let number = u64::from(note(submission)) * WORD;
        let place = submission % KEPT * WORD;
        encoder.copy_buffer_to_buffer(&self.numbers, number, &self.notes, place, WORD);
    }

    /// Counts a submission.
    pub(super) fn count(&self) -> u64 {
        self.submitted.fetch_add(1, Relaxed) + 1
    }

    /// Submissions whose notes have not been looked at.
    fn unchecked(&self) -> Range<u64> {
        let submitted = self.submitted.load(Relaxed);
        let checked = self.checked.load(Relaxed);
        checked.max(submitted.saturating_sub(KEPT)) + 1..submitted + 1
    }
}

/// A host-visible buffer that results are copied to; reusable, so that a token costs no allocation.
pub struct ReadBack {
    /// Results, a mark, and notes.
    raw: wgpu::Buffer,
    results_bytes: u64,
    ledger: Arc<Ledger>,
    /// The last that was recorded; 0 before.
    mark: AtomicU32,
    /// Submissions whose notes come with it.
    submissions: Mutex<Range<u64>>,
    outcome: Arc<Mutex<Option<Result<(), wgpu::BufferAsyncError>>>>,
    /// Which the copy is in.
    submission: Mutex<Option<wgpu::SubmissionIndex>>,
}

impl ReadBack {
    /// A buffer of `size_bytes`, a multiple of 4.
    pub fn new(gpu: &Gpu, size_bytes: u64) -> Self {
        Counters::add(&gpu.counters.buffers, 1);
        let raw = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read_back"),
            size: size_bytes + (1 + KEPT) * WORD,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        Self {
            raw,
            results_bytes: size_bytes,
            ledger: gpu.ledger.clone(),
            mark: AtomicU32::new(0),
            submissions: Mutex::new(1..1),
            outcome: Default::default(),
            submission: Default::default(),
        }
    }

    /// Records the copy of the start of `source`, as much as fits.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder, source: &super::Buffer) {
        let size = self.results_bytes.min(source.size);
        self.record_at(encoder, 0, &source.slice(0, size));
    }

    /// Records the copy of all of `source` to an offset in bytes.
    pub fn record_at(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        offset: u64,
        source: &super::Buffer,
    ) {
        let mut copy = |from: &wgpu::Buffer, at: u64, to: u64, size: u64| {
            encoder.copy_buffer_to_buffer(from, at, &self.raw, to, size);
        };
        copy(&source.raw, source.offset, offset, source.size);
        let mark = self.mark.load(Relaxed) % (KEPT as u32 - 1) + 1;
        self.mark.store(mark, Relaxed);
        let (number, place) = (u64::from(mark) * WORD, self.results_bytes);
        copy(&self.ledger.numbers, number, place, WORD);
        let submissions = self.ledger.unchecked();
        let mut next = submissions.start;
        while next < submissions.end {
            // Up to where places begin again.
            let end = submissions.end.min((next / KEPT + 1) * KEPT);
            let at = next % KEPT * WORD;
            copy(
                &self.ledger.notes,
                at,
                place + WORD + at,
                (end - next) * WORD,
            );
            next = end;
        }
        *lock(&self.submissions) = submissions;
    }

    /// Asks for the contents; call it when the copy was submitted, before anything else is: only for that will be waited.
    pub fn request(&self, gpu: &Gpu) {
        *lock(&self.submission) = gpu.last_submission();
        let outcome = self.outcome.clone();
        self.raw.map_async(wgpu::MapMode::Read, .., move |result| {
            *lock(&outcome) = Some(result);
        });
    }

    /// Waits for the results. The buffer can be recorded into again afterwards.
    pub fn wait(&self, gpu: &Gpu) -> Result<Vec<u8>> {
        let result = loop {
            if let Some(result) = lock(&self.outcome).take() {
                break result;
            }
            gpu.wait_for(lock(&self.submission).clone())?;
        };
        gpu.check_lost()?;
        result
            .map_err(|error| gpu.lost(&format!("the GPU did not give its result back: {error}")))?;
        let view = self
            .raw
            .get_mapped_range(..)
            .map_err(|error| gpu.lost(&error.to_string()))?;
        let mut results = view.to_vec();
        drop(view);
        self.raw.unmap();
        let rest = results.split_off(self.results_bytes as usize);
        let numbers: Vec<u32> = bytemuck::pod_collect_to_vec(&rest);
        let submissions = lock(&self.submissions).clone();
        // Also if one is missing: the next results are not to be blamed for it.
        self.ledger.checked.fetch_max(submissions.end - 1, Relaxed);
        let words = results.len() as u64 / WORD + 1 + (submissions.end - submissions.start);
        Counters::add(&gpu.counters.read_back_bytes, words * WORD);
        let noted = |submission: u64| numbers[1 + (submission % KEPT) as usize] == note(submission);
        if numbers[0] == self.mark.load(Relaxed) && submissions.clone().all(noted) {
            return Ok(results);
        }
        Err(Error::gpu(
            "the GPU has not done what it was given, and its driver has said nothing",
            "it may have stopped what took too long, or had no memory for it: try a smaller model or shorter texts",
        ))
    }
}
