//! What the worker has finished.

use super::App;
use crate::session::Session;
use crate::worker::Outcome;
use first_wgpu::router::CalibrationPoint;
use first_wgpu::trace::{ModelSummary, Run};

/// What is known of the router that is loaded.
#[derive(Clone)]
pub(super) struct LoadedRouter {
    model: ModelSummary,
    calibration: Vec<CalibrationPoint>,
}

impl LoadedRouter {
    /// Gives its calibration to a session that has none, and no runs of another model or of routers that may be others.
    pub(super) fn lend(self, session: &mut Session) {
        let own = |run: &Run| run.model == self.model && run.scores.is_empty();
        if session.runs.iter().all(own) && session.calibration.is_empty() {
            session.calibration = self.calibration;
        }
    }
}

impl App {
    pub(super) fn take_news(&mut self) {
        let Some(worker) = &self.worker else { return };
        self.progress = worker.progress();
        for outcome in std::mem::take(&mut self.progress.outcomes) {
            self.take(outcome);
        }
    }

    fn take(&mut self, outcome: Outcome) {
        self.revision += 1;
        match outcome {
            Outcome::Router { model, calibration } => {
                self.take_router(LoadedRouter { model, calibration });
            }
            // Of a session that was looked at before; its places are of other runs.
            Outcome::Run { session, .. }
            | Outcome::Agreement { session, .. }
            | Outcome::Controls { session, .. }
                if session != self.generation => {}
            Outcome::Run { run, of_set, .. } => {
                self.session.runs.push(*run);
                // Of a set, what is looked at stays.
                if !of_set || self.session.runs.len() == 1 {
                    self.state.select(self.session.runs.len() - 1);
                }
            }
            Outcome::Agreement { agreement, .. } => {
                self.session.agreements.push(agreement);
                self.saved.behind = true;
            }
            Outcome::Controls { controls, of, .. } => {
                self.session.controls = controls;
                self.session.controls_of = Some(of);
                self.saved.behind = true;
            }
        }
    }

    /// A router is loaded at the start, and again after a GPU was lost. What a session says of its own router
    /// stays, and so does what the user has ticked since the start.
    fn take_router(&mut self, router: LoadedRouter) {
        let before = self.router.replace(router.clone());
        let own = &mut self.session.calibration;
        match before {
            Some(before)
                if before.model == router.model
                    && !own.is_empty()
                    && before.calibration == *own =>
            {
                *own = router.calibration;
            }
            Some(_) => router.lend(&mut self.session),
            None => {
                self.form.route();
                router.lend(&mut self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::Form;
    use crate::job::Choice;
    use crate::session::{Agreement, Control, Measured};
    use eframe::egui;

    fn app(session: Session) -> App {
        App::new(&egui::Context::default(), session, None)
    }

    fn run(session: u64, of_set: bool) -> Outcome {
        let run = Box::new(Session::demo().runs[0].clone());
        Outcome::Run {
            session,
            run,
            of_set,
        }
    }

    #[test]
    fn what_was_asked_for_another_session_is_dropped() {
        let mut app = app(Session::demo());
        let before = app.generation;
        let mut one = Session::demo();
        one.runs.truncate(1);
        one.agreements.clear();
        app.look_at(one.clone());
        app.take(run(before, false));
        app.take(Outcome::Agreement {
            session: before,
            agreement: Agreement {
                run: 11,
                ..Agreement::default()
            },
        });
        app.take(Outcome::Controls {
            session: before,
            controls: vec![Control::default()],
            of: Measured::default(),
        });
        assert!(app.session == one);
        app.take(run(app.generation, false));
        assert_eq!(app.session.runs.len(), 2);
        let of = Measured {
            model: "a model".to_owned(),
            gpu: "a GPU".to_owned(),
        };
        app.take(Outcome::Controls {
            session: app.generation,
            controls: vec![Control::default()],
            of: of.clone(),
        });
        assert_eq!(app.session.controls_of, Some(of));
    }

    #[test]
    fn a_set_leaves_what_is_looked_at() {
        let mut app = app(Session::demo());
        app.state.strip.switched = [0].into();
        let (before, count) = (app.state.clone(), app.session.runs.len());
        app.take(run(app.generation, true));
        assert!(app.state == before, "the last of a set is of it too");
        app.state.select(app.state.selected);
        assert!(app.state == before, "it is selected already");
        app.take(run(app.generation, false));
        assert_eq!(app.state.selected, count + 1);
        assert!(app.state.strip.switched.is_empty());
        app.state.strip.switched = [0].into();
        app.look_at(Session::demo());
        assert!(app.state.strip.switched.is_empty());
    }

    fn skips(skip_rate: f32) -> Vec<CalibrationPoint> {
        vec![CalibrationPoint {
            threshold: 0.5,
            skip_rate,
        }]
    }

    /// A router of the demo's model that skips so much.
    fn router(skip_rate: f32) -> Outcome {
        Outcome::Router {
            model: Session::demo().runs[0].model.clone(),
            calibration: skips(skip_rate),
        }
    }

    #[test]
    fn a_session_keeps_its_calibration() {
        let given = Session {
            calibration: skips(0.1),
            ..Session::default()
        };
        let mut app = app(given);
        app.take(router(0.2));
        assert_eq!(app.session.calibration, skips(0.1));
        app.look_at(Session::default());
        assert_eq!(app.session.calibration, skips(0.2));
        app.take(router(0.3));
        assert_eq!(app.session.calibration, skips(0.3));
    }

    #[test]
    fn a_router_says_nothing_of_another_model() {
        let mut scored = Session::demo();
        scored.calibration.clear();
        let mut own = scored.clone();
        own.runs.iter_mut().for_each(|run| run.scores.clear());
        let mut other = own.clone();
        other.runs[0].model.name = "another".to_owned();
        let mut app = app(other.clone());
        app.take(router(0.2));
        assert!(app.session.calibration.is_empty());
        // Routers have scored its runs, and nothing says that they were these.
        app.look_at(scored);
        assert!(app.session.calibration.is_empty());
        app.look_at(own);
        assert_eq!(app.session.calibration, skips(0.2));
        app.look_at(other);
        assert!(app.session.calibration.is_empty());
    }

    #[test]
    fn a_router_that_is_loaded_again_ticks_nothing() {
        let mut app = app(Session::default());
        app.take(router(0.2));
        assert_eq!(app.form.options().choice, Choice::Routed);
        app.form = Form::default();
        app.take(router(0.2));
        assert_eq!(app.form.options().choice, Choice::Full);
    }
}
