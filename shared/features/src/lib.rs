//! No code: its Cargo.toml asks for one set of features wherever the workspace's crates are built.
