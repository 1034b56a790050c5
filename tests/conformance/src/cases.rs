//! The table.

mod attach;
mod collect;
mod drift;
mod input;
mod kill;
mod names;
mod versions;

use crate::Subject;

/// A demand on every plugin.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, as a test has it.
    pub name: &'static str,
    /// Fails by panic.
    pub run: fn(&Subject),
}

macro_rules! table {
    ($($module:ident: $($case:ident),+;)+) => {
        /// All cases, in the order in which [`crate::enter!`] names them.
        pub const CASES: &[Case] =
            &[$($(Case { name: stringify!($case), run: $module::$case }),+),+];
    };
}

table! {
    attach: add_and_del, cold_add_and_del, add_twice, del_twice, del_without_netns,
        del_after_the_namespace_is_gone, del_with_a_configuration_that_add_refuses,
        del_with_the_result_of_another_pod;
    kill: sigkill_at_any_point_of_add, sigkill_at_any_point_of_del,
        sigkill_of_the_ipam_plugin;
    drift: check_sees_each_drift, check_needs_prev_result;
    collect: gc_keeps_the_valid_and_frees_the_rest, gc_leaves_other_networks_alone, gc_needs_a_list,
        status_is_ready, status_without_the_ipam_plugin, status_and_add_with_an_exhausted_pool,
        status_without_a_program;
    versions: version_answers_in_the_version_asked, every_version_of_the_specification,
        verbs_younger_than_the_version;
    input: bad_json, unknown_version, unknown_keys_and_nulls, wrong_types, invalid_values,
        missing_variables, unknown_command;
    names: hostile_container_ids, hostile_interface_names, hostile_network_names,
        hostile_ipam_types, hostile_namespaces, oversized_input;
}
