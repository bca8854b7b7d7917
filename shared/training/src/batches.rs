//! Which windows of train.bin make a step.
use corpus::batch_sampler::BatchSampler;
use inference::check_ids;
use stage::Result;

use crate::setup::Setup;

pub(crate) struct Batches<'a> {
    setup: &'a Setup,
    sampler: BatchSampler<'a>,
    /// Steps whose windows gave no finite loss, once for each time that they were taken out.
    redrawn: Vec<u64>,
}

impl<'a> Batches<'a> {
    pub(crate) fn new(setup: &'a Setup) -> Result<Self> {
        let t = &setup.pipeline.train;
        let sampler = BatchSampler::new(&setup.train, t, setup.config.context)?;
        Ok(Batches { setup, sampler, redrawn: Vec::new() })
    }

    /// Fills `windows` with a micro-batch. That of a step that was taken out comes from further on.
    pub(crate) fn fill(&self, step: u64, micro: u64, windows: &mut Vec<u32>) -> Result<()> {
        self.sampler.batch(step, micro, &self.redrawn, windows)?;
        check_ids(self.setup.train.path(), windows, self.setup.config.vocab_size)
    }

    pub(crate) fn set_redrawn(&mut self, redrawn: Vec<u64>) {
        self.redrawn = redrawn;
    }

    /// Takes the windows of a step out.
    pub(crate) fn redraw(&mut self, step: u64) {
        self.redrawn.push(step);
    }

    pub(crate) fn redrawn(&self) -> &[u64] {
        &self.redrawn
    }
}
