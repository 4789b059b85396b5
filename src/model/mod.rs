//! A model: what a file says it is, its text side, and (beside these) its plan on the GPU.
//!
//! | module | what lives there |
//! |---|---|
//! | [`config`] | shapes and constants from the file, checked against its tensors |
//! | [`tokenizer`] | text to token ids and back |
//! | [`chat_template`] | a conversation to the text of a prompt |
//! | [`mod@source`] | where a model's tensors come from: its file, with an adapter merged in or not, or random numbers |
//! | [`llama`] | weights on the GPU; the steps of a prefill and of a decoded token |
//! | `load` | how the weights come there |
//! | `head` | its last norm, logits, tokens and losses |
//! | `product` | the matrix products of a layer, with what an adapter adds to them |
//! | `rope` | the angles of rotary position embeddings |
//! | [`buffers`] | what a decoded token and a prefill keep on the GPU |
//! | [`kv_cache`] | keys and values of the layers that run |
//! | [`synthetic`] | random weights in the shape of a known model, for timing |
//! | [`tiny`] | a generated model of a few hundred kilobytes, for tests and demonstrations |

pub mod buffers;
pub mod chat_template;
pub mod config;
mod head;
pub mod kv_cache;
pub mod llama;
mod load;
mod product;
mod rope;
pub mod source;
pub mod synthetic;
pub mod tiny;
pub mod tokenizer;
