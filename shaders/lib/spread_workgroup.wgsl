// How eight neighbouring vec4 reach all lanes on a GPU: all lanes read the same address, which its caches serve at
// once. The importer declares `load(source, index)`.

const LANES: u32 = 32u;

fn spread(source: u32, first: u32, lane: u32) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        load(source, first), load(source, first + 1u), load(source, first + 2u), load(source, first + 3u),
        load(source, first + 4u), load(source, first + 5u), load(source, first + 6u), load(source, first + 7u),
    );
}
