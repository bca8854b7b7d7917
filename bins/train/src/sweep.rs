//! `[[sweep]]`: each variant of a pipeline is a run of its own, in OUT/sweep.
use std::path::{Path, PathBuf};

use stage::sweep::Variant;
use stage::{Failure, Shard, Stage, print};
use training::{compare_variants, variant_run};

/// Trains one variant of the pipeline in the file `config`, or all of them and compares them. `open` gives the stage with
/// the settings of a variant, `train` trains it in a folder.
pub(crate) fn sweep(
    stage: &Stage,
    config: &Path,
    one: Option<Shard>,
    open: impl Fn(&Variant) -> anyhow::Result<Stage>,
    train: impl Fn(&Stage, PathBuf) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let variants = stage.pipeline.variants().map_err(|failure| failure.file(config))?;
    let count = variants.len();
    if count == 0 {
        return Err(Failure::usage("no [[sweep]]")
            .file(config)
            .expected("tables with lists of values")
            .remedy("add one, for example: [[sweep]] and below it train.lr = [1e-3, 2e-3]")
            .into());
    }
    if let Some(one) = one.filter(|one| one.of as usize != count) {
        return Err(Failure::usage(format_args!("{}/{}", one.index, one.of))
            .at("--variant")
            .expected(format_args!("I/{count}: this pipeline has {count} variants"))
            .into());
    }
    // All of them first: a value that is wrong is not found out after hours.
    let stages = variants.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let is_asked = |i: usize| one.is_none_or(|one| one.index as usize == i + 1);
    for (i, (variant, own)) in
        variants.iter().zip(&stages).enumerate().filter(|(i, _)| is_asked(*i))
    {
        stage.log.say(format!("variant {} of {count}: {}", i + 1, variant.name));
        train(own, variant_run(stage, variant))?;
    }
    if one.is_none() {
        print(&compare_variants(stage, &variants)?)?;
        let table = stage.path("sweep/sweep.md");
        stage.log.say(format!("the table: {} (.json, .png)", table.display()));
    }
    Ok(())
}
