//! Plain loops on the CPU that say what each kernel computes: one file per kernel and epilogue, of the
//! same name. Sums are f64, so that a kernel is compared with something better than itself.

pub mod argmax;
pub mod attention;
pub mod attention_decode;
pub mod copy;
pub mod cross_entropy;
pub mod embed;
pub mod fma;
pub mod matmul;
pub mod matvec;
pub mod residual;
pub mod rms_norm;
pub mod rope;
pub mod router_score;
pub mod sample;
pub mod silu_mul;
pub mod store;
