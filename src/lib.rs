//! first-wgpu runs language models on any GPU and skips the layers that a prompt needs least.
//!
//! It implements FiRST (*Finetuning Router-Selective Transformers*, arXiv 2410.12513): small routers
//! at every transformer layer, one for the attention and one for the MLP, score the prompt while it is
//! prefilled, and what scores low is skipped for the whole answer: it has no dispatch in the command
//! buffer and nothing of the answer in the KV cache.
//!
//! # The map
//!
//! A model is a *plan*: a list of dispatches in order. A [`mask::LayerMask`] removes dispatches from the
//! plan before anything is encoded. Everything else reads plans, masks and the [`trace`] of what ran.
//!
//! | module | what lives there | stands on |
//! |---|---|---|
//! | [`error`] | one error type: expected, found, where, remedy | nothing |
//! | [`mod@file`] | files written whole or not at all | nothing |
//! | [`mask`] | which sublayers run | nothing |
//! | [`router`] | router files, decisions, controls | `mask` |
//! | [`trace`] | what ran and what it cost; the trace file | `mask` |
//! | [`gpu`] | composed shaders, pipelines, plans, timestamps | `trace` |
//! | [`weights`] | GGUF, one file per weight format, packing for the GPU | `gpu` |
//! | [`kernels`] | the host side of each shader | `gpu`, `reference`, `trace`, `weights` |
//! | [`mod@reference`] | each kernel as plain loops on the CPU | `trace` |
//! | [`adapter`] | LoRA adapters in PEFT's files, and their layout on the GPU | `gpu`, `mask`, `model`, `weights` |
//! | [`model`] | configuration, tokenizer, chat template, the plan, the KV cache | `adapter`, `gpu`, `kernels`, `mask`, `reference`, `trace`, `weights` |
//! | [`engine`] | a prompt through a model under a policy | `adapter`, `gpu`, `kernels`, `mask`, `model`, `reference`, `router`, `trace`, `weights` |
//! | [`data`] | examples as tokens | `engine`, `model` |
//! | [`journal`] | results that are there already | `kernels`, `mask`, `trace` |
//! | [`calibrate`] | what each layer is worth | `data`, `engine`, `journal`, `mask`, `router`, `trace` |
//! | [`mod@train`] | routers and low-rank updates, from target masks or through the model | `adapter`, `calibrate`, `data`, `engine`, `gpu`, `journal`, `kernels`, `mask`, `model`, `router`, `trace` |
//! | [`mod@bench`] | what a token and a kernel cost | `engine`, `gpu`, `kernels`, `mask`, `model`, `trace`, `weights` |
//! | [`eval`] | what skipping costs an answer | `bench`, `calibrate`, `data`, `engine`, `journal`, `mask`, `router`, `trace` |
//! | [`check`] | another implementation's exact outputs | `engine`, `mask`, `reference` |
//! | [`pull`] | the default model | nothing |
//! | [`shipped`] | its routers and adapter | `pull` |
//! | [`cli`] | parse, call, print | everything |
//!
//! All stand on `error` and `file`, and some on `random`.
//!
//! `docs/architecture.md` tells why.
//!
//! # Shape letters
//!
//! `T` tokens of a prompt or chunk, `H` hidden size, `Q` query heads x head size, `K` key/value heads x
//! head size, `D` head size, `F` feed-forward size, `V` vocabulary size, `C` context length in tokens.

pub mod adapter;
pub mod bench;
pub mod calibrate;
pub mod check;
pub mod cli;
pub mod data;
pub mod engine;
pub mod error;
pub mod eval;
pub mod file;
pub mod gpu;
pub mod journal;
pub mod kernels;
pub mod mask;
pub mod model;
pub mod pull;
mod random;
pub mod reference;
pub mod router;
pub mod shipped;
pub mod trace;
pub mod train;
pub mod weights;

pub use error::{Error, Result};
