// B of a low-rank update of one token in a buffer, four numbers at a time.
@group(0) @binding(13) var<storage, read> b: array<vec4<f32>>;

fn lora_b(index: u32) -> vec4<f32> {
    return b[index];
}
