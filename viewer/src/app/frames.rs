//! How long frames take while an answer streams, drawn as fast as they can be.

use super::App;
use crate::stats::{quantile, sorted};
use eframe::egui;
use std::time::Instant;

#[derive(Default)]
pub(super) struct Frames {
    asked: bool,
    last: Option<Instant>,
    millis: Vec<f64>,
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
            let took = before.map(|before| 1e3 * (now - before).as_secs_f64());
            frames.millis.extend(took);
        }
        if !frames.asked && self.progress.ready {
            frames.asked = true;
            let job = crate::job::Job::Prompts(vec![self.form.prompt()], self.form.options());
            self.send(job);
        } else if frames.asked && !self.progress.busy {
            let times = sorted(frames.millis.iter().copied());
            let at = |share| quantile(&times, share);
            println!(
                "{} frames while answering: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
                times.len(),
                at(0.5),
                at(0.95),
                at(0.99)
            );
            context.send_viewport_cmd(egui::ViewportCommand::Close);
            return;
        }
        self.frames = Some(frames);
    }
}
