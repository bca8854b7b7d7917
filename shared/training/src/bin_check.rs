//! The check of the bins' hashes, beside the first steps: nothing is published before it is known to fit.
use std::thread::JoinHandle;

use stage::{Failure, FailureKind, Result};

use crate::setup::Setup;

/// None once it has ended well.
pub(crate) struct BinCheck(Option<JoinHandle<Result<()>>>);

impl BinCheck {
    pub(crate) fn start(setup: &Setup) -> Self {
        let (train, validation) = (setup.train.clone(), setup.validation.clone());
        let check = move || train.verify().and_then(|()| validation.verify());
        BinCheck(Some(std::thread::spawn(check)))
    }

    /// Waits for its end.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self.0.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(Err(Failure { kind: FailureKind::Interrupted, .. }))) => {
                Err(Failure::interrupted(
                    "train.bin and val.bin were still being checked, so nothing new is saved; run the same command to go on",
                ))
            }
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Failure::try_again("the thread that checks train.bin failed")),
        }
    }
}
