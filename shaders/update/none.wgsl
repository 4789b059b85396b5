// The product is W x alone.

fn update(sums: ptr<function, array<f32, SLOTS>>, tile: u32, local: vec3<u32>) {}
