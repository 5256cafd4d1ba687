//! The part of Go's template language that `--format` is used for: fields, chains, pipes, variables, `if`, `with`,
//! `range`, comparisons, and docker's own functions (`json`, `split`, `join`, `lower`, `upper`, `title`, `pad`,
//! `truncate`).
//!
//! It must never know where its data come from: it renders a `Value`.
//! Flow: text → `lexer` → `parser` → `evaluate` (with `functions`). Start reading at `evaluate`.

mod evaluate;
mod functions;
mod lexer;
mod parser;

#[cfg(test)]
mod tests;

pub use evaluate::Template;
