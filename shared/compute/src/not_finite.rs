//! Where a loss that is not finite came from.
use crate::kernels::Result;
use crate::step::Trainer;

fn broken(values: &[f32]) -> bool {
    !values.iter().all(|value| value.is_finite())
}

impl Trainer {
    /// Computes the step of `windows` once more and names the first values in it that are not finite, in the order in which
    /// they are computed: weights, activations, losses, gradients. None where all are finite. The gradients are overwritten.
    pub fn first_not_finite(&mut self, windows: &[u32]) -> Result<Option<String>> {
        let weights = self.model.weights()?;
        let mut tensors = self.model.table.tensors.iter();
        if let Some(tensor) = tensors.find(|tensor| broken(&weights[tensor.range()])) {
            return Ok(Some(format!("the weights {}", tensor.name)));
        }
        let (window, sequence) = (self.model.sequence + 1, self.model.sequence);
        let scale = 1.0 / (windows.len() / window * sequence) as f32;
        self.begin();
        for windows in windows.chunks(self.model.sequences_at_once() * window) {
            self.accumulate(windows, scale);
            let broken = self.broken_activation(windows.len() / window * sequence)?;
            if broken.is_some() {
                return Ok(broken);
            }
        }
        let gradients = self.gradients()?;
        // Backward goes from the last layer to the first; the embedding, which is the head too, comes last.
        let table = &self.model.table;
        let mut order: Vec<&model::Tensor> = table.tensors.iter().collect();
        let place = |tensor: &model::Tensor| {
            let layer =
                tensor.name.split('.').nth(2).and_then(|number| number.parse::<usize>().ok());
            let embedding = table.embedding.contains(&tensor.offset);
            (embedding, layer.map_or(0, |layer| table.layers.len() - layer))
        };
        order.sort_by_key(|tensor| place(tensor));
        Ok(order
            .into_iter()
            .find(|tensor| broken(&gradients[tensor.range()]))
            .map(|tensor| format!("the gradient of {}", tensor.name)))
    }

    /// The first value that is not finite, of what a pass over this number of rows left behind.
    fn broken_activation(&mut self, rows: usize) -> Result<Option<String>> {
        let (config, m) = (self.model.config, &mut self.model);
        for l in 0..config.n_layer {
            let kept = m.activations[l].named().filter(|(buffer, _)| buffer.kept);
            for (buffer, view) in kept {
                let values = m.kernels.download(view.slice(0, rows * (buffer.columns)(&config)))?;
                if broken(&values) {
                    return Ok(Some(format!("the activations of layer {l}: {}", buffer.what)));
                }
            }
        }
        for (name, view, columns) in [("output", *m.out, config.d_model), ("losses", *m.losses, 1)]
        {
            if broken(&m.kernels.download(view.slice(0, rows * columns))?) {
                return Ok(Some(format!("the {name} of the model")));
            }
        }
        Ok(None)
    }
}
