//! first-wgpu runs language models on any GPU and skips the layers a prompt does not need.
//!
//! It implements FiRST (*Finetuning Router-Selective Transformers*, arXiv 2410.12513): a small router
//! at every transformer layer scores the prompt while it is prefilled, and a layer that scores low is
//! skipped for the whole answer. A skipped layer has no dispatch in the command buffer and nothing of
//! the answer in the KV cache.
//!
//! # The map
//!
//! A model is a *plan*: a list of dispatches in order. A [`mask::LayerMask`] removes dispatches from the
//! plan before anything is encoded. Everything else reads plans, masks and the [`trace`] of what ran.
//!
//! | module | what lives there | knows |
//! |---|---|---|
//! | [`mod@file`] | files written whole or not at all | `error` |
//! | [`journal`] | results that are there already | `error` |
//! | [`error`] | one error type: expected, found, where, remedy | nothing |
//! | [`mask`] | which sublayers run | nothing |
//! | [`trace`] | what ran and what it cost; the trace file | `mask` |
//! | [`gpu`] | adapters, composed shaders, pipelines, plans, timestamps | no models |
//! | [`weights`] | GGUF, one file per weight format, packing for the GPU | `gpu` |
//! | [`kernels`] | the host side of each shader | `gpu`, `weights` |
//! | [`mod@reference`] | each kernel as plain loops on the CPU | nothing |
//! | [`model`] | configuration, tokenizer, chat template, the plan, the KV cache | `kernels` |
//! | [`adapter`] | LoRA adapters in PEFT's files | `mask`, `model` |
//! | [`router`] | router files, decisions, controls | `mask` |
//! | [`engine`] | a prompt through a model under a policy | all of these |
//! | [`mod@train`] | routers and low-rank updates, from target masks or through the model | `engine` |
//! | [`check`], [`calibrate`], [`eval`], [`mod@bench`], [`data`], [`pull`], [`shipped`] | what the commands do | `engine` |
//! | [`cli`] | parse, call, print | everything |
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
