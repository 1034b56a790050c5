//! Every plugin of the bundle enters the table: those of `each_subject` in `src/subjects.rs`.

conformance::each_subject!(conformance::enter);
