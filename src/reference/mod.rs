//! Plain loops on the CPU that say what each kernel computes: one file per kernel and epilogue, of the
//! same name. Sums are f64, so that a kernel is compared with something better than itself.

pub mod adamw;
pub mod argmax;
pub mod attention;
pub mod attention_backward;
pub mod attention_combine;
pub mod attention_decode;
pub mod attention_keys_backward;
pub mod copy;
pub mod cross_entropy;
pub mod cross_entropy_backward;
pub mod dot;
pub mod embed;
pub mod fma;
pub mod gate;
pub mod gate_backward;
pub mod gated;
pub mod lora_down;
pub mod lora_down_backward;
pub mod lora_share;
pub mod matmul;
pub mod matmul_backward;
pub mod matvec;
pub mod residual;
pub mod rms_norm;
pub mod rms_norm_backward;
pub mod rope;
pub mod rope_backward;
pub mod router_score;
pub mod router_score_backward;
pub mod router_weights_backward;
pub mod sample;
pub mod silu_mul;
pub mod silu_mul_backward;
pub mod softmax;
pub mod store;
