//! Logistic regression, full batch, by Adam (arXiv 1412.6980): a few hundred examples of a few hundred
//! numbers need no GPU.

/// `p = sigmoid(w . x + b)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Logistic {
    /// `[H]`.
    pub weights: Vec<f32>,
    /// Its bias.
    pub bias: f32,
}

const STEPS: i32 = 500;
const RATE: f64 = 0.02;

/// The mean cross-entropy, plus `decay` times `|w|^2`, and its gradient with respect to the weights and the
/// bias, which comes last.
fn loss(inputs: &[&[f32]], labels: &[bool], decay: f64, theta: &[f64]) -> (f64, Vec<f64>) {
    let (w, bias) = (&theta[..theta.len() - 1], theta[theta.len() - 1]);
    let mut gradient: Vec<f64> = w.iter().map(|w| 2.0 * decay * w).collect();
    gradient.push(0.0);
    let mut sum = decay * w.iter().map(|w| w * w).sum::<f64>();
    let share = 1.0 / inputs.len() as f64;
    for (x, label) in inputs.iter().zip(labels) {
        let logit: f64 = w
            .iter()
            .zip(*x)
            .map(|(w, x)| w * f64::from(*x))
            .sum::<f64>()
            + bias;
        let toward = if *label { logit } else { -logit };
        // ln(1 + exp(-z)) without overflow.
        sum += share * ((-toward).max(0.0) + (-toward.abs()).exp().ln_1p());
        let error = share * (1.0 / (1.0 + (-logit).exp()) - f64::from(u8::from(*label)));
        for (gradient, x) in gradient.iter_mut().zip(*x) {
            *gradient += error * f64::from(*x);
        }
        gradient[w.len()] += error;
    }
    (sum, gradient)
}

/// Fits `p(label | input)`; `decay` is the weight of `|w|^2` in the loss.
pub fn fit(inputs: &[&[f32]], labels: &[bool], decay: f32) -> Logistic {
    let size = inputs[0].len() + 1;
    let (mut theta, mut mean, mut square) = (vec![0.0; size], vec![0.0; size], vec![0.0; size]);
    for step in 1..=STEPS {
        let (_, gradient) = loss(inputs, labels, f64::from(decay), &theta);
        for (index, gradient) in gradient.into_iter().enumerate() {
            mean[index] = 0.9 * mean[index] + 0.1 * gradient;
            square[index] = 0.999 * square[index] + 0.001 * gradient * gradient;
            let first: f64 = mean[index] / (1.0 - 0.9f64.powi(step));
            let second: f64 = square[index] / (1.0 - 0.999f64.powi(step));
            theta[index] -= RATE * first / (second.sqrt() + 1e-8);
        }
    }
    let bias = theta.pop().unwrap_or_default() as f32;
    let weights = theta.into_iter().map(|w| w as f32).collect();
    Logistic { weights, bias }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let inputs: [&[f32]; 3] = [&[1.0, -2.0], &[0.5, 0.25], &[-3.0, 1.0]];
        let labels = [true, false, true];
        let theta = [0.3, -0.2, 0.1];
        let (_, gradient) = loss(&inputs, &labels, 0.05, &theta);
        for index in 0..3 {
            let at = |shift: f64| {
                let mut theta = theta;
                theta[index] += shift;
                loss(&inputs, &labels, 0.05, &theta).0
            };
            let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!(
                (numeric - gradient[index]).abs() < 1e-8,
                "{index}: {numeric}"
            );
        }
    }

    #[test]
    fn what_can_be_separated_is() {
        let inputs: [&[f32]; 4] = [&[1.0, 0.1], &[0.9, -0.2], &[-1.0, 0.3], &[-1.2, 0.0]];
        let labels = [true, true, false, false];
        let Logistic { weights, bias } = fit(&inputs, &labels, 1e-3);
        for (x, label) in inputs.iter().zip(labels) {
            let logit = weights[0] * x[0] + weights[1] * x[1] + bias;
            assert_eq!(logit > 0.0, label);
        }
    }
}
