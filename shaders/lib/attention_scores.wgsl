// Scores of a group's four tokens, whose scaled queries are staged. The importer declares `queries`, `kv_read`, `FOURS`,
// `HEADS` and `params`.

#import attention_groups

override TOKENS: u32 = OWNED;

fn stage_queries(first_token: u32, head: u32, lane: u32) {
    let scale = 1.0 / sqrt(f32(FOURS * 4u));
    for (var i = lane; i < TOKENS * FOURS; i += LANES) {
        let token = min(first_token + i / FOURS, params.tokens - 1u);
        staged[i] = queries[(token * HEADS + head) * FOURS + i % FOURS] * scale;
    }
}

// q . k / sqrt(D) of four tokens and two keys.
fn scores(group: u32, keys: vec2<u32>, kv_first: u32) -> mat2x4<f32> {
    var both: mat2x4<f32>;
    for (var i = 0u; i < FOURS; i++) {
        let q = four_staged(group * 4u * FOURS + i);
        both += mat2x4<f32>(kv_read(key_index(keys.x, kv_first + i)) * q, kv_read(key_index(keys.y, kv_first + i)) * q);
    }
    return both;
}
