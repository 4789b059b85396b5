use super::*;
use proptest::prelude::*;

/// 256 values, whole blocks of every format, whose quanta are easy to see.
fn ramp() -> Vec<f32> {
    (0..256).map(|i| (i % 16) as f32).collect()
}

#[test]
fn numbers_and_names_agree() {
    let numbers = Format::ALL.map(Format::ggml_type);
    assert_eq!(numbers, [0, 1, 30, 8, 2, 3, 6, 7, 12, 13, 14]);
    for format in Format::ALL {
        assert_eq!(Format::from_ggml_type(format.ggml_type()), Some(format));
        assert_eq!(Format::from_name(format.name()), Some(format));
    }
    let bytes = Format::ALL.map(|f| (f.block_len(), f.block_bytes()));
    assert_eq!(
        bytes,
        [
            (1, 4),
            (1, 2),
            (1, 2),
            (32, 34),
            (32, 18),
            (32, 20),
            (32, 22),
            (32, 24),
            (256, 144),
            (256, 176),
            (256, 210)
        ]
    );
    assert_eq!(Format::from_ggml_type(10), None);
}

#[test]
fn known_bytes_of_floats() {
    for (format, bytes) in [
        (Format::F32, vec![0, 0, 0xc0, 0x3f]),
        (Format::F16, vec![0, 0x3e]),
        (Format::Bf16, vec![0xc0, 0x3f]),
    ] {
        assert_eq!(format.encode_row(&[1.5]), bytes, "{format}");
        let mut out = [0.0];
        format.decode_row(&bytes, &mut out);
        assert_eq!(out, [1.5], "{format}");
    }
}

#[test]
fn known_bytes_of_q8_0() {
    let mut bytes = vec![0x00, 0x38]; // d = 0.5
    bytes.extend((0..32u8).map(|i| i.wrapping_mul(8).wrapping_sub(128)));
    let mut out = [0.0; 32];
    Format::Q8_0.decode_row(&bytes, &mut out);
    assert_eq!(out[..3], [-64.0, -60.0, -56.0]);
    assert_eq!(out[31], 60.0);
}

/// Byte `j` holds value `j` in its low half and value `j + 16` in its high half.
#[test]
fn known_bytes_of_nibbles() {
    let nibbles: Vec<u8> = (0..16u8).map(|j| j | (15 - j) << 4).collect();
    let mut out = [0.0; 32];

    let q4_0 = [&[0x00, 0x40][..], &nibbles].concat(); // d = 2
    Format::Q4_0.decode_row(&q4_0, &mut out);
    let expected = |j: usize| if j < 16 { j as f32 } else { 31.0 - j as f32 };
    for (j, out) in out.iter().enumerate() {
        assert_eq!(*out, 2.0 * (expected(j) - 8.0), "value {j}");
    }

    let q4_1 = [&[0x00, 0x38, 0x00, 0xbc][..], &nibbles].concat(); // d = 0.5, m = -1
    Format::Q4_1.decode_row(&q4_1, &mut out);
    for (j, out) in out.iter().enumerate() {
        assert_eq!(*out, 0.5 * expected(j) - 1.0, "value {j}");
    }
    assert_eq!(Format::Q4_1.encode_row(&out), q4_1);
}

/// What the `gguf` package of ggml's authors makes of arbitrary bytes, written by `scripts/make-format-goldens.py`.
#[test]
fn arbitrary_bytes_decode_as_ggml_defines() {
    let text = include_str!("../../tests/golden/formats.json");
    let goldens: Vec<Golden> = serde_json::from_str(text).expect("valid");
    let names: Vec<_> = goldens
        .iter()
        .map(|golden| golden.format.as_str())
        .collect();
    let quantised = Format::ALL
        .into_iter()
        .filter(|format| format.block_len() > 1);
    assert_eq!(names, quantised.map(Format::name).collect::<Vec<_>>());
    for golden in goldens {
        let format = Format::from_name(&golden.format).expect("one of ours");
        let mut out = vec![f32::NAN; golden.values.len()];
        format.decode_row(&golden.bytes, &mut out);
        assert_eq!(out, golden.values, "{format}");
    }
}

#[derive(serde::Deserialize)]
struct Golden {
    format: String,
    bytes: Vec<u8>,
    values: Vec<f32>,
}

#[test]
fn exact_values_survive() {
    for format in Format::ALL {
        let values = match format {
            // The largest value is 127, so the scale is 1.
            Format::Q8_0 => ramp().iter().map(|v| (v * 127.0 / 15.0).round()).collect(),
            Format::Q4_0 => ramp().iter().map(|v| v - 8.0).collect(),
            Format::Q5_0 => ramp().iter().map(|v| v - 16.0).collect(),
            // The same range in 31 steps.
            Format::Q5_1 => ramp()
                .iter()
                .map(|v| 31.0 / 15.0 * v)
                .map(f32::round)
                .collect(),
            // A sub-block's scale is 63 and its minimum 0 or 63, so the scales of all are 1.
            Format::Q4K => ramp().iter().map(|v| 63.0 * v - 63.0).collect(),
            Format::Q5K => ramp()
                .iter()
                .map(|v| 63.0 * (2.0 * v + v % 2.0) - 63.0)
                .collect(),
            // Scales of 16 are -128, that of all is 1.
            Format::Q6K => ramp().iter().map(|v| 128.0 * (2.0 * v + 2.0)).collect(),
            _ => ramp(),
        };
        let mut out = [f32::NAN; 256];
        format.decode_row(&format.encode_row(&values), &mut out);
        assert_eq!(out[..], values, "{format}");
    }
}

#[test]
fn blocks_of_equal_values_and_zeros() {
    for format in Format::ALL {
        for value in [0.0, -0.0, 0.5, -3.0] {
            let mut out = [f32::NAN; 256];
            format.decode_row(&format.encode_row(&[value; 256]), &mut out);
            for out in out {
                assert!(
                    (out - value).abs() <= 2e-3 * value.abs(),
                    "{format}: {value} became {out}"
                );
            }
        }
    }
}

#[test]
fn rows_that_are_not_whole_blocks_have_a_stand_in() {
    for format in Format::ALL {
        assert_eq!(format.for_columns(512), format);
        let stand_in = match format {
            Format::Q4K => Format::Q5_0,
            Format::Q5K => Format::Q5_1,
            Format::Q6K => Format::Q8_0,
            format => format,
        };
        assert_eq!(format.for_columns(576), stand_in);
    }
}

#[test]
fn rows_of_a_view() {
    let values: Vec<f32> = (0..96).map(|i| i as f32).collect();
    let bytes = Format::F32.encode_row(&values);
    let view = TensorView {
        name: "t",
        format: Format::F32,
        shape: &[3, 32],
        bytes: &bytes,
    };
    assert_eq!((view.rows(), view.columns()), (3, 32));
    let mut row = [0.0; 32];
    view.format.decode_row(view.row(2), &mut row);
    assert_eq!(row[..], values[64..]);
    assert_eq!(view.to_f32(), values);
    assert_eq!(format!("{view:?}"), "t f32 [3, 32]");
    let vector = TensorView {
        name: "v",
        format: Format::F32,
        shape: &[96],
        bytes: &bytes,
    };
    assert_eq!((vector.rows(), vector.columns()), (1, 96));
}

proptest! {
    /// The error of a value is at most half a quantum of its block, plus the rounding of the f16 scale,
    /// which the largest quantum multiplies, and that of the scales of a sub-block, which are integers themselves.
    #[test]
    fn round_trip_is_within_half_a_quantum(
        values in prop::collection::vec(-8f32..8.0, 512),
        magnitude in prop::sample::select(vec![1e-2f32, 1.0, 100.0]),
    ) {
        let values: Vec<f32> = values.iter().map(|v| v * magnitude).collect();
        for format in Format::ALL {
            let mut out = vec![f32::NAN; values.len()];
            format.decode_row(&format.encode_row(&values), &mut out);
            let most = values.iter().fold(0f32, |m, v| m.max(v.abs()));
            let most_range = 2.0 * most;
            for (block, decoded) in values.chunks(32).zip(out.chunks(32)) {
                let largest = block.iter().fold(0f32, |m, v| m.max(v.abs()));
                let range = block.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v))
                    - block.iter().fold(f32::INFINITY, |m, v| m.min(*v));
                let half_quantum = match format {
                    Format::F32 => 0.0,
                    Format::F16 => largest * 2f32.powi(-11),
                    Format::Bf16 => largest * 2f32.powi(-8),
                    Format::Q8_0 => largest / 127.0 / 2.0,
                    // The side opposite to the largest value has 7 quanta, not 8: it may clip by one.
                    Format::Q4_0 => largest / 8.0,
                    Format::Q4_1 => range / 15.0 / 2.0,
                    Format::Q5_0 => largest / 16.0,
                    Format::Q5_1 => range / 31.0 / 2.0,
                    // A minimum is never above zero.
                    Format::Q4K => range.max(largest) / 15.0 / 2.0,
                    Format::Q5K => range.max(largest) / 31.0 / 2.0,
                    Format::Q6K => largest / 32.0,
                };
                let rounding = match format {
                    Format::F32 => 0.0,
                    // Half a unit of the scale, times all steps, and half a unit of the minimum.
                    Format::Q4K | Format::Q5K => most_range / 63.0 / 2.0 + most / 63.0 / 2.0 + most * 2e-3,
                    // A whole unit: 128 has no positive twin.
                    Format::Q6K => most / 128.0 + most * 2e-3,
                    _ => largest * 2e-3,
                };
                for (value, decoded) in block.iter().zip(decoded) {
                    prop_assert!(
                        (value - decoded).abs() <= half_quantum + rounding,
                        "{format}: {value} became {decoded}, half a quantum is {half_quantum}"
                    );
                }
            }
        }
    }
}
