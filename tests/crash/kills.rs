//! SIGKILL at random times and at every sync and rename, then the same command to the end: the same bytes as if nothing
//! had been.
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use libtest_mimic::Failed;
use stage::Random;
use tests::faults;
use tests::tree;

use crate::world::{Place, Undisturbed, World, result};
use crate::{LONG_SECONDS, is_long};

/// Of the long form, as the table shows them: the least number of kills of a stage at random times. `BEDTIME_KILLS` sets
/// another.
pub(crate) const AT_RANDOM: u64 = 30;

fn at_random() -> u64 {
    let told = std::env::var("BEDTIME_KILLS").ok().and_then(|text| text.parse().ok());
    told.unwrap_or(AT_RANDOM)
}

#[derive(Default)]
struct Row {
    name: &'static str,
    seconds: f64,
    /// Kills that met the process alive: at random times, and at calls.
    at_random: u64,
    at_calls: u64,
    /// Of these: the result was not whole, so that the next run had work to do.
    in_progress: u64,
    /// Of those in progress: files had been begun.
    begun: u64,
    /// Random times at which the process had ended.
    too_late: u64,
    calls: u64,
    differences: u64,
}

static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

enum Kill {
    After(Duration),
    /// "kill sync,change 3"
    At(String),
}

/// Of the long form, all stages together.
fn long_seconds() -> f64 {
    LONG_SECONDS * (at_random() as f64 / AT_RANDOM as f64).max(1.0)
}

/// All kills of one stage. The failure lists every difference.
pub(crate) fn stage(stage: &'static str, world: &World, name: &'static str) -> Result<(), Failed> {
    let undisturbed = world.stage(stage);
    let mut row = Row { name, seconds: undisturbed.seconds, ..Row::default() };
    let mut random = Random::new(seed(), "kills", stage.len() as u64 + name.len() as u64 * 100);
    let deadline = Instant::now()
        + Duration::from_secs_f64(if is_long() { long_seconds() / 8.0 } else { 60.0 });
    // Beyond that, whatever one kill and the run after it take.
    let grace = Duration::from_secs_f64(if is_long() { 300.0 * undisturbed.seconds } else { 0.0 })
        + Duration::from_secs(60);
    let mut wrong = Vec::new();

    let wanted = if is_long() { at_random() } else { 3 };
    for number in 0..wanted * 3 {
        if row.at_random >= wanted || (Instant::now() > deadline && row.at_random >= 20) {
            break;
        }
        let mut time = || Kill::After(Duration::from_secs_f64(undisturbed.seconds * random.unit()));
        // Now and then the one that goes on is killed, too.
        let kills = if number % 4 == 3 { vec![time(), time()] } else { vec![time()] };
        wrong.extend(trial(world, stage, &kills, &mut row));
    }

    let calls = undisturbed
        .calls
        .filter(|_| faults::shim().is_some())
        .map_or(0, |calls| calls.sync + calls.change);
    let step = if is_long() { 1 } else { calls.div_ceil(5).max(1) };
    for how in ["kill", "after"] {
        for number in (1..=calls).step_by(step as usize) {
            // What "after" finds, the next "kill" finds nearly, too: it is what may be left out.
            if (how == "after" && (!is_long() || Instant::now() > deadline))
                || Instant::now() > deadline + grace
            {
                break;
            }
            row.calls = row.calls.max(if how == "kill" { number } else { 0 });
            wrong.extend(trial(
                world,
                stage,
                &[Kill::At(format!("{how} sync,change {number}"))],
                &mut row,
            ));
        }
    }
    if is_long() && row.calls < calls {
        wrong.push(format!("time for {} of {calls} syncs and renames only", row.calls));
    }
    row.differences = wrong.len() as u64;
    ROWS.lock().unwrap_or_else(|e| e.into_inner()).push(row);
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{}\n{}", wrong.len(), wrong.join("\n")).into())
    }
}

/// Signals that ask for the end, at random times of a training: it saves, ends with 130, and goes on to the same bytes.
pub(crate) fn signals(world: &World) -> Result<(), Failed> {
    let undisturbed = world.stage("train");
    let mut random = Random::new(seed(), "signals", 0);
    let mut wrong = Vec::new();
    let (wanted, mut saved) = (if is_long() { 200 } else { 6 }, 0);
    for _ in 0..wanted {
        let place = world.before("train");
        let signal = ["INT", "TERM", "HUP", "USR1"][random.below(4) as usize];
        let time = Duration::from_secs_f64(undisturbed.seconds * random.unit());
        let status = place.signalled_after("train", time, signal);
        let newest = newest_step(&place);
        let ended = place.ended("train", None);
        let mut note = |what: String| wrong.push(format!("{signal} after {time:?}: {what}"));
        match status.code() {
            Some(130) => saved += 1,
            // Too late; or before the program could listen.
            Some(0) | None => {}
            Some(code) => note(format!("ended with {code}")),
        }
        if let Some(step) = newest.filter(|step| *step > 0 && status.code() == Some(130))
            && !ended.stderr.contains(&format!("going on with step {step}"))
            && !ended.stderr.contains("up to date")
        {
            note(format!("did not go on with step {step}: {}", ended.stderr));
        }
        if ended.code != 0 {
            note(format!("run again it ends with {}: {}", ended.code, ended.stderr));
        }
        tree::differences(&undisturbed.after, &place.tree()).into_iter().for_each(note);
    }
    println!("{wanted} signals, {saved} of them answered with a saved state");
    if saved == 0 {
        wrong.push("no signal met a training that could save".into());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// The highest step of a checkpoint under its final name.
fn newest_step(place: &Place) -> Option<u64> {
    let folder = place.run.path("run/checkpoints");
    let paths = tests::files_below(&folder);
    let whole = paths.iter().filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
    whole.filter_map(|path| Some(model::Checkpoint::load(path).ok()?.state.step)).max()
}

/// `BEDTIME_SEED` for other times than those of the last run.
fn seed() -> u64 {
    std::env::var("BEDTIME_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// One OUT, killed this number of times, then run to the end. Returns what is wrong.
fn trial(world: &World, stage: &str, kills: &[Kill], row: &mut Row) -> Vec<String> {
    let (undisturbed, place) = (world.stage(stage), world.before(stage));
    let mut told = Vec::new();
    let mut wrong = Vec::new();
    for kill in kills {
        let (status, word) = match kill {
            Kill::After(time) => {
                (place.killed_after(stage, *time), format!("{:.1} ms", time.as_secs_f64() * 1e3))
            }
            Kill::At(fault) => (place.killed_at(stage, fault), fault.clone()),
        };
        told.push(word);
        if !was_killed(status) {
            row.too_late += 1;
            continue;
        }
        match kill {
            Kill::After(_) => row.at_random += 1,
            Kill::At(_) => row.at_calls += 1,
        }
        let found = place.tree();
        if found != undisturbed.after || stage == "sample" {
            row.in_progress += 1;
            row.begun += u64::from(found != undisturbed.before);
        }
        wrong.extend(tree::half_written(&undisturbed.before, &undisturbed.after, &place.out()));
    }
    let kept = finished_files(&place, undisturbed);
    let ended = place.ended(stage, None);
    if ended.code != 0 {
        wrong.push(format!("run again it ends with {}: {}", ended.code, ended.stderr));
    }
    wrong.extend(tree::differences(&undisturbed.after, &place.tree()));
    if result(stage, &ended) != undisturbed.stdout {
        wrong.push("stdout differs".into());
    }
    let again: Vec<String> = kept
        .iter()
        .filter(|(name, time)| modified(&place, name) != Some(*time))
        .map(|(name, _)| name.clone())
        .collect();
    if !again.is_empty() {
        wrong.push(format!("finished before, made again: {}", again.join(", ")));
    }
    wrong
        .into_iter()
        .map(|line| format!("{stage} killed at {}: {line}", told.join(", then at ")))
        .collect()
}

#[cfg(unix)]
fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9)
}

#[cfg(not(unix))]
fn was_killed(status: ExitStatus) -> bool {
    !status.success()
}

fn modified(place: &Place, name: &str) -> Option<SystemTime> {
    std::fs::metadata(place.run.path(name)).ok()?.modified().ok()
}

/// Shards and numbered checkpoints that are as they will be in the end: these take time, and are not to be made twice.
fn finished_files(place: &Place, undisturbed: &Undisturbed) -> Vec<(String, SystemTime)> {
    let large = |name: &str| name.ends_with(".arrow") || name.starts_with("run/checkpoints/step_");
    let new = place.tree().into_iter().filter(|(name, bytes)| {
        large(name)
            && !undisturbed.before.contains_key(name)
            && undisturbed.after.get(name) == Some(bytes)
    });
    new.filter_map(|(name, _)| Some((name.clone(), modified(place, &name)?))).collect()
}

/// What was done, as a table on stdout.
pub(crate) fn print_table() {
    let rows = ROWS.lock().unwrap_or_else(|e| e.into_inner());
    if rows.is_empty() {
        return;
    }
    println!(
        "\n| stage | seconds | kills | at random times | at syncs and renames | hit work in progress | with files begun | too late | exceptions |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut sum = Row { name: "all", ..Row::default() };
    let line = |row: &Row| {
        println!(
            "| {} | {:.2} | {} | {} | {} | {} | {} | {} | {} |",
            row.name,
            row.seconds,
            row.at_random + row.at_calls,
            row.at_random,
            row.at_calls,
            row.in_progress,
            row.begun,
            row.too_late,
            row.differences
        );
    };
    for row in rows.iter() {
        line(row);
        sum.seconds += row.seconds;
        sum.at_random += row.at_random;
        sum.at_calls += row.at_calls;
        sum.in_progress += row.in_progress;
        sum.begun += row.begun;
        sum.too_late += row.too_late;
        sum.differences += row.differences;
    }
    line(&sum);
    println!(
        "\nWork in progress: the result was not whole yet. With files begun: something of it was on the disk. Too late: the stage had ended by itself; no kill."
    );
}
