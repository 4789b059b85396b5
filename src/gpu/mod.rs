//! The GPU: choosing a device, composing and checking shaders, pipelines, plans of dispatches, timestamps.
//!
//! Nothing here knows about language models, but that some labels name a layer and that attention takes longer than its
//! operations say.
//!
//! Two environment variables are for whoever works on shaders: `FIRST_DUMP_SHADERS` names a folder that each composed
//! shader is written to, and `FIRST_NO_IMMEDIATES` passes run-time values in uniform buffers, as where GPUs have no
//! immediates.

mod adapters;
pub mod buffer;
mod cache;
pub mod device;
pub mod failure;
pub mod pipeline;
pub mod plan;
pub mod read_back;
pub mod reflect;
pub mod shader;
pub mod texture;
pub mod tuning;
mod workers;

pub use buffer::{ALIGNMENT_BYTES, Buffer, bindable_row};
pub use device::{Class, Counters, Counts, Gpu};
pub use pipeline::{Op, Params, Pipeline, Resource};
pub use plan::{GpuTime, Plan, Step};
pub use shader::Variant;
pub use texture::{Texel, Texture};
pub use tuning::Tuning;
