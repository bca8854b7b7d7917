//! `[train.optimizer]`: the optimizer that it asks for, and what a resumed run has to agree on.
use compute::{Optimizer, OptimizerKind, UnknownOptimizer};
use serde_json::{Value, json};
use stage::config;
use stage::{Action, Failure, Result};

/// The optimizer of these settings.
///
/// # Errors
/// Exit code 2 where there is no such kind, or it has no use for a setting.
pub(crate) fn optimizer(section: &config::Optimizer) -> Result<Optimizer> {
    let kind = kind(section)?;
    let ([beta1, beta2], eps) = constants(section, kind);
    Ok(Optimizer {
        kind,
        beta1: beta1 as f32,
        beta2: beta2 as f32,
        eps: eps as f32,
        weight_decay: section.weight_decay as f32,
        momentum: momentum(section, kind).unwrap_or(0.0) as f32,
        cautious_decay: section.cautious_decay,
    })
}

/// All that decides the updates, with what the section left open.
///
/// # Errors
/// As [`optimizer`].
pub(crate) fn settings(section: &config::Optimizer) -> Result<Value> {
    let known = kind(section)?;
    let (betas, eps) = constants(section, known);
    let config::Optimizer { kind, weight_decay, .. } = section;
    let mut settings =
        json!({ "kind": kind, "betas": betas, "eps": eps, "weight_decay": weight_decay });
    if let Some(momentum) = momentum(section, known) {
        settings["momentum"] = json!(momentum);
        settings["cautious_decay"] = json!(section.cautious_decay);
    }
    Ok(settings)
}

/// None where the rule has none.
fn momentum(section: &config::Optimizer, kind: OptimizerKind) -> Option<f64> {
    kind.rule().momentum.map(|own| section.momentum.unwrap_or(own))
}

/// The settings of a run as this version writes them. 0.1 knew AdamW alone, and of it the weight decay.
pub(crate) fn up_to_date(mut settings: Value) -> Value {
    let Some(keys) = settings.as_object_mut() else { return settings };
    if let Some(weight_decay) = keys.remove("weight_decay") {
        keys.entry("optimizer").or_insert(json!({
            "kind": "adamw", "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": weight_decay,
        }));
    }
    settings
}

fn kind(section: &config::Optimizer) -> Result<OptimizerKind> {
    let unknown = |error: UnknownOptimizer| {
        Failure::usage("no such optimizer")
            .at(format_args!("train.optimizer.kind = {:?}", error.found))
            .expected(error.known.join(" or "))
    };
    let kind: OptimizerKind = section.kind.parse().map_err(unknown)?;
    let unused =
        [("momentum", section.momentum.is_some()), ("cautious_decay", section.cautious_decay)];
    match unused.into_iter().find(|(_, given)| *given && kind.rule().momentum.is_none()) {
        None => Ok(kind),
        Some((key, _)) => {
            let remedy = Action::Set("train.optimizer.kind", "muon");
            let failure =
                Failure::usage(format_args!("train.optimizer.{key}: {} has none", section.kind));
            Err(failure.remedy(format_args!("leave it out, or {remedy}")))
        }
    }
}

fn constants(section: &config::Optimizer, kind: OptimizerKind) -> ([f64; 2], f64) {
    let rule = kind.rule();
    (section.betas.unwrap_or(rule.betas), section.eps.unwrap_or(rule.eps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_open_is_the_rules_own_and_part_of_the_settings() {
        let section = config::Optimizer::default();
        let own = optimizer(&section).unwrap();
        assert_eq!(own, Optimizer { weight_decay: 0.1, ..Optimizer::new(OptimizerKind::AdamW) });
        let explicit = config::Optimizer {
            betas: Some([0.9, 0.95]),
            eps: Some(1e-8),
            ..config::Optimizer::default()
        };
        assert_eq!(settings(&section).unwrap(), settings(&explicit).unwrap());
        let others = [
            config::Optimizer { betas: Some([0.9, 0.99]), ..section.clone() },
            config::Optimizer { eps: Some(1e-6), ..section.clone() },
            config::Optimizer { weight_decay: 0.2, ..section.clone() },
        ];
        for other in others {
            assert_ne!(settings(&section).unwrap(), settings(&other).unwrap());
            assert_ne!(optimizer(&other).unwrap(), own);
        }
        let muon = config::Optimizer { kind: "muon".into(), ..section.clone() };
        let of_muon = [
            config::Optimizer { momentum: Some(0.9), ..muon.clone() },
            config::Optimizer { cautious_decay: true, ..muon.clone() },
        ];
        for other in of_muon {
            assert_ne!(settings(&muon).unwrap(), settings(&other).unwrap());
            assert_ne!(optimizer(&muon).unwrap(), optimizer(&other).unwrap());
            let error =
                optimizer(&config::Optimizer { kind: "adamw".into(), ..other }).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("adamw has none"), "{error}");
        }
        let error = optimizer(&config::Optimizer { kind: "adam".into(), ..section }).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        let names: Vec<&str> = OptimizerKind::ALL.iter().map(|kind| kind.rule().name).collect();
        let expected = format!("expected: {}", names.join(" or "));
        assert!(
            text.contains("train.optimizer.kind = \"adam\"") && text.contains(&expected),
            "{text}"
        );
    }

    #[test]
    fn settings_of_0_1_say_what_they_meant() {
        let now = settings(&config::Optimizer::default()).unwrap();
        let old = json!({ "lr": 6e-4, "weight_decay": 0.1 });
        assert_eq!(up_to_date(old), json!({ "lr": 6e-4, "optimizer": now }));
        let new = json!({ "lr": 6e-4, "optimizer": now });
        assert_eq!(up_to_date(new.clone()), new);
    }
}
