//! The matrices of the layers, by shape: what a rule for matrices updates, many at once.
use model::{Group, Tensor, TensorTable};

/// Matrices of one shape at regular places in a flat buffer: some side by side in each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixGroup {
    /// Of each matrix.
    pub rows: usize,
    /// Of each matrix.
    pub columns: usize,
    /// Where the first begins.
    pub offset: usize,
    /// Matrices side by side in a layer.
    pub side_by_side: usize,
    /// Layers that hold them.
    pub layers: usize,
    /// From those of a layer to those of the next.
    pub stride: usize,
}

impl MatrixGroup {
    /// All matrices of a table, which lie before all other tensors. Query, key and value are three, though one matmul takes them.
    pub fn all(table: &TensorTable) -> Vec<MatrixGroup> {
        let layers = table.layers.len();
        let matrices: Vec<&Tensor> =
            table.tensors.iter().filter(|tensor| tensor.group == Group::Matrix).collect();
        let first = &matrices[..matrices.len() / layers.max(1)];
        let stride = first.iter().map(|tensor| tensor.len()).sum();
        let mut groups: Vec<MatrixGroup> = Vec::new();
        for tensor in first {
            let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
            match groups.last_mut() {
                Some(last) if (last.rows, last.columns) == (rows, columns) => {
                    last.side_by_side += 1;
                }
                _ => groups.push(MatrixGroup {
                    rows,
                    columns,
                    offset: tensor.offset,
                    side_by_side: 1,
                    layers,
                    stride,
                }),
            }
        }
        groups
    }

    /// Number of matrices.
    pub fn count(&self) -> usize {
        self.side_by_side * self.layers
    }

    /// Values of one.
    pub fn values(&self) -> usize {
        self.rows * self.columns
    }

    /// Where the one with this number begins.
    pub fn offset_of(&self, number: usize) -> usize {
        let (layer, place) = (number / self.side_by_side, number % self.side_by_side);
        self.offset + layer * self.stride + place * self.values()
    }

    /// The shorter and the longer side.
    pub fn sides(&self) -> (usize, usize) {
        (self.rows.min(self.columns), self.rows.max(self.columns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Config;

    #[test]
    fn groups_are_the_matrices_of_the_table_each_once() {
        for (n_layer, n_kv_head, d_model, d_mlp, groups) in [
            (1, None, 8, 12, 3),
            (3, None, 8, 12, 3),
            (2, None, 8, 8, 1),
            (3, Some(1), 8, 12, 5),
            (6, None, 320, 856, 3),
        ] {
            let section =
                stage::config::Model { n_layer, n_head: 2, n_kv_head, d_model, d_mlp, context: 8 };
            let table = TensorTable::new(&Config::new(&section, 300));
            let all = MatrixGroup::all(&table);
            assert_eq!(all.len(), groups);
            let mut found: Vec<(usize, [usize; 2])> = all
                .iter()
                .flat_map(|group| {
                    (0..group.count())
                        .map(|number| (group.offset_of(number), [group.rows, group.columns]))
                })
                .collect();
            found.sort_unstable();
            let matrices = table.tensors.iter().filter(|tensor| tensor.group == Group::Matrix);
            let expected: Vec<(usize, [usize; 2])> =
                matrices.map(|t| (t.offset, [t.shape[0], t.shape[1]])).collect();
            assert_eq!(found, expected);
        }
    }
}
