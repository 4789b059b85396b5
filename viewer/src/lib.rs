//! The viewer of first-wgpu: which layers each prompt wakes, and what each dispatch costs.
//!
//! [`session`] is what there is to see, plain data that is saved and loaded. A panel of [`panels`] turns it
//! into a [`figure::Figure`] and a [`figure::Table`], which are drawn in the window and exported without
//! one. [`worker`] runs the engine on a thread of its own; [`app`] is the window around all of it.

pub mod app;
pub mod export;
pub mod figure;
mod form;
pub mod job;
pub mod palette;
pub mod panels;
pub mod plot;
pub mod prompts;
mod read;
pub mod session;
pub mod stats;
pub mod training;
mod width;
pub mod worker;
