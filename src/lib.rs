//! first-wgpu runs language models on any laptop GPU and skips the layers a prompt does not need.
//!
//! It implements FiRST (*Finetuning Router-Selective Transformers*, arXiv 2410.12513): a small router
//! at every transformer layer scores the prompt while it is prefilled, and a layer that scores low is
//! skipped for the whole answer. A skipped layer has no dispatch in the command buffer and no KV cache.
//!
//! # The map
//!
//! A model is a *plan*: a list of dispatches in order. A [`mask::LayerMask`] removes dispatches from the
//! plan before anything is encoded. Everything else reads plans, masks and the [`trace`] of what ran.
//!
//! | module | what lives there | knows |
//! |---|---|---|
//! | [`error`] | one error type: expected, found, where, remedy | nothing |
//! | [`mask`] | which sublayers run | nothing |
//! | [`trace`] | what ran and what it cost; the trace file | `mask` |
//! | [`weights`] | GGUF, one file per weight format | `error` |
//! | [`model`] | config, tokenizer, chat template, the plan on the GPU | `weights`, `kernels` |
//!
//! # Shape letters
//!
//! `T` tokens of a prompt or chunk, `H` hidden size, `Q` query heads x head size, `K` key/value heads x
//! head size, `D` head size, `F` feed-forward size, `V` vocabulary size, `C` context length in tokens.

pub mod bench;
pub mod calibrate;
pub mod check;
pub mod cli;
pub mod data;
pub mod engine;
pub mod error;
pub mod gpu;
pub mod kernels;
pub mod mask;
pub mod model;
pub mod pull;
pub mod reference;
pub mod router;
pub mod trace;
pub mod weights;

pub use error::{Error, Result};
