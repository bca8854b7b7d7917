//! `[[sweep]]`: each variant of a pipeline is a run of its own, in OUT/sweep.
use stage::sweep::Variant;
use stage::{Common, Failure, Shard, Stage, print};
use training::{TrainOptions, compare_variants, variant_run};

use crate::{Flags, train};

/// Trains one variant, or all of them and compares them.
pub(crate) fn sweep(
    stage: &Stage,
    (common, flags): (&Common, &Flags),
    options: &TrainOptions,
    one: Option<Shard>,
    fresh: bool,
) -> anyhow::Result<()> {
    let variants = stage.pipeline.variants().map_err(|failure| failure.file(&common.config))?;
    let count = variants.len();
    if count == 0 {
        return Err(Failure::usage("no [[sweep]]")
            .file(&common.config)
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
    let open = |variant| open(common, flags, variant);
    let stages = variants.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let is_asked = |i: usize| one.is_none_or(|one| one.index as usize == i + 1);
    for (i, (variant, own)) in
        variants.iter().zip(&stages).enumerate().filter(|(i, _)| is_asked(*i))
    {
        stage.log.say(format!("variant {} of {count}: {}", i + 1, variant.name));
        let run = variant_run(stage, variant);
        train(own, &TrainOptions { run: Some(run), ..options.clone() }, fresh)?;
    }
    if one.is_none() {
        print(&compare_variants(stage, &variants)?)?;
        let table = stage.path("sweep/sweep.md");
        stage.log.say(format!("the table: {} (.json, .png)", table.display()));
    }
    Ok(())
}

/// The stage with the settings of a variant, which come last.
fn open(common: &Common, flags: &Flags, variant: &Variant) -> anyhow::Result<Stage> {
    let mut stage = common.open_with("train", "train", flags, variant.assignments())?;
    stage.pipeline.sweep.clear(); // the run's own file is that of the variant
    Ok(stage)
}
