//! Decoding against the whole pass.
use compute::{Cpu, Decoder, Model, Row, Storage};
use model::Config;

use crate::lab::{assert_close, tokens, wide};
use crate::model::{config, grouped, weights};

/// A decoder with this number of slots, of either implementation.
type Maker<'a> = &'a dyn Fn(Config, &[f32], usize) -> Decoder;

/// Logits of the last five positions of three stories, told alone and beside each other; they have to be equal.
fn told_alone_and_together(
    config: Config,
    weights: &[f32],
    stories: &[Vec<u32>],
    make: Maker,
) -> Vec<Vec<f32>> {
    let (sequence, vocab) = (stories[0].len(), config.vocab_size);
    // One story alone in slot 0, all but its last five tokens read at once.
    let alone: Vec<Vec<f32>> = stories
        .iter()
        .map(|story| {
            let mut decoder = make(config, weights, 1);
            let row = |position: usize| Row {
                token: story[position],
                slot: 0,
                position: position as u32,
            };
            decoder.read(&(0..sequence - 5).map(row).collect::<Vec<Row>>());
            (sequence - 5..sequence)
                .flat_map(|position| decoder.next(&[row(position)]).unwrap().into_owned())
                .collect()
        })
        .collect();
    // The same stories beside each other, each starting late or ending early, in other slots and token by token.
    let mut decoder = make(config, weights, 5);
    let mut found = vec![Vec::new(); 3];
    for at in 0..sequence + 7 {
        let at_once: Vec<(usize, usize)> = [(2, 7), (0, 0), (1, 3)]
            .into_iter()
            .filter_map(|(s, late)| Some((s, at.checked_sub(late)?)))
            .filter(|&(_, p)| p < sequence)
            .collect();
        let row = |&(s, p): &(usize, usize)| Row {
            token: stories[s][p],
            slot: 4 - s as u32,
            position: p as u32,
        };
        let logits = decoder.next(&at_once.iter().map(row).collect::<Vec<Row>>()).unwrap();
        for (&(story, position), logits) in at_once.iter().zip(logits.chunks_exact(vocab)) {
            if position >= sequence - 5 {
                found[story].extend_from_slice(logits);
            }
        }
    }
    assert!(found == alone, "the bits of a story depend on what is decoded beside it");
    alone
}

#[test]
fn decoding_equals_the_whole_pass_and_stories_do_not_touch_each_other() {
    // Heads of 10 and of 40, an MLP that is no multiple of anything, a vocabulary that is none either; groups of query heads.
    for config in [
        config(4, 40, 72, 257, 80),
        config(2, 80, 107, 130, 70),
        grouped(2, config(4, 40, 72, 257, 70)),
    ] {
        let (vocab, sequence) = (config.vocab_size, config.context);
        let weights = weights(&config);
        let stories: Vec<Vec<u32>> = (0..3).map(|seed| tokens(sequence, vocab, seed)).collect();
        let mut model = Model::new(Cpu::boxed(), config, &weights, 1, sequence).unwrap();
        let expected: Vec<Vec<f64>> = stories
            .iter()
            .map(|story| wide(&model.logits(story).unwrap()[(sequence - 5) * vocab..]))
            .collect();
        let told = |make: Maker| told_alone_and_together(config, &weights, &stories, make);
        let on_cpu = |threads, storage| {
            told(&move |config, weights: &[f32], slots| {
                Decoder::on_cpu(config, weights.to_vec(), slots, threads, storage).unwrap()
            })
        };
        let f32s = on_cpu(1, Storage::F32);
        for (expected, (kernels, cpu)) in expected.iter().zip(
            told(&|config, weights, slots| {
                Decoder::new(Cpu::boxed(), config, weights, slots).unwrap()
            })
            .iter()
            .zip(&f32s),
        ) {
            assert_close("logits, kernel by kernel", kernels, expected);
            assert_close("logits, in passes of the CPU", cpu, expected);
        }
        let eight = on_cpu(1, Storage::Q8);
        for threads in [2, 3] {
            assert!(on_cpu(threads, Storage::F32) == f32s, "{threads} threads give other bits");
            assert!(
                on_cpu(threads, Storage::Q8) == eight,
                "{threads} threads give other bits in q8"
            );
        }
        // Eight bits: an error of about 1/256 of each operand, far below what differs between stories.
        let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
        let (eight, expected) = (eight.concat(), expected.concat());
        let error = (squares(&mut eight.iter().zip(&expected).map(|(a, b)| f64::from(*a) - b))
            / squares(&mut expected.iter().copied()))
        .sqrt();
        assert!((1e-4..0.03).contains(&error), "q8 differs by {error}");
    }
}
