// A of a low-rank update of one token in a buffer, four numbers at a time.
@group(0) @binding(14) var<storage, read> a: array<vec4<f32>>;

fn lora_a(index: u32) -> vec4<f32> {
    return a[index];
}
