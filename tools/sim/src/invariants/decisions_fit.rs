//! What the leader decides fits the facts that it decided upon: no committed entry is refused when it is applied, and
//! no decider is refused by the store. Source: decisions 2 and 5.

use super::Violation;

/// Texts of warnings that only a broken law of ours can cause.
const BROKEN: [&str; 4] =
    ["changed nothing", "a decision could not be written", "a status was not written", "cannot be used"];

/// Looks at what a manager warns of.
pub fn judge(text: &str) -> Result<(), Violation> {
    if BROKEN.iter().any(|broken| text.contains(broken)) {
        return Err(Violation::new("decisions_fit", text));
    }
    Ok(())
}
