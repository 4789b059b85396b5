// Where the numbers of a gate lie: the gate itself, its score, the gradient of the loss with respect to it, and padding.
override STRIDE: u32; // numbers from one gate to the next
const SCORE: u32 = 1u;
const GRADIENT: u32 = 2u;
