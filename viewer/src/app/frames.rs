//! How long frames take while an answer streams, drawn as fast as they can be.

use super::App;
use crate::job::Job;
use eframe::egui;
use first_wgpu::bench::statistics::quantile;
use std::time::Instant;

#[derive(Default)]
pub(super) struct Frames {
    asked: bool,
    last: Option<Instant>,
    nanos: Vec<u64>,
}

/// Frames that are enough to tell how long they take.
const ENOUGH: usize = 600;

impl Frames {
    fn print(&self, context: &egui::Context) {
        let at = |share| quantile(&self.nanos, share).unwrap_or(0) as f64 / 1e6;
        let size = context.viewport_rect().size() * context.pixels_per_point();
        println!(
            "{} frames of {} x {} pixels while answering: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
            self.nanos.len(),
            size.x,
            size.y,
            at(0.5),
            at(0.95),
            at(0.99)
        );
    }
}

impl App {
    pub(super) fn measure(&mut self, context: &egui::Context) {
        let Some(mut frames) = self.frames.take() else {
            return;
        };
        context.request_repaint();
        let now = Instant::now();
        if self.progress.busy && self.progress.tokens > 0 {
            let before = frames.last.replace(now);
            let took = before.map(|before| (now - before).as_nanos() as u64);
            frames.nanos.extend(took);
        }
        if frames.nanos.len() >= ENOUGH || (frames.asked && !self.progress.ready) {
            frames.print(context);
            self.close(context);
            return;
        }
        if !frames.asked && self.progress.ready {
            frames.asked = true;
            // Far more than are needed: the window closes first.
            let prompts = vec![self.form.prompt(); 10 * ENOUGH];
            self.send(Job::Prompts(prompts, self.form.options()));
        }
        self.frames = Some(frames);
    }
}
