//! One table of cases that every plugin enters.
//!
//! A [`Subject`] is a plugin with a valid configuration and what is known about it: what ADD
//! leaves on the node, which drifts CHECK must see, which keys it must refuse. A [`Case`] is a
//! demand of the specification, or of experience, on any subject. [`CASES`] is the table;
//! [`enter!`] makes one test of each case for each subject, [`judge`] tells what came of one.
//!
//! The cases know nothing of how a plugin works inside. Podloom's own are held to its codes and
//! words of errors too; those of another [`Maker`] to the specification, and to leaving nothing
//! behind. The program `podloom-conformance` puts the cases to anybody's plugin, which a [`Given`]
//! configuration makes a subject of; `conformance-matrix` puts them to all subjects, and to the
//! reference plugins beside them.
//!
//! Each case starts on a node that has seen one ADD and DEL, so that what stays by design (a
//! bridge, empty chains) is there already, and ends by showing that the node is as before.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's library fails the test"
)]

pub mod cases;
mod error;
mod given;
pub mod machine;
mod maker;
pub mod matrix;
pub mod report;
mod subject;
pub mod subjects;
mod trial;
mod verdict;

pub use cases::{CASES, Case, Origin};
pub use error::{Error, Result};
pub use given::{About, Again, Bad, Change, Given, Place};
pub use maker::{Maker, Other};
pub use subject::{Conf, Needs, Repeat, Subject, Wire, Wiring};
pub use trial::{Member, Trial};
pub use verdict::{Asks, Verdict, judge};

/// Runs the case of this name on a subject; a skip where the machine lacks what that takes.
///
/// # Panics
/// When the subject fails the case; when there is no such case.
pub fn run(case: &str, subject: &Subject) {
    let found = CASES.iter().find(|c| c.name == case);
    let found = found.unwrap_or_else(|| panic!("{case}: no such case"));
    match verdict::barrier(found, subject) {
        None => (found.run)(subject),
        Some(Verdict::NotHere(reason)) => lab::skip(&reason),
        // It has nothing of what the case is about.
        Some(_) => {}
    }
}

/// Makes one test of each case of the table for each of the named [`subjects`].
#[macro_export]
macro_rules! enter {
    ($($subject:ident),+ $(,)?) => {
        $($crate::enter!(@one $subject:
            add_and_del,
            cold_add_and_del,
            add_twice,
            del_twice,
            del_without_netns,
            del_after_the_namespace_is_gone,
            del_with_a_configuration_that_add_refuses,
            del_with_the_result_of_another_pod,
            sigkill_at_any_point_of_add,
            sigkill_at_any_point_of_del,
            sigkill_of_the_ipam_plugin,
            check_sees_each_drift,
            check_needs_prev_result,
            gc_keeps_the_valid_and_frees_the_rest,
            gc_leaves_other_networks_alone,
            gc_needs_a_list,
            status_is_ready,
            status_without_the_ipam_plugin,
            status_and_add_with_an_exhausted_pool,
            status_without_a_program,
            version_answers_in_the_version_asked,
            every_version_of_the_specification,
            errors_in_the_version_asked,
            verbs_younger_than_the_version,
            bad_json,
            unknown_version,
            unknown_keys_and_nulls,
            wrong_types,
            invalid_values,
            missing_variables,
            unknown_command,
            hostile_container_ids,
            hostile_interface_names,
            hostile_network_names,
            hostile_ipam_types,
            hostile_namespaces,
            oversized_input,
        );)+
    };
    (@one $subject:ident: $($case:ident),+ $(,)?) => {
        mod $subject {
            $(#[test]
            fn $case() {
                conformance::run(stringify!($case), &conformance::subjects::$subject());
            })+

            #[test]
            fn all_cases_are_entered() {
                let entered = [$(stringify!($case)),+];
                let table: Vec<_> = conformance::CASES.iter().map(|c| c.name).collect();
                assert_eq!(entered.as_slice(), table.as_slice());
            }
        }
    };
}
