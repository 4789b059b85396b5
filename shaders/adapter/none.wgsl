// No adapter: the product is W x alone.

fn adapter_fours() -> u32 {
    return 0u;
}

fn adapter_h(token: u32, four: u32) -> vec4<f32> {
    return vec4<f32>(0.0);
}

fn adapter_b(slot: u32, four: u32) -> vec4<f32> {
    return vec4<f32>(0.0);
}
