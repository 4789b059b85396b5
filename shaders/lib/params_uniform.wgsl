// Run-time values, where the GPU has no immediates.
@group(1) @binding(0) var<uniform> params: Params;
