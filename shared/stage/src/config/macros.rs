//! How settings are declared: `key: type = default => mark`. A key without a mark does not compile.

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$key_doc:meta])* $key:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$key_doc])* #[serde(skip_serializing_if = "skip")] pub $key: $type,)* }
        impl Default for $name {
            fn default() -> Self { $name { $($key: $default,)* } }
        }
    };
}

/// The results that a mark names.
macro_rules! outcomes {
    (decides $($outcome:ident)+) => { &[$(Outcome::$outcome),+] };
    (free) => { &[] };
    // Its keys have marks of their own.
    (section) => { &[] };
}

/// Sections, then those within a section, as `[section.key]` in the file. `of` names the program that a section is for, and
/// the outcomes that settings decide of it. A mark is `decides(OUTCOME, ...)`: a change makes
/// these results anew; or `free`: it changes no result that a manifest describes; or `section`: a table of keys.
macro_rules! sections {
    ($($(#[$doc:meta])* $section:ident $name:ident $(of $program:literal: $($result:ident),*)? { $($(#[$key_doc:meta])*
        $key:ident: $type:ty = $default:expr => $mark:ident $(($($outcome:ident),+))?,)* })*
     $([$parent:ident . $child:ident] $(#[$child_doc:meta])* $child_name:ident { $($(#[$child_key_doc:meta])*
        $child_key:ident: $child_type:ty = $child_default:expr => $child_mark:ident $(($($child_outcome:ident),+))?,)* })*) => {
        $(section! { $(#[$doc])* $name { $($(#[$key_doc])* $key: $type = $default,)* } })*
        $(section! { $(#[$child_doc])* $child_name
            { $($(#[$child_key_doc])* $child_key: $child_type = $child_default,)* } })*

        /// A whole pipeline file.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Pipeline {
            /// Folder of all outputs; `out/NAME` of `NAME.toml` when not given.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub out: Option<String>,
            $($(#[$doc])* pub $section: $name,)*
            /// Lists of values for keys: see [`crate::sweep`].
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub sweep: Vec<toml::Table>,
        }

        /// Every key a pipeline file may hold, as `section.key`.
        pub const KEYS: &[&str] = &[
            "out",
            $($(concat!(stringify!($section), ".", stringify!($key)),)*)*
            $($(concat!(stringify!($parent), ".", stringify!($child), ".", stringify!($child_key)),)*)*
        ];

        /// The stages in their order: section and program.
        pub const STAGES: &[(&str, &str)] = &[$($((stringify!($section), $program),)?)*];

        /// What settings decide: the result of a stage, or whether a training run can be resumed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Outcome {
            $($($(#[doc = concat!("Of `", $program, "`.")] $result,)*)?)*
        }

        impl Outcome {
            /// All of them.
            pub const ALL: &[Outcome] = &[$($($(Outcome::$result,)*)?)*];

            /// The section of the stage.
            fn section(self) -> &'static str {
                match self {
                    $($($(Outcome::$result => stringify!($section),)*)?)*
                }
            }
        }

        impl Pipeline {
            /// Every key with its value, and the results it decides.
            fn settings(&self) -> Vec<(&'static str, serde_json::Value, &'static [Outcome])> {
                vec![
                    $($((
                        concat!(stringify!($section), ".", stringify!($key)),
                        serde_json::json!(self.$section.$key),
                        outcomes!($mark $($($outcome)+)?),
                    ),)*)*
                    $($((
                        concat!(stringify!($parent), ".", stringify!($child), ".", stringify!($child_key)),
                        serde_json::json!(self.$parent.$child.$child_key),
                        outcomes!($child_mark $($($child_outcome)+)?),
                    ),)*)*
                ]
            }
        }
    };
}
