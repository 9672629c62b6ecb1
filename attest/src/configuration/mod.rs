//! What a hop does with bytes, as it states it in its evidence, and what a policy asks of that (docs/PROTOCOL.md section 2).
//!
//! Owns the statement (where bytes come in, where they leave, who is believed there, who else gets them), its one
//! encoding, and the rules by which it is judged. Which process states what is the configuration's business; that the
//! statement is the one which a quote covers is checked where paths are verified.

mod encoding;
mod rules;
mod statement;
mod words;

pub use rules::{
    ConfigurationFinding, ConfigurationRule, ConfigurationRules, Direction, Judgement, OtherWays, Targets,
};
pub use statement::{
    Commitment, Danger, FrontKey, Judged, MAX_COMMITMENT_NAME, MAX_STATEMENT, MAX_TARGET_NAME, MAX_TARGETS, MAX_WAYS,
    Mark, Passes, Place, Root, Source, Stated, Statement, StatementError, Target, Way,
};
pub use words::{changes, danger_from_word, mark_from_word};
