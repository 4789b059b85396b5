//! Plain loops on the CPU that say what each kernel computes: one file per kernel, of the same name.

pub mod router_score;
